#include "buffer/memory.hpp"

#include <stdlib.h>  // posix_memalign is not in namespace std

namespace diorite::detail {

std::byte* allocate_aligned(std::size_t bytes, std::size_t alignment) noexcept {
  // std::aligned_alloc would do the same, but macOS has it only since 10.15, and libc++ hides it
  // when it targets an older system.
  void* memory = nullptr;
  return ::posix_memalign(&memory, alignment, bytes) == 0 ? static_cast<std::byte*>(memory)
                                                          : nullptr;
}

void free_aligned(void* data) noexcept { ::free(data); }

}  // namespace diorite::detail
