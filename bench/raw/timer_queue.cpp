#include "raw/timer_queue.hpp"

namespace diorite::bench::raw {

TimerQueue::TimerQueue(std::size_t timers) {
  for (std::size_t i = 0; i < timers; ++i) {
    timers_.push_back(std::make_unique<Timer>(Timer{&TimerQueue::fire, Random(i)}));
  }
}

void TimerQueue::run(std::uint64_t rounds) {
  for (std::uint64_t round = 0; round < rounds; ++round) {
    for (const std::unique_ptr<Timer>& timer : timers_) {
      queue_.push({timer->random.next() >> 32, next_sequence_++, timer.get()});
    }
    while (!queue_.empty()) {
      Timer& timer = *queue_.top().timer;
      queue_.pop();
      timer.function(*this, timer);
    }
  }
}

void TimerQueue::fire(TimerQueue& queue, Timer&) noexcept { ++queue.fired_; }

}  // namespace diorite::bench::raw
