#include "powercut/image.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "powercut/system.hpp"
#include "powercut/trace.hpp"

namespace diorite::powercut {

Image::Image(std::uint64_t bytes) : bytes_(bytes), touched_(bytes / kPage) {
  void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw_errno("mmap of an image");
  base_ = static_cast<std::byte*>(at);
}

Image::~Image() { ::munmap(base_, bytes_); }

void Image::write(std::uint64_t offset, const std::byte* data, std::size_t bytes) noexcept {
  while (bytes > 0) {
    const std::uint64_t page = offset / kPage;
    const std::size_t now = std::min(bytes, kPage - static_cast<std::size_t>(offset % kPage));
    // Zeros onto zeros would only cost memory: formatting writes a whole log of them.
    const bool zeros = data == nullptr || all_zero(data, now);
    if (!zeros || touched_[page]) {
      touched_[page] = true;
      if (data != nullptr) {
        std::memcpy(base_ + offset, data, now);
      } else {
        std::memset(base_ + offset, 0, now);
      }
    }
    if (data != nullptr) data += now;
    offset += now;
    bytes -= now;
  }
}

void Image::keep_from_children() noexcept { ::madvise(base_, bytes_, MADV_DONTFORK); }

}  // namespace diorite::powercut
