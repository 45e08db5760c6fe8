// when_all, when_any: every operand ends, and its result is there.

#include <diorite/when.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/sync.hpp>
#include <diorite/timer.hpp>

#include "coro/trail.hpp"
#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

using std::chrono::seconds;

template <class T>
Task<T> ready(T value) {
  co_return std::move(value);
}

/// Its letter when it wakes, a capital X before it when it was stopped.
Task<std::string> sleeps(Trail& trail, char letter, Duration delay) {
  trail.push_back('(');
  const Result<void> slept = co_await sleep_for(delay);
  if (!slept) trail.push_back('X');
  trail.push_back(letter);
  co_return std::string(1, letter);
}

Task<> throws_after(Duration delay, const char* text) {
  static_cast<void>(co_await sleep_for(delay));
  throw std::runtime_error(text);
}

/// Ends on its own terms only.
Task<int> stubborn(Mutex& mutex, int value) {
  const Guard guard = co_await mutex.lock();
  co_return value;
}

}  // namespace

TEST_CASE("when_all gives every result in its place", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<> {
    auto all = co_await when_all(sleeps(trail, 'a', seconds(2)), ready(7), nop(*rig.reactor),
                                 sleeps(trail, 'b', seconds(1)), ready(std::make_unique<int>(5)));
    CHECK(get<0>(all) == "a");
    CHECK(get<1>(all) == 7);
    CHECK(get<2>(all));
    CHECK(all.get<3>() == "b");
    std::unique_ptr<int> last = get<4>(std::move(all));
    CHECK(*last == 5);
  };
  const Instant begin = rig.reactor->now();
  run(*rig.reactor, work());
  CHECK(trail == "((ba");
  CHECK(rig.reactor->now() - begin == seconds(2));
}

TEST_CASE("a group of what is ready does not wait", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<> {
    const auto all = co_await when_all(ready(1), ready(2));
    static_cast<void>(all);
    trail.push_back('w');
  };
  const Running<> other = start(*rig.reactor, [](Trail& t) -> Task<> {
    t.push_back('o');
    co_return;
  }(trail));
  run(*rig.reactor, work());
  CHECK(trail == "ow");
  CHECK(rig.reactor->stats().turns <= 2);
}

TEST_CASE("when_all waits for all before it throws, and throws the first in order", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<std::string> {
    try {
      const auto all = co_await when_all(sleeps(trail, 'a', seconds(5)),
                                         throws_after(seconds(3), "third second"),
                                         throws_after(seconds(1), "first second"));
      static_cast<void>(all);
    } catch (const std::runtime_error& error) {
      co_return error.what();
    }
    co_return "nothing";
  };
  CHECK(run(*rig.reactor, work()) == "third second");
  CHECK(trail == "(a");
}

TEST_CASE("when_any stops the others, and waits for them", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<std::size_t> {
    auto any = co_await when_any(sleeps(trail, 'a', seconds(3)), sleeps(trail, 'b', seconds(1)),
                                 sleeps(trail, 'c', seconds(2)));
    CHECK(get<1>(any) == "b");
    CHECK(get<2>(any) == "c");  // a loser has a result all the same
    co_return any.index();
  };
  const Instant begin = rig.reactor->now();
  CHECK(run(*rig.reactor, work()) == 1);
  CHECK(trail == "(((bXaXc");
  CHECK(rig.reactor->now() - begin == seconds(1));
}

TEST_CASE("when_any waits for a loser that does not listen", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Mutex mutex;
  Guard mine = mutex.try_lock();
  bool over = false;
  auto work = [&]() -> Task<> {
    auto any = co_await when_any(stubborn(mutex, 4), ready(1));
    CHECK(any.index() == 1);
    CHECK(get<0>(any) == 4);
    over = true;
  };
  const Running<> running = start(*rig.reactor, work());
  while (rig.reactor->turn(kAtOnce)) {
  }
  CHECK_FALSE(over);
  mine.unlock();
  while (rig.reactor->turn(kAtOnce)) {
  }
  CHECK(over);
}

TEST_CASE("operands behind a winner that was ready are stopped from the beginning", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<> {
    const auto any = co_await when_any(ready(1), sleeps(trail, 'a', seconds(9)));
    CHECK(any.index() == 0);
  };
  const Instant begin = rig.reactor->now();
  run(*rig.reactor, work());
  CHECK(trail == "(Xa");
  CHECK(rig.reactor->now() == begin);
}

TEST_CASE("a stop from outside reaches the operands with its reason", "[when]") {
  for (const bool any : {false, true}) {
    ManualReactor rig = make_manual_reactor();
    StopSource stop;
    Error a;
    Error b;
    auto child = [](Error& to) -> Task<> {
      const Result<void> slept = co_await sleep_for(seconds(100));
      to = slept ? Error() : slept.error();
    };
    auto work = [&]() -> Task<> {
      if (any) {
        static_cast<void>(co_await when_any(child(a), child(b)));
      } else {
        static_cast<void>(co_await when_all(child(a), child(b)));
      }
    };
    const Running<> running = start(*rig.reactor, work(), stop.token());
    rig.reactor->turn(kAtOnce);
    stop.request_stop(StopReason::deadline);
    while (rig.reactor->turn(kAtOnce)) {
    }
    CHECK(running.done());
    CHECK(a == Errc::deadline);
    CHECK(b == Errc::deadline);
  }
}

