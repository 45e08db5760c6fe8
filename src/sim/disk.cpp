#include <diorite/sim/disk.hpp>

#include <algorithm>
#include <span>

#include <diorite/assert.hpp>

#include "sim/volume.hpp"

namespace diorite::sim {
namespace {

/// Requires: there is such a file.
detail::NodeId file_at(const detail::Volume& volume, std::string_view path) {
  const detail::NodeId node = volume.find(path);
  DIORITE_ASSERT(node != detail::kNoNode, "there is no such file on the simulated disk");
  return node;
}

bool is_file(const detail::Volume& volume, detail::NodeId node) {
  if (node == detail::kNoNode) return false;
  FileInfo info;
  volume.info(node, info);
  return info.kind == FileKind::regular;
}

}  // namespace

Disk::Disk(DiskOptions options) : volume_(std::make_unique<detail::Volume>(options)) {}
Disk::Disk(const Disk& other) : volume_(std::make_unique<detail::Volume>(*other.volume_)) {}
Disk& Disk::operator=(const Disk& other) {
  if (this != &other) volume_ = std::make_unique<detail::Volume>(*other.volume_);
  return *this;
}
Disk::Disk(Disk&&) noexcept = default;
Disk& Disk::operator=(Disk&&) noexcept = default;
Disk::~Disk() = default;

const DiskOptions& Disk::options() const noexcept { return volume_->options(); }
std::vector<std::string> Disk::files() const { return volume_->files(); }
bool Disk::exists(std::string_view path) const { return volume_->find(path) != detail::kNoNode; }

std::vector<std::byte> Disk::contents(std::string_view path) const {
  const detail::NodeId node = volume_->find(path);
  if (!is_file(*volume_, node)) return {};
  std::vector<std::byte> bytes(volume_->bytes_of(node));
  if (volume_->read(node, 0, bytes) >= 0) return bytes;
  // Sector by sector; what cannot be read is left as zeros.
  for (std::size_t at = 0; at < bytes.size(); at += kSectorBytes) {
    const std::size_t length = std::min<std::size_t>(kSectorBytes, bytes.size() - at);
    static_cast<void>(volume_->read(node, at, std::span(bytes).subspan(at, length)));
  }
  return bytes;
}

std::uint64_t Disk::bytes_of(std::string_view path) const {
  const detail::NodeId node = volume_->find(path);
  return is_file(*volume_, node) ? volume_->bytes_of(node) : 0;
}

bool Disk::all_durable() const noexcept { return volume_->all_durable(); }
std::uint64_t Disk::hash() const { return volume_->hash(); }

void Disk::flip_bit(std::string_view path, std::uint64_t offset, unsigned bit) {
  volume_->flip_bit(file_at(*volume_, path), offset, bit);
}

void Disk::zero_sector(std::string_view path, std::uint64_t offset) {
  volume_->zero_sector(file_at(*volume_, path), offset);
}

bool Disk::stale_sector(std::string_view path, std::uint64_t offset) {
  return volume_->stale_sector(file_at(*volume_, path), offset);
}

void Disk::misdirect(std::string_view path, std::uint64_t from, std::uint64_t to) {
  volume_->misdirect(file_at(*volume_, path), from, to);
}

void Disk::make_unreadable(std::string_view path, std::uint64_t offset) {
  volume_->make_unreadable(file_at(*volume_, path), offset);
}

void Disk::remove(std::string_view path) { volume_->forget(path); }

}  // namespace diorite::sim
