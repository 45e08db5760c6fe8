// Reactor: block_on, spawn, turns, hooks, fairness, draining and destruction.

#include <diorite/reactor.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

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

std::unique_ptr<Reactor> inline_reactor() {
  return make_reactor_on(make_test_driver({DriverChoice::pool, false, true}));
}

struct Hook : TurnHook {
  Hook(Trail& trail_, char letter_) : TurnHook(&Hook::run), trail(trail_), letter(letter_) {}
  static void run(TurnHook& hook) noexcept {
    auto& self = static_cast<Hook&>(hook);
    self.trail.push_back(self.letter);
    if (self.removes != nullptr && self.removes->linked()) self.removes->unlink();
    if (self.destroys != nullptr) self.destroys->reset();
  }
  Trail& trail;
  char letter;
  TurnHook* removes = nullptr;
  std::unique_ptr<Hook>* destroys = nullptr;
};

Task<> turns_once(Reactor& reactor, Trail& trail, char letter) {
  const Mark mark(trail, letter);
  static_cast<void>(co_await nop(reactor));
  trail.push_back('n');
}

}  // namespace

TEST_CASE("a reactor is created with what it runs on, or says why not", "[reactor]") {
  auto reactor = make_test_reactor();
  CHECK_FALSE(reactor->driver().name.empty());
  CHECK_FALSE(reactor->driver().reason.empty());
  Result<std::unique_ptr<Reactor>> refused =
      Reactor::create(make_test_driver(), {.resumes_per_turn_max = 0});
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == Errc::out_of_range);
}

TEST_CASE("block_on works again and again, and with what else is ready", "[reactor]") {
  auto reactor = make_test_reactor();
  Trail trail;
  reactor->spawn(turns_once(*reactor, trail, 'a'));
  CHECK(trail.empty());
  auto twice = [&]() -> Task<int> {
    static_cast<void>(co_await nop(*reactor));
    static_cast<void>(co_await nop(*reactor));
    static_cast<void>(co_await nop(*reactor));
    co_return 3;
  };
  CHECK(run(*reactor, twice()) == 3);
  CHECK(trail == "na");
  CHECK(run(*reactor, twice()) == 3);
}

TEST_CASE("block_on hands out the exception", "[reactor]") {
  auto reactor = make_test_reactor();
  auto throws = [&](bool late) -> Task<int> {
    if (late) static_cast<void>(co_await nop(*reactor));
    throw std::invalid_argument("no");
    co_return 1;
  };
  CHECK_THROWS_AS(run(*reactor, throws(false)), std::invalid_argument);
  CHECK_THROWS_AS(run(*reactor, throws(true)), std::invalid_argument);
}

TEST_CASE("spawn never runs the task inside the call", "[reactor]") {
  Trail trail;
  auto reactor = make_test_reactor();
  auto outer = [&]() -> Task<> {
    reactor->spawn(turns_once(*reactor, trail, 's'));
    trail.push_back('o');
    co_return;
  };
  reactor->spawn(outer());
  CHECK(trail.empty());
  reactor->turn(kAtOnce);
  CHECK(trail == "o");
}

TEST_CASE("misuse of a reactor ends the process", "[reactor][death]") {
  const Death escaped = run_in_child([] {
    auto reactor = inline_reactor();
    auto throws = []() -> Task<> {
      throw std::runtime_error("escapes");
      co_return;
    };
    reactor->spawn(throws());
    reactor->turn(kAtOnce);
  });
  CHECK(escaped.aborted());

  const Death nested = run_in_child([] {
    auto reactor = inline_reactor();
    auto inner = []() -> Task<> { co_return; };
    auto outer = [&]() -> Task<> {
      reactor->block_on(inner());
      co_return;
    };
    reactor->block_on(outer());
  });
  CHECK(nested.aborted());
  CHECK(nested.said("must not be called from inside a turn"));

  const Death drained = run_in_child([] {
    auto reactor = inline_reactor();
    auto outer = [&]() -> Task<> {
      static_cast<void>(reactor->drain(kAtOnce));
      co_return;
    };
    reactor->block_on(outer());
  });
  CHECK(drained.aborted());

  const Death destroyed = run_in_child([] {
    auto reactor = inline_reactor();
    auto outer = [&]() -> Task<> {
      reactor.reset();
      co_return;
    };
    reactor->spawn(outer());
    reactor->turn(kAtOnce);
  });
  CHECK(destroyed.aborted());
  CHECK(destroyed.said("a reactor was destroyed from inside its own turn"));

  const Death hooked = run_in_child([] {
    Trail trail;
    const auto hook = std::make_unique<Hook>(trail, 'h');
    auto reactor = inline_reactor();
    reactor->add_turn_hook(*hook);
    reactor.reset();
  });
  CHECK(hooked.aborted());
  CHECK(hooked.said("a reactor was destroyed before a turn hook"));
}

