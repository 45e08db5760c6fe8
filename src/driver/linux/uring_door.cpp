#include "driver/linux/uring_door.hpp"

#include <errno.h>

#include <algorithm>
#include <chrono>

#include "driver/os.hpp"

namespace diorite::detail {

bool UringDoor::wait_until(Instant until, bool busy) noexcept {
  Duration left = Duration::max();
  if (until != kNever) {
    const Instant now = until == kAtOnce ? until : os_now();
    if (until <= now) {
      if (ring_.unsubmitted() != 0 || busy) submit();
      return true;
    }
    left = until - now;
  }
  const bool backs_off = stalled_;
  if (backs_off) left = std::min(left, kBackOff);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  __kernel_timespec limit{};
  limit.tv_sec = seconds.count();
  limit.tv_nsec = (left - seconds).count();
  const int entered = backs_off ? ring_.enter_without_submit(1, &limit) : ring_.enter(1, &limit);
  settle(entered);
  // After the pause the submission is due, however the pause ended.
  if (backs_off) stalled_ = false;
  return entered == -ETIME && !backs_off;
}

/// Whatever may pass is tried again by the loop of poll.
void UringDoor::judge(int error) noexcept {
  if (error == -EINTR || error == -ETIME) return;
  if (error == -EAGAIN || error == -EBUSY || error == -ENOMEM) {
    stalled_ = true;
    return;
  }
  DIORITE_ASSERT(error != -EBADF, "the ring's descriptor was closed behind the driver's back");
  DIORITE_ASSERT(error != -EFAULT, "the ring was entered with a bad address");
  DIORITE_ASSERT(error != -EEXIST, "poll() on another thread than the one that made the ring");
  DIORITE_ASSERT(error != -EBADR, "the kernel had no memory for a completion and lost it");
  DIORITE_ASSERT(error != -EOWNERDEAD, "the kernel's thread that submits has died");
  DIORITE_ASSERT(false, "the kernel refuses to enter a ring that it made");
}

}  // namespace diorite::detail
