#include "coro/frame_pool.hpp"

#include <array>
#include <new>

#include <diorite/task.hpp>

// Under AddressSanitizer every frame comes from the allocator, so that the use of a dead frame is
// seen.
#if defined(__SANITIZE_ADDRESS__)
#define DIORITE_POOL_FRAMES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DIORITE_POOL_FRAMES 0
#endif
#endif
#ifndef DIORITE_POOL_FRAMES
#define DIORITE_POOL_FRAMES 1
#endif

namespace diorite::detail {
namespace {

constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClassCount = 32;  // frames up to 2 KiB
constexpr std::size_t kCachedBytesMax = std::size_t{4} << 20;

struct FreeFrame {
  FreeFrame* next;
};

// Trivial, so that reaching it is one access through the thread's register: a thread_local with a
// destructor is asked first, each time, whether it is registered.
struct FramePool {
  std::array<FreeFrame*, kClassCount> free{};
  FramePoolStats stats;
  /// Of what is cached. 0 until the thread's first frame is freed, and again while it exits.
  std::size_t cached_bytes_max = 0;
  bool closed = false;
};
constinit thread_local FramePool pool;

/// Empties the pool when its thread exits.
struct PoolCloser {
  ~PoolCloser() {
    pool.closed = true;
    pool.cached_bytes_max = 0;
    for (FreeFrame*& head : pool.free) {
      while (head != nullptr) {
        FreeFrame* const frame = head;
        head = frame->next;
        ::operator delete(frame);
      }
    }
  }
  void open() const noexcept { pool.cached_bytes_max = kCachedBytesMax; }
};
thread_local PoolCloser closer;

constexpr std::size_t class_of(std::size_t bytes) noexcept { return (bytes - 1) / kClassBytes; }

}  // namespace

void* frame_allocate(std::size_t bytes) {
  const std::size_t index = class_of(bytes);
  if (DIORITE_POOL_FRAMES == 0 || index >= kClassCount) return ::operator new(bytes);
  FramePool& mine = pool;
  if (FreeFrame* const frame = mine.free[index]; frame != nullptr) {
    mine.free[index] = frame->next;
    mine.stats.cached_bytes -= (index + 1) * kClassBytes;
    ++mine.stats.hits;
    return frame;
  }
  ++mine.stats.misses;
  return ::operator new((index + 1) * kClassBytes);
}

void frame_release(void* memory, std::size_t bytes) noexcept {
  const std::size_t index = class_of(bytes);
  if (DIORITE_POOL_FRAMES == 0 || index >= kClassCount) return ::operator delete(memory);
  FramePool& mine = pool;
  const std::size_t size = (index + 1) * kClassBytes;
  if (mine.stats.cached_bytes + size > mine.cached_bytes_max) [[unlikely]] {
    if (mine.closed || mine.cached_bytes_max != 0) return ::operator delete(memory);
    closer.open();
  }
  auto* const frame = static_cast<FreeFrame*>(memory);
  frame->next = mine.free[index];
  mine.free[index] = frame;
  mine.stats.cached_bytes += size;
}

FramePoolStats frame_pool_stats() noexcept { return pool.stats; }

}  // namespace diorite::detail
