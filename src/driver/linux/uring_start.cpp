// How operations begin that are no plain transfer, and everything that had to wait for room.

#include "driver/linux/uring_core.hpp"

namespace diorite::detail {

/// launch() for what has more arguments than an Op, does not belong on the ring, or is impossible.
bool UringDriver::launch_request(Op& op) noexcept {
  const bool on_ring = route(op.code) == OpRoute::ring && !uring_needs_worker(op);
  if (on_ring && ring_->sq_full()) return false;
  // Its descriptor may be another file's as soon as the kernel has closed it.
  if (op.code == OpCode::close) {
    static_cast<void>(polled_.forget_file(os_driver_file(os_descriptor(op.file))));
  }
  UringSlot& slot = slots_.acquire(op);
  UringExtra& extra = slot.extra;
  extra.cancelled = false;
  extra.job.tag = slots_.tag(slot);
  std::int32_t refused = fill_request(extra.job.request, op, path_blocks_, extra.paths);
  if (refused == 0) refused = uring_refusal(op);
  if (refused != 0) {
    jobs_.refuse(extra, refused);
  } else if (!on_ring) {
    jobs_.give(extra);
  } else {
    slots_.wait_for_entry(slot);
    extra.stage = UringStage::ring;
    extra.sq_position = ring_->sq_position();
    io_uring_sqe* const sqe = ring_->next_sqe();
    uring_prepare_request(*sqe, extra.job.request);
    sqe->user_data = extra.job.tag;
  }
  return true;
}

/// The same for what the polled ring takes.
bool UringDriver::launch_polled(Op& op) noexcept {
  Uring& ring = polled_.ring();
  const unsigned position = ring.sq_position();
  io_uring_sqe* const sqe = ring.next_sqe();
  if (sqe == nullptr) return false;
  UringSlot& slot = slots_.acquire(op);
  slots_.wait_for_entry(slot);
  slot.extra.stage = UringStage::polled;
  slot.extra.sq_position = position;
  uring_prepare_transfer(*sqe, op);
  sqe->user_data = slots_.tag(slot);
  // For the second attempt: by then the op may have been orphaned.
  copy_request(slot, op);
  polled_.began();
  return true;
}

void UringDriver::copy_request(UringSlot& slot, const Op& op) noexcept {
  slot.extra.job.tag = slots_.tag(slot);
  const std::int32_t refused =
      fill_request(slot.extra.job.request, op, path_blocks_, slot.extra.paths);
  DIORITE_ASSERT(refused == 0, "a transfer has no argument that could be refused");
}

/// Prepares everything that there is room for, cancels first: they make room.
void UringDriver::start() noexcept {
  if (bell_.wants_poll()) poll_bell();
  if (!cancels_.empty()) send_cancels();
  if (!again_.empty()) start_again();
  start_backlog();
}

void UringDriver::start_backlog() noexcept {
  while (Op* const op = backlog_.front()) {
    DIORITE_ASSERT(op->state == OpState::backlog, "an op in the backlog has another state");
    if (slots_.full()) break;
    backlog_.take_front(*op);
    if (launch(*op)) {
      backlog_.started();
      continue;
    }
    backlog_.put_back(*op);
    if (polled_.takes(*op)) {
      if (polled_.is_stalled()) break;
      slots_.entering();
      polled_.look();
    } else {
      if (door_.is_stalled()) break;
      submit_for_room();
    }
  }
  backlog_.measure();
}

/// What the polled ring refused goes through the main one, whether its op still lives or not.
void UringDriver::start_again() noexcept {
  while (UringExtra* const extra = again_.front()) {
    const unsigned position = ring_->sq_position();
    io_uring_sqe* const sqe = take_sqe();
    if (sqe == nullptr) return;
    extra->unlink();
    extra->sq_position = position;
    uring_prepare_again(*sqe, extra->job.request);
    sqe->user_data = extra->job.tag;
  }
}

void UringDriver::send_cancels() noexcept {
  while (cancels_.can_send()) {
    io_uring_sqe* const sqe = take_sqe();
    if (sqe == nullptr) return;
    const std::uint64_t target = cancels_.take_first();
    cancels_.send(*sqe, target);
    slots_.cancel_sent(slots_.resolve(target));
  }
}

void UringDriver::poll_bell() noexcept {
  io_uring_sqe* const sqe = take_sqe();
  if (sqe == nullptr) return;
  bell_.prepare_poll(*sqe);
  sqe->user_data = kUringBellTag;
}

/// And waits until it has ended.
void UringDriver::cancel_poll_of_bell() noexcept {
  bool cancel_sent = false;
  while (bell_.is_polled()) {
    if (!cancel_sent) {
      if (io_uring_sqe* const sqe = take_sqe(); sqe != nullptr) {
        cancels_.send(*sqe, kUringBellTag);
        cancel_sent = true;
      }
    }
    static_cast<void>(wait_until(kNever));
    reap();
  }
}

/// Null when the submission ring is full and the kernel takes nothing now.
io_uring_sqe* UringDriver::take_sqe() noexcept {
  io_uring_sqe* const sqe = ring_->next_sqe();
  if (sqe != nullptr || door_.is_stalled()) return sqe;
  submit_for_room();
  return ring_->next_sqe();
}

}  // namespace diorite::detail
