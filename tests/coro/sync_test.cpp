// Event, Semaphore, Mutex: who is woken, in which order, and what a stop or a death leaves behind.

#include <diorite/sync.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "coro/trail.hpp"
#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

using std::chrono::seconds;

static_assert(std::is_move_constructible_v<EventAwait> && !std::is_copy_constructible_v<Permit>);
static_assert(std::is_nothrow_move_assignable_v<Permit> &&
              std::is_nothrow_move_assignable_v<Guard>);

/// Its letter when the event came, a capital X before it when a stop came first.
Task<> waits(Event& event, Trail& trail, char letter) {
  const Result<void> came = co_await event.wait();
  if (!came) trail.push_back('X');
  trail.push_back(letter);
}

/// Holds `count` until `release` is set.
Task<> holds(Semaphore& semaphore, std::uint64_t count, Event& release, Trail& trail, char letter) {
  Result<Permit> permit = co_await semaphore.acquire(count);
  if (!permit) trail.push_back('X');
  trail.push_back(letter);
  if (!permit) co_return;
  CHECK(permit->count() == count);
  static_cast<void>(co_await release.wait());
}

Task<> locks(Mutex& mutex, Event& release, Trail& trail, char letter) {
  const Guard guard = co_await mutex.lock();
  CHECK(guard);
  trail.push_back(letter);
  static_cast<void>(co_await release.wait());
}

}  // namespace

TEST_CASE("an event wakes all that wait, in order", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event event;
  Trail trail;
  std::vector<Running<>> waiters;
  for (const char letter : {'a', 'b', 'c'}) {
    waiters.push_back(start(*rig.reactor, waits(event, trail, letter)));
  }
  run_ready(*rig.reactor);
  CHECK(trail.empty());
  event.set();
  CHECK(trail.empty());  // they run from the ready queue
  event.reset();         // whoever was woken stays woken
  run_ready(*rig.reactor);
  CHECK(trail == "abc");
  CHECK(!event.is_set());
}

TEST_CASE("an event that is set keeps nobody", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event event(true);
  StopSource stop;
  stop.request_stop();
  Trail trail;
  const Running<> waiter = start(*rig.reactor, waits(event, trail, 'a'), stop.token());
  run_ready(*rig.reactor);
  CHECK(trail == "a");  // what can be had at once is had, stop or not
}

TEST_CASE("a stop ends the waiting for an event, and a later set comes too late", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event event;
  StopSource stop;
  Trail trail;
  const Running<> stopped = start(*rig.reactor, waits(event, trail, 'a'), stop.token());
  const Running<> other = start(*rig.reactor, waits(event, trail, 'b'));
  run_ready(*rig.reactor);
  stop.request_stop();
  event.set();
  run_ready(*rig.reactor);
  CHECK(trail == "Xab");
}

TEST_CASE("who was woken has the event, even if a stop comes before it runs", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event event;
  StopSource stop;
  Trail trail;
  const Running<> waiter = start(*rig.reactor, waits(event, trail, 'a'), stop.token());
  run_ready(*rig.reactor);
  event.set();
  stop.request_stop();
  run_ready(*rig.reactor);
  CHECK(trail == "a");
}

TEST_CASE("the reason of a stop is what a wait reports", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event never;
  auto work = [&]() -> Task<Error> {
    const Result<void> waited =
        co_await with_deadline(never.wait(), rig.reactor->now() + seconds(3));
    co_return waited.error();
  };
  CHECK(run(*rig.reactor, work()) == Errc::deadline);
}

TEST_CASE("a coroutine that dies leaves the event's queue", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event event;
  Trail trail;
  Running<> first = start(*rig.reactor, waits(event, trail, 'a'));
  Running<> woken = start(*rig.reactor, waits(event, trail, 'b'));
  const Running<> last = start(*rig.reactor, waits(event, trail, 'c'));
  run_ready(*rig.reactor);
  first = Running<>();
  event.set();
  woken = Running<>();  // it stands in the ready queue
  run_ready(*rig.reactor);
  CHECK(trail == "c");
}

TEST_CASE("a semaphore serves in order, and a small request does not overtake a large one",
          "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Semaphore semaphore(4);
  Event release_a;
  Event release_bc;
  Trail trail;
  const Running<> a = start(*rig.reactor, holds(semaphore, 3, release_a, trail, 'a'));
  const Running<> b = start(*rig.reactor, holds(semaphore, 2, release_bc, trail, 'b'));
  const Running<> c = start(*rig.reactor, holds(semaphore, 1, release_bc, trail, 'c'));
  run_ready(*rig.reactor);
  CHECK(trail == "a");
  CHECK(semaphore.available() == 1);
  CHECK(!semaphore.try_acquire());  // c waits for one already
  release_a.set();
  run_ready(*rig.reactor);
  CHECK(trail == "abc");
  release_bc.set();
  run_ready(*rig.reactor);
  CHECK(semaphore.available() == 4);
}

