// Task<T>: a lazy coroutine that produces a T for the one coroutine that awaits it.
//
// Use it for every function that awaits. Nothing runs until the task is awaited, or handed to
// Reactor::block_on, Reactor::spawn, start() or TaskScope::spawn. It is awaited once, as an rvalue.
// A single transfer needs no Task: the awaitables of io.hpp have no frame at all.
//
// Thread: the reactor's. A task may be created elsewhere, but runs and dies on its reactor's
// thread. Lifetime: the Task owns its frame. Destroying a suspended task destroys its frame and,
// inside out, every task it awaits; an operation in flight is dealt with as its awaitable's header
// says. A frame must not be destroyed from inside a coroutine that runs below it (asserted).
// Parameters: references, spans and string_views must outlive the task; pass values to tasks that
// are started and not awaited in place.
// Allocates: one frame, from the thread's pool of frames.
//
//   Task<Result<std::uint64_t>> pages(DirectFile& file) {
//     DIORITE_CO_TRY(auto bytes, co_await file.size());
//     co_return bytes / 4096;
//   }

#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/ready.hpp>
#include <diorite/stop.hpp>

// Clang 20 can keep the frame of an awaited task inside its caller's; elsewhere the pool serves.
#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::coro_await_elidable)
#define DIORITE_DETAIL_ELIDABLE [[clang::coro_await_elidable]]
#endif
#endif
#ifndef DIORITE_DETAIL_ELIDABLE
#define DIORITE_DETAIL_ELIDABLE
#endif

// Clang up to 17 may keep values of the suspended frame in registers across an inlined
// await_suspend (llvm-project issues 56301 and 65054).
#if defined(__clang__) && __clang_major__ < 18
#define DIORITE_DETAIL_NOINLINE __attribute__((noinline))
#else
#define DIORITE_DETAIL_NOINLINE
#endif

namespace diorite {

class Reactor;

/// What a running task needs to know of its surroundings. One pointer to it travels in every
/// promise and is inherited on co_await; a scope or a deadline replaces it for what runs below.
struct TaskContext {
  ReadyQueue* ready = nullptr;
  Reactor* reactor = nullptr;
  StopState* stop = nullptr;  ///< null: never stopped
};

template <class T>
class Task;

namespace detail {

void* frame_allocate(std::size_t bytes);
void frame_release(void* frame, std::size_t bytes) noexcept;

/// Told of the end of a task that nobody's co_await waits for: it was started, or is one of a
/// group. The frame is still on the stack then, at its final suspension, and must not be destroyed
/// yet.
class TaskEnd {
 public:
  using Function = void (*)(TaskEnd&) noexcept;
  explicit TaskEnd(Function function) noexcept : function_(function) {}
  void tell() noexcept { function_(*this); }

 private:
  Function function_;
};

/// The part of every promise that awaitables see.
class PromiseBase {
 public:
  TaskContext* context = nullptr;
  std::coroutine_handle<> continuation;  ///< set only once the awaiting frame has really suspended
  TaskEnd* end = nullptr;                ///< set where there is no continuation

  static void* operator new(std::size_t bytes) { return frame_allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept {
    frame_release(frame, bytes);
  }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> frame) const noexcept {
      PromiseBase& self = frame.promise();
      if (self.continuation) {
        self.context->ready->set_running(self.continuation.address());
        return self.continuation;
      }
      if (self.end != nullptr) self.end->tell();
      return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  FinalAwaiter final_suspend() const noexcept { return {}; }
};

template <class P>
concept TaskPromise = std::derived_from<P, PromiseBase>;

template <class T>
class Promise : public PromiseBase {
 public:
  Task<T> get_return_object() noexcept;
  ~Promise() {
    if (has_value_) std::destroy_at(std::addressof(value_));
  }
  Promise() noexcept {}

