#include "driver/linux/uring_driver.hpp"

#include <utility>

#include "driver/linux/uring_core.hpp"

namespace diorite::detail {

UringDriver::UringDriver(const DriverOptions& options, std::string reason, UringRings rings,
                         std::unique_ptr<OsWaker> waker)
    : reason_(std::move(reason)),
      forbid_fallback_(options.forbid_fallback),
      ring_(std::move(rings.main)),
      polled_(std::move(rings.polled)),
      door_(*ring_),
      routes_(rings.routes),
      files_(*ring_),
      slots_(rings.in_flight_max),
      bell_(std::move(waker)),
      jobs_(options.pool_inline ? 0 : options.pool_threads, bell_.waker()) {
  caps_.kind = DriverKind::uring;
  caps_.name = "io_uring";
  caps_.reason = reason_;
  caps_.in_flight_max = rings.in_flight_max;
  caps_.threads = options.pool_inline ? 0 : options.pool_threads;
  caps_.files = ring_->files_max() != 0 ? &files_ : nullptr;
  caps_.boot_id = os_boot_id();
  counters_.fallbacks = rings.fallbacks;
}

UringDriver::~UringDriver() {
  check_thread();
  DIORITE_ASSERT(slots_.in_flight() == removed_ && backlog_.empty(),
                 "a driver is destroyed with operations in flight");
  // The poll of the bell and late cancels end here, and not somewhere behind the closed ring.
  done_ = &early_;
  cancel_poll_of_bell();
  while (polled_.busy()) drive_polled();
  while (cancels_.under_way() || removed_ != 0) {
    static_cast<void>(wait_until(kNever));
    reap();
  }
}

DriverCounters UringDriver::counters() const noexcept {
  DriverCounters counters = counters_;
  counters.backlog_max = backlog_.max();
  counters.cancels_sent = slots_.cancels().sent;
  counters.cancels_won = slots_.cancels().won;
  counters.cancels_late = slots_.cancels().late;
  counters.enters = ring_->enters() + polled_.enters();
  return counters;
}

DIORITE_FAST_PATH void UringDriver::submit(Op& op) noexcept {
  check_thread();
  DIORITE_ASSERT(op.state == OpState::idle || op.state == OpState::done,
                 "an op was submitted while the driver owns it");
  slots_.submitted(op);
  ++counters_.submitted;
  if (backlog_.empty() && launch(op)) return;
  backlog_.push_back(op);
}

Removal UringDriver::remove(Op& op) noexcept {
  check_thread();
  if (op.state == OpState::backlog) {
    backlog_.remove(op);
    return Removal::removed;
  }
  UringSlot& slot = slots_.of(op);
  UringExtra& extra = slot.extra;
  if (extra.stage == UringStage::worker) {
    if (!jobs_.withdraw(extra)) return Removal::in_flight;
    path_blocks_.give_back(std::exchange(extra.paths, nullptr));
    slots_.release(slot);
    return Removal::removed;
  }
  // Where several devices make one, some may have done their part before another one refused to
  // be polled: such an op reached its file.
  if (extra.stage == UringStage::again) return Removal::in_flight;
  if (make_noop(slot)) {
    slots_.detach(slot);
    return Removal::removed;
  }
  if (uring_can_cancel(slot.code)) cancels_.ask(extra);
  return Removal::in_flight;
}

/// Takes an entry back that the kernel cannot have seen. False when it is too late.
bool UringDriver::make_noop(UringSlot& slot) noexcept {
  UringExtra& extra = slot.extra;
  Uring& ring = extra.stage == UringStage::polled ? polled_.ring() : *ring_;
  const std::uint64_t tag = slots_.tag(slot);
  io_uring_sqe* const sqe = ring.unseen_sqe(extra.sq_position);
  // Positions wrap, so the entry that stands there may be that of a much later operation.
  if (sqe == nullptr || sqe->user_data != tag) return false;
  *sqe = {};  // newer kernels know flags of a no-op, in the field where a write has its own
  io_uring_prep_nop(sqe);
  sqe->user_data = tag;
  extra.stage = UringStage::removed;
  ++removed_;
  path_blocks_.give_back(std::exchange(extra.paths, nullptr));
  return true;
}

void UringDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  check_thread();
  slots_.orphan(op, std::move(buffer), std::move(file), hook);
  ++counters_.orphans;
}

