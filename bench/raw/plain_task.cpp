#include "raw/plain_task.hpp"

#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

namespace diorite::bench::raw {
namespace {

/// The empty statement may have effects for all that the optimiser knows: without it the loop of
/// calls would become one addition.
__attribute__((noinline)) std::uint64_t add_one(std::uint64_t value) noexcept {
  asm volatile("" : "+r"(value));
  return value + 1;
}

class PlainTask {
 public:
  struct promise_type {
    // malloc and not operator new, which this program counts.
    static void* operator new(std::size_t bytes) {
      void* const memory = std::malloc(bytes);
      if (memory == nullptr) throw std::bad_alloc();
      return memory;
    }
    static void operator delete(void* memory) noexcept { std::free(memory); }

    PlainTask get_return_object() noexcept {
      return PlainTask(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_value(std::uint64_t result) noexcept { value = result; }
    void unhandled_exception() noexcept { std::terminate(); }
    std::uint64_t value = 0;
  };

  explicit PlainTask(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  PlainTask(PlainTask&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  PlainTask& operator=(PlainTask&&) = delete;
  ~PlainTask() {
    if (frame_) frame_.destroy();
  }

  // It never waits, so its awaiter never suspends.
  bool await_ready() const {
    frame_.resume();
    return true;
  }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  std::uint64_t await_resume() const noexcept { return frame_.promise().value; }

 private:
  std::coroutine_handle<promise_type> frame_;
};

__attribute__((noinline)) PlainTask next(std::uint64_t value) { co_return value + 1; }

PlainTask chain(std::uint64_t count, std::uint64_t value) {
  for (std::uint64_t i = 0; i < count; ++i) value = co_await next(value);
  co_return value;
}

}  // namespace

std::uint64_t run_calls(std::uint64_t count, std::uint64_t value) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) value = add_one(value);
  return value;
}

std::uint64_t run_plain_tasks(std::uint64_t count, std::uint64_t value) {
  const PlainTask whole = chain(count, value);
  whole.await_ready();
  return whole.await_resume();
}

}  // namespace diorite::bench::raw
