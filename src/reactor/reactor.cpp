#include <diorite/reactor.hpp>

#include <algorithm>

#include "coro/frame_pool.hpp"
#include "reactor/exact.hpp"
#include "reactor/inbox.hpp"
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
  return std::unique_ptr<Reactor>(new Reactor(std::move(driver), options));
}

Reactor::Reactor(std::unique_ptr<Driver> driver, ReactorOptions options)
    : driver_(std::move(driver)),
      options_(options),
      context_{&ready_, this, nullptr},
      timers_(std::make_unique<detail::TimerHeap>()),
      inbox_(std::make_unique<detail::Inbox>()),
      thread_(&this_thread) {
  make_root_scope();
}

void Reactor::make_root_scope() {
  root_ = std::make_unique<TaskScope>(*this);
  root_->terminate_on_exception_ = true;
}

bool Reactor::on_own_thread() const noexcept { return thread_ == &this_thread; }

Reactor::~Reactor() {
  DIORITE_ASSERT(!in_turn_, "a reactor was destroyed from inside its own turn");
  DIORITE_DEBUG_ASSERT(on_own_thread(), "a reactor is destroyed on another thread");
  // What was posted before this moment may still spawn; those tasks die unstarted with the others.
  run_posts();
  root_.reset();
  DIORITE_ASSERT(tasks_ == 0, "a reactor was destroyed before a task that was started on it");
  wait_for_ops();
  DIORITE_ASSERT(turn_hooks_.empty(), "a reactor was destroyed before a turn hook");
  DIORITE_ASSERT(files_ == 0, "a reactor was destroyed before its files");
  DIORITE_ASSERT(timers_->empty(), "a reactor was destroyed before a task that sleeps on it");
  // Posts of dying frames still run, so that their owners get their nodes back.
  run_posts();
}

void Reactor::spawn(Task<> task) {
  DIORITE_ASSERT(root_ != nullptr, "a task was spawned on a reactor that is being destroyed");
  root_->spawn(std::move(task));
}

void Reactor::run() {
  awaits_shutdown_ = true;
  while (!shutdown_.load(std::memory_order_acquire)) turn(kNever);
  awaits_shutdown_ = false;
  root_->request_stop();
  joins_root_ = true;
  while (!root_->empty()) turn(kNever);
  joins_root_ = false;
  // A stop cannot be taken back, and the tasks of a later run() must not be born stopped.
  make_root_scope();
  shutdown_.store(false, std::memory_order_relaxed);
}

// A requested shutdown is work only for the loop that waits for it: block_on(), and run() while it
// joins the root scope, would never sleep again.
bool Reactor::has_work() const noexcept {
  return !ready_.empty() || !inbox_->empty() ||
         (awaits_shutdown_ && shutdown_.load(std::memory_order_acquire)) ||
         // The end that the loop waits for came in this very turn: nothing else may ever wake it.
         (joins_root_ && root_->empty()) || (awaited_ != nullptr && awaited_->finished());
}

bool Reactor::turn(Instant until) {
  DIORITE_ASSERT(!in_turn_, "turn, run and block_on must not be called from inside a turn");
  DIORITE_DEBUG_ASSERT(on_own_thread(), "a reactor is run on another thread than its own");
  in_turn_ = true;
  ++stats_.turns;
  run_posts();
  run_ready();
  poll(until);
  in_turn_ = false;
  return has_work();
}

void Reactor::run_posts() noexcept {
  for (PostNode* node = inbox_->take_all(); node != detail::Inbox::end();) {
    // The function may free its node, or post it again.
    PostNode* const next = node->next;
    node->next = nullptr;
    ++stats_.posts;
    node->function(*node);
    node = next;
  }
}

void Reactor::run_ready() {
  std::uint32_t left = options_.resumes_per_turn_max;
  // A hook that gathers the turn's work into one operation wakes the coroutine that starts it: that
  // must happen before the driver sleeps, so both go on until nothing is ready.
  do {
    for (; left > 0 && !ready_.empty(); --left) {
      ++stats_.resumes;
      ready_.run_one();
    }
    run_hooks();
  } while (left > 0 && !ready_.empty());
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
  driver_->poll(done, until);
  inbox_->end_sleep();
  dispatch(done);
  if (timers_->empty()) return;
  const Instant present = now();
  while (!timers_->empty() && timers_->next_due() <= present) ready_.push(timers_->pop());
}

void Reactor::dispatch(OpList& done) noexcept {
  while (Op* op = done.pop_front()) {
    DIORITE_ASSERT(stats_.in_flight > 0, "a completion that nobody waits for");
    --stats_.in_flight;
    ++stats_.completed;
    if ((op->flags & kOpExact) != 0 &&
        !detail::transfer_step(static_cast<detail::TransferOp&>(*op))) {
      ++stats_.resubmits;
      detail::ReactorAccess::submit(*this, *op);
      continue;
    }
    ready_.push(*op);
  }
}

void Reactor::wait_for_ops() noexcept {
  for (;;) {
    // Only the library's own calls may be left here: closing files, freeing records.
    while (!ready_.empty()) {
      DIORITE_ASSERT(ready_.next_is_call(), "a reactor was destroyed before a task that it runs");
      ready_.run_one();
    }
    if (stats_.in_flight == 0) return;
    OpList done;
    driver_->poll(done, kNever);
    dispatch(done);
  }
}

std::size_t Reactor::drain(Instant until) {
  DIORITE_ASSERT(!in_turn_, "drain must not be called from inside a turn");
  while (stats_.in_flight > 0 && now() < until) {
    OpList done;
    driver_->poll(done, until);
    dispatch(done);
  }
  return static_cast<std::size_t>(stats_.in_flight);
}

Instant Reactor::next_deadline() const noexcept {
  return timers_->empty() ? kNever : timers_->next_due();
}

void Reactor::post(PostNode& node) noexcept {
  if (inbox_->push(node)) driver_->wake();
}

void Reactor::request_shutdown() noexcept {
  shutdown_.store(true, std::memory_order_release);
  driver_->wake();
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
}

}  // namespace detail
}  // namespace diorite
