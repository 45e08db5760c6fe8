// What happens to operations whose coroutine is destroyed: taken back, handed to the driver, or
// waited for.

#include <cerrno>

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>
#include <diorite/timer.hpp>

#include "reactor/timer_heap.hpp"

namespace diorite::detail {

bool ReactorAccess::remove(Reactor& reactor, Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::backlog || op.state == OpState::in_flight,
                 "taking back an operation that the driver does not have");
  const Removal removal = reactor.driver_->remove(op);
  reactor.ready_.touch();  // a cancel is sent by the next poll
  if (removal != Removal::removed) {
    reactor.trace(TraceKind::cancel, op);
    return false;
  }
  DIORITE_ASSERT(op.state == OpState::idle && !op.linked(), "a removed op is idle");
  op.result = 0;  // a stamp may have waited there
  reactor.trace(TraceKind::removed, op);
  --reactor.stats_.in_flight;
  ++reactor.stats_.removed;
  return true;
}

void ReactorAccess::orphan(Reactor& reactor, Op& op, Pin buffer, Pin file,
                           OrphanHook hook) noexcept {
  DIORITE_ASSERT(op.state == OpState::in_flight, "orphaning an operation that is not in flight");
  ++reactor.stats_.orphans;
  reactor.trace(TraceKind::orphan, op);
  reactor.driver_->orphan(op, std::move(buffer), std::move(file), hook);
}

void ReactorAccess::orphan_ended(Reactor& reactor, OpCode code, std::int64_t result) noexcept {
  DIORITE_ASSERT(reactor.stats_.in_flight > 0, "the end of an orphan that was never in flight");
  --reactor.stats_.in_flight;
  reactor.count_end(code, result);
  const bool changes_file = code == OpCode::write || code == OpCode::sync_data ||
                            code == OpCode::sync_all || code == OpCode::sync_dir;
  // What was given up because its coroutine died did not take place.
  const bool is_lost = changes_file && result < 0 && result != -ECANCELED;
  if (is_lost) ++reactor.stats_.orphan_errors;
  if (reactor.options_.trace.function != nullptr) [[unlikely]] {
    reactor.tell_orphan_end(code, result, is_lost);
  }
}

void ReactorAccess::reap(Reactor& reactor, Op& op) noexcept {
  ++reactor.stats_.blocking_reaps;
  reactor.trace(TraceKind::reap, op);
  // The step in flight is the last one: nobody is left who would want the rest.
  op.flags = static_cast<std::uint8_t>(op.flags & ~kOpExact);
  while (op.state == OpState::in_flight) {
    OpList done;
    reactor.driver_->poll(done, kNever);
    reactor.dispatch(done);
  }
  DIORITE_ASSERT(op.state == OpState::done && op.linked(), "a reaped op stands in the ready queue");
  op.unlink();
  reactor.tell_host();
}

bool ReactorAccess::add_timer(Reactor& reactor, TimerNode& timer) noexcept {
  return reactor.timers_->add(timer);
}

void ReactorAccess::remove_timer(Reactor& reactor, TimerNode& timer) noexcept {
  reactor.timers_->remove(timer);
}

void ReactorAccess::file_closed(Reactor& reactor) noexcept {
  DIORITE_ASSERT(reactor.files_ > 0, "a file was closed that the reactor does not know");
  --reactor.files_;
}

}  // namespace diorite::detail
