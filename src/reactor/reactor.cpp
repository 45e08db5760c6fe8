#include <diorite/reactor.hpp>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "coro/frame_pool.hpp"
#include "reactor/exact.hpp"
#include "reactor/inbox.hpp"
#include "reactor/outbox.hpp"
#include "reactor/timer_heap.hpp"

#include <diorite/assert.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

namespace diorite {
namespace {

// Its address tells threads apart. It influences nothing but debug assertions.
thread_local const char this_thread = 0;

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create(ReactorOptions options) {
  Result<std::unique_ptr<Driver>> driver = make_driver(options.driver);
  if (!driver) return driver.error();
  return create(std::move(*driver), options);
}

Result<std::unique_ptr<Reactor>> Reactor::create(std::unique_ptr<Driver> driver,
                                                 ReactorOptions options) {
  DIORITE_ASSERT(driver != nullptr, "a reactor needs a driver");
  if (options.resumes_per_turn_max == 0) {
    return with_context(Error(Errc::out_of_range, 0, 1),
                        {.operation = "Reactor::create", .note = "resumes_per_turn_max is 0"});
  }
  std::unique_ptr<Reactor> reactor(new Reactor(std::move(driver), options));
  if (reactor->measuring_ != nullptr && !reactor->measuring_->works()) {
    return with_context(
        Error(Errc::unsupported),
        {.operation = "Reactor::create", .note = "the driver does not measure latencies"});
  }
  return reactor;
}

Reactor::Reactor(std::unique_ptr<Driver> driver, ReactorOptions options)
    : driver_(std::move(driver)),
      options_(options),
      context_{&ready_, this, nullptr},
      timers_(std::make_unique<detail::TimerHeap>()),
      inbox_(std::make_unique<detail::Inbox>()),
      thread_(&this_thread),
      watches_resumes_(options.measure_latency || options.stall_after > Duration::zero()) {
  if (options.measure_latency) measuring_ = std::make_unique<detail::Measuring>(*driver_);
  make_root_scope();
}

void Reactor::make_root_scope() {
  root_ = std::make_unique<TaskScope>(*this);
  root_->terminate_on_exception_ = true;
}

bool Reactor::on_own_thread() const noexcept { return thread_ == &this_thread; }

void Reactor::spawn(Task<> task) {
  DIORITE_ASSERT(root_ != nullptr, "a task was spawned on a reactor that is being destroyed");
  root_->spawn(std::move(task));
}

// A requested shutdown is work only for the loop that waits for it: block_on(), and run() while it
// joins the root scope, would never sleep again.
bool Reactor::has_work() const noexcept {
  return !ready_.empty() || !inbox_->empty() ||
         (awaits_shutdown_ && shutdown_.load(std::memory_order_acquire)) ||
         // The end that the loop waits for came in this very turn: nothing else may ever wake it.
         (joins_root_ && is_joined()) || (awaited_ != nullptr && awaited_->finished());
}

bool Reactor::turn(Instant until) {
  DIORITE_ASSERT(!in_turn_, "turn, run and block_on must not be called from inside a turn");
  DIORITE_DEBUG_ASSERT(on_own_thread(), "a reactor is run on another thread than its own");
  DIORITE_DEBUG_ASSERT(!in_trace_, "a trace hook must not call the reactor");
  begin_turn();
  run_posts();
  run_ready();
  poll(until);
  return end_turn();
}

void Reactor::begin_turn() noexcept {
  in_turn_ = true;
  trace(TraceKind::turn_begin, static_cast<std::int64_t>(stats_.turns));
  ++stats_.turns;
  if (!is_hosted_) return;
  ready_.set_bell(nullptr);
  inbox_->end_sleep();
}

bool Reactor::end_turn() noexcept {
  in_turn_ = false;
  // A pin that is released inside poll() may end a call, too.
  if (!outboxes_.empty()) send_outboxes();
  trace(TraceKind::turn_end, static_cast<std::int64_t>(stats_.in_flight));
  // The host sleeps for us, so other threads must wake it as they would wake poll().
  if (is_hosted_) inbox_->begin_sleep();
  if (has_work() || (is_hosted_ && polls_again_)) return true;
  if (is_hosted_) ready_.set_bell(&host_bell_);
  return false;
}

Reactor::HostBell::HostBell(Reactor& owner) noexcept
    : Bell{[](Bell& bell) noexcept { static_cast<HostBell&>(bell).reactor.driver_->wake(); }},
      reactor(owner) {}

NativeHandle Reactor::pollable() noexcept {
  DIORITE_DEBUG_ASSERT(on_own_thread(), "a reactor is used on another thread than its own");
  const NativeHandle handle = driver_->pollable();
  if (std::exchange(is_hosted_, true)) return handle;
  // A driver that changes over may hear of ends: no operation may have ended unknown to the
  // reactor, or its coroutine could die and take the count with it.
  OpList done;
  driver_->poll(done, kAtOnce);
  dispatch(done);
  driver_->wake();
  return handle;
}

// What polls or turns between the host's turns hears what was meant for the host.
void Reactor::tell_host() noexcept {
  if (is_hosted_ && !in_turn_) driver_->wake();
}

void Reactor::run_posts() noexcept {
  for (PostNode* node = inbox_->take_all(); node != detail::Inbox::end();) {
    // The function may free its node, or post it again.
    PostNode* const next = node->next;
    node->next = nullptr;
    ++stats_.posts;
    if (watches_resumes_ || options_.trace.function != nullptr) [[unlikely]] {
      run_post_watched(*node);
    } else {
      node->function(*node);
    }
    node = next;
  }
}

void Reactor::run_ready() {
  std::uint32_t left = options_.resumes_per_turn_max;
  // A hook that gathers the turn's work into one operation wakes the coroutine that starts it: that
  // must happen before the driver sleeps, so both go on until nothing is ready.
  do {
    if (watches_resumes_) resumed_at_ = now();
    for (; left > 0 && !ready_.empty(); --left) {
      ++stats_.resumes;
      if (watches_resumes_) [[unlikely]] {
        run_watched();
      } else {
        ready_.run_one();
      }
    }
    run_hooks();
  } while (left > 0 && !ready_.empty());
  if (!outboxes_.empty()) send_outboxes();
}

void Reactor::send(Reactor& target, PostNode& node) noexcept {
  // Between turns nobody would send the list.
  if (!in_turn_) return target.post(node);
  for (detail::Outbox& outbox : outboxes_) {
    if (outbox.target == &target) return outbox.add(node);
  }
  try {
    outboxes_.push_back({&target, nullptr, nullptr});
    outboxes_.back().add(node);
  } catch (const std::bad_alloc&) {
    target.post(node);
  }
}

void Reactor::send_outboxes() noexcept {
  for (detail::Outbox& outbox : outboxes_) {
    if (outbox.empty()) continue;
    const detail::Inbox::Visit visit(*outbox.target->inbox_);
    if (outbox.send_to(*outbox.target->inbox_)) outbox.target->driver_->wake();
  }
}

void Reactor::run_hooks() noexcept {
  if (turn_hooks_.empty()) return;
  // Each goes back to its place before it runs, so that a hook may remove any hook.
  IntrusiveList<TurnHook> left;
  left.splice_back(turn_hooks_);
  while (TurnHook* hook = left.pop_front()) {
    turn_hooks_.push_back(*hook);
    hook->function_(*hook);
  }
}

void Reactor::poll(Instant until) noexcept {
  OpList done;
  if (ready_.empty()) {
    until = std::min(until, next_deadline());
    if (until != kAtOnce) inbox_->begin_sleep();
    if (has_work()) until = kAtOnce;
  } else {
    until = kAtOnce;
  }
  const std::uint64_t completed = stats_.completed;
  driver_->poll(done, until);
  inbox_->end_sleep();
  if (options_.trace.function != nullptr) tell_fallbacks();
  dispatch(done);
  // What was started by an end, the next step of a transfer or the close of a file, has not reached
  // the system yet, and what ended made room for others: no handle becomes readable by that.
  polls_again_ = stats_.completed != completed;
  if (timers_->empty()) return;
  const Instant present = now();
  while (!timers_->empty() && timers_->next_due() <= present) {
    if (options_.trace.function != nullptr) trace(TraceKind::timer, lateness(present).count());
    ready_.push(timers_->pop());
  }
}

/// How late the first timer is. It may have been set for the beginning of time.
Duration Reactor::lateness(Instant present) const noexcept {
  const Instant due = timers_->next_due();
  return due < Instant() && present > kNever + due.time_since_epoch() ? kForever : present - due;
}

void Reactor::dispatch(OpList& done) noexcept {
  const auto dispatch_all = [this, &done](auto is_seen) {
    const std::uint32_t stamp =
        is_seen && measuring_ != nullptr ? detail::Measuring::stamp(now()) : 0;
    while (Op* op = done.pop_front()) {
      DIORITE_ASSERT(stats_.in_flight > 0, "a completion that nobody waits for");
      --stats_.in_flight;
      count_end(op->code, op->result);
      if (op->result >= 0 && static_cast<std::uint32_t>(op->result) < op->bytes) ++stats_.short_ops;
      if (is_seen) trace(TraceKind::complete, *op, op->result);
      if ((op->flags & kOpExact) != 0 &&
          !detail::transfer_step(static_cast<detail::TransferOp&>(*op))) {
        ++stats_.resubmits;
        detail::ReactorAccess::submit(*this, *op, TraceKind::resubmit);
        continue;
      }
      if (is_seen && measuring_ != nullptr) {
        op->slot = stamp;
        op->mark();
      }
      ready_.push(*op);
    }
  };
  if (done.empty()) return;
  // Who looks at nothing pays for it once in a turn, and not for each operation.
  if (measuring_ != nullptr || options_.trace.function != nullptr) {
    dispatch_all(std::true_type());
  } else {
    dispatch_all(std::false_type());
  }
}

Instant Reactor::next_deadline() const noexcept {
  return timers_->empty() ? kNever : timers_->next_due();
}

void Reactor::post(PostNode& node) noexcept {
  const detail::Inbox::Visit visit(*inbox_);
  if (inbox_->push(node)) driver_->wake();
}

ReactorStats Reactor::stats() const noexcept {
  ReactorStats stats = stats_;
  const detail::FramePoolStats frames = detail::frame_pool_stats();
  stats.frame_pool_hits = frames.hits;
  stats.frame_pool_misses = frames.misses;
  stats.driver = driver_->counters();
  return stats;
}

namespace detail {

void run_until_finished(Reactor& reactor, RootTask& root) {
  root.queue();
  ReactorAccess::set_awaited(reactor, &root);
  while (!root.finished()) reactor.turn(kNever);
  ReactorAccess::set_awaited(reactor, nullptr);
  ReactorAccess::tell_host(reactor);
}

}  // namespace detail
}  // namespace diorite
