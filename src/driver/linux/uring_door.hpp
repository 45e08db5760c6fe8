// UringDoor: entering the kernel for a ring, with a deadline, and what becomes of its refusals.
//
// A kernel without memory for a submission refuses to be entered, and may go on doing so: then the
// ring is entered to wait only, for a moment or until something ends, before the next attempt.
//
// Thread: the reactor's.

#pragma once

#include <diorite/time.hpp>

#include "driver/linux/uring_ring.hpp"

namespace diorite::detail {

class UringDoor {
 public:
  explicit UringDoor(Uring& ring) noexcept : ring_(ring) {}

  /// Hands prepared entries over; waits for nothing.
  void submit() noexcept { settle(ring_.enter(0, nullptr)); }
  /// The same when there was no room for another one.
  void submit_for_room() noexcept { settle(ring_.enter_for_room()); }
  void wait_for_one() noexcept { settle(ring_.enter(1, nullptr)); }
  /// Waits until something completes or `until` has come; true in the latter case. What the ring
  /// has in flight (`busy`) completes only when the kernel is entered.
  bool wait_until(Instant until, bool busy) noexcept;

  /// How long to wait when nothing is known to end soon.
  static constexpr Duration kBackOff = std::chrono::milliseconds(1);
  /// The kernel refused a submission for want of memory.
  bool is_stalled() const noexcept { return stalled_; }
  void forget_stall() noexcept { stalled_ = false; }

 private:
  void settle(int entered) noexcept {
    if (entered < 0) judge(entered);
  }
  void judge(int error) noexcept;

  Uring& ring_;
  bool stalled_ = false;
};

}  // namespace diorite::detail
