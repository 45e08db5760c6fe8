// Event, Semaphore, Mutex: coroutines of one reactor that wait for each other.
//
// Use an Event for "it has happened", a Semaphore to bound how much is done at a time (the depth of
// a queue, the memory of a copy), a Mutex where one coroutine must finish several awaited steps
// before another begins. Between two co_awaits nothing else runs on a reactor, so what is changed
// there needs none of them. They are not for threads: see Reactor::post for those.
//
// All are fair: first come, first served, and nobody overtakes who waits, also not with a smaller
// request. What can be had at once is had, stop or not; only waiting is ended by a stop.
//
// Thread: the reactor's; all that wait for one object belong to one reactor (asserted).
// Lifetime: the object outlives its permits, guards and waiters (asserted). A coroutine that dies
// while it waits leaves the queue; one that dies with a permit or guard gives it back.
// Allocates: nothing.
//
//   Semaphore depth(32);
//   for (const Extent& extent : extents) {
//     DIORITE_CO_TRY(Permit permit, co_await depth.acquire());
//     scope.spawn(copy(extent, std::move(permit)));     // gives it back when it ends
//   }

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/ready.hpp>
#include <diorite/intrusive_list.hpp>
#include <diorite/result.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

class Event;
class Semaphore;
class Mutex;

namespace detail {

/// A coroutine in the queue of what it waits for, and then in the ready queue.
class Waiter : public ReadyNode {
 public:
  /// `left`: called after a stop has taken it out of the queue, where that matters to the others.
  using Left = void (*)(Waiter&) noexcept;
  explicit Waiter(Left left = nullptr) noexcept : left_(left) {}
  Waiter(Waiter&& other) noexcept : left_(other.left_) {
    DIORITE_ASSERT(other.context_ == nullptr, "an awaitable was moved after it had been started");
  }
  Waiter& operator=(Waiter&&) = delete;
  ~Waiter() { DIORITE_ASSERT(!linked(), "a waiter died in its queue"); }

  enum class Stoppable : bool { no, yes };
  /// Queues the coroutine. False when a stop had been requested: it does not wait then, and
  /// error() says why.
  bool wait(IntrusiveList<Waiter>& queue, std::coroutine_handle<> frame, TaskContext& context,
            Stoppable stoppable) noexcept;
  /// Ends the waiting, with success or with `error`. Requires: it waits.
  void wake(Error error = {}) noexcept;
  /// For destructors: leaves whichever queue it stands in.
  void leave() noexcept;

  bool is_waiting() const noexcept { return waiting_; }
  Error error() const noexcept { return error_; }

 private:
  struct Stop : StopCallback {
    explicit Stop(Waiter& owner) noexcept : StopCallback(&Waiter::stopped), waiter(owner) {}
    Waiter& waiter;
  };
  static void stopped(StopCallback& callback) noexcept;

  TaskContext* context_ = nullptr;
  Left left_;
  Stop stop_{*this};
  Error error_;
  bool waiting_ = false;
};
using WaitQueue = IntrusiveList<Waiter>;

}  // namespace detail

/// What Event::wait returns. -> Result<void>
class [[nodiscard]] EventAwait {
 public:
  EventAwait(EventAwait&&) noexcept = default;
  ~EventAwait() { waiter_.leave(); }
  bool await_ready() const noexcept;
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start(frame, *frame.promise().context);
  }
  Result<void> await_resume() noexcept;

 private:
  friend class Event;
  explicit EventAwait(Event& event) noexcept : event_(&event) {}
  bool start(std::coroutine_handle<> frame, TaskContext& context) noexcept;

  Event* event_;
  detail::Waiter waiter_;
};

/// Something that has happened, or has not yet.
class Event {
 public:
  explicit Event(bool is_set = false) noexcept : set_(is_set) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { DIORITE_ASSERT(waiters_.empty(), "an event died while coroutines wait for it"); }

  bool is_set() const noexcept { return set_; }
  /// Wakes all that wait; they run from the ready queue. It stays set until reset().
  void set() noexcept;
  /// Whoever was woken stays woken.
  void reset() noexcept { set_ = false; }
  /// -> Result<void>, once it is set. Cancel: a stop ends the waiting with its error.
  EventAwait wait() noexcept { return EventAwait(*this); }

 private:
  friend class EventAwait;
  detail::WaitQueue waiters_;
  bool set_;
};

/// A part of a semaphore, given back when it dies. Move-only; empty by default and when moved from.
class [[nodiscard]] Permit {
 public:
  Permit() noexcept = default;
  Permit(Permit&& other) noexcept
      : semaphore_(std::exchange(other.semaphore_, nullptr)),
        count_(std::exchange(other.count_, 0)) {}
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      release();
      semaphore_ = std::exchange(other.semaphore_, nullptr);
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  ~Permit() { release(); }

  explicit operator bool() const noexcept { return semaphore_ != nullptr; }
  std::uint64_t count() const noexcept { return count_; }
  /// Gives it back now.
  void release() noexcept;

