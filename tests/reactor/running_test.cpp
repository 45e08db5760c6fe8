// start and Running: dropped in every state, awaited once, never run inside the call.

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "coro/trail.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

/// Where a task stands that is dropped.
enum class Wait { nothing, timer, driver, running };

Task<int> waits(Reactor& reactor, Trail& trail, Wait wait) {
  const Mark mark(trail, 'm');
  trail.push_back('r');
  if (wait == Wait::timer) static_cast<void>(co_await sleep_for(std::chrono::hours(1)));
  if (wait == Wait::driver) static_cast<void>(co_await nop(reactor));
  if (wait == Wait::running) {
    Running<int> inner = start(reactor, waits(reactor, trail, Wait::timer));
    const int value = co_await std::move(inner);
    co_return value + 1;
  }
  trail.push_back('e');
  co_return 5;
}

std::unique_ptr<Reactor> inline_reactor() {
  return make_reactor_on(make_test_driver({DriverChoice::pool, false, true}));
}

}  // namespace

TEST_CASE("start never runs the task inside the call", "[running]") {
  auto reactor = make_test_reactor();
  Trail trail;
  auto work = [&]() -> Task<int> {
    Running<int> running = start(*reactor, waits(*reactor, trail, Wait::nothing));
    trail.push_back('a');
    const bool early = running.done();
    const int value = co_await std::move(running);
    co_return early ? -1 : value;
  };
  CHECK(run(*reactor, work()) == 5);
  CHECK(trail == "arem");
}

TEST_CASE("a Running is dropped before it ran", "[running]") {
  auto reactor = make_test_reactor();
  Trail trail;
  {
    const Running<int> running = start(*reactor, waits(*reactor, trail, Wait::nothing));
    CHECK(static_cast<bool>(running));
  }
  run_ready(*reactor);
  CHECK(trail.empty());
}

TEST_CASE("a Running is dropped while its task waits", "[running]") {
  for (const Wait wait : {Wait::timer, Wait::driver, Wait::running}) {
    INFO("waits for " << static_cast<int>(wait));
    // Held operations stay in flight until they are released: the drop meets them there.
    ManualReactor rig = make_manual_reactor();
    const auto hold = rig.faults.hold(OpCode::nop, FaultDriver::kEvery);
    Trail trail;
    {
      const Running<int> running = start(*rig.reactor, waits(*rig.reactor, trail, wait));
      rig.reactor->turn(kAtOnce);
      rig.reactor->turn(kAtOnce);
      CHECK_FALSE(running.done());
    }
    CHECK(trail == (wait == Wait::running ? "rrmm" : "rm"));
    CHECK(rig.reactor->next_deadline() == kNever);
    CHECK(rig.reactor->stats().orphans == (wait == Wait::driver ? 1U : 0U));
    rig.faults.release(hold);
    CHECK(rig.reactor->drain(kNever) == 0);
    run_ready(*rig.reactor);
    CHECK(trail == (wait == Wait::running ? "rrmm" : "rm"));
  }
}

TEST_CASE("a Running is dropped when it is due but not resumed", "[running]") {
  for (const Wait wait : {Wait::timer, Wait::driver}) {
    ManualReactor rig = make_manual_reactor();
    Trail trail;
    {
      const Running<int> running = start(*rig.reactor, waits(*rig.reactor, trail, wait));
      rig.reactor->turn(kAtOnce);
      if (wait == Wait::timer) rig.clock.advance(std::chrono::hours(2));
      // Resumes nobody, but completes what there is.
      static_cast<void>(rig.reactor->drain(kNever));
      CHECK_FALSE(running.done());
    }
    run_ready(*rig.reactor);
    CHECK(trail == "rm");
  }
}

TEST_CASE("a Running is dropped after its task has ended", "[running]") {
  auto reactor = make_test_reactor();
  Trail trail;
  {
    const Running<int> running = start(*reactor, waits(*reactor, trail, Wait::nothing));
    reactor->turn(kAtOnce);
    CHECK(running.done());
    CHECK(trail == "rem");
  }
  run_ready(*reactor);
  CHECK(trail == "rem");
}

TEST_CASE("an exception that nobody awaits dies with its Running", "[running]") {
  auto reactor = make_test_reactor();
  auto throws = []() -> Task<> {
    throw std::runtime_error("unheard");
    co_return;
  };
  {
    const Running<> running = start(*reactor, throws());
    reactor->turn(kAtOnce);
    CHECK(running.done());
  }
  auto work = [&]() -> Task<> {
    Running<> running = start(*reactor, throws());
    co_await std::move(running);
  };
  CHECK_THROWS_AS(run(*reactor, work()), std::runtime_error);
}

TEST_CASE("a Running may be awaited where it is made", "[running]") {
  auto reactor = make_test_reactor();
  Trail trail;
  auto work = [&]() -> Task<int> {
    const int first = co_await start(*reactor, waits(*reactor, trail, Wait::nothing));
    const int second = co_await start(*reactor, waits(*reactor, trail, Wait::driver));
    co_return first + second;
  };
  CHECK(run(*reactor, work()) == 10);
  CHECK(trail == "remrem");
}

TEST_CASE("a Running may be replaced in the expression that awaits it", "[running]") {
  auto reactor = make_test_reactor();
  auto next = [&](int value) -> Task<int> {
    static_cast<void>(co_await nop(*reactor));
    co_return value + 1;
  };
  auto work = [&]() -> Task<int> {
    Running<int> ahead = start(*reactor, next(0));
    for (int i = 0; i < 5; ++i) ahead = start(*reactor, next(co_await std::move(ahead)));
    co_return co_await std::move(ahead);
  };
  CHECK(run(*reactor, work()) == 6);
}

