// Channel: order, limits, the end, and that no value is lost or doubled.

#include <diorite/channel.hpp>

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
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
using Value = std::unique_ptr<int>;

Value make(int number) { return std::make_unique<int>(number); }

/// How a coroutine's send or receive ended.
struct Outcome {
  bool done = false;
  Error error;
  Value value;  ///< what was received, or what could not be sent
};

Task<> sends(Channel<Value>& channel, int number, Outcome& outcome) {
  Value value = make(number);
  const Result<void> sent = co_await channel.send(std::move(value));
  outcome.error = sent ? Error() : sent.error();
  outcome.value = std::move(value);
  outcome.done = true;
}

Task<> receives(Channel<Value>& channel, Outcome& outcome) {
  Result<Value> received = co_await channel.receive();
  if (received) {
    outcome.value = std::move(*received);
  } else {
    outcome.error = received.error();
  }
  outcome.done = true;
}

}  // namespace

TEST_CASE("values come out in the order in which they went in", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(3);
  std::vector<int> got;
  auto producer = [&]() -> Task<> {
    for (int i = 0; i < 100; ++i) {
      Value value = make(i);
      const Result<void> sent = co_await channel.send(std::move(value));
      CHECK(sent);
      CHECK(value == nullptr);
      CHECK(channel.size() <= 3);
    }
    channel.close();
  };
  auto consumer = [&]() -> Task<Error> {
    for (;;) {
      Result<Value> value = co_await channel.receive();
      if (!value) co_return value.error();
      got.push_back(**value);
    }
  };
  const Running<> producing = start(*rig.reactor, producer());
  CHECK(run(*rig.reactor, consumer()) == Errc::closed);
  REQUIRE(got.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(got[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a sender waits for a place, and its value keeps its turn", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(1);
  Outcome a, b, c;
  const Running<> first = start(*rig.reactor, sends(channel, 1, a));
  const Running<> second = start(*rig.reactor, sends(channel, 2, b));
  const Running<> third = start(*rig.reactor, sends(channel, 3, c));
  run_ready(*rig.reactor);
  CHECK((a.done && !b.done && !c.done));
  CHECK_FALSE(channel.try_send(make(9)));
  for (int i = 1; i <= 3; ++i) {
    const std::optional<Value> value = channel.try_receive();
    REQUIRE(value);
    CHECK(**value == i);
  }
  run_ready(*rig.reactor);
  CHECK((b.done && c.done && !b.error && !c.error));
  CHECK_FALSE(channel.try_receive());
}

TEST_CASE("a value that could not be sent is still its sender's", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(1);
  StopSource stop;
  CHECK(channel.try_send(make(0)));
  Outcome stopped, closed, late;
  const Running<> a = start(*rig.reactor, sends(channel, 1, stopped), stop.token());
  const Running<> b = start(*rig.reactor, sends(channel, 2, closed));
  run_ready(*rig.reactor);
  stop.request_stop();
  run_ready(*rig.reactor);
  CHECK(stopped.error == Errc::cancelled);
  REQUIRE(stopped.value);
  CHECK(*stopped.value == 1);
  channel.close();
  run_ready(*rig.reactor);
  CHECK(closed.error == Errc::closed);
  REQUIRE(closed.value);
  CHECK(*closed.value == 2);
  const Running<> c = start(*rig.reactor, sends(channel, 3, late));
  run_ready(*rig.reactor);
  CHECK(late.error == Errc::closed);
  CHECK(late.value);
  Value mine = make(4);
  CHECK_FALSE(channel.try_send(std::move(mine)));
  CHECK(mine);
  CHECK(channel.size() == 1);
}

TEST_CASE("what was sent before the close can be received after it", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(2);
  CHECK(channel.try_send(make(1)));
  CHECK(channel.try_send(make(2)));
  channel.close();
  channel.close();
  Outcome a, b, c;
  run(*rig.reactor, receives(channel, a));
  run(*rig.reactor, receives(channel, b));
  run(*rig.reactor, receives(channel, c));
  CHECK(*a.value == 1);
  CHECK(*b.value == 2);
  CHECK(c.error == Errc::closed);
}

TEST_CASE("closing wakes the receivers of an empty channel", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(2);
  Outcome a, b;
  const Running<> first = start(*rig.reactor, receives(channel, a));
  const Running<> second = start(*rig.reactor, receives(channel, b));
  run_ready(*rig.reactor);
  channel.close();
  run_ready(*rig.reactor);
  CHECK(a.error == Errc::closed);
  CHECK(b.error == Errc::closed);
}

TEST_CASE("a newcomer does not take what is kept for a receiver that was woken", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(2);
  Outcome a, b;
  const Running<> first = start(*rig.reactor, receives(channel, a));
  run_ready(*rig.reactor);
  CHECK(channel.try_send(make(1)));
  CHECK_FALSE(channel.try_receive());
  CHECK(channel.try_send(make(2)));
  // One of two is kept, and it is the older one: whoever takes now would take that.
  CHECK_FALSE(channel.try_receive());
  run_ready(*rig.reactor);
  REQUIRE(a.done);
  CHECK(*a.value == 1);
  const std::optional<Value> second = channel.try_receive();
  REQUIRE(second);
  CHECK(**second == 2);
  CHECK(channel.size() == 0);
}

TEST_CASE("who has waited longest gets the oldest value", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(2);
  Outcome first;
  Outcome late;
  const Running<> waiting = start(*rig.reactor, receives(channel, first));
  run_ready(*rig.reactor);
  auto comes_late = [&]() -> Task<> {
    // The other one was woken, and has not run yet.
    CHECK_FALSE(first.done);
    CHECK(channel.try_receive() == std::nullopt);
    co_await receives(channel, late);
  };
  const Running<> newcomer = start(*rig.reactor, comes_late());
  CHECK(channel.try_send(make(1)));
  CHECK(channel.try_send(make(2)));
  run_ready(*rig.reactor);
  REQUIRE(first.done);
  REQUIRE(late.done);
  CHECK(*first.value == 1);
  CHECK(*late.value == 2);
}

TEST_CASE("a value kept for a dying receiver goes to the next one", "[channel]") {
  for (const bool closes : {false, true}) {
    ManualReactor rig = make_manual_reactor();
    Channel<Value> channel(2);
    Outcome a, b, c;
    Running<> dying = start(*rig.reactor, receives(channel, a));
    const Running<> next = start(*rig.reactor, receives(channel, b));
    const Running<> last = start(*rig.reactor, receives(channel, c));
    run_ready(*rig.reactor);
    CHECK(channel.try_send(make(1)));
    if (closes) channel.close();
    CHECK_FALSE(c.done);
    dying = Running<>();
    run_ready(*rig.reactor);
    REQUIRE(b.done);
    REQUIRE(b.value);
    CHECK(*b.value == 1);
    CHECK(c.done == closes);
    if (closes) CHECK(c.error == Errc::closed);
    channel.close();
    run_ready(*rig.reactor);
  }
}

TEST_CASE("a receiver that was woken has its value, even if a stop comes before it runs",
          "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(1);
  StopSource stop;
  Outcome a;
  const Running<> waiter = start(*rig.reactor, receives(channel, a), stop.token());
  run_ready(*rig.reactor);
  CHECK(channel.try_send(make(1)));
  stop.request_stop();
  run_ready(*rig.reactor);
  REQUIRE(a.value);
  CHECK(*a.value == 1);
}

TEST_CASE("a sender that dies while it waits has sent nothing", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<Value> channel(1);
  CHECK(channel.try_send(make(0)));
  Outcome a, b;
  Running<> dying = start(*rig.reactor, sends(channel, 1, a));
  const Running<> other = start(*rig.reactor, sends(channel, 2, b));
  run_ready(*rig.reactor);
  dying = Running<>();
  CHECK(**channel.try_receive() == 0);
  CHECK(**channel.try_receive() == 2);
  run_ready(*rig.reactor);
  CHECK(b.done);
}

TEST_CASE("a channel allocates its places and nothing else", "[channel]") {
  ManualReactor rig = make_manual_reactor();
  Channel<int> channel(2);
  auto producer = [&]() -> Task<> {
    for (int i = 0; i < 1000; ++i) static_cast<void>(co_await channel.send(int{i}));
    channel.close();
  };
  auto consumer = [&]() -> Task<> {
    while (co_await channel.receive()) {
    }
  };
  const Running<> a = start(*rig.reactor, producer());
  const Running<> b = start(*rig.reactor, consumer());
  const AllocCount count;
  run_ready(*rig.reactor);
  CHECK(b.done());
  CHECK(count.here().news == 0);
}

TEST_CASE("a channel that dies under a waiter is caught", "[channel]") {
  const Death death = run_in_child([] {
    ManualReactor rig = make_manual_reactor();
    Outcome a;
    Running<> waiter;
    Channel<Value> channel(1);
    waiter = start(*rig.reactor, receives(channel, a));
    run_ready(*rig.reactor);
  });
  CHECK(death.said("a channel died while coroutines wait for it"));
}

TEST_CASE("any mix of senders, receivers, stops and deaths loses and doubles nothing",
          "[channel]") {
  std::mt19937 random(21);
  for (int round = 0; round < 300; ++round) {
    ManualReactor rig = make_manual_reactor();
    Channel<Value> channel(1 + random() % 3);
    constexpr std::size_t kCount = 40;
    std::vector<Outcome> sent(kCount);
    std::vector<Outcome> received(kCount);
    std::vector<Running<>> running;
    std::vector<std::unique_ptr<StopSource>> stops;
    std::vector<bool> killed(2 * kCount, false);
    for (std::size_t i = 0; i < 2 * kCount; ++i) {
      stops.push_back(std::make_unique<StopSource>());
      const StopToken token = stops.back()->token();
      running.push_back(
          i % 2 == 0
              ? start(*rig.reactor, sends(channel, static_cast<int>(i / 2), sent[i / 2]), token)
              : start(*rig.reactor, receives(channel, received[i / 2]), token));
      if (random() % 3 == 0) rig.reactor->turn(kAtOnce);
      const std::size_t which = random() % running.size();
      if (random() % 8 == 0) stops[which]->request_stop();
      if (random() % 8 == 0 && running[which] && !running[which].done()) {
        running[which] = Running<>();
        killed[which] = true;
      }
    }
    channel.close();
    run_ready(*rig.reactor);
    std::vector<int> found(kCount, 0);
    while (std::optional<Value> left = channel.try_receive())
      ++found[static_cast<std::size_t>(**left)];
    for (const Outcome& outcome : received) {
      if (outcome.value) ++found[static_cast<std::size_t>(*outcome.value)];
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      if (killed[2 * i]) {
        CHECK(found[i] <= 1);
      } else {
        REQUIRE(sent[i].done);
        // Received once, or given back to its sender with an error: nothing else. A receiver that
        // was killed took nothing with it.
        REQUIRE(found[i] == (sent[i].error ? 0 : 1));
        REQUIRE((sent[i].value != nullptr) == static_cast<bool>(sent[i].error));
      }
    }
    run_ready(*rig.reactor);
  }
}

}  // namespace diorite::test
