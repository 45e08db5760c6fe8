// sleep_for, sleep_until and the heap of timers, on a clock that the test moves.

#include <diorite/timer.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "reactor/timer_heap.hpp"

#include <diorite/io.hpp>
#include <diorite/scope.hpp>

#include "coro/trail.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

Task<> notes_after(Trail& trail, char letter, Duration delay) {
  const Result<void> slept = co_await sleep_for(delay);
  trail.push_back(slept ? letter : '!');
}

Task<> notes_at(Trail& trail, char letter, Instant due) {
  const Result<void> slept = co_await sleep_until(due);
  trail.push_back(slept ? letter : '!');
}

Task<Result<void>> sleeps(Duration delay) { co_return co_await sleep_for(delay); }

Task<> joins(TaskScope& scope) {
  const Result<void> joined = co_await scope.join();
  CHECK(joined);
}

}  // namespace

TEST_CASE("timers fire in order, equal ones in the order of setting", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  TaskScope scope(*rig.reactor);
  const Instant begin = rig.reactor->now();
  scope.spawn(notes_after(trail, 'd', seconds(3)));
  scope.spawn(notes_after(trail, 'a', seconds(1)));
  scope.spawn(notes_at(trail, 'b', begin + seconds(1)));
  scope.spawn(notes_after(trail, 'c', seconds(2)));
  scope.spawn(notes_at(trail, 'e', begin + seconds(3)));
  run(*rig.reactor, joins(scope));
  CHECK(trail == "abcde");
  CHECK(rig.reactor->now() == begin + seconds(3));
  CHECK(rig.clock.jumps() == 3);  // equal moments took one turn
}

TEST_CASE("many equal timers fire in the order of setting", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  std::vector<int> order;
  auto sleeper = [&](int number) -> Task<> {
    static_cast<void>(co_await sleep_for(seconds(1)));
    order.push_back(number);
  };
  TaskScope scope(*rig.reactor);
  for (int i = 0; i < 1000; ++i) scope.spawn(sleeper(i));
  run(*rig.reactor, joins(scope));
  REQUIRE(order.size() == 1000);
  for (int i = 0; i < 1000; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a sleep of nothing lets everything that is ready run first", "[timer]") {
  for (const Duration delay : {Duration::zero(), Duration(-1), Duration::min()}) {
    ManualReactor rig = make_manual_reactor();
    Trail trail;
    auto notes = [&](char letter) -> Task<> {
      trail.push_back(letter);
      co_return;
    };
    TaskScope scope(*rig.reactor);
    scope.spawn(notes_after(trail, 'z', delay));
    for (const char letter : {'a', 'b', 'c'}) scope.spawn(notes(letter));
    const Instant begin = rig.reactor->now();
    run(*rig.reactor, joins(scope));
    CHECK(trail == "abcz");
    CHECK(rig.reactor->now() == begin);
  }
}

TEST_CASE("a moment that has passed costs one turn", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  TaskScope scope(*rig.reactor);
  const Instant begin = rig.reactor->now();
  scope.spawn(notes_at(trail, 'a', begin - hours(1)));
  scope.spawn(notes_at(trail, 'b', kAtOnce));
  run(*rig.reactor, joins(scope));
  CHECK(trail == "ba");
  CHECK(rig.reactor->now() == begin);
}

TEST_CASE("delays beyond the end of time do not overflow", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  for (const Instant present :
       {Instant(), Instant(hours(1)), Instant(-hours(1)), kNever - seconds(1)}) {
    rig.clock.set_now(present);
    StopSource source;
    const Running<Result<void>> longest =
        start(*rig.reactor, sleeps(Duration::max()), source.token());
    const Running<Result<void>> shortest = start(*rig.reactor, sleeps(Duration::min()));
    rig.reactor->turn(kAtOnce);
    rig.reactor->turn(kAtOnce);
    CHECK(shortest.done());
    CHECK_FALSE(longest.done());
    if (present >= Instant()) CHECK(rig.reactor->next_deadline() == kNever);
    source.request_stop();
    rig.reactor->turn(kAtOnce);
    CHECK(longest.done());
  }
}

TEST_CASE("a stop ends a sleep with its reason", "[timer]") {
  for (const StopReason reason : {StopReason::cancelled, StopReason::deadline}) {
    ManualReactor rig = make_manual_reactor();
    const Instant begin = rig.reactor->now();
    StopSource source;
    Running<Result<void>> sleeping = start(*rig.reactor, sleeps(hours(1)), source.token());
    rig.reactor->turn(kAtOnce);
    CHECK(rig.reactor->next_deadline() == begin + hours(1));
    source.request_stop(reason);
    CHECK(rig.reactor->next_deadline() == kNever);
    CHECK_FALSE(sleeping.done());  // never resumed inside request_stop
    auto work = [&]() -> Task<Result<void>> { co_return co_await std::move(sleeping); };
    const Result<void> slept = run(*rig.reactor, work());
    CHECK(slept.error() == (reason == StopReason::deadline ? Errc::deadline : Errc::cancelled));
    CHECK(rig.reactor->now() == begin);

    // Stopped before it begins: ready at once.
    Running<Result<void>> late = start(*rig.reactor, sleeps(hours(1)), source.token());
    rig.reactor->turn(kAtOnce);
    CHECK(late.done());
  }
}

TEST_CASE("a stop after the moment has come changes nothing", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  StopSource source;
  Running<Result<void>> sleeping = start(*rig.reactor, sleeps(seconds(1)), source.token());
  rig.reactor->turn(kAtOnce);
  rig.reactor->turn(kNever);  // jumps; due, but not resumed yet
  REQUIRE_FALSE(sleeping.done());
  source.request_stop();
  auto work = [&]() -> Task<Result<void>> { co_return co_await std::move(sleeping); };
  CHECK(run(*rig.reactor, work()));
}

TEST_CASE("a sleep that dies takes its timer out", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  StopSource source;
  {
    const Running<Result<void>> a = start(*rig.reactor, sleeps(hours(1)), source.token());
    {
      const Running<Result<void>> b = start(*rig.reactor, sleeps(seconds(1)), source.token());
      rig.reactor->turn(kAtOnce);
      CHECK(rig.reactor->next_deadline() == rig.reactor->now() + seconds(1));
    }
    CHECK(rig.reactor->next_deadline() == rig.reactor->now() + hours(1));
  }
  CHECK(rig.reactor->next_deadline() == kNever);
  source.request_stop();  // nobody is left to hear it
  CHECK_FALSE(rig.reactor->turn(kAtOnce));
}

TEST_CASE("a turn sleeps no longer than it was told", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  const Instant begin = rig.reactor->now();
  const Running<Result<void>> sleeping = start(*rig.reactor, sleeps(seconds(10)));
  rig.reactor->turn(kAtOnce);
  CHECK_FALSE(rig.reactor->turn(begin + seconds(4)));
  CHECK(rig.reactor->now() == begin + seconds(4));
  CHECK(rig.reactor->turn(begin + seconds(40)));
  CHECK(rig.reactor->now() == begin + seconds(10));
  rig.reactor->turn(kAtOnce);
  CHECK(sleeping.done());
}

TEST_CASE("awaiting a sleep twice, or moving it after its start, ends the process",
          "[timer][death]") {
  const Death twice = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    auto work = []() -> Task<> {
      SleepAwait sleep = sleep_for(seconds(1));
      static_cast<void>(co_await sleep);
      static_cast<void>(co_await sleep);
    };
    run(*rig.reactor, work());
  });
  CHECK(twice.aborted());
  CHECK(twice.said("an awaitable is awaited once"));
  const Death moved = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    auto work = []() -> Task<> {
      SleepAwait sleep = sleep_for(seconds(1));
      static_cast<void>(co_await sleep);
      const SleepAwait other = std::move(sleep);
      static_cast<void>(other);
    };
    run(*rig.reactor, work());
  });
  CHECK(moved.aborted());
  CHECK(moved.said("an awaitable was moved after it had been started"));
}

