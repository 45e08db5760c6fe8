// TimerHeap: the reactor's timers, a 4-ary heap of intrusive nodes.
//
// Four children to a node, and all four in one line of the cache: a heap of a million timers is ten
// levels deep, and finding the least child costs one miss. A node knows its place, so that a dying
// coroutine takes its timer out in O(log n).

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <diorite/time.hpp>
#include <diorite/timer.hpp>

namespace diorite::detail {

class TimerHeap {
 public:
  bool empty() const noexcept { return size_ == 0; }
  std::size_t size() const noexcept { return size_; }
  /// Requires: not empty.
  Instant next_due() const noexcept { return at(0).due; }

  /// False when there is no memory for one more.
  bool add(TimerNode& timer) noexcept;
  /// Requires: armed.
  void remove(TimerNode& timer) noexcept;
  /// Takes the first timer out. Requires: not empty.
  TimerNode& pop() noexcept;

 private:
  // The key stands beside the pointer, so that comparing touches no node, unless two are due at the
  // same moment: those fire in the order in which they were set.
  struct Entry {
    Instant due;
    TimerNode* node;
    bool before(const Entry& other) const noexcept {
      return due != other.due ? due < other.due : node->sequence_ < other.node->sequence_;
    }
  };
  static constexpr std::size_t kArity = 4;
  struct alignas(kArity * sizeof(Entry)) Siblings {
    std::array<Entry, kArity> entries;
  };
  /// The root is the last of the first group, so that the children of each make a group.
  static constexpr std::size_t kRoot = kArity - 1;

  Entry& at(std::size_t place) noexcept {
    return groups_[(place + kRoot) / kArity].entries[(place + kRoot) % kArity];
  }
  const Entry& at(std::size_t place) const noexcept {
    return groups_[(place + kRoot) / kArity].entries[(place + kRoot) % kArity];
  }
  void put(std::size_t place, const Entry& entry) noexcept {
    at(place) = entry;
    entry.node->place_ = place;
  }
  void sift_up(std::size_t place, Entry entry) noexcept;
  void sift_down(std::size_t place, Entry entry) noexcept;

  std::vector<Siblings> groups_;  ///< never shrinks
  std::size_t size_ = 0;
  std::uint64_t next_sequence_ = 0;
};

}  // namespace diorite::detail
