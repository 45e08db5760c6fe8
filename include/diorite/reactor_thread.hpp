// ReactorThread: a reactor on a thread of its own, for programs whose threads block.
//
// Use it to give an engine that is written with threads a journal or files with direct I/O: its
// threads call in, and wait. A call costs two switches of threads, some microseconds: right for
// writes, syncs and reads from a device, wrong for what is in memory already (see
// SharedFile::read_blocking). A program that is made of coroutines needs none of this.
//
// Thread: create() makes the thread; call() from any other thread, many at a time; stop() and the
// destructor from one. Files, journals and tasks belong to the reactor's thread: make, use and
// destroy them inside calls.
// Lifetime: no call may be under way when stop() begins (asserted); tasks that calls have spawned
// are stopped and joined by it. No hidden threads: this one is named in its type.
// Allocates: create() only; a call takes two frames from the pool of the reactor's thread.
//
//   auto thread = ReactorThread::create();
//   auto opened = (*thread)->call([](Reactor& r) { return Journal::open(r, "wal"); });
//   Journal& journal = **opened;
//   Result<Ticket> t = (*thread)->call([&](Reactor&) { return journal.append_durable(row); });
//   (*thread)->call([&](Reactor&) { return close_and_drop(*opened); });   // before it goes

#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/scope.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {

/// A call on its way to the thread; on the stack of its caller, who sleeps until it has ended.
class ThreadCall : public PostNode {
 public:
  ThreadCall(const ThreadCall&) = delete;
  ThreadCall& operator=(const ThreadCall&) = delete;

  /// Posts it, and sleeps until end().
  void run_on(Reactor& reactor);

 protected:
  using Begin = void (*)(ThreadCall&, Reactor&);
  explicit ThreadCall(Begin begin) noexcept : PostNode(&ThreadCall::arrived), begin_(begin) {}
  ~ThreadCall() = default;
  /// Wakes the caller: the call may be gone when this returns.
  void end() noexcept;

  std::exception_ptr exception_;

 private:
  static void arrived(PostNode& node) noexcept;

  Begin begin_;
  Reactor* reactor_ = nullptr;
  struct Sleeper;
  Sleeper* sleeper_ = nullptr;
};

template <class F, class T>
class ThreadCallOf final : public ThreadCall {
 public:
  explicit ThreadCallOf(F& make) noexcept : ThreadCall(&ThreadCallOf::begin), make_(make) {}
  T take() {
    if (exception_) std::rethrow_exception(exception_);
    if constexpr (!std::is_void_v<T>) return std::move(*result_);
  }

 private:
  static void begin(ThreadCall& call, Reactor& reactor) {
    reactor.spawn(serve(static_cast<ThreadCallOf*>(&call), &reactor));
  }
  static Task<> serve(ThreadCallOf* call, Reactor* reactor) {
    try {
      if constexpr (std::is_void_v<T>) {
        co_await call->make_(*reactor);
      } else {
        T result = co_await call->make_(*reactor);
        call->result_.emplace(std::move(result));
      }
    } catch (...) {
      call->exception_ = std::current_exception();
    }
    call->end();
  }

  F& make_;
  std::optional<std::conditional_t<std::is_void_v<T>, char, T>> result_;
};

}  // namespace detail

class ReactorThread {
 public:
  /// Starts the thread and makes its reactor there. Errors: as Reactor::create; the system's when
  /// it has no thread to give.
  static Result<std::unique_ptr<ReactorThread>> create(ReactorOptions options = {});
  ReactorThread(const ReactorThread&) = delete;
  ReactorThread& operator=(const ReactorThread&) = delete;
  /// stop()
  ~ReactorThread();

  /// Runs `make(reactor)` on the thread, awaits the task or single operation that it returns, and
  /// hands its result over; blocks the calling thread until then. What `make` refers to lives
  /// meanwhile, so it may capture by reference. Exceptions of `make` and of what it returns are
  /// rethrown here. Requires: not called from the reactor's own thread (asserted).
  template <class F>
  auto call(F&& make);

  /// Requests the shutdown of the reactor, and waits for the thread's end. Returns the number of
  /// operations that had not ended, which is 0 unless options.shutdown_wait sets a limit: see
  /// Reactor::shut_down. It counts twice, for the tasks of the reactor and for what they leave
  /// behind. May be called again.
  std::size_t stop();

  /// For post(), request_shutdown() and call_on(); everything else belongs to its thread. A
  /// shutdown that is requested here stops the tasks that run there, calls too, and the thread
  /// serves on until stop(). Requires: not stopped.
  Reactor& reactor() noexcept;

 private:
  struct Shared;
  explicit ReactorThread(std::unique_ptr<Shared> shared) noexcept;
  void run(detail::ThreadCall& call);

  std::unique_ptr<Shared> shared_;
};

template <class F>
auto ReactorThread::call(F&& make) {
  using T = detail::AwaitResultT<std::invoke_result_t<F&, Reactor&>>;
  detail::ThreadCallOf<std::remove_reference_t<F>, T> call(make);
  run(call);
  return call.take();
}

}  // namespace diorite
