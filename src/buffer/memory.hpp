// The memory behind an AlignedBuf: allocated with an alignment, freed by its address alone.
//
// One implementation per platform, chosen by CMake. The counterpart of allocate_aligned is
// detail::free_aligned, which buffer.hpp declares because a Pin may carry it.

#pragma once

#include <cstddef>

#include <diorite/buffer.hpp>

namespace diorite::detail {

/// Uninitialised memory, or null when there is none.
/// Requires: `alignment` is a power of two of at least kPageBytes, `bytes` a positive multiple of
/// it that fits into std::ptrdiff_t.
std::byte* allocate_aligned(std::size_t bytes, std::size_t alignment) noexcept;

}  // namespace diorite::detail
