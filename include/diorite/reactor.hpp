// Reactor: the single-threaded event loop that drives every diorite awaitable.
//
// One reactor belongs to one thread; make one per core and share nothing. It owns the driver, the
// queue of coroutines that are ready to run, and the timers. It has no opinion about files: those
// are opened on it (DirectFile, FileLru, Journal).
//
// Thread: created, run and destroyed on one thread. post(), request_shutdown() and nothing else may
// be called from others; request_shutdown() also from signal handlers.
// Lifetime: outlives every task, file, cache and journal that was made on it (asserted for started
// tasks, files and turn hooks). ~Reactor destroys the tasks of its root scope where they stand,
// then waits for every operation that is still with the device. Fairness: one turn resumes what is
// ready, runs the end-of-turn hooks, submits everything the turn started with one system call, and
// sleeps in the kernel until something completes. It never spins.
//
//   auto reactor = Reactor::create();
//   if (!reactor) return fail(reactor.error().text());
//   Result<void> r = (*reactor)->block_on(serve(**reactor));

#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/driver.hpp>
#include <diorite/result.hpp>
#include <diorite/root_task.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>

namespace diorite {

namespace detail {
class Inbox;
class TimerHeap;
class TimerNode;
class LeafCore;
struct ReactorAccess;
struct TransferOp;
}  // namespace detail

class TaskScope;

/// Trivially copyable.
struct ReactorOptions {
  DriverOptions driver = {};  // initialised, so that naming another member alone is no warning
  /// Coroutines resumed in one turn before the driver gets a look in, so that a flood of ready work
  /// cannot starve completions and timers.
  std::uint32_t resumes_per_turn_max = 4096;
};
static_assert(std::is_trivially_copyable_v<ReactorOptions>);

/// A snapshot; reading it resets nothing.
struct ReactorStats {
  std::uint64_t turns = 0;
  std::uint64_t resumes = 0;
  std::uint64_t submitted = 0;  ///< operations given to the driver, continuations included
  std::uint64_t completed = 0;  ///< operations that ended, orphans included
  std::uint64_t removed = 0;    ///< taken back before they reached the file
  std::uint64_t in_flight = 0;
  std::uint64_t in_flight_max = 0;
  std::uint64_t resubmits = 0;        ///< rest of a short transfer, or a repeat after EINTR, EAGAIN
  std::uint64_t orphans = 0;          ///< operations whose coroutine was destroyed first
  std::uint64_t orphan_errors = 0;    ///< orphaned writes and syncs that failed
  std::uint64_t blocking_reaps = 0;   ///< destructors that waited for a borrowed buffer
  std::uint64_t abandoned_tasks = 0;  ///< unfinished tasks destroyed with their scope
  std::uint64_t deferred_close_errors = 0;  ///< errors of files that were dropped without close()
  std::uint64_t posts = 0;
  std::uint64_t frame_pool_hits = 0;  ///< of this thread
  std::uint64_t frame_pool_misses = 0;
  DriverCounters driver;
};

/// What another thread hands over: a function that runs once on the reactor's thread, between
/// resumptions. The node must live until then; it may post itself again from inside, and not before
/// (asserted).
struct PostNode {
  using Function = void (*)(PostNode&) noexcept;
  explicit PostNode(Function run_on_reactor) noexcept : function(run_on_reactor) {}
  Function function;
  PostNode* next = nullptr;
};

/// Runs in every turn, after the ready queue and before submission, and once more whenever a hook
/// made something ready: what many coroutines asked for in one turn can be made one operation here.
/// Must not resume anything itself; may remove and destroy any hook, itself too.
class TurnHook : public ListNode {
 public:
  using Function = void (*)(TurnHook&) noexcept;
  explicit TurnHook(Function function) noexcept : function_(function) {}
  TurnHook(const TurnHook&) = delete;
  TurnHook& operator=(const TurnHook&) = delete;
  ~TurnHook() {
    if (linked()) unlink();
  }

 private:
  friend class Reactor;
  Function function_;
};

class Reactor {
 public:
  /// Picks a driver by walking the ladder of options.driver. Errors: as make_driver. Allocates.
  static Result<std::unique_ptr<Reactor>> create(ReactorOptions options = {});
  /// On a driver of your own: a simulator, a decorator. Requires: not null.
  static Result<std::unique_ptr<Reactor>> create(std::unique_ptr<Driver> driver,
                                                 ReactorOptions options = {});
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  ~Reactor();

  /// Runs `task`, and everything else that is ready meanwhile, until it ends; its result or
  /// exception. Requires: not called from inside a turn.
  template <class T>
  T block_on(Task<T> task);

  /// Starts `task` in the root scope: it first runs from the ready queue, never inside this call.
  /// An exception that escapes it terminates the process, as one does that escapes a thread.
  void spawn(Task<> task);

  /// Turns until request_shutdown(), then stops the root scope and joins it. May be called again.
  void run();

  /// One turn: posts, resumptions, hooks, submission, and a wait for completions and timers until
  /// `until` at the latest. Returns true when there is work that waits for the next turn.
  /// Requires: not called from inside a turn.
  bool turn(Instant until);

  /// When the next timer is due; kNever without one.
  Instant next_deadline() const noexcept;

  Instant now() const noexcept { return driver_->now(); }
  WallTime wall_now() const noexcept { return driver_->wall_now(); }
  std::uint64_t entropy() noexcept { return driver_->entropy(); }

  /// Thread-safe. Allocates nothing; a system call only when the reactor sleeps.
  void post(PostNode& node) noexcept;
  /// Thread-safe. Allocates: one node. `fn` runs, and is destroyed, on the reactor's thread; it
  /// must not throw.
  template <class F>
    requires(std::invocable<F&> && !std::derived_from<F, PostNode>)
  void post(F fn);

