// when_all, when_any: a fixed group of tasks or single operations, awaited together.
//
// Use when_all for steps that may overlap (read two pages, sync two files) and when_any for the
// first of several (a reply or a shutdown). For a number that is not known when the code is written
// see when_all of a vector, or TaskScope, which also stops the siblings of what failed.
//
// Operands are taken by value, unstarted: tasks, and the awaitables of single operations. They
// start in order at the co_await, and each runs until it first waits before the next one starts.
// A group always waits for all of its operands, also for those that when_any has stopped: nothing
// of it goes on behind the back of its caller, and every result is there, with its buffer.
//
// Thread: the reactor's.
// Lifetime: if the coroutine that awaits the group is destroyed, all operands are, where they
// stand. Cancel: a stop of the awaiting coroutine reaches every operand. Allocates: one pooled
// frame for each operand that is not a task; when_all of a vector one more, and the vectors.
//
//   auto pages = co_await when_all(file.read_at(std::move(a), 0),
//                                  file.read_at(std::move(b), 4096));
//   if (BufIoResult& first = get<0>(pages); !first) co_return first.error();
//
//   auto either = co_await when_any(serve(client), shutdown.wait());
//   if (either.index() == 1) co_return;

#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <diorite/assert.hpp>
#include <diorite/driver/ready.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {

/// A task that gives nothing has a result all the same, where results stand side by side.
template <class T>
using GroupResult = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/// Counts the tasks of a group that have not ended, and wakes whoever waits for the last.
class GroupCore {
 public:
  enum class FirstEnd : bool { stops_nobody, stops_others };
  GroupCore() noexcept = default;
  GroupCore(const GroupCore&) = delete;
  GroupCore& operator=(const GroupCore&) = delete;
  ~GroupCore() {
    if (waiter_.linked()) waiter_.unlink();
  }

  /// The surroundings of the group's tasks.
  TaskContext& begin(TaskContext& outer, std::size_t count, FirstEnd first_end);
  void ended(std::size_t index) noexcept;
  /// All have been started. False when all have ended, too.
  bool wait(std::coroutine_handle<> frame) noexcept;
  /// All have ended, and nobody will be stopped any more.
  void finish() noexcept {
    stop_.reset();
    inner_.stop = nullptr;
  }
  bool begun() const noexcept { return begun_; }
  /// The index of the first that ended.
  std::size_t first() const noexcept { return first_; }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  bool begun_ = false;
  TaskContext inner_;
  std::optional<LinkedStop> stop_;
  std::size_t left_ = 0;
  std::size_t first_ = kNone;
  ReadyNode waiter_;
};

/// One task of a group. Moved only before it starts.
template <class T>
class GroupChild : public TaskEnd {
 public:
  explicit GroupChild(Task<T>&& task) noexcept
      : TaskEnd(&GroupChild::ended), task_(std::move(task)) {
    DIORITE_ASSERT(task_ && task_.handle().promise().context == nullptr,
                   "a task is awaited once, and not when it is empty");
  }
  GroupChild(GroupChild&&) noexcept = default;

  void start(GroupCore& group, std::size_t index, TaskContext& context) {
    group_ = &group;
    index_ = index;
    auto frame = task_.handle();
    frame.promise().context = &context;
    frame.promise().end = this;
    frame.resume();
  }
  GroupResult<T> take() {
    if constexpr (std::is_void_v<T>) {
      task_.handle().promise().take();
      return {};
    } else {
      return task_.handle().promise().take();
    }
  }

 private:
  static void ended(TaskEnd& end) noexcept {
    auto& self = static_cast<GroupChild&>(end);
    self.group_->ended(self.index_);
  }

  Task<T> task_;
  GroupCore* group_ = nullptr;
  std::size_t index_ = 0;
};

}  // namespace detail

/// The results of when_all, by place: get<0>(r) or r.template get<0>(). What gives nothing has
/// std::monostate there. No tuple on purpose: g++ 15 and 16 miscompile `auto [a, b] = co_await`.
template <class... T>
class AllResult {
 public:
  explicit AllResult(std::tuple<detail::GroupResult<T>...>&& results) noexcept
      : results_(std::move(results)) {}
  template <std::size_t I>
  auto& get() & noexcept {
    return std::get<I>(results_);
  }
  template <std::size_t I>
  const auto& get() const& noexcept {
    return std::get<I>(results_);
  }
  template <std::size_t I>
  auto get() && noexcept {
    return std::get<I>(std::move(results_));
  }

 private:
  std::tuple<detail::GroupResult<T>...> results_;
};

/// The results of when_any: which was first, and everyone's.
template <class... T>
class AnyResult : public AllResult<T...> {
 public:
  AnyResult(std::size_t index, AllResult<T...>&& results) noexcept
      : AllResult<T...>(std::move(results)), index_(index) {}
  /// The place of the one that ended first.
  std::size_t index() const noexcept { return index_; }

 private:
  std::size_t index_;
};

template <std::size_t I, class... T>
auto& get(AllResult<T...>& results) noexcept {
  return results.template get<I>();
}
template <std::size_t I, class... T>
const auto& get(const AllResult<T...>& results) noexcept {
  return results.template get<I>();
}
template <std::size_t I, class... T>
auto get(AllResult<T...>&& results) noexcept {
  return std::move(results).template get<I>();
}

namespace detail {

/// What when_all and when_any have in common. The tasks die before what they point to.
template <class... T>
class GroupAwait {
 public:
  explicit GroupAwait(Task<T>&&... tasks) noexcept : children_(std::move(tasks)...) {}
  GroupAwait(GroupAwait&& other) noexcept : children_(std::move(other.children_)) {
    DIORITE_ASSERT(!other.core_.begun(), "an awaitable was moved after it had been started");
  }
  bool await_ready() const noexcept { return false; }