TEST_CASE("the heap agrees with a sorted model", "[timer]") {
  std::mt19937_64 random(7);
  detail::TimerHeap heap;
  constexpr std::size_t kNodes = 2000;
  const auto nodes = std::make_unique<detail::TimerNode[]>(kNodes);
  // Equal keys keep the order of insertion, as in the heap.
  using Model = std::multimap<Instant, detail::TimerNode*>;
  Model model;
  std::vector<Model::iterator> places(kNodes, model.end());
  for (int step = 0; step < 100'000; ++step) {
    const std::size_t i = random() % kNodes;
    // The share of additions swings, so that the heap grows to hundreds and empties again.
    const bool adds = random() % 100 < (step / 5000 % 2 == 0 ? 80U : 20U);
    if (adds && !nodes[i].armed()) {
      nodes[i].set_due(Instant(Duration(static_cast<std::int64_t>(random() % 500))));
      REQUIRE(heap.add(nodes[i]));
      places[i] = model.emplace(nodes[i].due(), &nodes[i]);
    } else if (!adds && nodes[i].armed() && random() % 2 == 0) {
      heap.remove(nodes[i]);
      model.erase(std::exchange(places[i], model.end()));
    } else if (!adds && !heap.empty()) {
      detail::TimerNode& first = heap.pop();
      REQUIRE(&first == model.begin()->second);
      model.erase(model.begin());
      REQUIRE_FALSE(first.armed());
    }
    REQUIRE(heap.size() == model.size());
    if (!heap.empty()) REQUIRE(heap.next_due() == model.begin()->first);
  }
  while (!heap.empty()) {
    REQUIRE(&heap.pop() == model.begin()->second);
    model.erase(model.begin());
  }
  CHECK(model.empty());
}

TEST_CASE("a real clock wakes a sleep not before its moment", "[timer]") {
  auto reactor = make_test_reactor();
  const Instant begin = reactor->now();
  auto work = []() -> Task<Result<void>> { co_return co_await sleep_for(milliseconds(3)); };
  CHECK(run(*reactor, work()));
  CHECK(reactor->now() >= begin + milliseconds(3));
}

}  // namespace diorite::test
