// The stack stays bounded in loops of co_await, at every optimisation level and under sanitizers.

#include <algorithm>
#include <cstdint>

#include <diorite/io.hpp>
#include <diorite/task.hpp>
#include <diorite/timer.hpp>

#include "support/catch.hpp"
#include "support/manual_driver.hpp"

namespace diorite::test {
namespace {

/// The lowest and the highest stack address that was seen.
class StackSpan {
 public:
  // Not inlined: its frame lies where the caller's ends. The address of the frame itself, since a
  // local variable may lie on a fake stack under AddressSanitizer.
  __attribute__((noinline)) void sample() noexcept {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    lowest_ = std::min(lowest_, here);
    highest_ = std::max(highest_, here);
  }
  std::uintptr_t bytes() const noexcept { return highest_ - lowest_; }

 private:
  std::uintptr_t lowest_ = ~std::uintptr_t{0};
  std::uintptr_t highest_ = 0;
};

constexpr std::uintptr_t kStackMax = 64 * 1024;
constexpr int kAwaits = 1'000'000;

Task<int> ready_task(StackSpan& stack, int value) {
  stack.sample();
  co_return value;
}

Task<int> two_levels(StackSpan& stack, int value) {
  stack.sample();
  co_return co_await ready_task(stack, value);
}

Task<std::uint64_t> loop(StackSpan& stack, int awaits) {
  std::uint64_t sum = 0;
  for (int i = 0; i < awaits; ++i) {
    const int value = co_await two_levels(stack, i & 1);
    sum += static_cast<std::uint64_t>(value);
  }
  co_return sum;
}

Task<> yields(StackSpan& stack) {
  stack.sample();
  const Result<void> slept = co_await sleep_for(Duration::zero());
  CHECK(slept);
  stack.sample();
}

Task<> yield_loop(StackSpan& stack, int awaits) {
  for (int i = 0; i < awaits; ++i) {
    co_await yields(stack);
    // Runs on the stack of the child that has just ended.
    co_await yields(stack);
    static_cast<void>(co_await ready_task(stack, i));
  }
}

}  // namespace

TEST_CASE("a million awaits of ready tasks use a bounded stack", "[task][stack]") {
  auto reactor = make_test_reactor();
  StackSpan stack;
  CHECK(run(*reactor, loop(stack, kAwaits)) == kAwaits / 2);
  CHECK(stack.bytes() < kStackMax);
}

TEST_CASE("ready tasks after a resumption use a bounded stack", "[task][stack]") {
  auto reactor = make_test_reactor();
  StackSpan stack;
  auto work = [&]() -> Task<std::uint64_t> {
    static_cast<void>(co_await nop(*reactor));
    co_return co_await loop(stack, kAwaits / 10);
  };
  CHECK(run(*reactor, work()) == kAwaits / 20);
  CHECK(stack.bytes() < kStackMax);
}

TEST_CASE("a loop of suspending tasks uses a bounded stack", "[task][stack]") {
  ManualReactor rig = make_manual_reactor();
  StackSpan stack;
  run(*rig.reactor, yield_loop(stack, 20'000));
  CHECK(stack.bytes() < kStackMax);
}

}  // namespace diorite::test
