// Task: laziness, results, exceptions, destruction in every state.

#include <diorite/task.hpp>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "coro/trail.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

static_assert(!std::is_copy_constructible_v<Task<int>>);
static_assert(std::is_nothrow_move_constructible_v<Task<int>>);
static_assert(std::is_nothrow_move_assignable_v<Task<int>>);

Task<int> number(Trail& trail, int value) {
  trail.push_back('r');
  co_return value;
}

Task<std::unique_ptr<int>> owned(int value) { co_return std::make_unique<int>(value); }

Task<std::string> text(std::string prefix) { co_return prefix + " and a tail that is long enough"; }

Task<> thrower(int level, Trail& trail) {
  const Mark mark(trail, static_cast<char>('0' + level));
  if (level == 0) throw std::runtime_error("from below");
  co_await thrower(level - 1, trail);
  trail.push_back('!');  // not reached
}

/// Holds a mark in each of its levels, and sleeps for ever in the innermost.
Task<> sleeper(int level, Trail& trail) {
  const Mark mark(trail, static_cast<char>('0' + level));
  if (level == 0) {
    const Result<void> slept = co_await sleep_until(kNever);
    trail.push_back(slept ? '!' : '?');
  } else {
    co_await sleeper(level - 1, trail);
  }
}

}  // namespace

TEST_CASE("a task does nothing until it is awaited", "[task]") {
  auto reactor = make_test_reactor();
  Trail trail;
  auto work = [&]() -> Task<int> {
    Task<int> task = number(trail, 7);
    trail.push_back('a');
    const int value = co_await std::move(task);
    trail.push_back('b');
    co_return value;
  };
  CHECK(run(*reactor, work()) == 7);
  CHECK(trail == "arb");
}

TEST_CASE("moving a task leaves an empty one behind", "[task]") {
  auto reactor = make_test_reactor();
  Trail trail;
  Task<int> first = number(trail, 1);
  Task<int> second = std::move(first);
  CHECK_FALSE(static_cast<bool>(first));
  REQUIRE(static_cast<bool>(second));
  Task<int> third;
  CHECK_FALSE(static_cast<bool>(third));
  third = std::move(second);
  CHECK(run(*reactor, std::move(third)) == 1);

  // Assigning over a task that was never started destroys it.
  auto holder = [](Mark mark) -> Task<> {
    const Mark kept = std::move(mark);
    co_return;
  };
  Task<> old = holder(Mark(trail, 'd'));
  old = Task<>();
  CHECK(trail == "rd");
}

TEST_CASE("results of every kind come out of a task", "[task]") {
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<bool> {
    std::unique_ptr<int> pointer = co_await owned(5);
    const std::string words = co_await text("a prefix");
    co_return *pointer == 5 && words == "a prefix and a tail that is long enough";
  };
  CHECK(run(*reactor, work()));
  CHECK(*run(*reactor, owned(9)) == 9);
  auto nothing = []() -> Task<> { co_return; };
  run(*reactor, nothing());
  auto failed = []() -> Task<Result<int>> { co_return Error(Errc::busy); };
  CHECK(run(*reactor, failed()).error() == Errc::busy);
}

TEST_CASE("a result that nobody took is destroyed with its task", "[task]") {
  auto reactor = make_test_reactor();
  Trail trail;
  auto make = [&]() -> Task<Mark> { co_return Mark(trail, 'v'); };
  {
    Running<Mark> running = start(*reactor, make());
    reactor->turn(kAtOnce);
    REQUIRE(running.done());
    CHECK(trail.empty());
  }
  CHECK(trail == "v");
}

