// TaskScope: joining, failing, stopping, abandoning.

#include <memory>
#include <stdexcept>
#include <type_traits>
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

static_assert(std::is_move_constructible_v<JoinAwait>);

using std::chrono::seconds;

Task<> notes(Trail& trail, char letter) {
  trail.push_back(letter);
  co_return;
}

/// Writes its letter when it wakes, a capital X before it when it was stopped.
Task<Result<void>> sleeps(Trail& trail, char letter, Duration delay) {
  const Result<void> slept = co_await sleep_for(delay);
  if (!slept) trail.push_back('X');
  trail.push_back(letter);
  co_return slept;
}

Task<Result<void>> fails(Duration delay, Errc code) {
  static_cast<void>(co_await sleep_for(delay));
  co_return Error(code);
}

Task<> throws_after(Duration delay, const char* text) {
  static_cast<void>(co_await sleep_for(delay));
  throw std::runtime_error(text);
}

}  // namespace

TEST_CASE("joining an empty scope is immediate", "[scope]") {
  auto reactor = make_test_reactor();
  TaskScope scope(*reactor);
  auto work = [&]() -> Task<bool> {
    const Result<void> first = co_await scope.join();
    const Result<void> second = co_await scope.join();
    co_return first&& second;
  };
  CHECK(run(*reactor, work()));
  CHECK(scope.empty());
  CHECK(scope.size() == 0);
}

TEST_CASE("a scope never runs a child inside spawn, and joins all", "[scope]") {
  auto reactor = make_test_reactor();
  Trail trail;
  TaskScope scope(*reactor);
  auto work = [&]() -> Task<bool> {
    scope.spawn(notes(trail, 'a'));
    scope.spawn(notes(trail, 'b'));
    trail.push_back('-');
    const std::size_t before = scope.size();
    const Result<void> joined = co_await scope.join();
    trail.push_back('j');
    co_return before == 2 && joined&& scope.empty();
  };
  CHECK(run(*reactor, work()));
  CHECK(trail == "-abj");
}

TEST_CASE("the first failure stops the siblings and is what join returns", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  TaskScope scope(*rig.reactor);
  auto work = [&]() -> Task<Result<void>> {
    scope.spawn(sleeps(trail, 'a', seconds(100)));
    scope.spawn(fails(seconds(5), Errc::busy));
    scope.spawn(fails(seconds(5), Errc::limit));
    scope.spawn(sleeps(trail, 'b', seconds(1)));
    co_return co_await scope.join();
  };
  const Instant begin = rig.reactor->now();
  CHECK(run(*rig.reactor, work()).error() == Errc::busy);
  CHECK(rig.reactor->now() - begin == seconds(5));
  CHECK(trail == "bXa");
  CHECK(scope.token().stop_requested());
  CHECK(rig.reactor->stats().abandoned_tasks == 0);

  // The failure was handed out; a second join has none, but the scope stays stopped.
  auto again = [&]() -> Task<Result<void>> { co_return co_await scope.join(); };
  CHECK(run(*rig.reactor, again()));
}

TEST_CASE("the first exception of a child is rethrown by join", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  TaskScope scope(*rig.reactor);
  auto work = [&]() -> Task<Result<void>> {
    scope.spawn(sleeps(trail, 'a', seconds(100)));
    scope.spawn(throws_after(seconds(1), "first"));
    scope.spawn(throws_after(seconds(1), "second"));
    co_return co_await scope.join();
  };
  CHECK_THROWS_WITH(run(*rig.reactor, work()), "first");
  CHECK(trail == "Xa");
  CHECK(scope.empty());
}

TEST_CASE("a stop of the scope reaches the children, and join waits for them", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  const auto hold = rig.faults.hold(OpCode::nop, FaultDriver::kEvery);
  Trail trail;
  TaskScope scope(*rig.reactor);
  auto stubborn = [&]() -> Task<Result<void>> {
    const Result<void> turned = co_await nop(*rig.reactor);
    trail.push_back(turned ? 'n' : 'N');
    co_return turned;
  };
  auto work = [&]() -> Task<Result<void>> { co_return co_await scope.join(); };
  scope.spawn(stubborn());
  scope.spawn(sleeps(trail, 'a', seconds(10)));
  Running<Result<void>> joining = start(*rig.reactor, work());
  rig.reactor->turn(kAtOnce);
  scope.request_stop(StopReason::deadline);
  for (int i = 0; i < 4; ++i) rig.reactor->turn(kAtOnce);
  CHECK(trail == "Xa");
  CHECK_FALSE(joining.done());  // the device still has an operation
  rig.faults.release(hold);
  auto last = [&]() -> Task<Result<void>> { co_return co_await std::move(joining); };
  CHECK(run(*rig.reactor, last()).error() == Errc::deadline);
  CHECK(trail == "Xan");  // its own result stands
}