TEST_CASE("a group that dies takes its operands with it", "[when]") {
  for (const bool any : {false, true}) {
    ManualReactor rig = make_manual_reactor();
    Trail trail;
    auto child = [](Trail& t, char letter) -> Task<> {
      const Mark mark(t, letter);
      static_cast<void>(co_await sleep_for(seconds(100)));
    };
    auto work = [&]() -> Task<> {
      if (any) {
        static_cast<void>(co_await when_any(child(trail, 'a'), child(trail, 'b')));
      } else {
        static_cast<void>(co_await when_all(child(trail, 'a'), child(trail, 'b')));
      }
    };
    Running<> running = start(*rig.reactor, work());
    rig.reactor->turn(kAtOnce);
    CHECK(trail.empty());
    running = Running<>();
    CHECK(trail.size() == 2);
    CHECK(rig.reactor->next_deadline() == kNever);
  }
}

TEST_CASE("a group dies also between its last end and its resumption", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Event event;
  bool over = false;
  auto work = [&]() -> Task<> {
    static_cast<void>(co_await when_all(event.wait(), event.wait()));
    over = true;
  };
  Running<> running = start(*rig.reactor, work());
  Event* const to_set = &event;
  rig.reactor->turn(kAtOnce);
  // Both operands are resumed, the group is not yet: it is killed from between them.
  auto killer = [&]() -> Task<> {
    running = Running<>();
    co_return;
  };
  to_set->set();
  const Running<> kills = start(*rig.reactor, killer());
  while (rig.reactor->turn(kAtOnce)) {
  }
  CHECK(kills.done());
  CHECK_FALSE(over);
}

TEST_CASE("groups nest", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<> {
    auto all =
        co_await when_all(when_any(sleeps(trail, 'a', seconds(1)), sleeps(trail, 'b', seconds(2))),
                          with_deadline(when_all(sleeps(trail, 'c', seconds(9)), ready(3)),
                                        rig.reactor->now() + seconds(4)));
    CHECK(get<0>(all).index() == 0);
    CHECK(get<1>(get<1>(all)) == 3);
  };
  run(*rig.reactor, work());
  CHECK(trail == "(((aXbXc");
}

TEST_CASE("when_all of a vector keeps the order", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto work = [&]() -> Task<> {
    std::vector<Task<std::string>> tasks;
    for (int i = 0; i < 10; ++i) {
      tasks.push_back(sleeps(trail, static_cast<char>('a' + i), seconds(10 - i)));
    }
    const std::vector<std::string> results = co_await when_all(std::move(tasks));
    REQUIRE(results.size() == 10);
    for (std::size_t i = 0; i < 10; ++i)
      CHECK(results[i] == std::string(1, static_cast<char>('a' + i)));
    CHECK(trail == "((((((((((jihgfedcba");
    std::vector<Task<>> none;
    co_await when_all(std::move(none));
    std::vector<Task<>> throwing;
    throwing.push_back(throws_after(seconds(2), "slow"));
    throwing.push_back(throws_after(seconds(1), "quick"));
    std::string text;
    try {
      co_await when_all(std::move(throwing));
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
    CHECK(text == "slow");
  };
  run(*rig.reactor, work());
}

TEST_CASE("an unstarted group may be moved and dropped", "[when]") {
  ManualReactor rig = make_manual_reactor();
  Trail trail;
  auto child = [](Mark) -> Task<int> { co_return 1; };
  {
    auto group = when_all(child(Mark(trail, 'a')), child(Mark(trail, 'b')));
    auto moved = std::move(group);
    auto work = [&]() -> Task<int> {
      auto all = co_await std::move(moved);
      co_return get<0>(all) + get<1>(all);
    };
    CHECK(run(*rig.reactor, work()) == 2);
  }
  CHECK(trail.size() == 2);
  trail.clear();
  {
    auto dropped = when_any(child(Mark(trail, 'c')), child(Mark(trail, 'd')));
  }
  CHECK(trail.size() == 2);
}

TEST_CASE("a group may outlive the coroutine that awaited it, and what could stop that", "[when]") {
  ManualReactor rig = make_manual_reactor();
  auto child = [](int value) -> Task<int> {
    static_cast<void>(co_await sleep_for(seconds(value)));
    co_return value;
  };
  auto all = when_all(child(1), child(2));
  auto any = when_any(child(3), child(4));
  int sum = 0;
  {
    StopSource stop;
    auto work = [&]() -> Task<> {
      auto both = co_await std::move(all);
      auto first = co_await std::move(any);
      sum = get<0>(both) + get<1>(both) + get<0>(first);
    };
    const Running<> running = start(*rig.reactor, work(), stop.token());
    while (!running.done()) rig.reactor->turn(rig.reactor->now() + seconds(1));
  }
  CHECK(sum == 6);
}

TEST_CASE("a group allocates nothing but pooled frames", "[when]") {
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<std::uint64_t> {
    std::uint64_t news = 0;
    for (int i = 0; i < 10; ++i) {
      const AllocCount count;
      static_cast<void>(co_await when_all(nop(*reactor), nop(*reactor)));
      static_cast<void>(co_await when_any(nop(*reactor), sleep_for(seconds(1))));
      news = count.here().news;
    }
    co_return news;
  };
  const std::uint64_t news = run(*reactor, work());
  // Under AddressSanitizer every frame comes from the allocator on purpose.
  if (reactor->stats().frame_pool_hits > 0) CHECK(news == 0);
}

}  // namespace diorite::test