  template <class U>
    requires std::constructible_from<T, U&&>
  void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>) {
    std::construct_at(std::addressof(value_), std::forward<U>(value));
    has_value_ = true;
  }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  T take() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
    DIORITE_ASSERT(has_value_, "the result of a task that has not finished");
    return std::move(value_);
  }
  const T* value_if() const noexcept { return has_value_ ? std::addressof(value_) : nullptr; }
  std::exception_ptr exception() const noexcept { return exception_; }

 private:
  union {
    T value_;
  };
  std::exception_ptr exception_;
  bool has_value_ = false;
};

template <>
class Promise<void> : public PromiseBase {
 public:
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }
  void take() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  }
  std::exception_ptr exception() const noexcept { return exception_; }

 private:
  std::exception_ptr exception_;
};

/// Resumes the child from inside await_suspend. Textbook symmetric transfer overflows the stack in
/// loops with g++ below -O2 and under its sanitizers; this is bounded everywhere and no slower.
template <class T>
class TaskAwaiter {
 public:
  using Handle = std::coroutine_handle<Promise<T>>;

  explicit TaskAwaiter(Task<T>&& task, TaskContext* context = nullptr) noexcept
      : task_(std::move(task)), context_(context) {}

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  DIORITE_DETAIL_NOINLINE bool await_suspend(std::coroutine_handle<P> parent) {
    Handle child = task_.handle();
    DIORITE_ASSERT(child && child.promise().context == nullptr,
                   "a task is awaited once, and not when it is empty");
    child.promise().context = context_ != nullptr ? context_ : parent.promise().context;
    child.resume();
    if (child.done()) return false;
    child.promise().continuation = parent;
    return true;
  }
  T await_resume() { return task_.handle().promise().take(); }

 private:
  Task<T> task_;
  TaskContext* context_;
};

/// Gives a coroutine its own context.
class ContextAwaiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    context_ = frame.promise().context;
    return false;
  }
  TaskContext& await_resume() const noexcept { return *context_; }

 private:
  TaskContext* context_ = nullptr;
};

}  // namespace detail

/// See the top of the file. Move-only; empty when moved from.
template <class T = void>
class [[nodiscard]] DIORITE_DETAIL_ELIDABLE Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;
  using value_type = T;

  Task() noexcept = default;
  explicit Task(Handle frame) noexcept : frame_(frame) {}
  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~Task() { reset(); }

  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }

  /// Runs the task; its result, or its exception. Requires: not empty, never awaited before.
  /// Cancel: a stop of the awaiting coroutine's token reaches whatever the task awaits.
  detail::TaskAwaiter<T> operator co_await() && noexcept {
    return detail::TaskAwaiter<T>(std::move(*this));
  }

  /// Library internals.
  Handle handle() const noexcept { return frame_; }
  Handle release() noexcept { return std::exchange(frame_, nullptr); }

 private:
  void reset() noexcept {
    if (!frame_) return;
    const TaskContext* context = frame_.promise().context;
    DIORITE_ASSERT(context == nullptr || context->ready->running() != frame_.address(),
                   "a coroutine's frame was destroyed from inside that coroutine");
    frame_.destroy();
    frame_ = nullptr;
  }

  Handle frame_;
};

namespace detail {

/// What awaiting an A gives.
template <class A>
struct AwaitResult {
  using type = decltype(std::declval<A&>().await_resume());
};
template <class A>
  requires requires(A&& a) { std::move(a).operator co_await(); }
struct AwaitResult<A> {
  using type = decltype(std::declval<A>().operator co_await().await_resume());
};
template <class A>
using AwaitResultT = typename AwaitResult<A>::type;

/// A task that awaits a single operation, for what works on tasks only. Allocates: its frame.
template <class T>
Task<T> as_task(Task<T> task) noexcept {
  return task;
}
template <class A>
Task<AwaitResultT<A>> as_task(A awaitable) {
  co_return co_await std::move(awaitable);
}

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(Task<T>::Handle::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(Task<void>::Handle::from_promise(*this));
}

}  // namespace detail
}  // namespace diorite
