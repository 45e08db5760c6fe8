// start, Running, TaskScope, with_scope: several tasks at once, with an owner for each.
//
// start() runs one task beside its caller and hands it back as a Running that can be awaited:
// readahead, double buffering. A TaskScope owns any number of tasks without results. with_scope is
// the form to prefer: it always joins its children, also on an early return or an exception.
//
// There is no detached task: each is owned by a Running, a scope, or the reactor's root scope.
//
// Thread: the reactor's.
// Lifetime: dropping a Running, or a scope that was not joined, destroys the unfinished frames
// where they stand: operations on owned or pinned buffers go on without them, operations on bare
// borrowed memory are waited for in place. Scopes count what they abandon (ReactorStats).
// Allocates: one record for each started task, from the pool of frames.
//
//   co_await with_scope([&](TaskScope& scope) -> Task<Result<void>> {
//     for (Page& page : pages) scope.spawn(flush(file, page));
//     co_return Result<void>();  // with_scope joins; the first failure stops the others
//   });

#pragma once

#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include <diorite/driver/ready.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/root_task.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

template <class T>
class Running;

namespace detail {

/// Waits for a Running; see there.
template <class T>
class RunningAwaiter {
 public:
  explicit RunningAwaiter(RootTask& root) noexcept : root_(&root) {}
  RunningAwaiter(RunningAwaiter&&) = delete;
  ~RunningAwaiter() {
    if (node_.linked()) node_.unlink();
    if (root_ != nullptr) root_->forget_waiter(node_);
  }
  bool await_ready() const noexcept { return root_->finished(); }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    DIORITE_ASSERT(frame.promise().context->reactor == &root_->reactor(),
                   "a Running belongs to another reactor");
    node_.set_frame(frame);
    root_->set_waiter(node_);
  }
  T await_resume() {
    // Lets go of the record here: the same full-expression may drop or replace the Running.
    RootTask& root = *std::exchange(root_, nullptr);
    root.forget_waiter(node_);
    root.mark_taken();
    return promise_of<T>(root).take();
  }

 private:
  RootTask* root_;
  ReadyNode node_;
};

}  // namespace detail

/// A started task. Move-only; empty by default and when moved from. Dropping it destroys the task
/// wherever it stands.
template <class T = void>
class [[nodiscard]] Running {
 public:
  Running() noexcept = default;
  explicit Running(detail::RootTask* root) noexcept : root_(root) {}
  Running(Running&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  Running& operator=(Running&& other) noexcept {
    if (this != &other) {
      delete std::exchange(root_, std::exchange(other.root_, nullptr));
    }
    return *this;
  }
  ~Running() { delete root_; }

  explicit operator bool() const noexcept { return root_ != nullptr; }
  /// Requires: not empty.
  bool done() const noexcept {
    DIORITE_ASSERT(root_ != nullptr, "an empty Running");
    return root_->finished();
  }
  /// Waits for the task's end: its result, or its exception. Once, as an rvalue; the Running stays
  /// the owner of the frame until it is dropped. Requires: not empty.
  detail::RunningAwaiter<T> operator co_await() && noexcept {
    DIORITE_ASSERT(root_ != nullptr, "an empty Running is awaited");
    return detail::RunningAwaiter<T>(*root_);
  }

 private:
  detail::RootTask* root_ = nullptr;
};

/// Starts `task`: it is queued and never runs inside this call. Without a token it is never
/// stopped. Allocates: one pooled record.
template <class T>
Running<T> start(Reactor& reactor, Task<T> task, StopToken stop = {}) {
  detail::RootTask* const root = detail::make_root(
      reactor, task, stop.state(), [](detail::RootTask& ended) noexcept { ended.wake_waiter(); },
      nullptr);
  root->queue();
  return Running<T>(root);
}

class JoinAwait;

/// Any number of tasks without results. The first failure is kept, and stops the others.
class TaskScope {
 public:
  /// A stop of `parent` stops the scope. Requires: `reactor` outlives the scope.
  explicit TaskScope(Reactor& reactor, StopToken parent = {}) noexcept;
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  /// Destroys the children that are left, and counts them. Requires: nobody waits in join().
  ~TaskScope();

