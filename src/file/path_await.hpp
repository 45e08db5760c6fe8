// Leaf awaitables without a file of the caller's: operations by path, and the closing of a file.

#pragma once

#include <coroutine>
#include <utility>

#include "file/file_core.hpp"

#include <diorite/assert.hpp>
#include <diorite/io.hpp>

namespace diorite::detail {

/// Tells the reactor of an orphan that belongs to no file. An open that succeeds is closed by the
/// driver.
inline OrphanHook reactor_hook(Reactor& reactor) noexcept {
  return OrphanHook{[](void* context, OpCode code, std::int64_t result) noexcept {
                      ReactorAccess::orphan_ended(*static_cast<Reactor*>(context), code, result);
                    },
                    &reactor};
}

/// -> Error, without context. The caller fills op() before the co_await and reads it afterwards.
/// `lock`, if there is one, stays open until the operation has ended, see LockedDir.
template <class OpT>
class [[nodiscard]] PathAwait : public LeafCore {
 public:
  PathAwait(Reactor& reactor, OpCode code, FileRef lock = {}) noexcept
      : LeafCore(reactor), lock_(std::move(lock)) {
    op_.code = code;
  }
  PathAwait(const PathAwait&) = delete;
  ~PathAwait() {
    // A handle that arrived after its coroutine had been destroyed would otherwise stay open.
    const bool unheard = op_.state == OpState::done && op_.linked();
    if (abandon()) {
      orphan(Pin(), lock_ ? std::move(lock_).pin() : Pin(), reactor_hook(reactor()));
    } else if (unheard && op_.code == OpCode::open && op_.result >= 0) {
      FileCore::make(reactor(), op_.file, std::string());
    }
  }

  OpT& op() noexcept { return op_; }
  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start(op_, frame, *frame.promise().context);
  }
  Error await_resume() noexcept { return end(); }

 private:
  OpT op_;
  FileRef lock_;
};

/// Waits until no operation of the file is in flight.
class [[nodiscard]] IdleAwait {
 public:
  explicit IdleAwait(FileCore& core) noexcept : core_(core) {}
  IdleAwait(const IdleAwait&) = delete;
  ~IdleAwait() {
    if (node_.linked()) node_.unlink();
    if (core_.idle_waiter == &node_) core_.idle_waiter = nullptr;
  }
  bool await_ready() const noexcept { return core_.in_flight == 0; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    DIORITE_ASSERT(core_.idle_waiter == nullptr, "a file is closed twice");
    node_.set_frame(frame);
    core_.idle_waiter = &node_;
  }
  void await_resume() const noexcept {}

 private:
  FileCore& core_;
  ReadyNode node_;
};

/// Closes the handle of an idle file. When the system has not seen the close, the handle stays with
/// the file, and its last count closes it.
class [[nodiscard]] CloseAwait : public LeafCore {
 public:
  explicit CloseAwait(FileRef file) noexcept : LeafCore(file->reactor), file_(std::move(file)) {
    op_.code = OpCode::close;
    op_.file = file_->handle;
  }
  CloseAwait(const CloseAwait&) = delete;
  ~CloseAwait() {
    // A close that a stop took back has closed nothing.
    const bool unheard = op_.state == OpState::done && op_.linked() && !was_stopped();
    const bool in_flight = abandon();
    if (in_flight) orphan(Pin(), Pin(), reactor_hook(reactor()));
    if (in_flight || unheard) file_->handle_closed();
  }
  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start(op_, frame, *frame.promise().context);
  }
  Error await_resume() noexcept {
    const Error error = end();
    // Whatever close(2) answers, the descriptor is gone (Linux, FreeBSD); unless it was never
    // called.
    if (!is_cancelled(error) && error != std::errc::operation_canceled) file_->handle_closed();
    return error;
  }

 private:
  FileRef file_;
  Op op_;
};

}  // namespace diorite::detail
