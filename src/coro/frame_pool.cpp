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

struct FramePool {
  std::array<FreeFrame*, kClassCount> free{};
  FramePoolStats stats;
  bool closed = false;  // the thread is exiting: nothing is cached any more

  ~FramePool() {
    closed = true;
    for (FreeFrame*& head : free) {
      while (head != nullptr) {
        FreeFrame* const frame = head;
        head = frame->next;
        ::operator delete(frame);
      }
    }
  }
};

thread_local FramePool pool;

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
  FramePool& mine = pool;
  if (DIORITE_POOL_FRAMES == 0 || index >= kClassCount || mine.closed ||
      mine.stats.cached_bytes + (index + 1) * kClassBytes > kCachedBytesMax) {
    ::operator delete(memory);
    return;
  }
  auto* const frame = static_cast<FreeFrame*>(memory);
  frame->next = mine.free[index];
  mine.free[index] = frame;
  mine.stats.cached_bytes += (index + 1) * kClassBytes;
}

FramePoolStats frame_pool_stats() noexcept { return pool.stats; }

}  // namespace diorite::detail
