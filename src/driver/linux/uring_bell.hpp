// UringBell: how a ring's driver is woken by what is no completion.
//
// Other threads and workers signal an eventfd. While the driver sleeps in the ring, a poll inside
// the ring watches it. When a host sleeps for the driver, the host watches it, the ring signals it
// for every completion, and nothing inside the ring watches it any more: an eventfd that is
// signalled while another one is being signalled gets that later, by RCU, and from Linux 6.1x on
// (seen with 6.18) only the first time, so the one must not pass on what it hears to the other.
//
// Thread: ring() from any thread and from signal handlers; all else on the reactor's.

#pragma once

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "driver/os.hpp"

namespace diorite::detail {

class UringBell {
 public:
  explicit UringBell(std::unique_ptr<OsWaker> waker) noexcept : waker_(std::move(waker)) {}

  /// Makes the driver look: see Driver::wake.
  void ring() noexcept;
  /// Workers signal it directly.
  OsWaker& waker() noexcept { return *waker_; }

  /// A poll inside the ring is due.
  bool wants_poll() const noexcept { return !armed_ && !hosted_; }
  bool is_polled() const noexcept { return armed_; }
  void prepare_poll(io_uring_sqe& sqe) noexcept;
  /// What the ring says of that poll. True if ring() was called.
  bool poll_ended(std::int32_t result, std::uint32_t flags) noexcept;

  bool is_hosted() const noexcept { return hosted_; }
  /// From now on the host watches the descriptor. Requires: not polled.
  void give_to_host() noexcept;
  /// Makes it quiet, before anything is looked at. True if ring() was called.
  bool listen() noexcept;

 private:
  std::unique_ptr<OsWaker> waker_;
  bool armed_ = false;
  bool multishot_ = true;
  bool hosted_ = false;

  // Written by other threads and signal handlers, so they have a line of the cache to themselves.
  alignas(64) std::atomic<bool> woken_{false};
  std::atomic<bool> rung_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "ring() is called from signal handlers");
};

}  // namespace diorite::detail