TEST_CASE("a stop of the parent stops the scope, before and after it was made", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  StopSource source;
  {
    TaskScope scope(*rig.reactor, source.token());
    scope.spawn(sleeps(trail, 'a', seconds(10)));
    rig.reactor->turn(kAtOnce);
    source.request_stop(StopReason::deadline);
    CHECK(scope.token().reason() == StopReason::deadline);
    auto work = [&]() -> Task<Result<void>> { co_return co_await scope.join(); };
    CHECK(run(*rig.reactor, work()).error() == Errc::deadline);
  }
  TaskScope late(*rig.reactor, source.token());
  CHECK(late.token().reason() == StopReason::deadline);
  late.spawn(sleeps(trail, 'b', seconds(10)));
  auto work = [&]() -> Task<Result<void>> { co_return co_await late.join(); };
  CHECK(run(*rig.reactor, work()).error() == Errc::deadline);
  CHECK(trail == "XaXb");
}

TEST_CASE("the destructor destroys and counts the children that are left", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto marked = [&](char letter) -> Task<> {
    const Mark mark(trail, letter);
    static_cast<void>(co_await sleep_for(seconds(1)));
  };
  {
    TaskScope scope(*rig.reactor);
    scope.spawn(marked('a'));
    scope.spawn(marked('b'));
    scope.spawn(notes(trail, 'n'));
    rig.reactor->turn(kAtOnce);
    scope.spawn(marked('c'));  // never started: has no mark
    CHECK(trail == "n");
  }
  CHECK(trail == "nab");
  CHECK(rig.reactor->stats().abandoned_tasks == 3);
  CHECK(rig.reactor->next_deadline() == kNever);
}

TEST_CASE("a finished child that was not freed yet is not abandoned", "[scope]") {
  ManualReactor rig = make_manual_reactor({.resumes_per_turn_max = 1});
  Trail trail;
  {
    TaskScope scope(*rig.reactor);
    scope.spawn(notes(trail, 'n'));
    rig.reactor->turn(kAtOnce);  // ran; its record waits in the queue
    CHECK(scope.size() == 1);
  }
  CHECK(rig.reactor->stats().abandoned_tasks == 0);
  CHECK_FALSE(rig.reactor->turn(kAtOnce));
}

TEST_CASE("children spawn siblings, also while the scope is joined", "[scope]") {
  auto reactor = make_test_reactor();
  struct Family {
    static Task<> child(TaskScope& scope, Reactor& reactor, int generation, int& born) {
      ++born;
      static_cast<void>(co_await nop(reactor));
      if (generation == 0) co_return;
      scope.spawn(child(scope, reactor, generation - 1, born));
      scope.spawn(child(scope, reactor, generation - 1, born));
    }
  };
  int born = 0;
  TaskScope scope(*reactor);
  auto work = [&]() -> Task<bool> {
    scope.spawn(Family::child(scope, *reactor, 6, born));
    const Result<void> joined = co_await scope.join();
    co_return joined&& scope.empty();
  };
  CHECK(run(*reactor, work()));
  CHECK(born == 127);
}

namespace {

/// Spawns one more child at the end of the first turn that finds the scope empty.
struct Meddler : TurnHook {
  Meddler(TaskScope& scope_, Trail& trail_)
      : TurnHook(&Meddler::turn_ended), scope(scope_), trail(trail_) {}
  static void turn_ended(TurnHook& hook) noexcept {
    auto& self = static_cast<Meddler&>(hook);
    if (!self.scope.empty()) return;
    self.unlink();
    self.scope.spawn(sleeps(self.trail, 'b', seconds(1)));
    self.trail.push_back('s');
  }
  TaskScope& scope;
  Trail& trail;
};

}  // namespace

