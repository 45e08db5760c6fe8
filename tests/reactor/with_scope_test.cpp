// with_scope: every way out of the body joins the children.

#include <array>
#include <stdexcept>
#include <utility>

#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>
#include <diorite/try.hpp>

#include "coro/trail.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

using std::chrono::seconds;

/// A child that sleeps; counts how many are alive.
Task<Result<void>> child(int& alive, Duration delay) {
  ++alive;
  const Result<void> slept = co_await sleep_for(delay);
  --alive;
  co_return slept;
}

Task<Result<void>> failing_child(Duration delay, Errc code) {
  static_cast<void>(co_await sleep_for(delay));
  co_return Error(code);
}

Task<> throwing_child(Duration delay, const char* text) {
  static_cast<void>(co_await sleep_for(delay));
  throw std::runtime_error(text);
}

struct Rig : ManualReactor {
  Rig() : ManualReactor(make_manual_reactor()) {}
  Duration elapsed() const { return reactor->now() - begin; }
  Instant begin = reactor->now();
  int alive = 0;
};

}  // namespace

TEST_CASE("with_scope waits for children after the body has ended", "[with_scope]") {
  Rig rig;
  auto body = [&](TaskScope& scope) -> Task<Result<void>> {
    for (int i = 1; i <= 5; ++i) scope.spawn(child(rig.alive, seconds(i)));
    co_return Result<void>();
  };
  CHECK(run(*rig.reactor, with_scope(body)));
  CHECK(rig.alive == 0);
  CHECK(rig.elapsed() == seconds(5));
  CHECK(rig.reactor->stats().abandoned_tasks == 0);
}

TEST_CASE("an early return with five live children stops and joins them", "[with_scope]") {
  Rig rig;
  auto fails = []() -> Task<Result<int>> { co_return Error(Errc::closed); };
  auto body = [&](TaskScope& scope) -> Task<Result<void>> {
    for (int i = 1; i <= 5; ++i) scope.spawn(child(rig.alive, seconds(100)));
    static_cast<void>(co_await sleep_for(seconds(2)));
    CHECK(rig.alive == 5);
    DIORITE_CO_TRY(int never, co_await fails());
    co_return never == 0 ? Result<void>() : Error(Errc::busy);
  };
  CHECK(run(*rig.reactor, with_scope(body)).error() == Errc::closed);
  CHECK(rig.alive == 0);
  CHECK(rig.elapsed() == seconds(2));
  CHECK(rig.reactor->stats().abandoned_tasks == 0);
  CHECK(rig.reactor->next_deadline() == kNever);
}

TEST_CASE("a child's failure stops the body, and is not hidden by it", "[with_scope]") {
  Rig rig;
  bool body_was_stopped = false;
  auto body = [&](TaskScope& scope) -> Task<Result<void>> {
    scope.spawn(failing_child(seconds(1), Errc::corrupt));
    scope.spawn(child(rig.alive, seconds(100)));
    const Result<void> slept = co_await sleep_for(seconds(50));
    body_was_stopped = !slept;
    co_return slept;  // the stop comes out of the body as a failure of its own
  };
  CHECK(run(*rig.reactor, with_scope(body)).error() == Errc::corrupt);
  CHECK(body_was_stopped);
  CHECK(rig.elapsed() == seconds(1));
  CHECK(rig.alive == 0);
}

TEST_CASE("the body's failure comes first when it was first", "[with_scope]") {
  Rig rig;
  auto late = [&]() -> Task<Result<void>> {
    static_cast<void>(co_await sleep_for(seconds(100)));
    co_return Error(Errc::corrupt);
  };
  auto body = [&](TaskScope& scope) -> Task<Result<void>> {
    scope.spawn(late());
    static_cast<void>(co_await sleep_for(seconds(1)));
    co_return Error(Errc::busy);
  };
  CHECK(run(*rig.reactor, with_scope(body)).error() == Errc::busy);
  CHECK(rig.elapsed() == seconds(1));
}

