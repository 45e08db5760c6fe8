// A host's loop sleeps for the driver.

#include <algorithm>

#include "driver/linux/uring_core.hpp"

namespace diorite::detail {

// The ring's own descriptor will not do: with DEFER_TASKRUN it stays quiet until somebody enters
// the kernel to have the deferred work done. A registered eventfd is signalled when that work
// comes.
//
// A polled ring signals nothing at all, since nothing happens there unless somebody looks; a host
// that sleeps over it would sleep for ever. So it is left for good.
NativeHandle UringDriver::pollable() noexcept {
  check_thread();
  const NativeHandle handle = bell_.waker().descriptor();
  if (bell_.is_hosted()) return handle;
  done_ = &early_;
  events_ = 0;
  if (polled_.is_active()) {
    if (forbid_fallback_) return kNoHandle;
    count(Fallback::polled_host);
    polled_.retire();
  }
  while (polled_.busy()) drive_polled();
  cancel_poll_of_bell();
  // A wake() that was heard just now is meant for the next poll.
  if (events_ != 0) bell_.ring();
  if (ring_->set_eventfd(handle) != 0) return kNoHandle;
  bell_.give_to_host();
  return handle;
}

/// Completions ring the bell of a hosted driver, so that is what it waits for itself.
bool UringDriver::wait_for_bell(Instant until) noexcept {
  submit_only();
  reap();
  if (events_ != 0 || runs_inline()) return false;
  if (until == kAtOnce) return true;
  const bool backs_off = door_.is_stalled();
  const Instant pause = backs_off ? std::min(until, os_now() + UringDoor::kBackOff) : until;
  if (bell_.waker().wait_until(pause)) return false;
  door_.forget_stall();
  return !backs_off;
}

/// A host polls again only when it is told to.
void UringDriver::leave_to_host() noexcept {
  const bool can_start = !again_.empty() || (!backlog_.empty() && !slots_.full());
  if (can_start || cancels_.can_send() || runs_inline() || ring_->owes_enter()) {
    bell_.waker().signal();
  }
}

}  // namespace diorite::detail