 private:
  friend class Semaphore;
  friend class AcquireAwait;
  Permit(Semaphore& semaphore, std::uint64_t count) noexcept
      : semaphore_(&semaphore), count_(count) {}
  Semaphore* semaphore_ = nullptr;
  std::uint64_t count_ = 0;
};

/// What Semaphore::acquire returns. -> Result<Permit>
class [[nodiscard]] AcquireAwait {
 public:
  AcquireAwait(AcquireAwait&&) noexcept = default;
  ~AcquireAwait();
  bool await_ready() noexcept;
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start(frame, *frame.promise().context);
  }
  Result<Permit> await_resume() noexcept;

 private:
  friend class Semaphore;
  struct Place : detail::Waiter {
    Place(Semaphore& owner, std::uint64_t wanted) noexcept
        : Waiter(&left), semaphore(&owner), count(wanted) {}
    static void left(Waiter& waiter) noexcept;
    Semaphore* semaphore;
    std::uint64_t count;
  };
  AcquireAwait(Semaphore& semaphore, std::uint64_t count) noexcept : place_(semaphore, count) {}
  bool start(std::coroutine_handle<> frame, TaskContext& context) noexcept;

  Place place_;
  Error refusal_;
  bool granted_ = false;  ///< without waiting
};

/// So many of something; whoever wants more than is left waits.
class Semaphore {
 public:
  explicit Semaphore(std::uint64_t permits) noexcept : permits_(permits), available_(permits) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;
  ~Semaphore() {
    DIORITE_ASSERT(waiters_.empty() && available_ == permits_,
                   "a semaphore died before its permits came back");
  }

  std::uint64_t permits() const noexcept { return permits_; }
  std::uint64_t available() const noexcept { return available_; }

  /// -> Result<Permit> for `count` at once. Errors: out_of_range when `count` is 0; limit when it
  /// is more than there will ever be. Cancel: a stop ends the waiting with its error.
  AcquireAwait acquire(std::uint64_t count = 1) noexcept { return AcquireAwait(*this, count); }
  /// Empty when acquire() would wait or fail.
  Permit try_acquire(std::uint64_t count = 1) noexcept;

 private:
  friend class Permit;
  friend class AcquireAwait;
  bool take(std::uint64_t count) noexcept;
  void give_back(std::uint64_t count) noexcept;
  void serve() noexcept;

  std::uint64_t permits_;
  std::uint64_t available_;
  detail::WaitQueue waiters_;
};

inline void Permit::release() noexcept {
  Semaphore* const semaphore = std::exchange(semaphore_, nullptr);
  if (semaphore != nullptr) semaphore->give_back(std::exchange(count_, 0));
}

/// A locked mutex, unlocked when it dies. Move-only; empty by default and when moved from.
class [[nodiscard]] Guard {
 public:
  Guard() noexcept = default;
  Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
  Guard& operator=(Guard&& other) noexcept {
    if (this != &other) {
      unlock();
      mutex_ = std::exchange(other.mutex_, nullptr);
    }
    return *this;
  }
  ~Guard() { unlock(); }

  explicit operator bool() const noexcept { return mutex_ != nullptr; }
  void unlock() noexcept;

 private:
  friend class Mutex;
  friend class LockAwait;
  explicit Guard(Mutex& mutex) noexcept : mutex_(&mutex) {}
  Mutex* mutex_ = nullptr;
};

/// What Mutex::lock returns. -> Guard
class [[nodiscard]] LockAwait {
 public:
  LockAwait(LockAwait&&) noexcept = default;
  ~LockAwait();
  bool await_ready() noexcept;
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    start(frame, *frame.promise().context);
  }
  Guard await_resume() noexcept;

 private:
  friend class Mutex;
  explicit LockAwait(Mutex& mutex) noexcept : mutex_(&mutex) {}
  void start(std::coroutine_handle<> frame, TaskContext& context) noexcept;

  Mutex* mutex_;
  detail::Waiter waiter_;
  bool holds_ = false;  ///< without waiting
};

/// One coroutine at a time. Waiting for it is not ended by a stop: what it guards is held for a few
/// steps, which a stop ends themselves, and a caller that must restore something cannot do it
/// without. A coroutine that locks it twice waits for itself.
class Mutex {
 public:
  Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex() { DIORITE_ASSERT(!locked_, "a mutex died while it was locked"); }

  bool is_locked() const noexcept { return locked_; }
  /// -> Guard
  LockAwait lock() noexcept { return LockAwait(*this); }
  /// Empty when lock() would wait.
  Guard try_lock() noexcept;

 private:
  friend class Guard;
  friend class LockAwait;
  void unlock() noexcept;

  detail::WaitQueue waiters_;
  bool locked_ = false;
};

inline void Guard::unlock() noexcept {
  if (Mutex* const mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
}

}  // namespace diorite