TEST_CASE("hooks run once a turn, in the order of adding", "[reactor]") {
  auto reactor = make_test_reactor();
  Trail trail;
  Hook a(trail, 'a');
  Hook b(trail, 'b');
  {
    Hook c(trail, 'c');
    for (Hook* hook : {&a, &b, &c}) reactor->add_turn_hook(*hook);
    reactor->turn(kAtOnce);
    reactor->turn(kAtOnce);
    CHECK(trail == "abcabc");
    trail.clear();
    a.removes = &a;
    reactor->turn(kAtOnce);
    CHECK(trail == "abc");
  }
  reactor->turn(kAtOnce);
  CHECK(trail == "abcb");
  b.unlink();
}

TEST_CASE("a hook may remove and destroy those behind it", "[reactor]") {
  auto reactor = make_test_reactor();
  Trail trail;
  Hook a(trail, 'a');
  Hook b(trail, 'b');
  auto c = std::make_unique<Hook>(trail, 'c');
  Hook d(trail, 'd');
  for (Hook* hook : {&a, &b, c.get(), &d}) reactor->add_turn_hook(*hook);
  a.removes = &b;
  a.destroys = &c;
  reactor->turn(kAtOnce);
  reactor->turn(kAtOnce);
  CHECK(trail == "adad");
  a.unlink();
  d.unlink();
}

TEST_CASE("a flood of ready work does not keep completions and timers waiting", "[reactor]") {
  ManualReactor rig = make_manual_reactor({.resumes_per_turn_max = 16});
  Reactor& reactor = *rig.reactor;
  struct Flood : ReadyCall {
    explicit Flood(ReadyQueue& queue_) : ReadyCall(&Flood::run), queue(queue_) {}
    static void run(ReadyCall& call) noexcept {
      auto& self = static_cast<Flood&>(call);
      ++self.runs;
      if (!self.ended) self.queue.push(self);
    }
    ReadyQueue& queue;
    std::uint64_t runs = 0;
    bool ended = false;
  };
  Flood flood(*reactor.context().ready);
  reactor.context().ready->push(flood);
  auto work = [&]() -> Task<std::uint64_t> {
    const std::uint64_t before = flood.runs;
    for (int i = 0; i < 10; ++i) static_cast<void>(co_await nop(reactor));
    static_cast<void>(co_await sleep_for(Duration::zero()));
    co_return flood.runs - before;
  };
  const std::uint64_t between = run(reactor, work());
  CHECK(between > 0);
  CHECK(between <= 11 * 17);
  flood.ended = true;
  while (reactor.turn(kAtOnce)) {
  }
}

TEST_CASE("the posts of a flood do not keep the ready waiting", "[reactor]") {
  auto reactor = make_test_reactor();
  struct Forever : PostNode {
    explicit Forever(Reactor& reactor_) : PostNode(&Forever::run), reactor(reactor_) {}
    static void run(PostNode& node) noexcept {
      auto& self = static_cast<Forever&>(node);
      if (!self.ended) self.reactor.post(self);
    }
    Reactor& reactor;
    bool ended = false;
  };
  Forever forever(*reactor);
  reactor->post(forever);
  auto work = [&]() -> Task<bool> {
    bool all = true;
    for (int i = 0; i < 10; ++i) {
      const Result<void> turned = co_await nop(*reactor);
      all = all && turned;
    }
    co_return all;
  };
  CHECK(run(*reactor, work()));
  forever.ended = true;
  while (reactor->turn(kAtOnce)) {
  }
}

TEST_CASE("drain waits for the device and resumes nobody", "[reactor]") {
  ManualReactor rig = make_manual_reactor();
  const auto hold = rig.faults.hold(OpCode::nop, 2);
  Trail trail;
  const Running<> first = start(*rig.reactor, turns_once(*rig.reactor, trail, 'a'));
  const Running<> second = start(*rig.reactor, turns_once(*rig.reactor, trail, 'b'));
  rig.reactor->turn(kAtOnce);
  CHECK(rig.reactor->drain(rig.reactor->now() + std::chrono::seconds(1)) == 1);
  rig.faults.release(hold);
  CHECK(rig.reactor->drain(kNever) == 0);
  CHECK(trail.empty());
  CHECK_FALSE(first.done());
  rig.reactor->turn(kAtOnce);
  CHECK(first.done());
  CHECK(second.done());
}

