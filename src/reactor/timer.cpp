#include <diorite/timer.hpp>

#include <new>

#include <diorite/assert.hpp>

namespace diorite {

SleepAwait::SleepAwait(SleepAwait&& other) noexcept
    : due_(other.due_), delay_(other.delay_), relative_(other.relative_) {
  DIORITE_ASSERT(other.context_ == nullptr, "an awaitable was moved after it had been started");
}

SleepAwait::~SleepAwait() {
  if (timer_.armed()) {
    detail::ReactorAccess::remove_timer(*context_->reactor, timer_);
  } else if (timer_.linked()) {
    timer_.unlink();
  }
}

bool SleepAwait::arm(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  DIORITE_ASSERT(context_ == nullptr, "an awaitable is awaited once");
  context_ = &context;
  if (context.stop != nullptr && context.stop->stop_requested()) {
    error_ = stop_error(context.stop->reason());
    return false;
  }
  if (relative_) {
    due_ = later(context.reactor->now(), delay_);
  }
  timer_.set_due(due_);
  timer_.set_frame(frame);
  if (!detail::ReactorAccess::add_timer(*context.reactor, timer_)) {
    error_ = Error(std::make_error_code(std::errc::not_enough_memory));
    return false;
  }
  if (context.stop != nullptr) stop_.arm(*context.stop);
  return true;
}

void SleepAwait::stopped(StopCallback& callback) noexcept {
  SleepAwait& self = static_cast<Stop&>(callback).await;
  if (!self.timer_.armed()) return;  // it is due, and has its own result
  self.error_ = stop_error(self.context_->stop->reason());
  detail::ReactorAccess::remove_timer(*self.context_->reactor, self.timer_);
  self.context_->ready->push(self.timer_);
}

Result<void> SleepAwait::await_resume() noexcept {
  stop_.disarm();
  if (error_) return error_;
  return {};
}

namespace detail {

Deadline::Due::Due(Deadline& owner) noexcept
    : ReadyCall([](ReadyCall& call) noexcept {
        static_cast<Due&>(call).deadline.stop_.request_stop(StopReason::deadline);
      }),
      deadline(owner) {}

Deadline::Deadline(TaskContext& outer, Instant due)
    : stop_(outer.stop), context_{outer.ready, outer.reactor, &stop_.state()} {
  if (due <= outer.reactor->now()) {
    stop_.request_stop(StopReason::deadline);
    return;
  }
  if (due == kNever) return;
  timer_.set_due(due);
  timer_.set_call(call_);
  if (!ReactorAccess::add_timer(*outer.reactor, timer_)) throw std::bad_alloc();
}

Deadline::~Deadline() {
  if (timer_.armed()) {
    ReactorAccess::remove_timer(*context_.reactor, timer_);
  } else if (timer_.linked()) {
    timer_.unlink();
  }
}

}  // namespace detail
}  // namespace diorite
