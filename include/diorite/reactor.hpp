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
// then waits for every operation that is still with the device; shut_down() waits as long as it is
// told, and leaks what has not ended.
// Fairness: one turn resumes what is ready, runs the end-of-turn hooks, submits everything the turn
// started with one system call, and sleeps in the kernel until something completes. It spins only
// where it is asked to: with UringOptions::poll_transfers, while a polled transfer is in flight.
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
#include <vector>

#include <diorite/assert.hpp>
#include <diorite/driver/driver.hpp>
#include <diorite/latency.hpp>
#include <diorite/result.hpp>
#include <diorite/root_task.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>
#include <diorite/trace.hpp>

namespace diorite {

namespace detail {
class Inbox;
struct Outbox;
class TimerHeap;
class TimerNode;
class LeafCore;
struct ReactorAccess;
struct TransferOp;
}  // namespace detail

class TaskScope;
template <class F>
class OffloadAwait;

/// Trivially copyable.
struct ReactorOptions {
  DriverOptions driver = {};  // initialised, so that naming another member alone is no warning
  /// Coroutines resumed in one turn before the driver gets a look in, so that a flood of ready work
  /// cannot starve completions and timers.
  std::uint32_t resumes_per_turn_max = 4096;
  /// How long run() waits for the tasks of the root scope once they have been told to stop.
  Duration shutdown_wait = kForever;
  /// True: latencies() has histograms. Costs about four readings of the clock for each operation,
  /// and one for each resumption. Reactor::create refuses it (unsupported) on a driver that does
  /// not measure.
  bool measure_latency = false;
  /// A coroutine, or a post, that holds the reactor for so long or longer without suspending is
  /// counted and traced: all others wait meanwhile, and nothing is submitted or reaped. Zero: never
  /// looked at. Otherwise one reading of the clock for each resumption.
  Duration stall_after = Duration::zero();
  TraceHook trace = {};
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
  std::uint64_t reads = 0;  ///< that ended, each step of a transfer, failed ones and orphans too
  std::uint64_t writes = 0;
  std::uint64_t syncs = 0;
  std::uint64_t bytes_read = 0;  ///< moved; a block that is sent again counts again
  std::uint64_t bytes_written = 0;
  std::uint64_t short_ops = 0;  ///< reads and writes that moved less than they were asked to
  std::uint64_t stalls = 0;     ///< see ReactorOptions::stall_after
  Duration longest_stall{};
  const void* longest_stall_where = nullptr;  ///< code, as TraceEvent::where
  std::uint64_t frame_pool_hits = 0;          ///< of this thread
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

  /// Turns until request_shutdown(), then stops the root scope and joins it, and waits for calls to
  /// other reactors whose callers were dropped; true. May be called again. False when
  /// options.shutdown_wait was over first: the request stands, so that calling it again goes on
  /// waiting, and shut_down() ends it.
  bool run();

  /// Destroys `reactor`, and does not wait for a device that never answers: stops the root scope,
  /// turns until it is joined, then waits for what else is with the device, all of it until `until`
  /// at the latest. Returns 0 when nothing was left, and the reactor is gone. Otherwise the number
  /// of operations, and of calls to other reactors, that had not ended: then the reactor is leaked
  /// as it stands, with its driver, tasks, files and buffers, because the kernel may still write
  /// into what would be freed. Memory that operations had borrowed must stay where it is as long as
  /// the process lives, and a task or file that others hold is best left alone, too: destroying a
  /// task whose borrowed operation never ends waits for it forever.
  /// Requires: not called from inside a turn.
  static std::size_t shut_down(std::unique_ptr<Reactor> reactor, Instant until);

  /// One turn: posts, resumptions, hooks, submission, and a wait for completions and timers until
  /// `until` at the latest. Returns true when there is work that waits for the next turn.
  /// Requires: not called from inside a turn.
  bool turn(Instant until);

  /// When the next timer is due; kNever without one.
  Instant next_deadline() const noexcept;