TEST_CASE("the waiter dies first, and another may wait", "[running]") {
  ManualReactor rig = make_manual_reactor();
  Reactor& reactor = *rig.reactor;
  Trail trail;
  Running<int> running = start(reactor, waits(reactor, trail, Wait::timer));
  auto waiter = [&]() -> Task<int> {
    const int value = co_await std::move(running);
    trail.push_back('w');
    co_return value;
  };
  {
    const Running<int> first = start(reactor, waiter());
    reactor.turn(kAtOnce);
  }
  CHECK_FALSE(running.done());
  CHECK(run(reactor, waiter()) == 5);
  CHECK(trail == "remw");
}

TEST_CASE("the waiter dies between the end and its resumption", "[running]") {
  ManualReactor rig = make_manual_reactor();
  Reactor& reactor = *rig.reactor;
  Trail trail;
  Running<int> running = start(reactor, waits(reactor, trail, Wait::timer));
  Running<> waiter;
  auto wait = [&]() -> Task<> {
    static_cast<void>(co_await std::move(running));
    trail.push_back('w');
  };
  auto kill = [&]() -> Task<> {
    static_cast<void>(co_await sleep_for(std::chrono::hours(1)));
    // Due in the same turn as the task, before its waiter.
    trail.push_back('k');
    waiter = Running<>();
  };
  waiter = start(reactor, wait());
  run(reactor, kill());
  CHECK(trail == "remk");
  CHECK(running.done());
}

TEST_CASE("nested starts", "[running]") {
  auto reactor = make_test_reactor();
  struct Tree {
    static Task<int> grow(Reactor& reactor, int depth) {
      if (depth == 0) {
        static_cast<void>(co_await nop(reactor));
        co_return 1;
      }
      Running<int> left = start(reactor, grow(reactor, depth - 1));
      Running<int> right = start(reactor, grow(reactor, depth - 1));
      const int leaves = co_await std::move(left);
      co_return leaves + co_await std::move(right);
    }
  };
  CHECK(run(*reactor, Tree::grow(*reactor, 8)) == 256);
  {
    const Running<int> dropped = start(*reactor, Tree::grow(*reactor, 6));
    for (int i = 0; i < 4; ++i) reactor->turn(kAtOnce);
  }
  CHECK(reactor->drain(kNever) == 0);
}

TEST_CASE("a started task is stopped by its token only", "[running]") {
  ManualReactor rig = make_manual_reactor();
  auto sleeps = []() -> Task<Result<void>> { co_return co_await sleep_for(std::chrono::hours(1)); };
  StopSource source;
  Running<Result<void>> stopped = start(*rig.reactor, sleeps(), source.token());
  Running<Result<void>> unstopped = start(*rig.reactor, sleeps());
  rig.reactor->turn(kAtOnce);
  source.request_stop(StopReason::deadline);
  auto work = [&]() -> Task<bool> {
    const Result<void> first = co_await std::move(stopped);
    const Result<void> second = co_await std::move(unstopped);
    co_return first.error() == Errc::deadline&& static_cast<bool>(second);
  };
  CHECK(run(*rig.reactor, work()));
}

TEST_CASE("misuse of a Running ends the process", "[running][death]") {
  const Death dropped = run_in_child([] {
    auto reactor = inline_reactor();
    Trail trail;
    Running<int> running = start(*reactor, waits(*reactor, trail, Wait::timer));
    auto wait = [&]() -> Task<> { static_cast<void>(co_await std::move(running)); };
    const Running<> waiter = start(*reactor, wait());
    reactor->turn(kAtOnce);
    running = Running<int>();
  });
  CHECK(dropped.aborted());
  CHECK(dropped.said("a Running was dropped while somebody waits for it"));

  const Death twice = run_in_child([] {
    auto reactor = inline_reactor();
    Trail trail;
    Running<int> running = start(*reactor, waits(*reactor, trail, Wait::nothing));
    auto wait = [&]() -> Task<> {
      static_cast<void>(co_await std::move(running));
      static_cast<void>(co_await std::move(running));
    };
    run(*reactor, wait());
  });
  CHECK(twice.aborted());
  CHECK(twice.said("awaited for its result twice"));

  const Death two = run_in_child([] {
    auto reactor = inline_reactor();
    Trail trail;
    Running<int> running = start(*reactor, waits(*reactor, trail, Wait::timer));
    auto wait = [&]() -> Task<> { static_cast<void>(co_await std::move(running)); };
    const Running<> first = start(*reactor, wait());
    const Running<> second = start(*reactor, wait());
    reactor->turn(kAtOnce);
  });
  CHECK(two.aborted());
  CHECK(two.said("two coroutines wait for one Running"));

  const Death empty = run_in_child([] {
    auto reactor = inline_reactor();
    auto wait = []() -> Task<> { co_await Running<>(); };
    run(*reactor, wait());
  });
  CHECK(empty.aborted());
  CHECK(empty.said("an empty Running is awaited"));

  const Death outlives = run_in_child([] {
    auto reactor = inline_reactor();
    Trail trail;
    const Running<int> running = start(*reactor, waits(*reactor, trail, Wait::nothing));
    reactor.reset();
  });
  CHECK(outlives.aborted());
  CHECK(outlives.said("a reactor was destroyed before a task that was started on it"));

  const Death foreign = run_in_child([] {
    auto reactor = inline_reactor();
    auto other = inline_reactor();
    Trail trail;
    Running<int> running = start(*other, waits(*other, trail, Wait::nothing));
    auto wait = [&]() -> Task<> { static_cast<void>(co_await std::move(running)); };
    run(*reactor, wait());
  });
  CHECK(foreign.aborted());
  CHECK(foreign.said("a Running belongs to another reactor"));
}

}  // namespace diorite::test
