// with_deadline: it stops, it waits for the end, and the operation's own result stands.

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/sync.hpp>
#include <diorite/timer.hpp>

#include "coro/trail.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

using std::chrono::seconds;

Task<Error> sleeps(Duration delay) {
  const Result<void> slept = co_await sleep_for(delay);
  co_return slept ? Error() : slept.error();
}

struct Rig : ManualReactor {
  Rig() : ManualReactor(make_manual_reactor()) {}
  Instant after(Duration delay) const { return reactor->now() + delay; }
  Duration elapsed() const { return reactor->now() - begin; }
  Instant begin = reactor->now();
};

}  // namespace

TEST_CASE("work that is done in time is none of the deadline's business", "[deadline]") {
  Rig rig;
  CHECK_FALSE(run(*rig.reactor, with_deadline(sleeps(seconds(1)), rig.after(seconds(5)))));
  CHECK(rig.elapsed() == seconds(1));
  CHECK(rig.reactor->next_deadline() == kNever);  // its timer is gone
}

TEST_CASE("work that takes too long is stopped, and says why", "[deadline]") {
  Rig rig;
  CHECK(run(*rig.reactor, with_deadline(sleeps(seconds(9)), rig.after(seconds(5)))) ==
        Errc::deadline);
  CHECK(rig.elapsed() == seconds(5));
}

TEST_CASE("a deadline that has passed starts nothing that can be stopped", "[deadline]") {
  Rig rig;
  const Result<void> slept =
      run(*rig.reactor, with_deadline(sleep_for(seconds(9)), rig.after(seconds(0))));
  REQUIRE_FALSE(slept);
  CHECK(slept.error() == Errc::deadline);
  const Result<void> nothing = run(*rig.reactor, with_deadline(nop(*rig.reactor), rig.begin));
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error() == Errc::deadline);
  CHECK(rig.reactor->stats().submitted == 0);
  CHECK(rig.elapsed() == seconds(0));
}

TEST_CASE("no deadline is one that never comes", "[deadline]") {
  Rig rig;
  CHECK_FALSE(run(*rig.reactor, with_deadline(sleeps(seconds(1)), kNever)));
}

TEST_CASE("the inner of two deadlines and the outer one each stop what is theirs", "[deadline]") {
  Rig rig;
  auto inner_first = [&]() -> Task<Error> {
    const Error inner = co_await with_deadline(sleeps(seconds(9)), rig.after(seconds(1)));
    CHECK(inner == Errc::deadline);
    // The outer one has not come: the work goes on.
    co_return co_await sleeps(seconds(1));
  };
  CHECK_FALSE(run(*rig.reactor, with_deadline(inner_first(), rig.after(seconds(5)))));
  CHECK(rig.elapsed() == seconds(2));
  auto outer_first = [&]() -> Task<Error> {
    co_return co_await with_deadline(sleeps(seconds(9)), rig.after(seconds(7)));
  };
  CHECK(run(*rig.reactor, with_deadline(outer_first(), rig.after(seconds(3)))) == Errc::deadline);
  CHECK(rig.elapsed() == seconds(5));
}

TEST_CASE("a stop from outside comes through a deadline as what it is", "[deadline]") {
  Rig rig;
  StopSource stop;
  Error error;
  auto work = [&]() -> Task<> {
    error = co_await with_deadline(sleeps(seconds(9)), rig.after(seconds(5)));
  };
  const Running<> running = start(*rig.reactor, work(), stop.token());
  rig.reactor->turn(kAtOnce);
  stop.request_stop();
  run_ready(*rig.reactor);
  CHECK(running.done());
  CHECK(error == Errc::cancelled);
  CHECK(rig.elapsed() == seconds(0));
}

TEST_CASE("a deadline waits for work that does not listen, and takes its result", "[deadline]") {
  Rig rig;
  Mutex mutex;
  Guard mine = mutex.try_lock();
  auto stubborn = [&]() -> Task<int> {
    const Guard guard = co_await mutex.lock();
    co_return 7;
  };
  auto unlocks = [&]() -> Task<> {
    static_cast<void>(co_await sleep_for(seconds(8)));
    mine.unlock();
  };
  const Running<> other = start(*rig.reactor, unlocks());
  CHECK(run(*rig.reactor, with_deadline(stubborn(), rig.after(seconds(2)))) == 7);
  CHECK(rig.elapsed() == seconds(8));
}

TEST_CASE("what the device has by then completes, and its own result stands", "[deadline]") {
  Rig rig;
  const std::uint32_t held = rig.faults.hold(OpCode::nop, 1);
  auto releases = [&]() -> Task<> {
    static_cast<void>(co_await sleep_for(seconds(4)));
    rig.faults.release(held);
  };
  const Running<> other = start(*rig.reactor, releases());
  CHECK(run(*rig.reactor, with_deadline(nop(*rig.reactor), rig.after(seconds(1)))));
  CHECK(rig.elapsed() == seconds(4));
}

TEST_CASE("exceptions pass through a deadline", "[deadline]") {
  Rig rig;
  auto throws = []() -> Task<int> {
    static_cast<void>(co_await sleep_for(seconds(1)));
    throw std::runtime_error("out of the depth");
  };
  CHECK_THROWS_WITH(run(*rig.reactor, with_deadline(throws(), rig.after(seconds(3)))),
                    "out of the depth");
  CHECK(rig.reactor->next_deadline() == kNever);
}

TEST_CASE("a coroutine that dies takes its deadline with it", "[deadline]") {
  Rig rig;
  Trail trail;
  auto child = [](Trail& t) -> Task<int> {
    const Mark mark(t, 'a');
    static_cast<void>(co_await sleep_for(seconds(9)));
    co_return 1;
  };
  auto work = [&]() -> Task<> {
    static_cast<void>(co_await with_deadline(child(trail), rig.after(seconds(5))));
  };
  Running<> waiting = start(*rig.reactor, work());
  rig.reactor->turn(kAtOnce);
  waiting = Running<>();
  CHECK(trail == "a");
  CHECK(rig.reactor->next_deadline() == kNever);
  // And when it dies at the moment of the deadline, which stands in the ready queue by then.
  Running<> due = start(*rig.reactor, work());
  auto killer = [&]() -> Task<> {
    static_cast<void>(co_await sleep_for(seconds(5)));
    due = Running<>();
  };
  const Running<> kills = start(*rig.reactor, killer());
  while (!kills.done()) step(*rig.reactor);
  CHECK(trail == "aa");
}

}  // namespace diorite::test
