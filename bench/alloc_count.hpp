// Counts the calls of the global operator new in this program, whose operators alloc_count.cpp
// replaces.
//
// Thread: any; all threads are counted together.

#pragma once

#include <cstdint>

namespace diorite::bench {

std::uint64_t allocations() noexcept;

}  // namespace diorite::bench