TEST_CASE("a reactor is destroyed with tasks in every state", "[reactor]") {
  Trail trail;
  for (int turns = 0; turns < 3; ++turns) {
    INFO("turns: " << turns);
    trail.clear();
    auto reactor = make_test_reactor();
    for (int i = 0; i < 20; ++i) reactor->spawn(turns_once(*reactor, trail, 'm'));
    auto sleeps = [&]() -> Task<> {
      const Mark mark(trail, 's');
      static_cast<void>(co_await sleep_until(kNever));
    };
    reactor->spawn(sleeps());
    for (int i = 0; i < turns; ++i) reactor->turn(kAtOnce);
    reactor.reset();
    // Whoever had begun was destroyed; the one that sleeps never got further.
    const auto died = std::count(trail.begin(), trail.end(), 's');
    CHECK(died == (turns == 0 ? 0 : 1));
  }
}

TEST_CASE("a reactor is destroyed with orphans in flight", "[reactor]") {
  auto reactor = make_test_reactor();
  Trail trail;
  {
    std::vector<Running<>> all;
    for (int i = 0; i < 50; ++i) all.push_back(start(*reactor, turns_once(*reactor, trail, 'm')));
    reactor->turn(kAtOnce);
  }
  CHECK(std::count(trail.begin(), trail.end(), 'm') == 50);
  const ReactorStats stats = reactor->stats();
  CHECK(stats.submitted == 50);
  CHECK(stats.completed + stats.removed + stats.in_flight == 50);
  reactor.reset();
}

TEST_CASE("the statistics add up", "[reactor]") {
  ManualReactor rig = make_manual_reactor();
  Reactor& reactor = *rig.reactor;
  const auto hold = rig.faults.hold(OpCode::nop, 3);
  Trail trail;
  {
    const Running<> a = start(reactor, turns_once(reactor, trail, 'a'));
    const Running<> b = start(reactor, turns_once(reactor, trail, 'b'));
    const Running<> c = start(reactor, turns_once(reactor, trail, 'c'));
    reactor.turn(kAtOnce);
    reactor.turn(kAtOnce);
    ReactorStats stats = reactor.stats();
    CHECK(stats.submitted == 3);
    CHECK(stats.completed == 2);
    CHECK(stats.in_flight == 1);
    CHECK(stats.in_flight_max == 3);
    CHECK(stats.orphans == 0);
    CHECK(stats.turns == 2);
    CHECK(stats.resumes == 5);
  }
  CHECK(reactor.stats().orphans == 1);
  rig.faults.release(hold);
  CHECK(reactor.drain(kNever) == 0);
  const ReactorStats stats = reactor.stats();
  CHECK(stats.completed == 3);
  CHECK(stats.in_flight == 0);
  CHECK(stats.orphan_errors == 0);
  CHECK(stats.abandoned_tasks == 0);
  CHECK(stats.driver.submitted == 3);
}

TEST_CASE("operations that a stop takes back before the device had them", "[reactor]") {
  // A driver of one slot: the second operation waits in user space.
  auto driver = std::make_unique<FaultDriver>(
      make_test_driver({.choice = DriverChoice::pool, .pool_inline = true, .in_flight_max = 1}));
  FaultDriver& faults = *driver;
  auto reactor = make_reactor_on(std::move(driver));
  static_cast<void>(faults);
  auto turns = [&]() -> Task<Result<void>> { co_return co_await nop(*reactor); };
  StopSource source;
  Running<Result<void>> first = start(*reactor, turns());
  Running<Result<void>> second = start(*reactor, turns(), source.token());
  auto stopper = [&]() -> Task<> {
    source.request_stop(StopReason::deadline);
    co_return;
  };
  const Running<> stopping = start(*reactor, stopper());
  auto work = [&]() -> Task<bool> {
    const Result<void> a = co_await std::move(first);
    const Result<void> b = co_await std::move(second);
    co_return a&& b.error() == Errc::deadline;
  };
  CHECK(run(*reactor, work()));
  CHECK(reactor->stats().removed == 1);
}

}  // namespace diorite::test
