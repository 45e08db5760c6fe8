#include "buffer/memory.hpp"

#include <malloc.h>  // _aligned_malloc

namespace diorite::detail {

std::byte* allocate_aligned(std::size_t bytes, std::size_t alignment) noexcept {
  return static_cast<std::byte*>(::_aligned_malloc(bytes, alignment));
}

// The runtime keeps the block's true start in front of the aligned address, so plain free() would
// take an address that the heap never gave out.
void free_aligned(void* data) noexcept { ::_aligned_free(data); }

}  // namespace diorite::detail
