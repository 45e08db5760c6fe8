// sleep_for, sleep_until, with_deadline: what happens at a moment of the driver's clock.
//
// Sleep for retries, lingering and periodic work inside coroutines; it is no substitute for waiting
// for the event itself. with_deadline is for work whose result is worth nothing later: it stops the
// work when its time is up, and then waits for the work's own end.
//
// Thread: the reactor's. Lifetime: a dying coroutine takes its timer out.
// Cancel: a stop ends the sleep at once with Errc::cancelled or Errc::deadline.
// Allocates: nothing, once the reactor has held as many timers at a time before; otherwise the heap
// of timers grows, and when it cannot the sleep ends with std::errc::not_enough_memory.
//
//   Result<void> slept = co_await sleep_for(std::chrono::milliseconds(10));
//   BufIoResult page = co_await with_deadline(file.read_at(std::move(buf), 0), now + 1s);

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <diorite/driver/ready.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>

namespace diorite {

namespace detail {

/// An entry of the reactor's heap of timers. When it is due, it goes to the ready queue.
class TimerNode : public ReadyNode {
 public:
  bool armed() const noexcept { return place_ != kNowhere; }

 private:
  friend class TimerHeap;
  friend struct ReactorAccess;
  friend class ::diorite::Reactor;
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  Instant due_{};
  std::size_t place_ = kNowhere;
  std::uint64_t sequence_ = 0;  ///< when it was armed, in the order of all timers

 public:
  void set_due(Instant due) noexcept { due_ = due; }
  Instant due() const noexcept { return due_; }
};

}  // namespace detail

/// What sleep_for and sleep_until return. -> Result<void>
class [[nodiscard]] SleepAwait {
 public:
  explicit SleepAwait(Instant due) noexcept : due_(due) {}
  explicit SleepAwait(Duration delay) noexcept : delay_(delay), relative_(true) {}
  SleepAwait(SleepAwait&& other) noexcept;
  ~SleepAwait();

  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return arm(frame, *frame.promise().context);
  }
  Result<void> await_resume() noexcept;

 private:
  struct Stop : StopCallback {
    explicit Stop(SleepAwait& owner) noexcept : StopCallback(&stopped), await(owner) {}
    SleepAwait& await;
  };
  static void stopped(StopCallback& callback) noexcept;
  bool arm(std::coroutine_handle<> frame, TaskContext& context) noexcept;

  Instant due_{};
  Duration delay_{};
  bool relative_ = false;
  TaskContext* context_ = nullptr;
  detail::TimerNode timer_;
  Stop stop_{*this};
  Error error_;
};

/// Wakes at the first turn at or after `due`; a moment that has passed costs one trip through the
/// ready queue.
inline SleepAwait sleep_until(Instant due) noexcept { return SleepAwait(due); }
/// From the moment of the co_await. A delay of 0 or less lets everything that is ready run first.
inline SleepAwait sleep_for(Duration delay) noexcept { return SleepAwait(delay); }

namespace detail {

/// Stops what runs in its surroundings when its moment has come, or when the stop around it comes.
class Deadline {
 public:
  Deadline(TaskContext& outer, Instant due);
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  ~Deadline();
  TaskContext& context() noexcept { return context_; }

 private:
  struct Due : ReadyCall {
    explicit Due(Deadline& owner) noexcept;
    Deadline& deadline;
  };

  LinkedStop stop_;
  TaskContext context_;
  Due call_{*this};
  TimerNode timer_;
};

}  // namespace detail

/// Awaits a task or a single operation, and asks it to stop at `due`: an operation that the stop
/// keeps from taking place says Errc::deadline. Returns what it returns, always after its own end;
/// what the device has by then completes, and its own result stands. A moment that has passed
/// starts nothing that can be stopped. Throws bad_alloc when the heap of timers cannot grow.
/// Cancel: a stop of the awaiting coroutine reaches it as Errc::cancelled. Allocates: one pooled
/// frame, and another for what is no task.
template <class A>
Task<detail::AwaitResultT<A>> with_deadline(A awaitable, Instant due) {
  TaskContext& outer = co_await detail::ContextAwaiter();
  detail::Deadline deadline(outer, due);
  using T = detail::AwaitResultT<A>;
  co_return co_await detail::TaskAwaiter<T>(detail::as_task(std::move(awaitable)),
                                            &deadline.context());
}

}  // namespace diorite