 protected:
  ~GroupAwait() = default;
  bool start(std::coroutine_handle<> frame, TaskContext& outer, GroupCore::FirstEnd first_end) {
    TaskContext& context = core_.begin(outer, sizeof...(T), first_end);
    start_all(context, std::index_sequence_for<T...>());
    return core_.wait(frame);
  }
  AllResult<T...> take() {
    core_.finish();
    return take_all(std::index_sequence_for<T...>());
  }
  std::size_t first() const noexcept { return core_.first(); }

 private:
  template <std::size_t... I>
  void start_all(TaskContext& context, std::index_sequence<I...>) {
    (std::get<I>(children_).start(core_, I, context), ...);
  }
  template <std::size_t... I>
  AllResult<T...> take_all(std::index_sequence<I...>) {
    return AllResult<T...>(std::tuple<GroupResult<T>...>{std::get<I>(children_).take()...});
  }

  GroupCore core_;
  std::tuple<GroupChild<T>...> children_;
};

}  // namespace detail

/// What when_all returns. -> AllResult<T...>
template <class... T>
class [[nodiscard]] WhenAllAwait : public detail::GroupAwait<T...> {
 public:
  using detail::GroupAwait<T...>::GroupAwait;
  WhenAllAwait(WhenAllAwait&&) noexcept = default;
  template <detail::TaskPromise P>
  DIORITE_DETAIL_NOINLINE bool await_suspend(std::coroutine_handle<P> frame) {
    return this->start(frame, *frame.promise().context, detail::GroupCore::FirstEnd::stops_nobody);
  }
  AllResult<T...> await_resume() { return this->take(); }
};

/// What when_any returns. -> AnyResult<T...>
template <class... T>
class [[nodiscard]] WhenAnyAwait : public detail::GroupAwait<T...> {
 public:
  using detail::GroupAwait<T...>::GroupAwait;
  WhenAnyAwait(WhenAnyAwait&&) noexcept = default;
  template <detail::TaskPromise P>
  DIORITE_DETAIL_NOINLINE bool await_suspend(std::coroutine_handle<P> frame) {
    return this->start(frame, *frame.promise().context, detail::GroupCore::FirstEnd::stops_others);
  }
  AnyResult<T...> await_resume() { return AnyResult<T...>(this->first(), this->take()); }
};

/// -> AllResult, once all have ended. An exception of one is rethrown then, the first one in the
/// order of the operands; the results of the others are lost with it.
template <class... A>
auto when_all(A... operands) {
  static_assert(sizeof...(A) > 0, "a group of nothing");
  return WhenAllAwait<detail::AwaitResultT<A>...>(detail::as_task(std::move(operands))...);
}

/// -> AnyResult, once the first has ended, however it ended, and the others, which are stopped
/// then, have ended too. A loser that could not be stopped has its own result; one that does not
/// listen, such as Mutex::lock, is waited for. An exception of any of them is rethrown, as by
/// when_all.
template <class... A>
auto when_any(A... operands) {
  static_assert(sizeof...(A) > 0, "a group of nothing");
  return WhenAnyAwait<detail::AwaitResultT<A>...>(detail::as_task(std::move(operands))...);
}

namespace detail {

/// Awaits tasks whose number is known when they run.
template <class T>
class GroupOfManyAwait {
 public:
  /// The children die before the core.
  GroupOfManyAwait(GroupCore& core, std::vector<GroupChild<T>>& children) noexcept
      : core_(&core), children_(&children) {}
  GroupOfManyAwait(GroupOfManyAwait&&) = delete;
  bool await_ready() const noexcept { return children_->empty(); }
  template <TaskPromise P>
  DIORITE_DETAIL_NOINLINE bool await_suspend(std::coroutine_handle<P> frame) {
    TaskContext& context = core_->begin(*frame.promise().context, children_->size(),
                                        GroupCore::FirstEnd::stops_nobody);
    for (std::size_t i = 0; i < children_->size(); ++i) (*children_)[i].start(*core_, i, context);
    return core_->wait(frame);
  }
  void await_resume() const noexcept {}

 private:
  GroupCore* core_;
  std::vector<GroupChild<T>>* children_;
};

template <class T>
std::vector<GroupChild<T>> children_of(std::vector<Task<T>>& tasks) {
  std::vector<GroupChild<T>> children;
  children.reserve(tasks.size());
  for (Task<T>& task : tasks) children.emplace_back(std::move(task));
  return children;
}

}  // namespace detail

/// -> the results, in the order of the tasks, once all have ended. An exception of one is rethrown
/// then, the first one in that order. Of no task: ready at once.
template <class T>
Task<std::vector<T>> when_all(std::vector<Task<T>> tasks) {
  detail::GroupCore core;
  std::vector<detail::GroupChild<T>> children = detail::children_of(tasks);
  co_await detail::GroupOfManyAwait<T>(core, children);
  std::vector<T> results;
  results.reserve(children.size());
  for (detail::GroupChild<T>& child : children) results.push_back(child.take());
  co_return std::move(results);
}
inline Task<> when_all(std::vector<Task<>> tasks) {
  detail::GroupCore core;
  std::vector<detail::GroupChild<void>> children = detail::children_of(tasks);
  co_await detail::GroupOfManyAwait<void>(core, children);
  for (detail::GroupChild<void>& child : children) child.take();
}

}  // namespace diorite