TEST_CASE("exceptions of the body, of a child, and of both", "[with_scope]") {
  Rig rig;
  auto body_throws = [&](TaskScope& scope) -> Task<Result<void>> {
    for (int i = 0; i < 3; ++i) scope.spawn(child(rig.alive, seconds(100)));
    static_cast<void>(co_await sleep_for(seconds(1)));
    throw std::runtime_error("body");
    co_return Result<void>();
  };
  CHECK_THROWS_WITH(run(*rig.reactor, with_scope(body_throws)), "body");
  CHECK(rig.alive == 0);

  auto child_throws = [&](TaskScope& scope) -> Task<Result<void>> {
    scope.spawn(throwing_child(seconds(1), "child"));
    scope.spawn(child(rig.alive, seconds(100)));
    co_return co_await sleep_for(seconds(50));
  };
  CHECK_THROWS_WITH(run(*rig.reactor, with_scope(child_throws)), "child");
  CHECK(rig.alive == 0);

  auto both_throw = [&](TaskScope& scope) -> Task<Result<void>> {
    scope.spawn(throwing_child(seconds(1), "child"));
    static_cast<void>(co_await sleep_for(seconds(2)));  // ends when the child has thrown
    throw std::runtime_error("body");
    co_return Result<void>();
  };
  CHECK_THROWS_WITH(run(*rig.reactor, with_scope(both_throw)), "body");
  CHECK(rig.elapsed() == seconds(3));
  CHECK(rig.reactor->stats().abandoned_tasks == 0);
}

TEST_CASE("a stop goes down through nested scopes, a failure goes up", "[with_scope]") {
  Rig rig;
  auto inner = [&](TaskScope& scope) -> Task<Result<void>> {
    scope.spawn(child(rig.alive, seconds(100)));
    scope.spawn(child(rig.alive, seconds(100)));
    co_return Result<void>();
  };
  auto outer = [&](TaskScope& scope) -> Task<Result<void>> {
    scope.spawn(with_scope(inner));
    scope.spawn(failing_child(seconds(3), Errc::limit));
    co_return co_await with_scope(inner);
  };
  CHECK(run(*rig.reactor, with_scope(outer)).error() == Errc::limit);
  CHECK(rig.elapsed() == seconds(3));
  CHECK(rig.alive == 0);

  StopSource source;
  Running<Result<void>> running = start(*rig.reactor, with_scope(inner), source.token());
  for (int i = 0; i < 3; ++i) rig.reactor->turn(kAtOnce);
  CHECK(rig.alive == 2);
  source.request_stop(StopReason::deadline);
  auto last = [&]() -> Task<Result<void>> { co_return co_await std::move(running); };
  CHECK(run(*rig.reactor, last()).error() == Errc::deadline);
  CHECK(rig.alive == 0);
}

TEST_CASE("after with_scope the outer surroundings hold again", "[with_scope]") {
  Rig rig;
  auto failing = [](TaskScope&) -> Task<Result<void>> { co_return Error(Errc::busy); };
  auto work = [&]() -> Task<bool> {
    const Result<void> first = co_await with_scope(failing);
    // The scope was stopped, its caller was not.
    const Result<void> slept = co_await sleep_for(seconds(1));
    co_return first.error() == Errc::busy&& slept;
  };
  CHECK(run(*rig.reactor, work()));
}

TEST_CASE("a coroutine inside with_scope is destroyed with all its children", "[with_scope]") {
  for (const bool body_ended : {false, true}) {
    Rig rig;
    Trail trail;
    auto marked = [&](char letter) -> Task<> {
      const Mark mark(trail, letter);
      static_cast<void>(co_await sleep_for(seconds(100)));
    };
    auto body = [&](TaskScope& scope) -> Task<Result<void>> {
      const Mark mark(trail, 'B');
      scope.spawn(marked('1'));
      scope.spawn(marked('2'));
      if (body_ended) co_return Result<void>();
      co_return co_await sleep_for(seconds(100));
    };
    {
      const Running<Result<void>> running = start(*rig.reactor, with_scope(body));
      for (int i = 0; i < 4; ++i) rig.reactor->turn(kAtOnce);
    }
    CHECK(trail == "B12");
    CHECK(rig.reactor->stats().abandoned_tasks == 2);
    CHECK(rig.reactor->next_deadline() == kNever);
  }
}

TEST_CASE("with_scope on the real driver, with operations in flight", "[with_scope]") {
  auto reactor = make_test_reactor();
  int ended = 0;
  auto worker = [&](int rounds) -> Task<Result<void>> {
    for (int i = 0; i < rounds; ++i) DIORITE_CO_CHECK(co_await nop(*reactor));
    ++ended;
    co_return Result<void>();
  };
  auto body = [&](TaskScope& scope) -> Task<Result<void>> {
    for (int i = 1; i <= 32; ++i) scope.spawn(worker(i));
    co_return Result<void>();
  };
  CHECK(run(*reactor, with_scope(body)));
  CHECK(ended == 32);
}

}  // namespace diorite::test
