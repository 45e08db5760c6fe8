// StopSource, StopToken, StopCallback: asking work to stop, on one thread, without allocation.
//
// Use them to end work whose result is no longer wanted: a scan whose client has gone, the siblings
// of a task that failed. A stop is a request: an operation that is already with the device
// completes, and its own result is what its coroutine gets; an exact transfer that the device cuts
// short begins no other step then. For another thread's wish to stop something, post() a function
// that calls request_stop() to the reactor.
//
// Thread: the reactor's; std::stop_token would pay atomics and an allocation for threads that are
// not there. Lifetime: a StopSource outlives every token and callback made from it, and does not
// move.
//
//   StopSource stop;
//   Running<Result<void>> scan = start(reactor, scan_all(file), stop.token());
//   stop.request_stop();
//   Result<void> r = co_await std::move(scan);     // its own result, or Errc::cancelled

#pragma once

#include <cstdint>

#include <diorite/error.hpp>
#include <diorite/intrusive_list.hpp>

namespace diorite {

enum class StopReason : std::uint8_t { none, cancelled, deadline };

/// The error by which an operation says that a stop kept it from taking place.
inline Error stop_error(StopReason reason) noexcept {
  return Error(reason == StopReason::deadline ? Errc::deadline : Errc::cancelled);
}

class StopCallback;

/// What tokens point to. Users meet it only as part of a StopSource.
class StopState {
 public:
  StopState() noexcept = default;
  StopState(const StopState&) = delete;
  StopState& operator=(const StopState&) = delete;
  ~StopState() { DIORITE_ASSERT(callbacks_.empty(), "a stop source died before its callbacks"); }

  bool stop_requested() const noexcept { return reason_ != StopReason::none; }
  StopReason reason() const noexcept { return reason_; }
  /// Calls every registered callback once. The first reason stays. Returns false if it was stopped.
  bool request_stop(StopReason reason) noexcept;

 private:
  friend class StopCallback;
  IntrusiveList<StopCallback> callbacks_;
  StopReason reason_ = StopReason::none;
};

/// One pointer, copied freely; empty by default, and then never stopped.
class StopToken {
 public:
  StopToken() noexcept = default;
  explicit StopToken(StopState* state) noexcept : state_(state) {}
  bool stop_possible() const noexcept { return state_ != nullptr; }
  bool stop_requested() const noexcept { return state_ != nullptr && state_->stop_requested(); }
  StopReason reason() const noexcept {
    return state_ == nullptr ? StopReason::none : state_->reason();
  }
  StopState* state() const noexcept { return state_; }

 private:
  StopState* state_ = nullptr;
};

/// Runs its function when a stop is requested, inside request_stop(). The function must not resume
/// a coroutine: it pushes to the ready queue.
class StopCallback : public ListNode {
 public:
  using Function = void (*)(StopCallback&) noexcept;
  explicit StopCallback(Function function) noexcept : function_(function) {}
  StopCallback(const StopCallback&) = delete;
  StopCallback& operator=(const StopCallback&) = delete;
  ~StopCallback() { disarm(); }

  /// Requires: not armed, and no stop has been requested of `state`.
  void arm(StopState& state) noexcept {
    DIORITE_ASSERT(!state.stop_requested(), "arming a callback of a source that was stopped");
    state.callbacks_.push_back(*this);
  }
  void disarm() noexcept {
    if (linked()) unlink();
  }

 private:
  friend class StopState;
  Function function_;
};

inline bool StopState::request_stop(StopReason reason) noexcept {
  DIORITE_ASSERT(reason != StopReason::none, "a stop needs a reason");
  if (stop_requested()) return false;
  reason_ = reason;
  while (StopCallback* callback = callbacks_.pop_front()) callback->function_(*callback);
  return true;
}

/// A stop state of its own that is stopped with another one: what a scope, a deadline or a group
/// puts between its own work and the work around it. Does not move.
class LinkedStop {
 public:
  /// `parent` may be null: then only request_stop() stops it.
  explicit LinkedStop(StopState* parent) noexcept : link_(*this), parent_(parent) {
    if (parent == nullptr) return;
    if (parent->stop_requested()) {
      state_.request_stop(parent->reason());
    } else {
      link_.arm(*parent);
    }
  }
  LinkedStop(const LinkedStop&) = delete;
  LinkedStop& operator=(const LinkedStop&) = delete;

  StopState& state() noexcept { return state_; }
  bool request_stop(StopReason reason) noexcept { return state_.request_stop(reason); }

 private:
  struct Link : StopCallback {
    explicit Link(LinkedStop& owner) noexcept : StopCallback(&pass_on), linked_stop(owner) {}
    LinkedStop& linked_stop;
  };
  static void pass_on(StopCallback& callback) noexcept {
    LinkedStop& self = static_cast<Link&>(callback).linked_stop;
    self.state_.request_stop(self.parent_->reason());
  }

  StopState state_;
  Link link_;
  StopState* parent_;
};

class StopSource {
 public:
  StopSource() noexcept = default;
  StopToken token() noexcept { return StopToken(&state_); }
  bool stop_requested() const noexcept { return state_.stop_requested(); }
  /// Returns false when it was stopped before.
  bool request_stop(StopReason reason = StopReason::cancelled) noexcept {
    return state_.request_stop(reason);
  }

 private:
  StopState state_;
};

}  // namespace diorite
