// A reactor inside another event loop: it is never asleep while it has something to do.

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <diorite/driver/decorator.hpp>
#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/scope.hpp>
#include <diorite/sync.hpp>
#include <diorite/timer.hpp>

#include "reactor/hosted_load.hpp"
#include "reactor/pollable_host.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {
namespace {

using std::chrono::milliseconds;

/// Hears of ends only while it gets a host, and tells of them in the poll after that.
class ChangingDriver final : public DriverDecorator {
 public:
  using DriverDecorator::DriverDecorator;
  void poll(OpList& done, Instant until) noexcept override {
    done.splice_back(early_);
    if (is_hosted_) inner().poll(done, until);
  }
  NativeHandle pollable() noexcept override {
    const std::uint64_t wanted = inner().counters().submitted;
    while (inner().counters().completed < wanted) inner().poll(early_, kNever);
    is_hosted_ = true;
    return inner().pollable();
  }

 private:
  OpList early_;
  bool is_hosted_ = false;
};

/// Cuts every other read short.
class CuttingDriver final : public DriverDecorator {
 public:
  using DriverDecorator::DriverDecorator;
  void poll(OpList& done, Instant until) noexcept override {
    OpList ended;
    inner().poll(ended, until);
    while (Op* const op = ended.pop_front()) {
      if (op->code == OpCode::read && (cuts_ = !cuts_)) op->result = std::min(op->result, 512);
      done.push_back(*op);
    }
  }

 private:
  bool cuts_ = false;
};

Task<> reads(DirectFile& file, std::uint64_t offset, Event& go, bool& done) {
  static_cast<void>(co_await go.wait());
  AlignedBuf page = *AlignedBuf::page();
  const BufIoResult read = co_await file.read_at(std::move(page), offset);
  CHECK(read);
  done = true;
}

}  // namespace

TEST_CASE("the handle is readable at first, and quiet when there is nothing to do", "[pollable]") {
  auto reactor = make_test_reactor();
  Host host(*reactor);
  CHECK(host.is_readable());
  host.turn();
  CHECK_FALSE(host.is_readable());
  host.turn();
  CHECK_FALSE(host.is_readable());
}

TEST_CASE("what ended while the driver got its host is known to the reactor", "[pollable]") {
  auto driver = std::make_unique<ChangingDriver>(make_test_driver());
  auto reactor = make_reactor_on(std::move(driver));
  bool done = false;
  auto asks = [](Reactor& r, bool& told) -> Task<> { told = static_cast<bool>(co_await nop(r)); };
  Running<> kept = start(*reactor, asks(*reactor, done));
  Running<> dropped = start(*reactor, asks(*reactor, done));
  reactor->turn(kAtOnce);
  REQUIRE(reactor->stats().in_flight == 2);
  Host host(*reactor);
  dropped = {};
  CHECK(reactor->stats().in_flight == 0);
  CHECK(host.is_readable());
  host.turn();
  CHECK(kept.done());
  CHECK(done);
  CHECK(reactor->drain(kAtOnce) == 0);
}

TEST_CASE("a run() that gives up leaves what it has heard to the host", "[pollable]") {
  ReactorOptions options;
  options.shutdown_wait = Duration::zero();
  auto reactor = make_test_reactor(options);
  Host host(*reactor);
  host.turn();
  auto stays = []() -> Task<> { co_await std::suspend_always(); };
  reactor->spawn(stays());
  reactor->request_shutdown();
  CHECK_FALSE(reactor->run());
  CHECK(host.is_readable());
}

