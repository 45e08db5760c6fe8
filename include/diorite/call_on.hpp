// call_on: a coroutine of one reactor calls a function on another one, and awaits its result there.
//
// Use it to reach what belongs to another core: a journal that all cores append to, a file that one
// reactor owns. Values travel in one record from the pool of frames; all calls and answers that a
// turn sends to the same reactor travel as one list, with one wake. For reads of an open file see
// SharedFile, which needs no call; for a thread without a reactor see ReactorThread.
//
// Thread: awaited on the caller's reactor; the function, and the task that it returns, run on the
// target's. Parameters are passed by value and live until that task has ended; a reference
// parameter must name something of the target's that outlives the call. A result may be destroyed
// on either thread.
// Lifetime: the caller's reactor outlives its calls (asserted; run() waits for those that were
// dropped). The target may be destroyed once nobody can call it, or stop a call to it: no other
// thread, and no turn that is under way on this one.
// Cancel: a stop of the caller reaches the task on the target, with its reason; the call ends when
// that task has ended, with its result. If the calling coroutine is destroyed, the task is asked to
// stop and goes on without it; its result is dropped. Errors: the task's own; Errc::closed, where
// an Error converts to T, when the target is destroyed before the task has ended (asserted for
// another T). Exceptions of the task are rethrown to the caller. Allocates: one pooled record, and
// on the target two pooled frames.
//
//   Task<Result<Ticket>> append(Journal& journal, Row row);             // runs on the journal's
//   Result<Ticket> t = co_await call_on(home, &append, journal, row);   // from another reactor

#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/ready.hpp>
#include <diorite/error.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {

/// A call on its way to another reactor and back. It is the caller's; the target has it from the
/// request's arrival until it sends the answer.
class RemoteCall : public PostNode {
 public:
  static void* operator new(std::size_t bytes) { return frame_allocate(bytes); }
  static void operator delete(void* memory, std::size_t bytes) noexcept {
    frame_release(memory, bytes);
  }
  RemoteCall(const RemoteCall&) = delete;
  RemoteCall& operator=(const RemoteCall&) = delete;

  // On the caller's reactor.
  void send(std::coroutine_handle<> frame, TaskContext& context) noexcept;
  /// The caller has its result, or dies without it.
  void leave() noexcept;
  void ask_to_stop(StopReason reason) noexcept;

 protected:
  explicit RemoteCall(Reactor& target) noexcept : PostNode(&RemoteCall::arrived), target_(target) {}
  virtual ~RemoteCall();

  // On the target.

  /// Held by the frame that serves the call, from before its beginning: sends the answer when that
  /// frame dies, however it dies.
  class Obligation {
   public:
    explicit Obligation(RemoteCall& call) noexcept : call_(&call) {}
    Obligation(Obligation&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
    Obligation& operator=(Obligation&&) = delete;
    ~Obligation();

   private:
    RemoteCall* call_;
  };
  virtual Task<> serve(Obligation obligation) = 0;
  /// There will be no result of the function's.
  virtual void fail(Error error) noexcept = 0;

  /// The surroundings of the function's task.
  class Serving {
   public:
    Serving(RemoteCall& call, TaskContext& outer) noexcept;
    ~Serving();
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    TaskContext& context() noexcept { return context_; }

   private:
    RemoteCall& call_;
    LinkedStop stop_;
    TaskContext context_;
  };

  std::exception_ptr exception_;
  bool has_outcome_ = false;

 private:
  struct StopNode : PostNode {
    explicit StopNode(RemoteCall& owner) noexcept
        : PostNode(&RemoteCall::stop_arrived), call(owner) {}
    RemoteCall& call;
    StopReason reason = StopReason::none;
  };
  static void arrived(PostNode& node) noexcept;
  static void answered(PostNode& node) noexcept;
  static void stop_arrived(PostNode& node) noexcept;
  void answer() noexcept;
  void release() noexcept;

  Reactor& target_;
  Reactor* home_ = nullptr;
  std::atomic<std::uint32_t> owners_{1};  ///< the caller, the call in flight, a stop in flight
  std::atomic<bool> answer_sent_{false};  ///< the target is not needed any more

  // The caller's.
  ReadyNode waiter_;
  StopNode stop_node_{*this};
  bool stop_sent_ = false;
  bool answered_ = false;