  /// Queued, never run inside the call. Allocates: one pooled record.
  void spawn(Task<> task);
  void spawn(Task<Result<void>> task);

  /// Asks every child to stop. Their operations end as their headers say; join() waits for them.
  void request_stop(StopReason reason = StopReason::cancelled) noexcept;
  StopToken token() noexcept { return StopToken(&stop_.state()); }

  bool empty() const noexcept { return children_.empty(); }
  std::size_t size() const noexcept { return count_; }

  /// Waits until no child is left -> Result<void>: the first failure of a child. Rethrows the first
  /// exception of a child. A stop does not shorten it: the children are stopped, and awaited.
  JoinAwait join() noexcept;

 private:
  friend class JoinAwait;
  friend class Reactor;
  template <class F>
  friend Task<Result<void>> with_scope(F body);
  template <class T>
  void adopt(Task<T>& task, detail::RootTask::Finished finished);
  static void plain_finished(detail::RootTask& root) noexcept;
  static void result_finished(detail::RootTask& root) noexcept;
  void child_ended(detail::RootTask& root) noexcept;
  void fail(Error error) noexcept;

  Reactor& reactor_;
  LinkedStop stop_;
  IntrusiveList<detail::SiblingNode> children_;
  std::size_t count_ = 0;
  ReadyNode* joiner_ = nullptr;  ///< until it is resumed
  Error failure_;
  std::exception_ptr exception_;
  bool terminate_on_exception_ = false;
};

/// What TaskScope::join returns. -> Result<void>
class [[nodiscard]] JoinAwait {
 public:
  explicit JoinAwait(TaskScope& scope) noexcept : scope_(&scope) {}
  JoinAwait(JoinAwait&& other) noexcept : scope_(other.scope_) {
    DIORITE_ASSERT(!other.node_.has_target(), "an awaitable was moved after it had been started");
  }
  ~JoinAwait();
  bool await_ready() const noexcept { return scope_->empty(); }
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    DIORITE_ASSERT(scope_->joiner_ == nullptr, "two coroutines join one scope");
    DIORITE_ASSERT(frame.promise().context->reactor == &scope_->reactor_,
                   "a scope belongs to another reactor");
    node_.set_frame(frame);
    scope_->joiner_ = &node_;
  }
  Result<void> await_resume();

 private:
  TaskScope* scope_;
  ReadyNode node_;
};

/// Runs `body(TaskScope&) -> Task<Result<void>>`, then joins its children: always, also when the
/// body fails, throws or returns early. A failure of the body or of a child stops the rest. -> the
/// failure that came first, so that a body which a child's failure stopped does not hide it. An
/// exception goes before failures, the body's before the children's. The children and the body
/// inherit the stop of the awaiting coroutine. The children outlive the body: what they refer to
/// must not be a local variable of it.
template <class F>
Task<Result<void>> with_scope(F body) {
  static_assert(std::is_trivially_destructible_v<F>,
                "capture by reference only: g++ 12 destroys a temporary lambda's captures twice");
  TaskContext& outer = co_await detail::ContextAwaiter();
  TaskScope scope(*outer.reactor, StopToken(outer.stop));
  TaskContext inner{outer.ready, outer.reactor, scope.token().state()};
  Result<void> outcome;
  std::exception_ptr thrown;
  try {
    outcome = co_await detail::TaskAwaiter<Result<void>>(body(scope), &inner);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (!outcome) scope.fail(outcome.error());
  if (thrown) scope.request_stop();
  Result<void> joined;
  try {
    joined = co_await scope.join();
  } catch (...) {
    if (!thrown) thrown = std::current_exception();
  }
  if (thrown) std::rethrow_exception(thrown);
  co_return std::move(joined);
}

}  // namespace diorite
