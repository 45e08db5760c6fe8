#include <diorite/scope.hpp>

#include <diorite/assert.hpp>

namespace diorite {

TaskScope::TaskScope(Reactor& reactor, StopToken parent) noexcept
    : reactor_(reactor), stop_(parent.state()) {}

TaskScope::~TaskScope() {
  DIORITE_ASSERT(joiner_ == nullptr, "a scope was destroyed while somebody joins it");
  while (detail::SiblingNode* node = children_.front()) {
    auto* root = static_cast<detail::RootTask*>(node);
    if (!root->finished()) ++detail::ReactorAccess::stats(reactor_).abandoned_tasks;
    delete root;
  }
}

template <class T>
void TaskScope::adopt(Task<T>& task, detail::RootTask::Finished finished) {
  detail::RootTask* root = detail::make_root(reactor_, task, &stop_.state(), finished, this);
  // A joiner that is on its way to be resumed goes on waiting.
  if (joiner_ != nullptr && joiner_->linked()) joiner_->unlink();
  children_.push_back(*root);
  ++count_;
  root->queue();
}

void TaskScope::spawn(Task<> task) { adopt(task, &TaskScope::plain_finished); }
void TaskScope::spawn(Task<Result<void>> task) { adopt(task, &TaskScope::result_finished); }

void TaskScope::request_stop(StopReason reason) noexcept { stop_.request_stop(reason); }

void TaskScope::fail(Error error) noexcept {
  if (!failure_) failure_ = error;
  request_stop();
}

void TaskScope::plain_finished(detail::RootTask& root) noexcept {
  auto& scope = *static_cast<TaskScope*>(root.owner());
  if (std::exception_ptr thrown = detail::promise_of<void>(root).exception()) {
    if (scope.terminate_on_exception_) std::terminate();
    if (!scope.exception_) scope.exception_ = std::move(thrown);
    scope.request_stop();
  }
  scope.child_ended(root);
}

void TaskScope::result_finished(detail::RootTask& root) noexcept {
  auto& scope = *static_cast<TaskScope*>(root.owner());
  auto& promise = detail::promise_of<Result<void>>(root);
  if (std::exception_ptr thrown = promise.exception()) {
    if (!scope.exception_) scope.exception_ = std::move(thrown);
    scope.request_stop();
  } else if (const Result<void>* outcome = promise.value_if(); outcome != nullptr && !*outcome) {
    scope.fail(outcome->error());
  }
  scope.child_ended(root);
}

void TaskScope::child_ended(detail::RootTask& root) noexcept {
  // Its frame is still on the stack: the record goes through the ready queue once more to be freed.
  root.retire([](ReadyCall& call) noexcept {
    auto& ended = static_cast<detail::RootTask&>(call);
    auto& scope = *static_cast<TaskScope*>(ended.owner());
    ended.detail::SiblingNode::unlink();
    --scope.count_;
    if (scope.children_.empty() && scope.joiner_ != nullptr) {
      detail::ReactorAccess::ready(scope.reactor_).push(*scope.joiner_);
    }
    // Comes last: the frame may hold what keeps the scope alive.
    delete &ended;
  });
}

JoinAwait TaskScope::join() noexcept { return JoinAwait(*this); }

JoinAwait::~JoinAwait() {
  if (node_.linked()) node_.unlink();
  if (scope_ != nullptr && scope_->joiner_ == &node_) scope_->joiner_ = nullptr;
}

Result<void> JoinAwait::await_resume() {
  // Lets go of the scope here: the same full-expression may destroy it.
  TaskScope& scope = *std::exchange(scope_, nullptr);
  if (scope.joiner_ == &node_) scope.joiner_ = nullptr;
  if (scope.exception_) std::rethrow_exception(std::exchange(scope.exception_, nullptr));
  if (scope.failure_) return std::exchange(scope.failure_, Error());
  return {};
}

}  // namespace diorite
