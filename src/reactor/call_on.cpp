#include <diorite/call_on.hpp>

namespace diorite::detail {

RemoteCall::~RemoteCall() = default;

void RemoteCall::send(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  DIORITE_ASSERT(home_ == nullptr, "an awaitable is awaited once");
  home_ = context.reactor;
  waiter_.set_frame(frame);
  owners_.fetch_add(1, std::memory_order_relaxed);
  ReactorAccess::call_begun(*home_);
  ReactorAccess::send(*home_, target_, *this);
}

void RemoteCall::leave() noexcept {
  if (home_ != nullptr && !answered_) {
    // Nobody waits for it any more.
    waiter_.clear_target();
    ask_to_stop(StopReason::cancelled);
  } else if (waiter_.linked()) {
    waiter_.unlink();
  }
  release();
}

void RemoteCall::ask_to_stop(StopReason reason) noexcept {
  // Its answer may be on the way, and the target gone since.
  if (answered_ || stop_sent_ || answer_sent_.load(std::memory_order_acquire)) return;
  stop_sent_ = true;
  stop_node_.reason = reason;
  owners_.fetch_add(1, std::memory_order_relaxed);
  ReactorAccess::send(*home_, target_, stop_node_);
}

void RemoteCall::arrived(PostNode& node) noexcept {
  auto& call = static_cast<RemoteCall&>(node);
  if (call.target_.is_ending()) {
    call.fail(Error(Errc::closed));
    return call.answer();
  }
  try {
    call.target_.spawn(call.serve(Obligation(call)));
    call.is_served_ = true;
  } catch (...) {
    call.exception_ = std::current_exception();
    call.answer();
  }
}

RemoteCall::Obligation::~Obligation() {
  // Not served: there was no memory for the frame, and arrived() answers.
  if (call_ == nullptr || !call_->is_served_) return;
  if (!call_->has_outcome_) call_->fail(Error(Errc::closed));
  call_->answer();
}

void RemoteCall::stop_arrived(PostNode& node) noexcept {
  const StopNode& stop = static_cast<StopNode&>(node);
  RemoteCall& call = stop.call;
  if (call.running_stop_ != nullptr) {
    call.running_stop_->request_stop(stop.reason);
  } else {
    call.stopped_early_ = stop.reason;
  }
  call.release();
}

RemoteCall::Serving::Serving(RemoteCall& call, TaskContext& outer) noexcept
    : call_(call), stop_(outer.stop), context_{outer.ready, outer.reactor, &stop_.state()} {
  call_.running_stop_ = &stop_;
  if (call_.stopped_early_ != StopReason::none) stop_.request_stop(call_.stopped_early_);
}

RemoteCall::Serving::~Serving() { call_.running_stop_ = nullptr; }

void RemoteCall::answer() noexcept {
  function = &RemoteCall::answered;
  answer_sent_.store(true, std::memory_order_release);
  ReactorAccess::send(target_, *home_, *this);
}

void RemoteCall::answered(PostNode& node) noexcept {
  auto& call = static_cast<RemoteCall&>(node);
  call.answered_ = true;
  ReactorAccess::call_ended(*call.home_);
  if (call.waiter_.has_target()) ReactorAccess::ready(*call.home_).push(call.waiter_);
  call.release();
}

void RemoteCall::release() noexcept {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

}  // namespace diorite::detail
