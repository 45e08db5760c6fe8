#include "driver/linux/uring_bell.hpp"

#include <errno.h>
#include <poll.h>

#include <diorite/assert.hpp>

namespace diorite::detail {

void UringBell::ring() noexcept {
  woken_.store(true, std::memory_order_release);
  // One signal is enough until the reactor has heard it.
  if (!rung_.exchange(true, std::memory_order_acq_rel)) waker_->signal();
}

void UringBell::prepare_poll(io_uring_sqe& sqe) noexcept {
  if (multishot_) {
    io_uring_prep_poll_multishot(&sqe, waker_->descriptor(), POLLIN);
  } else {
    io_uring_prep_poll_add(&sqe, waker_->descriptor(), POLLIN);
  }
  armed_ = true;
}

bool UringBell::poll_ended(std::int32_t result, std::uint32_t flags) noexcept {
  DIORITE_ASSERT(armed_, "a completion that nobody asked for");
  if ((flags & IORING_CQE_F_MORE) == 0) armed_ = false;
  if (result < 0) {
    if (result == -ECANCELED) return false;
    DIORITE_ASSERT(multishot_, "the ring cannot poll the driver's own descriptor");
    multishot_ = false;  // before Linux 5.13
    return false;
  }
  return listen();
}

void UringBell::give_to_host() noexcept {
  DIORITE_ASSERT(!armed_, "two listen to one bell");
  hosted_ = true;
  waker_->signal();
}

bool UringBell::listen() noexcept {
  // First the descriptor, then the flags: a ring() in between finds the bell rung, and is seen
  // below.
  waker_->consume();
  rung_.exchange(false, std::memory_order_acq_rel);
  return woken_.exchange(false, std::memory_order_acq_rel);
}

}  // namespace diorite::detail