void UringDriver::run_here(Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::idle && op.code == OpCode::read,
                 "only an idle read can run on the caller's thread");
  OsRequest request;
  request.code = op.code;
  request.file = op.file;
  request.offset = op.offset;
  request.data = op.data;
  request.bytes = op.bytes;
  op.result = os_execute(request);
}

DIORITE_FAST_PATH void UringDriver::poll(OpList& done, Instant until) noexcept {
  check_thread();
  done_ = &done;
  events_ = 0;
  door_.forget_stall();
  if (!early_.empty()) {
    done.splice_back(early_);
    ++events_;
  }
  for (;;) {
    if (bell_.is_hosted() && bell_.listen()) ++events_;
    if (has_to_start()) start();
    // The bell is consumed before the workers' list is read: a job that ends later rings again.
    if (!ring_->posts_in_enter_only()) reap();
    if (jobs_.count() != 0) collect_jobs();
    if (polled_.busy()) drive_polled();
    bool time_is_up = false;
    if (events_ != 0) {
      // The kernel signals a bell only for the first of the work that waits for it: who has made
      // the bell quiet enters, or hears of nothing ever again.
      // And what ended on a ring that posts in enter only would wait for as long as workers keep
      // this loop supplied.
      const bool may_owe = ring_->posts_in_enter_only() && slots_.in_flight() > jobs_.count();
      if (ring_->unsubmitted() != 0 || may_owe || bell_.is_hosted()) submit_only();
    } else if (runs_inline()) {
      // Nobody else does what was left to a worker just now.
    } else if (polled_.busy()) {
      time_is_up = is_past(until);
    } else if (bell_.is_hosted()) {
      time_is_up = wait_for_bell(until);
    } else if (until == kNever && !door_.is_stalled()) {
      slots_.entering();
      door_.wait_for_one();
    } else {
      time_is_up = wait_until(until);
    }
    reap();
    if (events_ != 0 || time_is_up) break;
  }
  if (bell_.is_hosted()) leave_to_host();
}

void UringDriver::reap() noexcept {
  unsigned head = ring_->cq_head();
  const unsigned tail = ring_->cq_tail();
  if (head == tail) return;
  for (; head != tail; ++head) {
    const io_uring_cqe& cqe = ring_->cqe(head);
    if (static_cast<std::uint32_t>(cqe.user_data) >= kUringReservedTags) {
      reap_reserved(cqe.user_data, cqe.res, cqe.flags);
    } else {
      complete(slots_.resolve(cqe.user_data), cqe.res);
    }
  }
  ring_->set_cq_head(head);
}

/// What the ring says of an operation.
void UringDriver::complete(UringSlot& slot, std::int32_t result) noexcept {
  if (slot.extra.stage != UringStage::ring && slot.extra.stage != UringStage::again) {
    end_removed(slot);
    return;
  }
  result = uring_result(result);
  if (result < 0 && goes_on_at_worker(slot, result)) {
    if (slot.extra.linked()) slot.extra.unlink();
    jobs_.give(slot.extra);
    return;
  }
  if (!uring_is_transfer(slot.code)) complete_request(slot, result);
  finish(slot, result);
}

Result<std::unique_ptr<Driver>> make_uring_driver(const DriverOptions& options,
                                                  std::string& reasons) {
  return make_uring_driver(options, reasons, uring_kernel_calls());
}

Result<std::unique_ptr<Driver>> make_uring_driver(const DriverOptions& options,
                                                  std::string& reasons, const UringCalls& calls) {
  Result<UringRings> rings = make_uring_rings(options, reasons, calls);
  if (!rings) return rings.error();
  Result<std::unique_ptr<OsWaker>> waker = OsWaker::create();
  if (!waker) {
    reasons += "; no descriptor to be woken by: " + waker.error().text();
    return waker.error();
  }
  return std::unique_ptr<Driver>(
      std::make_unique<UringDriver>(options, reasons, std::move(*rings), std::move(*waker)));
}

}  // namespace diorite::detail
