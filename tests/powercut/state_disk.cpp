#include "powercut/state_disk.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace diorite::powercut {

StateDisk::StateDisk(std::uint64_t bytes)
    : fd_(::memfd_create("powercut-state", MFD_CLOEXEC)), bytes_(bytes) {
  if (!fd_) throw_errno("memfd_create");
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) throw_errno("ftruncate");
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (at == MAP_FAILED) throw_errno("mmap of a state");
  base_ = static_cast<std::byte*>(at);
  ::madvise(base_, bytes, MADV_DONTFORK);
}

StateDisk::~StateDisk() { ::munmap(base_, bytes_); }

void StateDisk::punch(std::uint64_t first, std::uint64_t end) {
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(first * kPage),
                  static_cast<off_t>((end - first) * kPage)) != 0) {
    throw_errno("punching a hole into a state");
  }
}

void StateDisk::drop_foreign_pages(const Image& durable) {
  for (std::uint64_t at = 0; at < bytes_;) {
    const off_t data = ::lseek(fd_.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) break;
    const off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
    if (hole < 0) throw_errno("SEEK_HOLE");
    const std::uint64_t end = static_cast<std::uint64_t>(hole) / kPage;
    for (std::uint64_t page = static_cast<std::uint64_t>(data) / kPage; page < end;) {
      const std::uint64_t first = page;
      while (page < end && !durable.touched(page)) ++page;
      if (page > first) punch(first, page);
      while (page < end && durable.touched(page)) ++page;
    }
    at = static_cast<std::uint64_t>(hole);
  }
}

void StateDisk::set(const Image& durable, const std::vector<Event>& events,
                    const std::vector<Piece>& pieces) {
  drop_foreign_pages(durable);
  for (std::uint64_t page = 0; page < bytes_ / kPage; ++page) {
    if (!durable.touched(page)) continue;
    const std::byte* const wanted = durable.at(page * kPage);
    std::byte* const there = base_ + page * kPage;
    if (std::memcmp(there, wanted, kPage) != 0) std::memcpy(there, wanted, kPage);
  }
  for (const Piece& piece : pieces) {
    const Event& event = events[piece.event];
    std::byte* const to = base_ + event.offset + piece.begin;
    if (event.data != nullptr) {
      std::memcpy(to, event.data + piece.begin, piece.end - piece.begin);
    } else {
      std::memset(to, 0, piece.end - piece.begin);
    }
  }
}

void StateDisk::save(const std::string& path) const {
  const Fd to(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!to || ::ftruncate(to.get(), static_cast<off_t>(bytes_)) != 0) throw_errno(path);
  for (std::uint64_t at = 0; at < bytes_; at += kPage) {
    if (all_zero(base_ + at, kPage)) continue;
    if (::pwrite(to.get(), base_ + at, kPage, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(kPage)) {
      throw_errno(path);
    }
  }
}

}  // namespace diorite::powercut