  /// For a host that has an event loop of its own: a handle that is readable when turn() has work,
  /// whatever it comes from: a completion, a post, a stop or a start outside of a turn. It stays
  /// the reactor's; wait for it, and never read it. Constant; kNoHandle where the driver has none.
  /// From the first call on a turn costs about two more system calls, and a completion one more
  /// turn. block_on(), run() and drain() may still be used between turns.
  ///
  ///   for (;;) {
  ///     while (reactor.turn(kAtOnce)) {}
  ///     wait_for(reactor.pollable(), reactor.next_deadline());   // and for what else the host has
  ///   }
  NativeHandle pollable() noexcept;

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

  /// Runs `function()` on one of the driver's worker threads. -> Result of what it returns; see
  /// offload.hpp, which defines it.
  template <class F>
  OffloadAwait<F> offload(F function);

  /// True inside ~Reactor, for destructors of the frames that die there: spawn() is over.
  bool is_ending() const noexcept { return root_ == nullptr; }

  /// Makes run() return. Thread-safe, async-signal-safe.
  void request_shutdown() noexcept;

  /// Waits until nothing is with the device or `until` has come, resuming nobody. Returns the
  /// number of operations that are still in flight.
  std::size_t drain(Instant until);

  void add_turn_hook(TurnHook& hook) noexcept { turn_hooks_.push_back(hook); }

  ReactorStats stats() const noexcept;
  /// Null unless options.measure_latency.
  const Latencies* latencies() const noexcept {
    return measuring_ != nullptr ? &measuring_->latencies() : nullptr;
  }
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
  void send(Reactor& target, PostNode& node) noexcept;
  void send_outboxes() noexcept;
  void poll(Instant until) noexcept;
  Duration lateness(Instant present) const noexcept;
  void dispatch(OpList& done) noexcept;
  bool join_root(Instant until);
  bool end_tasks(Instant until) noexcept;
  bool wait_for_ops(Instant until) noexcept;
  void run_watched();
  void run_post_watched(PostNode& node) noexcept;
  void stalled(Duration held, const void* where) noexcept;
  void count_end(OpCode code, std::int64_t result) noexcept {
    ++stats_.completed;
    const std::uint64_t bytes = result > 0 ? static_cast<std::uint64_t>(result) : 0;
    switch (kind_of(code)) {
      case OpKind::read:
        ++stats_.reads;
        stats_.bytes_read += bytes;
        break;
      case OpKind::write:
        ++stats_.writes;
        stats_.bytes_written += bytes;
        break;
      case OpKind::sync:
        ++stats_.syncs;
        break;
      case OpKind::other:
        break;
    }
  }
  void trace(TraceKind kind, std::int64_t value = 0, const void* where = nullptr) noexcept {
    if (options_.trace.function != nullptr) tell(kind, value, where);
  }
  void trace(TraceKind kind, const Op& op, std::int64_t value = 0) noexcept {
    if (options_.trace.function != nullptr) tell(kind, op, value);
  }
  void tell(TraceKind kind, std::int64_t value, const void* where) noexcept;
  void tell(TraceKind kind, const Op& op, std::int64_t value) noexcept;
  void tell_orphan_end(OpCode code, std::int64_t result, bool is_lost) noexcept;
  void tell_fallbacks() noexcept;
  void tell(TraceEvent& event) noexcept;
  void begin_turn() noexcept;
  bool end_turn() noexcept;
  void tell_host() noexcept;
  bool is_joined() const noexcept;

  /// Rung by what is made ready between the turns of a hosted reactor.
  struct HostBell : ReadyQueue::Bell {
    explicit HostBell(Reactor& owner) noexcept;
    Reactor& reactor;
  };

