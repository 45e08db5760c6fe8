// The pool of coroutine frames: per-thread free lists in classes of 64 bytes.
//
// Frames are made and freed at the rate of operations, in few sizes, mostly on one thread: a free
// list costs a few instructions where malloc costs tens of nanoseconds. A frame that is freed on
// another thread joins that thread's lists.

#pragma once

#include <cstddef>
#include <cstdint>

namespace diorite::detail {

struct FramePoolStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t cached_bytes = 0;
};

/// Of the calling thread.
FramePoolStats frame_pool_stats() noexcept;

}  // namespace diorite::detail