// No handle becomes readable by what the reactor itself begins while it hands out completions.
TEST_CASE("the next step of a transfer is begun before the host sleeps", "[pollable]") {
  const TempDir dir;
  DriverOptions options;
  // Without threads nobody but the reactor can take the step up.
  options.pool_inline = GENERATE(false, true);
  if (options.pool_inline) options.choice = DriverChoice::pool;
  auto reactor = make_reactor_on(std::make_unique<CuttingDriver>(make_test_driver(options)));
  {
    DirectFile file = make_file(*reactor, dir, 4096);
    Host host(*reactor);
    host.turn();
    for (int i = 0; i < 20; ++i) {
      Event go(true);
      bool done = false;
      const Running<> reading = start(*reactor, reads(file, 0, go, done));
      REQUIRE(host.run_until([&] { return reading.done(); }));
      CHECK(done);
    }
    CHECK(reactor->stats().resubmits == 20);
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

TEST_CASE("a completion makes it readable", "[pollable]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  {
    DirectFile file = make_file(*reactor, dir, 4096);
    Host host(*reactor);
    host.turn();
    for (int i = 0; i < 200; ++i) {
      Event go(true);
      bool done = false;
      const Running<> reading = start(*reactor, reads(file, 0, go, done));
      REQUIRE(host.run_until([&] { return reading.done(); }));
      CHECK(done);
    }
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

TEST_CASE("whatever is begun outside a turn makes it readable once", "[pollable]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  {
    DirectFile file = make_file(*reactor, dir, 4096);
    Host host(*reactor);
    host.turn();
    Event go;
    bool done = false;
    const Running<> waiting = start(*reactor, reads(file, 0, go, done));
    CHECK(host.is_readable());  // a start
    host.turn();
    CHECK_FALSE(host.is_readable());
    go.set();
    CHECK(host.is_readable());  // what it woke
    REQUIRE(host.run_until([&] { return waiting.done(); }));

    StopSource stop;
    auto sleeps = []() -> Task<> { static_cast<void>(co_await sleep_for(std::chrono::hours(1))); };
    const Running<> sleeping = start(*reactor, sleeps(), stop.token());
    host.turn();
    CHECK_FALSE(host.is_readable());
    stop.request_stop();
    CHECK(host.is_readable());
    host.turn();
    CHECK(sleeping.done());
    reactor->spawn(sleeps());
    CHECK(host.is_readable());
    host.turn();
    {
      const DirectFile dropped = std::move(file);
    }  // its close is an operation, too
    CHECK(host.is_readable());
    REQUIRE(host.run_until([&] { return reactor->stats().in_flight == 0; }));
  }
}

TEST_CASE("timers are told by next_deadline, and the handle stays quiet", "[pollable]") {
  auto reactor = make_test_reactor();
  Host host(*reactor);
  int ticks = 0;
  auto ticking = [&]() -> Task<> {
    for (; ticks < 5; ++ticks) static_cast<void>(co_await sleep_for(milliseconds(1)));
  };
  const Running<> running = start(*reactor, ticking());
  REQUIRE(host.run_until([&] { return running.done(); }));
  CHECK(ticks == 5);
}

TEST_CASE("posts from other threads wake the host", "[pollable]") {
  auto reactor = make_test_reactor();
  Host host(*reactor);
  host.turn();
  constexpr int kPosts = 2000;
  int ran = 0;
  std::thread other([&] {
    for (int i = 0; i < kPosts; ++i) {
      reactor->post([&ran] { ++ran; });
      // In pairs, and one by one, so that the host is met awake and asleep.
      if (i % 3 == 0) std::this_thread::yield();
    }
  });
  CHECK(host.run_until([&] { return ran == kPosts; }));
  other.join();
  CHECK_FALSE(host.is_readable());
}

TEST_CASE("a shutdown from another thread wakes the host, whose run() ends the tasks",
          "[pollable]") {
  auto reactor = make_test_reactor();
  Host host(*reactor);
  for (int i = 0; i < 200; ++i) {
    bool stopped = false;
    reactor->spawn([](bool& was_stopped) -> Task<> {
      Event never;
      const Result<void> came = co_await never.wait();
      was_stopped = !came;
    }(stopped));
    host.turn();
    REQUIRE_FALSE(host.is_readable());
    std::atomic<bool> requested{false};
    std::thread other([&] {
      // Sometimes the host is asleep by now, and sometimes it is not.
      if (i % 2 == 0) std::this_thread::yield();
      requested.store(true);
      reactor->request_shutdown();
    });
    const bool woken = host.sleep();
    const bool was_requested = requested.load();
    other.join();
    REQUIRE(woken);
    REQUIRE(was_requested);
    // It waits for run(), and gives the host's turns nothing to do meanwhile.
    host.turn();
    CHECK_FALSE(stopped);
    CHECK(reactor->run());
    CHECK(stopped);
    host.turn();
  }
}

TEST_CASE("a completion is not lost when something else is heard with it", "[pollable]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  {
    DirectFile file = make_file(*reactor, dir, 4096);
    Host host(*reactor);
    host.turn();
    for (int i = 0; i < 50; ++i) {
      Event go(true);
      bool done = false;
      const Running<> reading = start(*reactor, reads(file, 0, go, done));
      host.turn();
      if (!reading.done()) REQUIRE(host.sleep());
      bool posted = false;
      reactor->post([&posted] { posted = true; });
      REQUIRE(host.run_until([&] { return reading.done(); }));
      CHECK(posted);
    }
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

TEST_CASE("waiting in place between turns hears nothing that was meant for the host",
          "[pollable]") {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  const TempDir dir;
  ReactorOptions options;
  options.driver.pool_threads = 1;
  auto reactor = make_test_reactor(options);
  {
    DirectFile file = make_file(*reactor, dir, kBytes);
    Host host(*reactor);
    auto borrows = [](DirectFile& f, RawIoBuf memory) -> Task<> {
      static_cast<void>(co_await f.read_at(memory, 0));
    };
    Result<AlignedBuf> memory = AlignedBuf::zeroed(kBytes);
    REQUIRE(memory);
    for (int i = 0; i < 50; ++i) {
      Running<> reading = start(*reactor, borrows(file, memory->as_raw()));
      host.turn();
      bool ran = false;
      auto runs = [&]() -> Task<> {
        ran = true;
        co_return;
      };
      const Running<> running = start(*reactor, runs());  // rings, and is not told twice
      if (i % 2 == 0) {
        reading = Running<>();
      } else {
        reactor->drain(kNever);
      }
      CHECK(host.is_readable());
      host.turn();
      CHECK(ran);
      REQUIRE(host.run_until([&] { return reactor->stats().in_flight == 0; }));
    }
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

TEST_CASE("what block_on leaves behind is told to the host", "[pollable]") {
  auto reactor = make_test_reactor();
  Host host(*reactor);
  host.turn();
  bool posted = false;
  auto posts = [&]() -> Task<> {
    reactor->post([&posted] { posted = true; });
    co_return;
  };
  run(*reactor, posts());
  CHECK((posted || host.is_readable()));
  host.turn();
  CHECK(posted);
  CHECK_FALSE(host.is_readable());
}

TEST_CASE("a full driver without threads of its own never sleeps", "[pollable]") {
  const TempDir dir;
  ReactorOptions options;
  options.driver.in_flight_max = 2;
  options.driver.pool_inline = true;
  auto reactor = make_test_reactor(options);
  {
    DirectFile file = make_file(*reactor, dir, 16 * 4096);
    Host host(*reactor);
    Event go(true);
    std::array<bool, 16> done{};
    std::vector<Running<>> reading;
    for (std::size_t i = 0; i < done.size(); ++i) {
      reading.push_back(start(*reactor, reads(file, i * 4096, go, done[i])));
    }
    REQUIRE(host.run_until(
        [&] { return std::all_of(done.begin(), done.end(), [](bool one) { return one; }); }));
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

TEST_CASE("a driver is readable until a poll finds nothing", "[pollable]") {
  for (const bool is_inline : {false, true}) {
    DriverOptions options;
    options.in_flight_max = 2;
    options.pool_inline = is_inline;
    const std::unique_ptr<Driver> driver = make_test_driver(options);
    std::array<Op, 9> ops;
    for (Op& op : ops) {
      op.code = OpCode::nop;
      driver->submit(op);
    }
    const NativeHandle handle = driver->pollable();
    std::size_t done_count = 0;
    while (done_count < ops.size()) {
      pollfd wanted{handle, POLLIN, 0};
      REQUIRE(::poll(&wanted, 1, 30'000) > 0);
      OpList done;
      driver->poll(done, kAtOnce);
      while (done.pop_front() != nullptr) ++done_count;
    }
  }
}

TEST_CASE("a wake before pollable() ends the poll after it", "[pollable]") {
  const std::unique_ptr<Driver> driver = make_test_driver();
  OpList done;
  driver->poll(done, kAtOnce);
  driver->wake();
  REQUIRE(driver->pollable() != kNoHandle);
  const Instant limit = driver->now() + std::chrono::seconds(30);
  driver->poll(done, limit);
  CHECK(driver->now() < limit);
}

TEST_CASE("a hosted reactor can still be run by itself", "[pollable]") {
  auto reactor = make_test_reactor();
  Host host(*reactor);
  host.turn();
  auto sleeps = []() -> Task<int> {
    static_cast<void>(co_await sleep_for(milliseconds(1)));
    co_return 7;
  };
  CHECK(run(*reactor, sleeps()) == 7);
  std::atomic<bool> posted{false};
  std::thread other([&] {
    reactor->post([&] { posted = true; });
    reactor->request_shutdown();
  });
  reactor->run();
  other.join();
  host.turn();
  CHECK(posted);
}

TEST_CASE("a host never sleeps past one of 100,000 random operations", "[pollable]") {
  run_random_load<Host>([](const Host& host) { CHECK(host.sleeps() > 100); });
}

}  // namespace diorite::test
