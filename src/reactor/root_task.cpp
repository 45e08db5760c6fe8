#include <diorite/root_task.hpp>

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>

namespace diorite {
namespace detail {

RootTask::RootTask(Reactor& reactor, StopState* stop, std::coroutine_handle<> frame,
                   PromiseBase& promise, Finished on_finished, void* owner) noexcept
    : ReadyCall(&RootTask::run),
      TaskEnd(&RootTask::ended),
      context_{&ReactorAccess::ready(reactor), &reactor, stop},
      frame_(frame),
      on_finished_(on_finished),
      owner_(owner) {
  promise.context = &context_;
  promise.end = this;
  ReactorAccess::task_started(reactor);
}

RootTask::~RootTask() {
  DIORITE_ASSERT(waiter_ == nullptr, "a Running was dropped while somebody waits for it");
  if (ReadyCall::linked()) ReadyCall::unlink();
  if (SiblingNode::linked()) SiblingNode::unlink();
  DIORITE_ASSERT(context_.ready->running() != frame_.address(),
                 "a task was destroyed from inside itself");
  frame_.destroy();
  ReactorAccess::task_gone(*context_.reactor);
}

void RootTask::queue() noexcept { context_.ready->push(*this); }

void RootTask::wake_waiter() noexcept {
  if (waiter_ != nullptr) context_.ready->push(*waiter_);
}

void RootTask::retire(ReadyCall::Function free) noexcept {
  DIORITE_ASSERT(finished_, "retiring a task that has not finished");
  set_function(free);
  queue();
}

void RootTask::run(ReadyCall& call) noexcept {
  auto& root = static_cast<RootTask&>(call);
  DIORITE_ASSERT(!root.started_, "a task was started twice");
  root.started_ = true;
  root.context_.ready->set_running(root.frame_.address());
  root.frame_.resume();
}

void RootTask::ended(TaskEnd& end) noexcept {
  auto& root = static_cast<RootTask&>(end);
  root.finished_ = true;
  root.on_finished_(root);
}

}  // namespace detail
}  // namespace diorite
