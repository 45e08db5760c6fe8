// How operations end that are no plain transfer on the main ring.

#include <errno.h>

#include "driver/linux/uring_core.hpp"

namespace diorite::detail {

void UringDriver::reap_reserved(std::uint64_t tag, std::int32_t result,
                                std::uint32_t flags) noexcept {
  if (tag == kUringCancelTag) {
    cancels_.ended();
    return;
  }
  DIORITE_ASSERT(tag == kUringBellTag, "a completion that nobody asked for");
  if (bell_.poll_ended(result, flags)) ++events_;
}

/// Hands over what an operation gave besides its result.
void UringDriver::complete_request(UringSlot& slot, std::int32_t& result) noexcept {
  OsRequest& request = slot.extra.job.request;
  // The descriptor is free by then, and may already be somebody else's.
  if (slot.code == OpCode::close && result == -EINTR) result = 0;
  if (slot.code == OpCode::open && result >= 0) {
    request.file = os_driver_file(result);
    result = 0;
  }
  deliver_or_discard(slot, result);
}

void UringDriver::deliver_or_discard(UringSlot& slot, std::int32_t result) noexcept {
  OsRequest& request = slot.extra.job.request;
  if (slot.op == nullptr) {
    discard(request, result);
    return;
  }
  if (slot.code == OpCode::open && result == 0) {
    polled_.file_opened(request.file, request.open_flags);
  }
  deliver(request, result, *slot.op);
}

/// True for results that only say that the ring's way does not work here.
bool UringDriver::goes_on_at_worker(const UringSlot& slot, std::int32_t result) const noexcept {
  const PoolJob& job = slot.extra.job;
  if (job.tag != slots_.tag(slot)) return false;  // the slot's last operation left it
  switch (slot.code) {
    case OpCode::write:
      return result == -EOPNOTSUPP && (job.request.flags & kOpDsync) != 0 && !forbid_fallback_;
    case OpCode::open:
      // Only a file's owner may ask for O_NOATIME; the worker opens without it then.
      return result == -EPERM && (job.request.open_flags & kOpenNoAtime) != 0;
    default:
      return false;
  }
}

void UringDriver::collect_jobs() noexcept {
  PoolJobList finished;
  jobs_.take_finished(finished);
  while (PoolJob* const job = finished.pop_front()) {
    UringSlot& slot = slots_.resolve(job->tag);
    jobs_.taken();
    if (!job->refused && !jobs_.is_inline()) ++counters_.pool_ops;
    if (job->request.dsync_emulated) ++counters_.dsync_emulated;
    deliver_or_discard(slot, job->result);
    finish(slot, job->result);
  }
}

// With min_complete = 1 the kernel would ask the device by itself until something ends, but it
// heeds no time limit there, hears neither the main ring nor the bell, and stops only for a signal
// or for another thread that wants the processor: a wake() would wait for a disk. So it is told to
// ask once, and then the main ring has its turn, which costs a system call only when it has
// something to hand over or to post. Each ring has its turn in every round, so neither starves the
// other, however busy it is.
void UringDriver::drive_polled() noexcept {
  slots_.entering();
  polled_.look();
  reap_polled();
  if (!again_.empty()) start_again();
  door_.forget_stall();
  if (ring_->unsubmitted() != 0 || ring_->has_deferred_work()) submit_only();
  reap();
}

void UringDriver::reap_polled() noexcept {
  Uring& ring = polled_.ring();
  unsigned head = ring.cq_head();
  for (const unsigned tail = ring.cq_tail(); head != tail; ++head) {
    const io_uring_cqe& cqe = ring.cqe(head);
    UringSlot& slot = slots_.resolve(cqe.user_data);
    const std::int32_t result = uring_result(cqe.res);
    polled_.ended();
    if (slot.extra.stage != UringStage::polled) {
      end_removed(slot);
    } else if (uring_polled_refuses(result) && !forbid_fallback_) {
      try_again(slot, result);
    } else {
      finish(slot, result);
    }
  }
  ring.set_cq_head(head);
}

/// Nothing has been told of the operation yet, and its buffer still stands: to do the whole of it
/// once more puts the same bytes in the same places.
void UringDriver::try_again(UringSlot& slot, std::int32_t refusal) noexcept {
  // Whether a file can be polled is the device's nature; other refusals are about one operation.
  if (refusal == -EOPNOTSUPP && polled_.forget_file(slot.extra.job.request.file)) {
    count(Fallback::polled_file);
  }
  count(Fallback::polled_transfer);
  slot.extra.stage = UringStage::again;
  again_.push_back(slot.extra);
}

}  // namespace diorite::detail