TEST_CASE("who stood behind a large request is served when that one is stopped or dies", "[sync]") {
  for (const bool dies : {false, true}) {
    ManualReactor rig = make_manual_reactor();
    Semaphore semaphore(4);
    Event release;
    StopSource stop;
    Trail trail;
    const Running<> a = start(*rig.reactor, holds(semaphore, 3, release, trail, 'a'));
    Running<> b = start(*rig.reactor, holds(semaphore, 4, release, trail, 'b'), stop.token());
    const Running<> c = start(*rig.reactor, holds(semaphore, 1, release, trail, 'c'));
    run_ready(*rig.reactor);
    CHECK(trail == "a");
    if (dies) {
      b = Running<>();
    } else {
      stop.request_stop();
    }
    run_ready(*rig.reactor);
    CHECK(trail == (dies ? "ac" : "aXbc"));
    release.set();
    run_ready(*rig.reactor);
    CHECK(semaphore.available() == 4);
  }
}

TEST_CASE("a permit that was granted to a dying coroutine comes back", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Semaphore semaphore(1);
  Event release;
  Event never;
  Trail trail;
  const Running<> a = start(*rig.reactor, holds(semaphore, 1, release, trail, 'a'));
  Running<> b = start(*rig.reactor, holds(semaphore, 1, never, trail, 'b'));
  Running<> c = start(*rig.reactor, holds(semaphore, 1, never, trail, 'c'));
  run_ready(*rig.reactor);
  release.set();
  while (!a.done()) rig.reactor->turn(kAtOnce);
  // One of the next two has the permit, whether it has heard of it or not.
  b = Running<>();
  run_ready(*rig.reactor);
  CHECK(trail.back() == 'c');
  c = Running<>();  // dies with its permit in hand
  CHECK(semaphore.available() == 1);
}

TEST_CASE("requests that can never be met are errors", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Semaphore semaphore(4);
  auto work = [&](std::uint64_t count) -> Task<Error> {
    const Result<Permit> permit = co_await semaphore.acquire(count);
    co_return permit ? Error() : permit.error();
  };
  CHECK(run(*rig.reactor, work(0)) == Errc::out_of_range);
  const Error much = run(*rig.reactor, work(5));
  CHECK(much == Errc::limit);
  CHECK(much.a() == 5);
  CHECK(much.b() == 4);
  CHECK_FALSE(run(*rig.reactor, work(4)));
  CHECK(!semaphore.try_acquire(0));
  CHECK(!semaphore.try_acquire(5));
  CHECK(semaphore.available() == 4);
}

TEST_CASE("a permit moves, and gives back once", "[sync]") {
  Semaphore semaphore(4);
  Permit a = semaphore.try_acquire(3);
  Permit b = std::move(a);
  CHECK(!a);
  a.release();
  CHECK(semaphore.available() == 1);
  Permit c = semaphore.try_acquire(1);
  c = std::move(b);  // gives its own back first
  CHECK(semaphore.available() == 1);
  c.release();
  c.release();
  CHECK(semaphore.available() == 4);
}

TEST_CASE("a mutex is handed over in order", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Mutex mutex;
  Event release[3];
  Trail trail;
  const Running<> a = start(*rig.reactor, locks(mutex, release[0], trail, 'a'));
  const Running<> b = start(*rig.reactor, locks(mutex, release[1], trail, 'b'));
  const Running<> c = start(*rig.reactor, locks(mutex, release[2], trail, 'c'));
  run_ready(*rig.reactor);
  CHECK(trail == "a");
  release[0].set();
  run_ready(*rig.reactor);
  CHECK(trail == "ab");
  CHECK(!mutex.try_lock());
  release[1].set();
  release[2].set();
  run_ready(*rig.reactor);
  CHECK(trail == "abc");
  CHECK(!mutex.is_locked());
  CHECK(mutex.try_lock());
  CHECK(!mutex.is_locked());
}

TEST_CASE("a stop does not end the waiting for a mutex; a death does", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Mutex mutex;
  Event release;
  StopSource stop;
  Trail trail;
  Guard mine = mutex.try_lock();
  const Running<> a = start(*rig.reactor, locks(mutex, release, trail, 'a'), stop.token());
  Running<> dying = start(*rig.reactor, locks(mutex, release, trail, 'b'));
  const Running<> c = start(*rig.reactor, locks(mutex, release, trail, 'c'));
  run_ready(*rig.reactor);
  stop.request_stop();
  run_ready(*rig.reactor);
  CHECK(trail.empty());
  dying = Running<>();
  mine.unlock();
  run_ready(*rig.reactor);
  CHECK(trail == "ac");  // the stop ended a's wait for its release
}

