// ReactorThread: calls from threads that block.

#include <diorite/reactor_thread.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <diorite/file.hpp>
#include <diorite/timer.hpp>

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {
namespace {

std::unique_ptr<ReactorThread> make_thread() {
  ReactorOptions options;
  options.driver = test_driver_options();
  Result<std::unique_ptr<ReactorThread>> made = ReactorThread::create(options);
  REQUIRE(made);
  return std::move(*made);
}

Task<int> doubled(int value) {
  static_cast<void>(co_await sleep_for(Duration::zero()));
  co_return 2 * value;
}

Task<> throws() {
  static_cast<void>(co_await sleep_for(Duration::zero()));
  throw std::runtime_error("on the other thread");
}

}  // namespace

TEST_CASE("a call runs on the thread, and hands its result over", "[reactor_thread]") {
  const auto thread = make_thread();
  std::thread::id where;
  CHECK(thread->call([](Reactor&) { return doubled(4); }) == 8);
  auto looks = [&](Reactor& reactor) -> Task<bool> {
    where = std::this_thread::get_id();
    co_return &reactor == &thread->reactor();
  };
  CHECK(thread->call(looks));
  CHECK(where != std::this_thread::get_id());
  // A single operation, without a task around it.
  CHECK(thread->call([](Reactor&) { return sleep_for(std::chrono::milliseconds(1)); }));
  CHECK(thread->call([](Reactor& reactor) { return nop(reactor); }));
}

TEST_CASE("exceptions come to the caller", "[reactor_thread]") {
  const auto thread = make_thread();
  CHECK_THROWS_WITH(thread->call([](Reactor&) { return throws(); }), "on the other thread");
  auto refuses = [](Reactor&) -> Task<int> { throw std::runtime_error("before there is a task"); };
  CHECK_THROWS_WITH(thread->call(refuses), "before there is a task");
  CHECK(thread->call([](Reactor&) { return doubled(1); }) == 2);
}

TEST_CASE("many threads call at a time", "[reactor_thread]") {
  const auto thread = make_thread();
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int n = 0; n < 500; ++n) {
        const int value = i * 1000 + n;
        if (thread->call([&](Reactor&) { return doubled(value); }) != 2 * value) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("a call allocates nothing once the pool is warm", "[reactor_thread]") {
  const auto thread = make_thread();
  std::uint64_t news = ~std::uint64_t{0};
  for (int round = 0; round < 3; ++round) {
    const AllocCount count;
    for (int i = 0; i < 100; ++i) {
      static_cast<void>(thread->call([&](Reactor&) { return doubled(i); }));
    }
    news = count.everywhere().news;
  }
  // Where the pool of frames is off, for AddressSanitizer's sake, every frame is an allocation.
  std::uint64_t hits = 0;
  thread->call([&](Reactor& reactor) -> Task<> {
    hits = reactor.stats().frame_pool_hits;
    co_return;
  });
  if (hits > 0) CHECK(news == 0);
}

TEST_CASE("a threaded program reads and writes a file through it", "[reactor_thread]") {
  const TempDir dir;
  const auto thread = make_thread();
  {
    Result<DirectFile> file =
        thread->call([&](Reactor& reactor) { return DirectFile::open_rw(reactor, dir.file("a")); });
    REQUIRE(file);
    AlignedBuf page = *AlignedBuf::page();
    page.bytes()[17] = std::byte{42};
    BufIoResult written =
        thread->call([&](Reactor&) { return file->write_at(std::move(page), 4096); });
    REQUIRE(written);
    page = std::move(written).buf();
    page.bytes()[17] = std::byte{0};
    BufIoResult read = thread->call([&](Reactor&) { return file->read_at(std::move(page), 4096); });
    REQUIRE(read);
    CHECK(read.buf().bytes()[17] == std::byte{42});
    auto close = [&](Reactor&) { return std::move(*file).close(); };
    CHECK(thread->call(close));
    // The record of the file belongs to the thread.
    auto drop = [&](Reactor&) -> Task<> {
      *file = DirectFile();
      co_return;
    };
    thread->call(drop);
  }
}

TEST_CASE("stopping joins what calls have spawned", "[reactor_thread]") {
  const auto thread = make_thread();
  std::atomic<int> ended{0};
  auto spawns = [&](Reactor& reactor) -> Task<> {
    auto sleeper = [](std::atomic<int>& count) -> Task<> {
      static_cast<void>(co_await sleep_for(std::chrono::hours(1)));
      ++count;
    };
    for (int i = 0; i < 3; ++i) reactor.spawn(sleeper(ended));
    co_return;
  };
  thread->call(spawns);
  CHECK(thread->stop() == 0);
  CHECK(ended == 3);
  CHECK(thread->stop() == 0);
}

TEST_CASE("a shutdown that somebody else requests stops the tasks, and the thread serves on",
          "[reactor_thread]") {
  const auto thread = make_thread();
  for (int i = 0; i < 50; ++i) {
    auto sleeps = [](Reactor& reactor) -> Task<Result<void>> {
      reactor.request_shutdown();
      co_return co_await sleep_for(std::chrono::hours(1));
    };
    CHECK(thread->call(sleeps).error() == Errc::cancelled);
    thread->reactor().request_shutdown();
    CHECK(thread->call([](Reactor&) { return doubled(4); }) == 8);
  }
  thread->reactor().request_shutdown();
  CHECK(thread->stop() == 0);
}

TEST_CASE("a shutdown that cannot end in time leaves the thread to be stopped",
          "[reactor_thread]") {
  ReactorOptions options;
  options.driver = test_driver_options();
  options.shutdown_wait = Duration::zero();
  Result<std::unique_ptr<ReactorThread>> thread = ReactorThread::create(options);
  REQUIRE(thread);
  auto spawns = [](Reactor& reactor) -> Task<> {
    auto stays = []() -> Task<> { co_await std::suspend_always(); };
    reactor.spawn(stays());
    co_return;
  };
  (*thread)->call(spawns);
  (*thread)->reactor().request_shutdown();
  for (int i = 0; i < 50; ++i) {
    CHECK((*thread)->call([](Reactor&) { return doubled(4); }) == 8);
  }
  CHECK((*thread)->stop() == 0);
}

TEST_CASE("options that cannot be had are an error, and no thread is left", "[reactor_thread]") {
  ReactorOptions options;
  options.driver.in_flight_max = 0;
  const Result<std::unique_ptr<ReactorThread>> made = ReactorThread::create(options);
  REQUIRE(!made);
  CHECK(made.error() == Errc::out_of_range);
}

TEST_CASE("a call from its own thread is caught", "[reactor_thread]") {
  const Death death = run_in_child([] {
    const auto thread = make_thread();
    auto again = [&](Reactor&) -> Task<int> {
      co_return thread->call([](Reactor&) { return doubled(1); });
    };
    static_cast<void>(thread->call(again));
  });
  CHECK(death.said("a reactor's thread calls itself"));
}

}  // namespace diorite::test
