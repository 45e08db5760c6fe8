#include <diorite/when.hpp>

namespace diorite::detail {

TaskContext& GroupCore::begin(TaskContext& outer, std::size_t count, FirstEnd first_end) {
  DIORITE_ASSERT(!begun(), "a group is awaited once");
  begun_ = true;
  left_ = count;
  // A copy: a group that stands outside of the coroutine which awaits it may outlive that.
  inner_ = outer;
  if (first_end == FirstEnd::stops_others) {
    stop_.emplace(outer.stop);
    inner_.stop = &stop_->state();
  }
  return inner_;
}

void GroupCore::ended(std::size_t index) noexcept {
  DIORITE_ASSERT(left_ > 0, "a group ended more often than it has tasks");
  if (first_ == kNone) {
    first_ = index;
    if (stop_) stop_->request_stop(StopReason::cancelled);
  }
  // While the group is being started nobody waits yet; wait() sees what has ended by then.
  if (--left_ == 0 && waiter_.has_target()) inner_.ready->push(waiter_);
}

bool GroupCore::wait(std::coroutine_handle<> frame) noexcept {
  if (left_ == 0) return false;
  waiter_.set_frame(frame);
  return true;
}

}  // namespace diorite::detail