TEST_CASE("a child that is spawned before the joiner is resumed is joined too", "[scope]") {
  // Three resumptions make a turn: the child, the joiner, and the freeing of the child, which
  // queues the joiner for the next turn.
  ManualReactor rig = make_manual_reactor({.resumes_per_turn_max = 3});
  Trail trail;
  TaskScope scope(*rig.reactor);
  auto joiner = [&]() -> Task<> {
    const Result<void> joined = co_await scope.join();
    trail.push_back(joined && scope.empty() ? 'j' : 'J');
  };
  scope.spawn(notes(trail, 'a'));
  Running<> joining = start(*rig.reactor, joiner());
  Meddler meddler(scope, trail);
  rig.reactor->add_turn_hook(meddler);
  rig.reactor->turn(kAtOnce);
  CHECK(trail == "as");
  auto last = [&]() -> Task<> { co_await std::move(joining); };
  run(*rig.reactor, last());
  CHECK(trail == "asbj");
}

TEST_CASE("a child may hold what keeps its scope alive", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  struct Session {
    Session(Reactor& reactor, Trail& trail_) : scope(reactor), mark(trail_, 's') {}
    TaskScope scope;
    Mark mark;
  };
  auto serve = [](std::shared_ptr<Session> self) -> Task<> {
    static_cast<void>(co_await sleep_for(seconds(1)));
    static_cast<void>(self);
  };
  auto session = std::make_shared<Session>(*rig.reactor, trail);
  session->scope.spawn(serve(session));
  session->scope.spawn(serve(session));
  session.reset();
  run(*rig.reactor, notes(trail, 'n'));
  CHECK(trail == "n");
  auto wait = []() -> Task<Result<void>> { co_return co_await sleep_for(seconds(2)); };
  CHECK(run(*rig.reactor, wait()));
  CHECK(trail == "ns");
  CHECK(rig.reactor->stats().abandoned_tasks == 0);
}

TEST_CASE("the joiner dies first", "[scope]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  TaskScope scope(*rig.reactor);
  scope.spawn(sleeps(trail, 'a', seconds(1)));
  auto joiner = [&]() -> Task<Result<void>> { co_return co_await scope.join(); };
  {
    const Running<Result<void>> joining = start(*rig.reactor, joiner());
    rig.reactor->turn(kAtOnce);
  }
  CHECK(run(*rig.reactor, joiner()));
  CHECK(trail == "a");
}

TEST_CASE("misuse of a scope ends the process", "[scope][death]") {
  const Death joined_away = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    Trail trail;
    auto scope = std::make_unique<TaskScope>(*rig.reactor);
    scope->spawn(sleeps(trail, 'a', seconds(1)));
    auto joiner = [&]() -> Task<Result<void>> { co_return co_await scope->join(); };
    const Running<Result<void>> joining = start(*rig.reactor, joiner());
    rig.reactor->turn(kAtOnce);
    scope.reset();
  });
  CHECK(joined_away.aborted());
  CHECK(joined_away.said("a scope was destroyed while somebody joins it"));

  const Death two = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    Trail trail;
    TaskScope scope(*rig.reactor);
    scope.spawn(sleeps(trail, 'a', seconds(1)));
    auto joiner = [&]() -> Task<Result<void>> { co_return co_await scope.join(); };
    const Running<Result<void>> first = start(*rig.reactor, joiner());
    const Running<Result<void>> second = start(*rig.reactor, joiner());
    rig.reactor->turn(kAtOnce);
  });
  CHECK(two.aborted());
  CHECK(two.said("two coroutines join one scope"));

  const Death suicide = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    auto scope = std::make_unique<TaskScope>(*rig.reactor);
    auto child = [&]() -> Task<> {
      static_cast<void>(co_await nop(*rig.reactor));
      scope.reset();
    };
    scope->spawn(child());
    for (int i = 0; i < 3; ++i) rig.reactor->turn(kAtOnce);
  });
  CHECK(suicide.aborted());
  CHECK(suicide.said("a task was destroyed from inside itself"));

  const Death empty = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    TaskScope scope(*rig.reactor);
    scope.spawn(Task<>());
  });
  CHECK(empty.aborted());
  CHECK(empty.said("a task is started once, and not when it is empty"));
}

}  // namespace diorite::test
