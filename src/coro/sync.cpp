#include <diorite/sync.hpp>

#include <diorite/assert.hpp>

namespace diorite {
namespace detail {

bool Waiter::wait(WaitQueue& queue, std::coroutine_handle<> frame, TaskContext& context,
                  Stoppable stoppable) noexcept {
  DIORITE_ASSERT(context_ == nullptr, "an awaitable is awaited once");
  DIORITE_ASSERT(queue.empty() || queue.front()->context_->reactor == context.reactor,
                 "coroutines of two reactors wait for the same object");
  context_ = &context;
  if (stoppable == Stoppable::yes && context.stop != nullptr) {
    if (context.stop->stop_requested()) {
      error_ = stop_error(context.stop->reason());
      return false;
    }
    stop_.arm(*context.stop);
  }
  set_frame(frame);
  waiting_ = true;
  queue.push_back(*this);
  return true;
}

void Waiter::wake(Error error) noexcept {
  DIORITE_ASSERT(waiting_, "waking somebody who does not wait");
  waiting_ = false;
  error_ = error;
  // From here on the outcome is settled: a stop comes too late.
  stop_.disarm();
  unlink();
  context_->ready->push(*this);
}

void Waiter::leave() noexcept {
  waiting_ = false;
  stop_.disarm();
  if (linked()) unlink();
}

void Waiter::stopped(StopCallback& callback) noexcept {
  Waiter& self = static_cast<Stop&>(callback).waiter;
  self.wake(stop_error(self.context_->stop->reason()));
  if (self.left_ != nullptr) self.left_(self);
}

}  // namespace detail

using Stoppable = detail::Waiter::Stoppable;

bool EventAwait::await_ready() const noexcept { return event_->is_set(); }

bool EventAwait::start(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  return waiter_.wait(event_->waiters_, frame, context, Stoppable::yes);
}

Result<void> EventAwait::await_resume() noexcept {
  if (const Error error = waiter_.error()) return error;
  return {};
}

void Event::set() noexcept {
  set_ = true;
  while (detail::Waiter* const first = waiters_.front()) first->wake();
}

AcquireAwait::~AcquireAwait() {
  const bool waits = place_.is_waiting();
  // Linked and not waiting: it was woken, but its coroutine dies before it hears of it.
  const bool unheard = !waits && place_.linked() && !place_.error();
  place_.leave();
  if (unheard || granted_) {
    place_.semaphore->give_back(place_.count);
  } else if (waits) {
    place_.semaphore->serve();
  }
}

void AcquireAwait::Place::left(Waiter& waiter) noexcept {
  // What it was first in line for may be enough for those behind it.
  static_cast<Place&>(waiter).semaphore->serve();
}

bool AcquireAwait::await_ready() noexcept {
  const Semaphore& semaphore = *place_.semaphore;
  if (place_.count == 0) {
    refusal_ = Error(Errc::out_of_range, 0, semaphore.permits());
  } else if (place_.count > semaphore.permits()) {
    refusal_ = Error(Errc::limit, place_.count, semaphore.permits());
  } else {
    granted_ = place_.semaphore->take(place_.count);
  }
  return granted_ || refusal_;
}

bool AcquireAwait::start(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  return place_.wait(place_.semaphore->waiters_, frame, context, Stoppable::yes);
}

Result<Permit> AcquireAwait::await_resume() noexcept {
  if (refusal_) return refusal_;
  if (const Error error = place_.error()) return error;
  granted_ = false;
  return Permit(*place_.semaphore, place_.count);
}

Permit Semaphore::try_acquire(std::uint64_t count) noexcept {
  if (count == 0 || !take(count)) return {};
  return Permit(*this, count);
}

bool Semaphore::take(std::uint64_t count) noexcept {
  if (!waiters_.empty() || count > available_) return false;
  available_ -= count;
  return true;
}

void Semaphore::give_back(std::uint64_t count) noexcept {
  available_ += count;
  DIORITE_ASSERT(available_ <= permits_, "more permits came back than were given");
  serve();
}

void Semaphore::serve() noexcept {
  while (detail::Waiter* const first = waiters_.front()) {
    const std::uint64_t count = static_cast<AcquireAwait::Place*>(first)->count;
    if (count > available_) return;
    available_ -= count;
    first->wake();
  }
}

LockAwait::~LockAwait() {
  const bool unheard = !waiter_.is_waiting() && waiter_.linked();
  waiter_.leave();
  if (unheard || holds_) mutex_->unlock();
}

bool LockAwait::await_ready() noexcept {
  holds_ = !std::exchange(mutex_->locked_, true);
  return holds_;
}

void LockAwait::start(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  waiter_.wait(mutex_->waiters_, frame, context, Stoppable::no);
}

Guard LockAwait::await_resume() noexcept {
  holds_ = false;
  return Guard(*mutex_);
}

Guard Mutex::try_lock() noexcept {
  if (std::exchange(locked_, true)) return {};
  return Guard(*this);
}

void Mutex::unlock() noexcept {
  DIORITE_ASSERT(locked_, "unlocking a mutex that is not locked");
  // It is handed over locked, so that nobody who comes meanwhile is faster.
  if (detail::Waiter* const first = waiters_.front()) {
    first->wake();
  } else {
    locked_ = false;
  }
}

}  // namespace diorite
