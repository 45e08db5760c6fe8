#include "reactor/timer_heap.hpp"

#include <algorithm>
#include <new>

#include <diorite/assert.hpp>

namespace diorite::detail {

bool TimerHeap::add(TimerNode& timer) noexcept {
  DIORITE_ASSERT(!timer.armed(), "a timer was armed twice");
  if ((size_ + kRoot) / kArity >= groups_.size()) {
    try {
      groups_.emplace_back();
    } catch (const std::bad_alloc&) {
      return false;
    }
  }
  timer.sequence_ = next_sequence_++;
  sift_up(size_++, {timer.due_, &timer});
  return true;
}

void TimerHeap::remove(TimerNode& timer) noexcept {
  const std::size_t place = timer.place_;
  DIORITE_ASSERT(place < size_ && at(place).node == &timer, "removing a timer that is not armed");
  const Entry last = at(--size_);
  timer.place_ = TimerNode::kNowhere;
  if (place == size_) return;
  if (place > 0 && last.before(at((place - 1) / kArity))) {
    sift_up(place, last);
  } else {
    sift_down(place, last);
  }
}

TimerNode& TimerHeap::pop() noexcept {
  TimerNode& first = *at(0).node;
  remove(first);
  return first;
}

void TimerHeap::sift_up(std::size_t place, Entry entry) noexcept {
  while (place > 0) {
    const std::size_t parent = (place - 1) / kArity;
    if (!entry.before(at(parent))) break;
    put(place, at(parent));
    place = parent;
  }
  put(place, entry);
}

void TimerHeap::sift_down(std::size_t place, Entry entry) noexcept {
  for (;;) {
    const std::size_t first = place * kArity + 1;
    if (first >= size_) break;
    const std::size_t end = std::min(first + kArity, size_);
    std::size_t least = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (at(child).before(at(least))) least = child;
    }
    if (!at(least).before(entry)) break;
    put(place, at(least));
    place = least;
  }
  put(place, entry);
}

}  // namespace diorite::detail
