#include "sim/files.hpp"

#include <cerrno>

#include <diorite/assert.hpp>

namespace diorite::sim::detail {
namespace {

constexpr unsigned kIndexBits = 16;
constexpr std::uint32_t kIndexMask = (std::uint32_t{1} << kIndexBits) - 1;
constexpr std::uint32_t kSerialMask = kIndexMask;
constexpr std::uint64_t kRegisteredBit = std::uint64_t{1} << 32;

}  // namespace

OpenFile* FileTable::add(Process& process, NodeId node, std::uint32_t open_flags,
                         std::string_view path, bool is_directory) {
  if (free_.empty()) {
    if (files_.size() == kIndexMask) return nullptr;
    free_.push_back(static_cast<std::uint32_t>(files_.size()));
    files_.emplace_back();
  }
  OpenFile& file = files_[free_.back()];
  file.index = free_.back();
  free_.pop_back();
  file.serial = (file.serial + 1) & kSerialMask;
  file.node = node;
  file.open_flags = open_flags;
  file.process = &process;
  file.path = path;
  file.is_directory = is_directory;
  file.references = 1;
  file.has_handle = true;
  file.registered = false;
  file.locked = false;
  return &file;
}

// The serial number makes a handle that is used after close an EBADF, instead of an access to
// whatever file was opened next.
DriverFile FileTable::handle_of(const OpenFile& file) noexcept {
  const std::uint32_t low = (file.serial << kIndexBits) | file.index;
  return DriverFile{low | (file.registered ? kRegisteredBit : 0)};
}

OpenFile* FileTable::find(const Process& process, DriverFile handle) noexcept {
  if (!handle) return nullptr;
  const auto low = static_cast<std::uint32_t>(handle.value);
  const std::uint32_t index = low & kIndexMask;
  if (index >= files_.size()) return nullptr;
  OpenFile& file = files_[index];
  if (!file.has_handle || file.process != &process || file.serial != low >> kIndexBits) {
    return nullptr;
  }
  return &file;
}

void FileTable::release(OpenFile& file, Volume& volume) noexcept {
  DIORITE_ASSERT(file.references > 0, "an open file is released too often");
  if (--file.references > 0) return;
  volume.release(file.node);
  file.node = kNoNode;
  file.locked = false;
  file.process = nullptr;
  free_.push_back(file.index);
}

void FileTable::drop_handle(OpenFile& file, Volume& volume) noexcept {
  DIORITE_ASSERT(file.has_handle, "a handle is closed twice");
  file.has_handle = false;
  release(file, volume);
}

void FileTable::drop_registration(OpenFile& file, Volume& volume) noexcept {
  if (!file.registered) return;
  file.registered = false;
  release(file, volume);
}

void FileTable::drop_all(const Process& process, bool registrations, Volume& volume) noexcept {
  for (OpenFile& file : files_) {
    if (file.references == 0 || file.process != &process) continue;
    hold(file);
    if (registrations) drop_registration(file, volume);
    if (file.has_handle) drop_handle(file, volume);
    release(file, volume);
  }
}

void FileTable::forget_all() noexcept {
  for (OpenFile& file : files_) {
    if (file.references == 0) continue;
    file.references = 0;
    file.has_handle = false;
    file.registered = false;
    file.locked = false;
    file.node = kNoNode;
    file.process = nullptr;
    free_.push_back(file.index);
  }
}

std::int32_t FileTable::try_lock(OpenFile& file) noexcept {
  for (const OpenFile& other : files_) {
    if (&other != &file && other.references > 0 && other.locked && other.node == file.node) {
      return -EAGAIN;
    }
  }
  file.locked = true;
  return 0;
}

}  // namespace diorite::sim::detail