  /// True inside ~Reactor, for destructors of the frames that die there: spawn() is over.
  bool is_ending() const noexcept { return root_ == nullptr; }

  /// Makes run() return. Thread-safe, async-signal-safe.
  void request_shutdown() noexcept;

  /// Waits until nothing is with the device or `until` has come, resuming nobody. Returns the
  /// number of operations that are still in flight.
  std::size_t drain(Instant until);

  void add_turn_hook(TurnHook& hook) noexcept { turn_hooks_.push_back(hook); }

  ReactorStats stats() const noexcept;
  /// Which driver this runs on, and why.
  const DriverCaps& driver() const noexcept { return driver_->caps(); }
  /// The surroundings of a task that is started here without a stop token.
  TaskContext& context() noexcept { return context_; }

 private:
  friend struct detail::ReactorAccess;
  Reactor(std::unique_ptr<Driver> driver, ReactorOptions options);

  bool has_work() const noexcept;
  bool on_own_thread() const noexcept;
  void make_root_scope();
  void run_posts() noexcept;
  void run_ready();
  void run_hooks() noexcept;
  void poll(Instant until) noexcept;
  void dispatch(OpList& done) noexcept;
  void wait_for_ops() noexcept;

  std::unique_ptr<Driver> driver_;
  ReactorOptions options_;
  ReadyQueue ready_;
  TaskContext context_;
  IntrusiveList<TurnHook> turn_hooks_;
  std::unique_ptr<detail::TimerHeap> timers_;
  std::unique_ptr<detail::Inbox> inbox_;
  std::unique_ptr<TaskScope> root_;
  ReactorStats stats_;
  std::uint64_t files_ = 0;
  std::uint64_t tasks_ = 0;  ///< records of started tasks that are alive
  const void* thread_;
  std::atomic<bool> shutdown_{false};
  bool in_turn_ = false;
  bool awaits_shutdown_ = false;               ///< run() has not seen its end yet
  bool joins_root_ = false;                    ///< run() waits for the root scope to be empty
  const detail::RootTask* awaited_ = nullptr;  ///< block_on() waits for it
};

namespace detail {

/// What the library's own awaitables may do to a reactor.
struct ReactorAccess {
  static ReadyQueue& ready(Reactor& reactor) noexcept { return reactor.ready_; }
  static void submit(Reactor& reactor, Op& op) noexcept {
    ++reactor.stats_.submitted;
    if (++reactor.stats_.in_flight > reactor.stats_.in_flight_max) {
      reactor.stats_.in_flight_max = reactor.stats_.in_flight;
    }
    reactor.driver_->submit(op);
  }
  /// Takes an operation back if it has not reached the file. Requires: the driver has it.
  static bool remove(Reactor& reactor, Op& op) noexcept;
  /// Hands an operation of a dying frame to the driver. `hook.ended` must call orphan_ended.
  static void orphan(Reactor& reactor, Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept;
  static void orphan_ended(Reactor& reactor, OpCode code, std::int64_t result) noexcept;
  /// Waits in place for an operation whose memory is about to go away.
  static void reap(Reactor& reactor, Op& op) noexcept;
  static bool add_timer(Reactor& reactor, TimerNode& timer) noexcept;
  static void remove_timer(Reactor& reactor, TimerNode& timer) noexcept;
  static FileRegistrar* registrar(Reactor& reactor) noexcept {
    return reactor.driver_->caps().files;
  }
  static void task_started(Reactor& reactor) noexcept {
    DIORITE_DEBUG_ASSERT(reactor.on_own_thread(), "a task is started on another reactor's thread");
    ++reactor.tasks_;
  }
  static void task_gone(Reactor& reactor) noexcept { --reactor.tasks_; }
  static void file_opened(Reactor& reactor) noexcept { ++reactor.files_; }
  static void file_closed(Reactor& reactor) noexcept;
  /// What the running loop waits for; null when it has come.
  static void set_awaited(Reactor& reactor, const RootTask* root) noexcept {
    reactor.awaited_ = root;
  }
  static ReactorStats& stats(Reactor& reactor) noexcept { return reactor.stats_; }
};

/// A transfer that goes on after a short result until all of it is done.
struct TransferOp : Op {
  std::uint64_t total = 0;  ///< bytes asked for
  std::uint64_t start = 0;  ///< where in the transfer the step in flight begins
  std::uint64_t done = 0;   ///< bytes known to have been transferred
  std::uint32_t repeats = 0;
};

/// Blocks the calling thread in turns of `reactor` until the root task has finished.
void run_until_finished(Reactor& reactor, RootTask& root);

template <class F>
class PostedFunction final : public PostNode {
 public:
  explicit PostedFunction(F fn) noexcept(std::is_nothrow_move_constructible_v<F>)
      : PostNode(&run), fn_(std::move(fn)) {}

 private:
  static void run(PostNode& node) noexcept {
    std::unique_ptr<PostedFunction> self(static_cast<PostedFunction*>(&node));
    self->fn_();
  }
  F fn_;
};

}  // namespace detail

template <class T>
T Reactor::block_on(Task<T> task) {
  const std::unique_ptr<detail::RootTask> root(
      detail::make_root(*this, task, nullptr, [](detail::RootTask&) noexcept {}, nullptr));
  detail::run_until_finished(*this, *root);
  return detail::promise_of<T>(*root).take();
}

template <class F>
  requires(std::invocable<F&> && !std::derived_from<F, PostNode>)
void Reactor::post(F fn) {
  post(*std::make_unique<detail::PostedFunction<F>>(std::move(fn)).release());
}

}  // namespace diorite
