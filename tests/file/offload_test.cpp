// offload: functions on worker threads, and what stops and deaths do to them.

#include <diorite/offload.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <diorite/scope.hpp>
#include <diorite/timer.hpp>
#include <diorite/when.hpp>

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/reactor.hpp"

namespace diorite::test {

TEST_CASE("an offloaded function runs on another thread, and its value comes back", "[offload]") {
  auto reactor = make_test_reactor();
  std::thread::id where;
  auto work = [&]() -> Task<> {
    const Result<std::string> text = co_await reactor->offload([&where] {
      where = std::this_thread::get_id();
      return std::string("from over there");
    });
    REQUIRE(text);
    CHECK(*text == "from over there");
    const Result<void> nothing = co_await reactor->offload([] {});
    CHECK(nothing);
    const Result<int> own =
        co_await reactor->offload([] { return Result<int>(Error(Errc::busy)); });
    REQUIRE(!own);
    CHECK(own.error() == Errc::busy);
    const Result<std::unique_ptr<int>> moved =
        co_await reactor->offload([] { return std::make_unique<int>(3); });
    REQUIRE(moved);
    CHECK(**moved == 3);
  };
  run(*reactor, work());
  CHECK(where != std::thread::id());
  CHECK(where != std::this_thread::get_id());
}

TEST_CASE("an exception of an offloaded function is rethrown", "[offload]") {
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<std::string> {
    try {
      const Result<int> got =
          co_await reactor->offload([]() -> int { throw std::runtime_error("deep below"); });
      co_return got ? "a value" : "an error";
    } catch (const std::runtime_error& error) {
      co_return error.what();
    }
  };
  CHECK(run(*reactor, work()) == "deep below");
}

TEST_CASE("a stop takes back what no thread has begun, and waits for the rest", "[offload]") {
  ReactorOptions options;
  options.driver.pool_threads = 1;
  auto reactor = make_test_reactor(options);
  Gate gate;
  StopSource stop;
  std::atomic<int> ran{0};
  Error first;
  Error second;
  auto work = [&](Error& error) -> Task<> {
    const Result<void> done = co_await reactor->offload([&] {
      gate.pass();
      ++ran;
    });
    error = done.error();
  };
  const Running<> a = start(*reactor, work(first), stop.token());
  const Running<> b = start(*reactor, work(second), stop.token());
  reactor->turn(kAtOnce);
  gate.wait_for(1);
  stop.request_stop();
  while (!b.done()) reactor->turn(kAtOnce);
  CHECK(second == Errc::cancelled);
  CHECK_FALSE(a.done());
  gate.open();
  while (!a.done()) reactor->turn(reactor->now() + std::chrono::milliseconds(5));
  CHECK_FALSE(first);
  CHECK(ran == 1);
}

TEST_CASE("a dying coroutine waits for the function that refers to it", "[offload]") {
  ReactorOptions options;
  options.driver.pool_threads = 1;
  auto reactor = make_test_reactor(options);
  Gate gate;
  std::atomic<int> ran{0};
  auto work = [&]() -> Task<> {
    int local = 0;
    static_cast<void>(co_await reactor->offload([&] {
      gate.pass();
      ++local;
      ran += local;
    }));
  };
  Running<> begun = start(*reactor, work());
  Running<> queued = start(*reactor, work());
  reactor->turn(kAtOnce);
  gate.wait_for(1);
  queued = Running<>();
  std::thread opener([&] { gate.open(); });
  begun = Running<>();
  opener.join();
  CHECK(ran == 1);
  CHECK(reactor->stats().blocking_reaps == 1);
  CHECK(reactor->stats().in_flight == 0);
}

TEST_CASE("an offload that was stopped before never runs", "[offload]") {
  auto reactor = make_test_reactor();
  StopSource stop;
  stop.request_stop();
  bool ran = false;
  Error error;
  auto work = [&]() -> Task<> {
    const Result<void> done = co_await reactor->offload([&ran] { ran = true; });
    error = done.error();
  };
  const Running<> running = start(*reactor, work(), stop.token());
  while (!running.done()) reactor->turn(kAtOnce);
  CHECK(error == Errc::cancelled);
  CHECK_FALSE(ran);
}

TEST_CASE("many offloads, and nothing allocated for them", "[offload]") {
  auto reactor = make_test_reactor();
  std::uint64_t news = ~std::uint64_t{0};
  auto work = [&]() -> Task<int> {
    int sum = 0;
    for (int round = 0; round < 2; ++round) {
      const AllocCount count;
      for (int i = 0; i < 200; ++i) {
        const Result<int> got = co_await reactor->offload([&sum] { return sum + 1; });
        sum = *got;
      }
      news = count.here().news;
    }
    co_return sum;
  };
  CHECK(run(*reactor, work()) == 400);
  CHECK(news == 0);
}

}  // namespace diorite::test
