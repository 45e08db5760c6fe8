#include "workspace.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "measure.hpp"
#include "random.hpp"

#include <diorite/buffer.hpp>

namespace diorite::bench {
namespace {

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw Failure(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

}  // namespace

Workspace::Workspace(const std::string& parent, std::uint64_t bytes_needed) {
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) throw Failure(fmt::format("cannot create {}: {}", parent, error.message()));
  struct statvfs room;
  if (::statvfs(parent.c_str(), &room) != 0) fail("cannot look at", parent);
  const std::uint64_t free = static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize;
  if (free < bytes_needed) {
    throw Failure(fmt::format("{} has {} MiB free, the benchmark needs {} MiB; see --dir", parent,
                              free >> 20, bytes_needed >> 20));
  }
  path_ = parent + "/diorite-bench-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) fail("cannot create", path_);
}

Workspace::~Workspace() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void Workspace::remove(const std::string& name) const {
  std::error_code error;
  std::filesystem::remove_all(file(name), error);
  if (error) throw Failure(fmt::format("cannot remove {}: {}", file(name), error.message()));
}

void Workspace::settle() const {
  const int folder = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("cannot open", path_);
  const int result = ::syncfs(folder);
  ::close(folder);
  if (result != 0) fail("cannot sync", path_);
}

Descriptor::Descriptor(const std::string& path, bool write)
    : value_(::open(path.c_str(), (write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC)) {
  if (value_ < 0) fail("cannot open with O_DIRECT", path);
}

Descriptor::Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Descriptor::~Descriptor() {
  if (value_ >= 0) ::close(value_);
}

void fill_file(const std::string& path, std::uint64_t bytes, bool zeros) {
  constexpr std::uint64_t kChunk = std::uint64_t{1} << 20;
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0644);
  if (file < 0) fail("cannot create with O_DIRECT", path);
  Result<AlignedBuf> chunk = AlignedBuf::zeroed(kChunk);
  if (!chunk) throw Failure(chunk.error().text());
  if (!zeros) {
    Random random(bytes);
    for (std::uint64_t i = 0; i < kChunk; i += sizeof(std::uint64_t)) {
      const std::uint64_t value = random.next();
      std::memcpy(chunk->data() + i, &value, sizeof(value));
    }
  }
  // What is reserved in one piece first is laid out in one piece.
  errno = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  bool done = errno == 0;
  for (std::uint64_t at = 0; done && at < bytes; at += kChunk) {
    const std::uint64_t part = std::min(kChunk, bytes - at);
    done =
        ::pwrite(file, chunk->data(), part, static_cast<off_t>(at)) == static_cast<ssize_t>(part);
  }
  done = done && ::fdatasync(file) == 0;
  const int error = errno;
  ::close(file);
  errno = error;
  if (!done) fail("cannot fill", path);
}

}  // namespace diorite::bench
