#include "sim/driver.hpp"

#include <algorithm>
#include <utility>

#include <diorite/assert.hpp>

namespace diorite::sim::detail {
namespace {

// 2024-01-01; the years between have no meaning.
constexpr Duration kWallOfBirth = std::chrono::seconds(1'704'067'200);

// Turns of a loop that always has something to run do not wait; after so many in a row that found
// nothing, time passes anyway, as it does on a real machine. Otherwise a coroutine that yields
// until an operation is done would yield for ever.
constexpr std::uint32_t kBusyPollsMax = 256;
constexpr Duration kBusyPollTime = std::chrono::microseconds(1);

}  // namespace

SimDriver::SimDriver(Kernel& kernel)
    : kernel_(kernel), process_(kernel.start_process()), slots_(kernel.options().in_flight_max) {
  caps_.kind = DriverKind::simulated;
  caps_.name = "sim";
  caps_.reason = "simulated machine";
  caps_.in_flight_max = kernel.options().in_flight_max;
  caps_.files = kernel.options().registers_files ? this : nullptr;
  caps_.boot_id = kernel.boot_id();
}

SimDriver::~SimDriver() {
  DIORITE_ASSERT(slots_.in_flight() == 0 && backlog_.empty(),
                 "a driver is destroyed with operations in flight");
  kernel_.end_process(process_);
}

DriverCounters SimDriver::counters() const noexcept {
  DriverCounters counters = counters_;
  counters.cancels_sent = slots_.cancels().sent;
  counters.cancels_won = slots_.cancels().won;
  counters.cancels_late = slots_.cancels().late;
  return counters;
}

WallTime SimDriver::wall_now() const noexcept {
  return WallTime(kWallOfBirth + kernel_.now().time_since_epoch());
}

void SimDriver::submit(Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::idle || op.state == OpState::done,
                 "an op was submitted while the driver owns it");
  slots_.submitted(op);
  ++counters_.submitted;
  if (!slots_.full() && backlog_.empty()) {
    start(op);
    return;
  }
  op.state = OpState::backlog;
  backlog_.push_back(op);
  ++backlog_count_;
  counters_.backlog_max = std::max(counters_.backlog_max, backlog_count_);
}

void SimDriver::start(Op& op) noexcept {
  Slots::Slot& slot = slots_.acquire(op);
  slot.extra.flight = &kernel_.begin(process_, op, slots_.tag(slot));
}

void SimDriver::promote() noexcept {
  while (!slots_.full()) {
    Op* const op = backlog_.pop_front();
    if (op == nullptr) return;
    DIORITE_ASSERT(op->state == OpState::backlog, "an op in the backlog has another state");
    --backlog_count_;
    start(*op);
  }
}

Removal SimDriver::remove(Op& op) noexcept {
  if (op.state == OpState::backlog) {
    op.unlink();
    op.state = OpState::idle;
    --backlog_count_;
    return Removal::removed;
  }
  Slots::Slot& slot = slots_.of(op);
  // What died with its process has been taken over by the kernel, and comes back as an error.
  if (process_.dead) return Removal::in_flight;
  if (!kernel_.withdraw(*slot.extra.flight)) {
    slots_.cancel_sent(slot);
    return Removal::in_flight;
  }
  slots_.release(slot);
  promote();
  return Removal::removed;
}

void SimDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  slots_.orphan(op, std::move(buffer), std::move(file), hook);
  ++counters_.orphans;
}

void SimDriver::run_here(Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::idle && op.code == OpCode::read,
                 "only an idle read can run on the caller's thread");
  op.result = kernel_.read_now(process_, op);
}

void SimDriver::poll(OpList& done, Instant until) noexcept {
  const bool woken = woken_.exchange(false, std::memory_order_acquire);
  if (!woken && process_.done.empty()) idle(until);
  report(done);
}

void SimDriver::idle(Instant until) noexcept {
  if (until <= kernel_.now()) {
    if (process_.in_flight == 0 || ++process_.idle_polls <= kBusyPollsMax) return;
    kernel_.spend(kBusyPollTime);
    return;
  }
  ++counters_.enters;
  kernel_.wait(process_, until);
}

void SimDriver::report(OpList& done) noexcept {
  if (process_.done.empty()) return;
  process_.idle_polls = 0;
  while (Flight* const flight = kernel_.take_done(process_)) {
    Slots::Slot& slot = slots_.resolve(flight->tag);
    ++counters_.completed;
    deliver(*flight, slot.op);
    if (slot.op == nullptr && flight->result < 0) ++counters_.orphan_errors;
    const std::int32_t result = flight->result;
    slot.extra.flight = nullptr;
    kernel_.recycle(*flight);
    slots_.finish(slot, result, done);
  }
  promote();
}

void SimDriver::deliver(Flight& flight, Op* op) noexcept {
  if (flight.result < 0) return;
  switch (flight.code) {
    case OpCode::open:
      if (op != nullptr) {
        op->file = flight.opened;
      } else {
        kernel_.close_now(process_, flight.opened);
      }
      break;
    case OpCode::info:
      if (op != nullptr) static_cast<InfoOp&>(*op).info = flight.info;
      break;
    case OpCode::list_dir:
      if (op != nullptr) static_cast<ListOp&>(*op).entries = std::move(flight.entries);
      break;
    default:
      break;
  }
}

}  // namespace diorite::sim::detail
