// TimerHeap: the reactor's timers, a 4-ary heap of intrusive nodes.
//
// Four children to a node keep a heap of a million timers ten levels deep and its comparisons in
// few cache lines. A node knows its place, so that a dying coroutine takes its timer out in O(log
// n).

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <diorite/time.hpp>
#include <diorite/timer.hpp>

namespace diorite::detail {

class TimerHeap {
 public:
  bool empty() const noexcept { return heap_.empty(); }
  std::size_t size() const noexcept { return heap_.size(); }
  /// Requires: not empty.
  Instant next_due() const noexcept { return heap_.front().due; }

  /// False when there is no memory for one more.
  bool add(TimerNode& timer) noexcept;
  /// Requires: armed.
  void remove(TimerNode& timer) noexcept;
  /// Takes the first timer out. Requires: not empty.
  TimerNode& pop() noexcept;

 private:
  // The key stands beside the pointer, so that comparing touches no node. Equal moments fire in the
  // order in which they were set.
  struct Entry {
    Instant due;
    std::uint64_t sequence;
    TimerNode* node;
    bool before(const Entry& other) const noexcept {
      return due != other.due ? due < other.due : sequence < other.sequence;
    }
  };
  static constexpr std::size_t kArity = 4;

  void put(std::size_t place, const Entry& entry) noexcept {
    heap_[place] = entry;
    entry.node->place_ = place;
  }
  void sift_up(std::size_t place, Entry entry) noexcept;
  void sift_down(std::size_t place, Entry entry) noexcept;

  std::vector<Entry> heap_;
  std::uint64_t next_sequence_ = 0;
};

}  // namespace diorite::detail