TEST_CASE("an exception travels through three levels", "[task]") {
  auto reactor = make_test_reactor();
  Trail trail;
  CHECK_THROWS_AS(run(*reactor, thrower(3, trail)), std::runtime_error);
  CHECK(trail == "0123");

  auto catches = [&]() -> Task<std::string> {
    std::string what;
    try {
      co_await thrower(2, trail);
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    co_return what;
  };
  CHECK(run(*reactor, catches()) == "from below");
}

TEST_CASE("an exception after a suspension reaches the awaiting task", "[task]") {
  auto reactor = make_test_reactor();
  auto late = [&]() -> Task<int> {
    const Result<void> turned = co_await nop(*reactor);
    if (turned) throw std::logic_error("late");
    co_return 1;
  };
  auto outer = [&]() -> Task<int> { co_return co_await late(); };
  CHECK_THROWS_AS(run(*reactor, outer()), std::logic_error);
}

TEST_CASE("awaiting a task twice, or an empty one, ends the process", "[task][death]") {
  const auto dies = [](bool empty) {
    return run_in_child([empty] {
      auto reactor = make_reactor_on(make_test_driver({DriverChoice::pool, false, true}));
      Trail trail;
      auto twice = [&]() -> Task<> {
        Task<int> task = empty ? Task<int>() : number(trail, 1);
        static_cast<void>(co_await std::move(task));
        static_cast<void>(co_await std::move(task));
      };
      run(*reactor, twice());
    });
  };
  for (const bool empty : {false, true}) {
    const Death death = dies(empty);
    CHECK(death.aborted());
    CHECK(death.said("a task is awaited once"));
  }
}

TEST_CASE("a task that never started is destroyed with its parameters", "[task]") {
  Trail trail;
  auto holder = [](Mark mark) -> Task<> {
    const Mark kept = std::move(mark);
    co_return;
  };
  {
    const Task<> task = holder(Mark(trail, 'p'));
    CHECK(trail.empty());
  }
  CHECK(trail == "p");
}

TEST_CASE("a suspended chain is destroyed from the inside out", "[task]") {
  auto reactor = make_test_reactor();
  Trail trail;
  {
    const Running<> running = start(*reactor, sleeper(4, trail));
    reactor->turn(kAtOnce);
    CHECK(reactor->next_deadline() == kNever);  // the sleep has no end, but a place in the heap
    CHECK_FALSE(running.done());
  }
  CHECK(trail == "01234");
}

TEST_CASE("deep nesting suspends, resumes and unwinds", "[task]") {
  auto reactor = make_test_reactor();
  struct Deep {
    static Task<int> down(Reactor& reactor, int level) {
      if (level == 0) {
        const Result<void> turned = co_await nop(reactor);
        co_return turned ? 1 : -100000;
      }
      const int below = co_await down(reactor, level - 1);
      co_return below + 1;
    }
  };
  CHECK(run(*reactor, Deep::down(*reactor, 1000)) == 1001);

  Trail trail;
  {
    const Running<> running = start(*reactor, sleeper(1000, trail));
    reactor->turn(kAtOnce);
  }
  CHECK(trail.size() == 1001);
}

TEST_CASE("a frame that is destroyed by a coroutine below it ends the process", "[task][death]") {
  // `sync`: the destroyer runs nested in its parent's co_await; otherwise it was resumed on its
  // own, and stands between the frame that dies and the destroyer.
  const auto destroy_self = [](bool suspend_first, int levels) {
    return run_in_child([suspend_first, levels] {
      auto reactor = make_reactor_on(make_test_driver({DriverChoice::pool, false, true}));
      struct Chain {
        static Task<> down(Running<>& top, Reactor& reactor, bool suspend, int level) {
          if (level > 0) {
            co_await down(top, reactor, suspend, level - 1);
            co_return;
          }
          if (suspend) static_cast<void>(co_await nop(reactor));
          top = Running<>();
        }
      };
      Running<> top;
      top = start(*reactor, Chain::down(top, *reactor, suspend_first, levels));
      for (int i = 0; i < 4; ++i) reactor->turn(kAtOnce);
    });
  };
  for (const bool suspend_first : {false, true}) {
    for (const int levels : {0, 1, 3}) {
      INFO("suspends first: " << suspend_first << ", levels: " << levels);
      const Death death = destroy_self(suspend_first, levels);
      CHECK(death.aborted());
      CHECK((death.said("destroyed from inside")));
    }
  }
}

TEST_CASE("a frame that handed over to its caller is still guarded", "[task][death]") {
  // The child ends after a suspension and control passes to its parent directly: the parent now
  // runs, and destroying it must be noticed although the queue had resumed the child.
  const Death death = run_in_child([] {
    auto reactor = make_reactor_on(make_test_driver({DriverChoice::pool, false, true}));
    auto child = [&]() -> Task<> { static_cast<void>(co_await nop(*reactor)); };
    Running<> top;
    auto parent = [&]() -> Task<> {
      co_await child();
      top = Running<>();
    };
    auto grandparent = [&]() -> Task<> { co_await parent(); };
    top = start(*reactor, grandparent());
    for (int i = 0; i < 4; ++i) reactor->turn(kAtOnce);
  });
  CHECK(death.aborted());
  CHECK(death.said("a coroutine's frame was destroyed from inside that coroutine"));
}

}  // namespace diorite::test
