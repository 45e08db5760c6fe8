// The plainest timers: callbacks in a std::priority_queue.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <queue>
#include <vector>

#include "random.hpp"

namespace diorite::bench::raw {

class TimerQueue {
 public:
  explicit TimerQueue(std::size_t timers);
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  /// Sets all timers, and lets all of them fire in order: `rounds` times.
  void run(std::uint64_t rounds);
  std::uint64_t fired() const noexcept { return fired_; }

 private:
  struct Timer {
    void (*function)(TimerQueue&, Timer&) noexcept;
    Random random;
  };
  struct Entry {
    std::uint64_t due;
    std::uint64_t sequence;
    Timer* timer;
  };
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const noexcept {
      return a.due != b.due ? a.due > b.due : a.sequence > b.sequence;
    }
  };
  static void fire(TimerQueue& queue, Timer& timer) noexcept;

  std::vector<std::unique_ptr<Timer>> timers_;
  std::priority_queue<Entry, std::vector<Entry>, Later> queue_;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t fired_ = 0;
};

}  // namespace diorite::bench::raw