  // The target's.
  LinkedStop* running_stop_ = nullptr;
  StopReason stopped_early_ = StopReason::none;  ///< before it was served
  bool is_served_ = false;
};

template <class T>
class RemoteCallFor : public RemoteCall {
 public:
  T take() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
    return std::move(*result_);
  }

 protected:
  using RemoteCall::RemoteCall;
  void fail(Error error) noexcept final {
    // Not is_constructible: a bool can be made of an Error, but says the contrary of one.
    if constexpr (std::is_convertible_v<Error, T>) {
      result_.emplace(error);
    } else {
      DIORITE_ASSERT(!error, "a reactor was destroyed before a call to it had ended");
    }
  }
  std::optional<T> result_;
};

template <>
class RemoteCallFor<void> : public RemoteCall {
 public:
  void take() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  }

 protected:
  using RemoteCall::RemoteCall;
  void fail(Error error) noexcept final {
    DIORITE_ASSERT(!error, "a reactor was destroyed before a call to it had ended");
  }
};

template <class T, class... P>
class RemoteCallOf final : public RemoteCallFor<T> {
  static_assert((... && (alignof(std::remove_reference_t<P>) <= alignof(std::max_align_t))),
                "records of calls are aligned as the allocator does it, and no better");

 public:
  RemoteCallOf(Reactor& target, Task<T> (*callee)(P...), P... arguments)
      : RemoteCallFor<T>(target), callee_(callee), arguments_(std::forward<P>(arguments)...) {}

 private:
  Task<> serve(typename RemoteCall::Obligation) override {
    TaskContext& outer = co_await ContextAwaiter();
    typename RemoteCall::Serving serving(*this, outer);
    try {
      if constexpr (std::is_void_v<T>) {
        co_await TaskAwaiter<T>(invoke(), &serving.context());
      } else {
        T result = co_await TaskAwaiter<T>(invoke(), &serving.context());
        this->result_.emplace(std::move(result));
      }
    } catch (...) {
      this->exception_ = std::current_exception();
    }
    this->has_outcome_ = true;
  }
  Task<T> invoke() { return std::apply(callee_, std::move(arguments_)); }

  Task<T> (*callee_)(P...);
  std::tuple<P...> arguments_;
};

}  // namespace detail

/// What call_on returns. -> T
template <class T>
class [[nodiscard]] CallOnAwait {
 public:
  explicit CallOnAwait(detail::RemoteCallFor<T>* call) noexcept : call_(call) {}
  CallOnAwait(CallOnAwait&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {
    DIORITE_ASSERT(other.stop_state_ == nullptr && !other.started_,
                   "an awaitable was moved after it had been started");
  }
  ~CallOnAwait() {
    if (call_ != nullptr) call_->leave();
  }
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    TaskContext& context = *frame.promise().context;
    started_ = true;
    stop_state_ = context.stop;
    call_->send(frame, context);
    if (stop_state_ == nullptr) return;
    if (stop_state_->stop_requested()) {
      call_->ask_to_stop(stop_state_->reason());
    } else {
      stop_.arm(*stop_state_);
    }
  }
  T await_resume() {
    stop_.disarm();
    return call_->take();
  }

 private:
  struct Stop : StopCallback {
    explicit Stop(CallOnAwait& owner) noexcept
        : StopCallback([](StopCallback& callback) noexcept {
            CallOnAwait& stopped = static_cast<Stop&>(callback).await;
            stopped.call_->ask_to_stop(stopped.stop_state_->reason());
          }),
          await(owner) {}
    CallOnAwait& await;
  };

  detail::RemoteCallFor<T>* call_;
  StopState* stop_state_ = nullptr;
  bool started_ = false;
  Stop stop_{*this};
};

/// -> what the task gives that `function(arguments...)` returns on `target`. Requires: not called
/// from another thread than the caller's reactor's; `target` may be that reactor itself.
template <class T, class... P>
CallOnAwait<T> call_on(Reactor& target, Task<T> (*function)(P...),
                       std::type_identity_t<P>... arguments) {
  return CallOnAwait<T>(
      new detail::RemoteCallOf<T, P...>(target, function, std::forward<P>(arguments)...));
}

}  // namespace diorite
