#include "reactor/timer_heap.hpp"

#include <algorithm>
#include <new>

#include <diorite/assert.hpp>

namespace diorite::detail {

bool TimerHeap::add(TimerNode& timer) noexcept {
  DIORITE_ASSERT(!timer.armed(), "a timer was armed twice");
  const Entry entry{timer.due_, next_sequence_++, &timer};
  try {
    heap_.push_back(entry);
  } catch (const std::bad_alloc&) {
    return false;
  }
  sift_up(heap_.size() - 1, entry);
  return true;
}

void TimerHeap::remove(TimerNode& timer) noexcept {
  const std::size_t place = timer.place_;
  DIORITE_ASSERT(place < heap_.size() && heap_[place].node == &timer,
                 "removing a timer that is not armed");
  const Entry last = heap_.back();
  heap_.pop_back();
  timer.place_ = TimerNode::kNowhere;
  if (place == heap_.size()) return;
  if (place > 0 && last.before(heap_[(place - 1) / kArity])) {
    sift_up(place, last);
  } else {
    sift_down(place, last);
  }
}

TimerNode& TimerHeap::pop() noexcept {
  TimerNode& first = *heap_.front().node;
  remove(first);
  return first;
}

void TimerHeap::sift_up(std::size_t place, Entry entry) noexcept {
  while (place > 0) {
    const std::size_t parent = (place - 1) / kArity;
    if (!entry.before(heap_[parent])) break;
    put(place, heap_[parent]);
    place = parent;
  }
  put(place, entry);
}

void TimerHeap::sift_down(std::size_t place, Entry entry) noexcept {
  for (;;) {
    const std::size_t first = place * kArity + 1;
    if (first >= heap_.size()) break;
    const std::size_t end = std::min(first + kArity, heap_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (heap_[child].before(heap_[least])) least = child;
    }
    if (!heap_[least].before(entry)) break;
    put(place, heap_[least]);
    place = least;
  }
  put(place, entry);
}

}  // namespace diorite::detail