TEST_CASE("a mutex that was handed to a dying coroutine goes to the next one", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Mutex mutex;
  Event never;
  Trail trail;
  Guard mine = mutex.try_lock();
  Running<> dying = start(*rig.reactor, locks(mutex, never, trail, 'a'));
  Running<> next = start(*rig.reactor, locks(mutex, never, trail, 'b'));
  run_ready(*rig.reactor);
  mine.unlock();
  dying = Running<>();  // it has the mutex, and stands in the ready queue
  run_ready(*rig.reactor);
  CHECK(trail == "b");
  next = Running<>();
  CHECK(!mutex.is_locked());
}

TEST_CASE("waiting allocates nothing", "[sync]") {
  ManualReactor rig = make_manual_reactor();
  Event event;
  Semaphore semaphore(1);
  Mutex mutex;
  auto other = [&]() -> Task<> {
    for (int i = 0; i < 100; ++i) {
      const Result<Permit> permit = co_await semaphore.acquire();
      const Guard guard = co_await mutex.lock();
      static_cast<void>(co_await sleep_for(seconds(1)));
      event.set();
      event.reset();
    }
  };
  auto work = [&]() -> Task<> {
    for (int i = 0; i < 100; ++i) {
      static_cast<void>(co_await event.wait());
      const Result<Permit> permit = co_await semaphore.acquire();
      const Guard guard = co_await mutex.lock();
    }
  };
  const Running<> a = start(*rig.reactor, other());
  const Running<> b = start(*rig.reactor, work());
  run_ready(*rig.reactor);
  const AllocCount count;
  while (!a.done()) step(*rig.reactor);
  CHECK(count.here().news == 0);
}

TEST_CASE("objects that die under their waiters are caught", "[sync]") {
  const Death event_died = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    Trail trail;
    Running<> waiter;
    Event event;
    waiter = start(*rig.reactor, waits(event, trail, 'a'));
    run_ready(*rig.reactor);
  });
  CHECK(event_died.said("an event died while coroutines wait for it"));
  const Death semaphore_died = run_in_child([] {
    Permit permit;
    Semaphore semaphore(1);
    permit = semaphore.try_acquire();
  });
  CHECK(semaphore_died.said("a semaphore died before its permits came back"));
  const Death mutex_died = run_in_child([] {
    Guard guard;
    Mutex mutex;
    guard = mutex.try_lock();
  });
  CHECK(mutex_died.said("a mutex died while it was locked"));
}

TEST_CASE("any mix of holders, stops and deaths ends with every permit back", "[sync]") {
  std::mt19937 random(20);
  for (int round = 0; round < 200; ++round) {
    ManualReactor rig = make_manual_reactor();
    Semaphore semaphore(5);
    std::uint64_t held = 0;
    std::uint64_t most = 0;
    auto holder = [&](std::uint64_t count, Duration delay) -> Task<> {
      struct Count {
        std::uint64_t& held;
        std::uint64_t count;
        ~Count() { held -= count; }
      };
      const Result<Permit> permit = co_await semaphore.acquire(count);
      if (!permit) co_return;
      held += count;
      const Count counted{held, count};
      most = std::max(most, held);
      static_cast<void>(co_await sleep_for(delay));
    };
    std::vector<Running<>> running;
    std::vector<std::unique_ptr<StopSource>> stops;
    for (int i = 0; i < 30; ++i) {
      stops.push_back(std::make_unique<StopSource>());
      running.push_back(start(*rig.reactor, holder(1 + random() % 5, seconds(random() % 5)),
                              stops.back()->token()));
    }
    for (int i = 0; i < 60; ++i) {
      const std::size_t which = random() % running.size();
      switch (random() % 4) {
        case 0:
          stops[which]->request_stop();
          break;
        case 1:
          running[which] = Running<>();
          break;
        default:
          rig.reactor->turn(rig.reactor->now() + seconds(random() % 2));
          break;
      }
      REQUIRE(held + semaphore.available() <= 5);
    }
    for (Running<>& one : running) {
      while (one && !one.done()) step(*rig.reactor);
    }
    REQUIRE(held == 0);
    REQUIRE(semaphore.available() == 5);
    REQUIRE(most <= 5);
  }
}

}  // namespace diorite::test
