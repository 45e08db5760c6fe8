// The pool of frames: steady state without malloc, frames that change threads, big frames, its cap.

#include "coro/frame_pool.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/task.hpp>

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

// Under AddressSanitizer every frame comes from the allocator on purpose.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kPooled = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif
#else
constexpr bool kPooled = true;
#endif

Task<int> leaf(int value) { co_return value; }

Task<int> middle(Reactor& reactor, int value) {
  static_cast<void>(co_await nop(reactor));
  const int below = co_await leaf(value);
  co_return below + 1;
}

Task<int> many(Reactor& reactor, int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) {
    const int got = co_await middle(reactor, i);
    Running<int> beside = start(reactor, leaf(1));
    const int one = co_await std::move(beside);
    sum += got - i - one;
  }
  co_return sum;
}

template <std::size_t N>
Task<int> big(Reactor& reactor) {
  std::array<unsigned char, N> bytes;
  bytes.fill(3);
  static_cast<void>(co_await nop(reactor));
  int sum = 0;
  for (const unsigned char byte : bytes) sum += byte;
  co_return sum;
}

}  // namespace

TEST_CASE("creating and awaiting tasks allocates nothing in the steady state", "[frame_pool]") {
  if (!kPooled) return;
  auto reactor = make_test_reactor();
  CHECK(run(*reactor, many(*reactor, 100)) == 0);
  const detail::FramePoolStats before = detail::frame_pool_stats();
  const AllocCount count;
  const int sum = run(*reactor, many(*reactor, 1000));
  const AllocTotals totals = count.here();
  const detail::FramePoolStats after = detail::frame_pool_stats();
  CHECK(sum == 0);
  CHECK(totals.news == 0);
  CHECK(totals.deletes == 0);
  CHECK(after.misses == before.misses);
  // Compilers may keep a frame inside its caller's, so only the records of start() are certain.
  CHECK(after.hits >= before.hits + 1000);
  CHECK(reactor->stats().frame_pool_hits == after.hits);
}

TEST_CASE("frames beyond the classes of the pool work and are freed", "[frame_pool]") {
  auto reactor = make_test_reactor();
  CHECK(run(*reactor, big<1500>(*reactor)) == 4500);
  CHECK(run(*reactor, big<2048>(*reactor)) == 6144);
  CHECK(run(*reactor, big<100'000>(*reactor)) == 300'000);
}

TEST_CASE("every size gets memory of its own", "[frame_pool]") {
  // Sizes around the borders of the classes, written full: an overlap or a short block would show
  // here or under a sanitizer.
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (std::size_t bytes = 1; bytes <= 2300; bytes += (bytes % 64 == 1 ? 62 : 1)) {
    void* const block = detail::frame_allocate(bytes);
    REQUIRE(reinterpret_cast<std::uintptr_t>(block) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);
    std::memset(block, static_cast<int>(bytes % 251), bytes);
    blocks.emplace_back(block, bytes);
  }
  for (const auto& [block, bytes] : blocks) {
    const auto* const data = static_cast<const unsigned char*>(block);
    for (std::size_t i = 0; i < bytes; ++i) REQUIRE(data[i] == bytes % 251);
    detail::frame_release(block, bytes);
  }
}

TEST_CASE("the pool keeps no more than its cap", "[frame_pool]") {
  if (!kPooled) return;
  constexpr std::size_t kBytes = 2048;
  constexpr std::size_t kBlocks = 3000;  // 6 MB, more than the pool may keep
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < kBlocks; ++i) blocks.push_back(detail::frame_allocate(kBytes));
  for (void* block : blocks) detail::frame_release(block, kBytes);
  const std::uint64_t cached = detail::frame_pool_stats().cached_bytes;
  CHECK(cached <= (std::uint64_t{4} << 20));
  CHECK(cached >= (std::uint64_t{3} << 20));
}

TEST_CASE("a frame may be freed on another thread than its maker's", "[frame_pool]") {
  auto reactor = make_test_reactor();
  std::vector<Task<int>> tasks;
  std::thread maker([&] {
    for (int i = 0; i < 200; ++i) tasks.push_back(leaf(i));
  });
  maker.join();
  int sum = 0;
  for (std::size_t i = 0; i < 100; ++i) sum += run(*reactor, std::move(tasks[i]));
  CHECK(sum == 4950);
  std::thread breaker([&] { tasks.clear(); });  // unstarted ones, with frames of a dead thread
  breaker.join();
  const int after = run(*reactor, leaf(5));
  CHECK(after == 5);
}

}  // namespace diorite::test
