// Reactor::offload: a call that blocks, made on one of the driver's worker threads.
//
// Use it for what has no asynchronous form: resolving a name, compressing a megabyte, a library
// that reads files by itself. The worker threads are few (DriverOptions::pool_threads) and serve
// other operations too, so it is nothing for a call that waits for another call. On the simulator
// the function runs on the only thread there is, at a moment that the seed decides.
//
// Thread: awaited on the reactor's; the function runs on another one, once. What it touches must
// not be touched meanwhile by anybody else: give it values, and take its result. Lifetime:
// everything that it refers to lives until the co_await has ended. If the coroutine is destroyed
// while the function runs, the destructor waits for its end, and ReactorStats::blocking_reaps
// counts it; a function that no thread has begun never runs. Cancel: a stop takes it back while no
// thread has begun it: Errc::cancelled. After that it runs to its end, and its own result is the
// answer. Errors: cancelled, deadline; the system's when no thread can be started. Exceptions of
// the function are rethrown to the coroutine. Allocates: nothing.
//
//   Result<Digest> digest = co_await reactor.offload([&page] { return digest_of(page); });

#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include <diorite/driver/op.hpp>
#include <diorite/io.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {

/// What offload answers: a function's own Result, or its value in one.
template <class R>
struct OffloadResult {
  using type = Result<R>;
};
template <class T>
struct OffloadResult<Result<T>> {
  using type = Result<T>;
};

}  // namespace detail

/// What Reactor::offload returns. -> Result of what the function returns
template <class F>
class [[nodiscard]] OffloadAwait : public detail::LeafCore {
  using R = std::invoke_result_t<F&>;

 public:
  using ResultType = typename detail::OffloadResult<R>::type;

  OffloadAwait(Reactor& reactor, F function) noexcept(std::is_nothrow_move_constructible_v<F>)
      : LeafCore(reactor), function_(std::move(function)) {}
  OffloadAwait(OffloadAwait&& other) noexcept(std::is_nothrow_move_constructible_v<F>)
      : LeafCore(std::move(other)), function_(std::move(other.function_)) {}
  ~OffloadAwait() {
    if (abandon()) reap();
  }
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    op_.code = OpCode::call;
    op_.function = &OffloadAwait::run;
    op_.context = this;
    return start(op_, frame, *frame.promise().context);
  }
  ResultType await_resume() {
    const Error error = end();
    if (exception_) std::rethrow_exception(exception_);
    // It has run, or it never will: a stop that came too late changes nothing.
    if (!ran_) return error ? error : Error(Errc::cancelled);
    if constexpr (std::is_void_v<R>) {
      return ResultType();
    } else {
      return std::move(*result_);
    }
  }

 private:
  static void run(void* context) noexcept {
    auto& self = *static_cast<OffloadAwait*>(context);
    try {
      if constexpr (std::is_void_v<R>) {
        self.function_();
      } else {
        self.result_.emplace(self.function_());
      }
    } catch (...) {
      self.exception_ = std::current_exception();
    }
    self.ran_ = true;
  }

  CallOp op_;
  F function_;
  std::optional<std::conditional_t<std::is_void_v<R>, char, R>> result_;
  std::exception_ptr exception_;
  bool ran_ = false;
};

template <class F>
OffloadAwait<F> Reactor::offload(F function) {
  static_assert(std::is_trivially_destructible_v<F>,
                "capture by reference only: g++ 12 destroys a temporary lambda's captures twice");
  return OffloadAwait<F>(*this, std::move(function));
}

}  // namespace diorite