  std::unique_ptr<Driver> driver_;
  std::unique_ptr<detail::Measuring> measuring_;
  ReactorOptions options_;
  ReadyQueue ready_;
  TaskContext context_;
  IntrusiveList<TurnHook> turn_hooks_;
  std::unique_ptr<detail::TimerHeap> timers_;
  std::unique_ptr<detail::Inbox> inbox_;
  std::vector<detail::Outbox> outboxes_;  ///< one for each reactor that was ever sent to
  std::unique_ptr<TaskScope> root_;
  ReactorStats stats_;
  std::uint64_t files_ = 0;
  std::uint64_t tasks_ = 0;  ///< records of started tasks that are alive
  std::uint64_t calls_ = 0;  ///< to other reactors, not answered yet
  const void* thread_;
  std::atomic<bool> shutdown_{false};
  Instant resumed_at_{};          ///< of what runs now, where resumptions are timed
  std::uint64_t fallbacks_ = 0;   ///< of the driver that have been traced
  bool watches_resumes_ = false;  ///< they are timed
  bool in_trace_ = false;         ///< the trace hook runs
  bool in_turn_ = false;
  bool is_hosted_ = false;    ///< pollable() was called
  bool polls_again_ = false;  ///< hosted: a poll would have something to do
  HostBell host_bell_{*this};
  bool awaits_shutdown_ = false;               ///< run() has not seen its end yet
  bool joins_root_ = false;                    ///< run() waits for the root scope to be empty
  const detail::RootTask* awaited_ = nullptr;  ///< block_on() waits for it
  Reactor* next_leaked_ = nullptr;
};

namespace detail {

/// What the library's own awaitables may do to a reactor.
struct ReactorAccess {
  static ReadyQueue& ready(Reactor& reactor) noexcept { return reactor.ready_; }
  static void submit(Reactor& reactor, Op& op, TraceKind kind = TraceKind::submit) noexcept {
    DIORITE_DEBUG_ASSERT(!reactor.in_trace_, "a trace hook must not call the reactor");
    reactor.trace(kind, op);
    ++reactor.stats_.submitted;
    if (++reactor.stats_.in_flight > reactor.stats_.in_flight_max) {
      reactor.stats_.in_flight_max = reactor.stats_.in_flight;
    }
    reactor.driver_->submit(op);
    reactor.ready_.touch();
  }
  /// Takes an operation back if it has not reached the file. Requires: the driver has it.
  static bool remove(Reactor& reactor, Op& op) noexcept;
  /// Hands an operation of a dying frame to the driver. `hook.ended` must call orphan_ended.
  static void orphan(Reactor& reactor, Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept;
  static void orphan_ended(Reactor& reactor, OpCode code, std::int64_t result) noexcept;
  /// Waits in place for an operation whose memory is about to go away.
  static void reap(Reactor& reactor, Op& op) noexcept;
  /// On the calling thread, whichever that is.
  static void run_here(Reactor& reactor, Op& op) noexcept { reactor.driver_->run_here(op); }
  static bool add_timer(Reactor& reactor, TimerNode& timer) noexcept;
  static void remove_timer(Reactor& reactor, TimerNode& timer) noexcept;
  static FileRegistrar* registrar(Reactor& reactor) noexcept {
    return reactor.driver_->caps().files;
  }
  static void task_started(Reactor& reactor) noexcept {
    DIORITE_DEBUG_ASSERT(reactor.on_own_thread(), "a task is started on another reactor's thread");
    DIORITE_DEBUG_ASSERT(!reactor.in_trace_, "a trace hook must not call the reactor");
    ++reactor.tasks_;
  }
  static void task_gone(Reactor& reactor) noexcept { --reactor.tasks_; }
  /// Posts `node` to `target`, with everything else that this turn sends there.
  static void send(Reactor& from, Reactor& target, PostNode& node) noexcept {
    from.send(target, node);
  }
  static void call_begun(Reactor& reactor) noexcept { ++reactor.calls_; }
  static void call_ended(Reactor& reactor) noexcept { --reactor.calls_; }
  /// After polls or turns that were not the host's.
  static void tell_host(Reactor& reactor) noexcept { reactor.tell_host(); }
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
