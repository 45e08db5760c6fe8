// RootTask: the record of a task that was started instead of awaited.
//
// Library internals: users meet Running, TaskScope and Reactor::block_on. The record owns the
// task's frame, holds the surroundings its promise points to, and tells its owner of the end.
//
// Thread: the reactor's. Allocates: itself, from the pool of frames.

#pragma once

#include <coroutine>
#include <cstddef>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/ready.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {

struct SiblingNode : ListNode {};

/// A started task: its frame, its surroundings, and who is told of its end. Queued itself, first to
/// start the frame and, in a scope, once more to be freed when the frame is no longer on the stack.
class RootTask : public ReadyCall, public SiblingNode, public TaskEnd {
 public:
  using Finished = void (*)(RootTask&) noexcept;

  static void* operator new(std::size_t bytes) { return frame_allocate(bytes); }
  static void operator delete(void* memory, std::size_t bytes) noexcept {
    frame_release(memory, bytes);
  }

  /// Binds the frame; queue() makes it run. The record owns the frame.
  RootTask(Reactor& reactor, StopState* stop, std::coroutine_handle<> frame, PromiseBase& promise,
           Finished on_finished, void* owner) noexcept;
  RootTask(const RootTask&) = delete;
  RootTask& operator=(const RootTask&) = delete;
  /// Destroys the frame wherever it stands.
  ~RootTask();

  void queue() noexcept;
  bool finished() const noexcept { return finished_; }
  void* owner() const noexcept { return owner_; }
  std::coroutine_handle<> frame() const noexcept { return frame_; }
  ReadyQueue& ready() const noexcept { return *context_.ready; }
  Reactor& reactor() const noexcept { return *context_.reactor; }
  /// Who waits for the end of a Running.
  void set_waiter(ReadyNode& waiter) noexcept {
    DIORITE_ASSERT(waiter_ == nullptr, "two coroutines wait for one Running");
    waiter_ = &waiter;
  }
  void forget_waiter(const ReadyNode& waiter) noexcept {
    if (waiter_ == &waiter) waiter_ = nullptr;
  }
  void mark_taken() noexcept {
    DIORITE_ASSERT(!taken_, "a Running was awaited for its result twice");
    taken_ = true;
  }
  void wake_waiter() noexcept;
  /// Queues the finished record once more, for `free` to delete it when its frame is off the stack.
  void retire(ReadyCall::Function free) noexcept;

 private:
  static void run(ReadyCall& call) noexcept;
  static void ended(TaskEnd& end) noexcept;

  TaskContext context_;
  std::coroutine_handle<> frame_;
  Finished on_finished_;
  void* owner_;
  ReadyNode* waiter_ = nullptr;
  bool started_ = false;
  bool finished_ = false;
  bool taken_ = false;
};

template <class T>
Promise<T>& promise_of(RootTask& root) noexcept {
  return std::coroutine_handle<Promise<T>>::from_address(root.frame().address()).promise();
}

template <class T>
RootTask* make_root(Reactor& reactor, Task<T>& task, StopState* stop, RootTask::Finished finished,
                    void* owner) {
  DIORITE_ASSERT(static_cast<bool>(task) && task.handle().promise().context == nullptr,
                 "a task is started once, and not when it is empty");
  auto handle = task.handle();
  auto* root = new RootTask(reactor, stop, handle, handle.promise(), finished, owner);
  task.release();
  return root;
}

}  // namespace detail
}  // namespace diorite
