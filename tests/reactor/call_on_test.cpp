// call_on: calls and answers between reactors, on one thread and on two.

#include <diorite/call_on.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <diorite/scope.hpp>
#include <diorite/sync.hpp>
#include <diorite/timer.hpp>
#include <diorite/when.hpp>

#include "coro/trail.hpp"
#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

/// Two reactors on this thread, turned one after the other.
struct Pair {
  std::unique_ptr<Reactor> home = make_test_reactor();
  std::unique_ptr<Reactor> other = make_test_reactor();
  void turn() const {
    home->turn(kAtOnce);
    other->turn(kAtOnce);
  }
  template <class Done>
  void until(Done done) const {
    while (!done()) turn();
  }
};

/// A reactor that runs on a thread of its own.
class Server {
 public:
  Server() : thread_([this] { serve(); }) {
    while (!ready_.load()) std::this_thread::yield();
  }
  ~Server() {
    reactor_->request_shutdown();
    thread_.join();
  }
  Reactor& reactor() { return *reactor_; }

 private:
  void serve() {
    const std::unique_ptr<Reactor> mine = make_test_reactor();
    reactor_ = mine.get();
    ready_.store(true);
    mine->run();
  }
  Reactor* reactor_ = nullptr;
  std::atomic<bool> ready_{false};
  std::thread thread_;
};

Task<int> doubles(int value) { co_return 2 * value; }
Task<std::string> joins(std::string a, std::unique_ptr<int> b) { co_return a + std::to_string(*b); }
Task<> adds(int& sum, int value) {
  sum += value;
  co_return;
}
Task<int> throws(int value) {
  if (value >= 0) throw std::runtime_error("thrown over there");
  co_return value;
}
Task<Result<int>> waits(Event& event, Trail& trail) {
  const Mark mark(trail, 'w');
  const Result<void> waited = co_await event.wait();
  trail.push_back(waited ? 'a' : 'X');
  if (!waited) co_return waited.error();
  co_return 1;
}
Task<const void*> where(Reactor& expected) {
  struct Context {
    static Task<Reactor*> own() {
      TaskContext& context = co_await detail::ContextAwaiter();
      co_return context.reactor;
    }
  };
  Reactor* const mine = co_await Context::own();
  co_return mine == &expected ? mine : nullptr;
}

}  // namespace

TEST_CASE("a call runs on its target and brings its result home", "[call_on]") {
  const Pair pair;
  int sum = 0;
  auto work = [&]() -> Task<> {
    CHECK(co_await call_on(*pair.other, &where, *pair.other) != nullptr);
    const int eight = co_await call_on(*pair.other, &doubles, 4);
    CHECK(eight == 8);
    std::unique_ptr<int> number = std::make_unique<int>(5);
    const std::string text = co_await call_on(*pair.other, &joins, "a", std::move(number));
    CHECK(text == "a5");
    co_await call_on(*pair.other, &adds, sum, 3);
    co_await call_on(*pair.home, &adds, sum, 4);  // to itself
    CHECK(sum == 7);
  };
  const Running<> running = start(*pair.home, work());
  pair.until([&] { return running.done(); });
}

TEST_CASE("an exception comes home", "[call_on]") {
  const Pair pair;
  std::string text;
  auto work = [&]() -> Task<> {
    try {
      static_cast<void>(co_await call_on(*pair.other, &throws, 1));
    } catch (const std::runtime_error& error) {
      text = error.what();
    }
  };
  const Running<> running = start(*pair.home, work());
  pair.until([&] { return running.done(); });
  CHECK(text == "thrown over there");
}

TEST_CASE("a stop of the caller reaches the task, whose result stands", "[call_on]") {
  // Before the call has arrived, while it waits, and when its answer is on the way.
  for (int turns_before = 0; turns_before < 4; ++turns_before) {
    const Pair pair;
    Event event;
    Trail trail;
    StopSource stop;
    Error error;
    bool done = false;
    auto work = [&]() -> Task<> {
      const Result<int> got = co_await call_on(*pair.other, &waits, event, trail);
      if (!got) error = got.error();
      done = true;
    };
    const Running<> running = start(*pair.home, work(), stop.token());
    for (int i = 0; i < turns_before; ++i) pair.turn();
    if (turns_before == 3) {
      event.set();
      pair.other->turn(kAtOnce);
    }
    stop.request_stop();
    pair.until([&] { return running.done(); });
    CHECK(done);
    CHECK(trail == (turns_before == 3 ? "aw" : "Xw"));
    CHECK((turns_before == 3 ? !error : error == Errc::cancelled));
    // The stop may still be on its way.
    pair.turn();
  }
}

TEST_CASE("a caller that was stopped before still makes its call, which is stopped", "[call_on]") {
  const Pair pair;
  Event event;
  Trail trail;
  StopSource stop;
  stop.request_stop();
  auto work = [&]() -> Task<> {
    const Result<int> got = co_await call_on(*pair.other, &waits, event, trail);
    CHECK(!got);
  };
  const Running<> running = start(*pair.home, work(), stop.token());
  pair.until([&] { return running.done(); });
  CHECK(trail == "Xw");
}

TEST_CASE("a dying caller detaches, and its task is stopped", "[call_on]") {
  for (int turns_before = 0; turns_before < 4; ++turns_before) {
    const Pair pair;
    Event event;
    Trail trail;
    auto work = [&]() -> Task<> {
      static_cast<void>(co_await call_on(*pair.other, &waits, event, trail));
      trail.push_back('!');
    };
    Running<> running = start(*pair.home, work());
    for (int i = 0; i < turns_before; ++i) pair.turn();
    if (turns_before == 3) {
      event.set();
      pair.other->turn(kAtOnce);
    }
    running = Running<>();
    for (int i = 0; i < 6; ++i) pair.turn();
    const std::string expected = turns_before == 0 ? "" : turns_before == 3 ? "aw" : "Xw";
    CHECK(trail == expected);
  }
}

TEST_CASE("a target that dies first answers closed", "[call_on]") {
  for (const bool arrived : {false, true}) {
    auto home = make_test_reactor();
    auto other = make_test_reactor();
    Event event;
    Trail trail;
    Error error;
    auto work = [&]() -> Task<> {
      const Result<int> got = co_await call_on(*other, &waits, event, trail);
      error = got.error();
    };
    const Running<> running = start(*home, work());
    home->turn(kAtOnce);
    if (arrived) other->turn(kAtOnce);
    other.reset();
    while (!running.done()) home->turn(kAtOnce);
    CHECK(error == Errc::closed);
    CHECK(trail == (arrived ? "w" : ""));
  }
}

TEST_CASE("a stop or a death after the target's end does not look for the target", "[call_on]") {
  for (const bool dies : {false, true}) {
    auto home = make_test_reactor();
    auto other = make_test_reactor();
    Event event;
    Trail trail;
    Error error;
    StopSource stop;
    auto work = [&]() -> Task<> {
      const Result<int> got = co_await call_on(*other, &waits, event, trail);
      error = got.error();
    };
    Running<> running = start(*home, work(), stop.token());
    home->turn(kAtOnce);
    other->turn(kAtOnce);
    other.reset();
    if (dies) {
      running = Running<>();
    } else {
      stop.request_stop();
      while (!running.done()) home->turn(kAtOnce);
      CHECK(error == Errc::closed);
    }
    CHECK(trail == "w");
  }
}

TEST_CASE("a target that dies owing an answer that can be no error is caught", "[call_on]") {
  static Task<bool> (*const sleeps)() = +[]() -> Task<bool> {
    co_return static_cast<bool>(co_await sleep_for(std::chrono::hours(1)));
  };
  const Death death = run_in_child([] {
    auto home = make_test_reactor();
    auto other = make_test_reactor();
    auto work = [&]() -> Task<> { static_cast<void>(co_await call_on(*other, sleeps)); };
    const Running<> running = start(*home, work());
    home->turn(kAtOnce);
    other.reset();
    while (!running.done()) home->turn(kAtOnce);
  });
  CHECK(death.aborted());
}

TEST_CASE("a call that comes while the target dies is answered, too", "[call_on]") {
  auto home = make_test_reactor();
  auto other = make_test_reactor();
  Event event;
  Trail trail;
  Error error;
  Reactor& target = *other;
  auto work = [&]() -> Task<> {
    const Result<int> got = co_await call_on(target, &waits, event, trail);
    error = got.error();
  };
  Running<> running;
  struct CallsWhenDying {
    Reactor& caller;
    explicit CallsWhenDying(Reactor& reactor) noexcept : caller(reactor) {}
    ~CallsWhenDying() { caller.turn(kAtOnce); }
  };
  auto dies = [](Reactor& caller, Event& never) -> Task<> {
    const CallsWhenDying calls(caller);
    static_cast<void>(co_await never.wait());
  };
  other->spawn(dies(*home, event));
  other->turn(kAtOnce);
  running = start(*home, work());
  other.reset();
  while (!running.done()) home->turn(kAtOnce);
  CHECK(error == Errc::closed);
  CHECK(trail.empty());
}

TEST_CASE("a caller's reactor may go as soon as its call was answered", "[call_on]") {
  Server server;
  auto calls = [&]() -> Task<int> { co_return co_await call_on(server.reactor(), &doubles, 2); };
  for (int i = 0; i < 200; ++i) {
    auto home = make_test_reactor();
    CHECK(run(*home, calls()) == 4);
  }
}

TEST_CASE("run() waits for the answers to dropped calls", "[call_on]") {
  Server server;
  static Task<> (*const sleeps)() =
      +[]() -> Task<> { static_cast<void>(co_await sleep_for(std::chrono::hours(1))); };
  for (int i = 0; i < 20; ++i) {
    auto home = make_test_reactor();
    auto drops = [](Reactor& mine, Reactor& target) -> Task<> {
      auto call = [](Reactor& r) -> Task<> { co_await call_on(r, sleeps); };
      const Running<> running = start(mine, call(target));
      static_cast<void>(co_await sleep_for(Duration::zero()));
      mine.request_shutdown();
    };
    home->spawn(drops(*home, server.reactor()));
    home->run();
  }
}

TEST_CASE("a call that was never awaited is never made", "[call_on]") {
  const Pair pair;
  int sum = 0;
  {
    auto dropped = call_on(*pair.other, &adds, sum, 3);
  }
  auto moved_from = call_on(*pair.other, &adds, sum, 4);
  auto work = [](CallOnAwait<void> call) -> Task<> { co_await std::move(call); };
  const Running<> running = start(*pair.home, work(std::move(moved_from)));
  pair.until([&] { return running.done(); });
  CHECK(sum == 4);
}

TEST_CASE("the calls of one turn are one list, and arrive in order", "[call_on]") {
  const Pair pair;
  std::vector<int> order;
  static std::vector<int>* seen = nullptr;
  seen = &order;
  struct Note {
    static Task<> number(int value) {
      seen->push_back(value);
      co_return;
    }
  };
  auto work = [&](int value) -> Task<> { co_await call_on(*pair.other, &Note::number, value); };
  std::vector<Running<>> running;
  for (int i = 0; i < 100; ++i) running.push_back(start(*pair.home, work(i)));
  pair.home->turn(kAtOnce);
  CHECK(order.empty());
  pair.other->turn(kAtOnce);
  REQUIRE(order.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
  pair.until([&] { return running.back().done(); });
  CHECK(pair.other->stats().posts == 100);
}

TEST_CASE("calls allocate nothing once the pool is warm", "[call_on]") {
  const Pair pair;
  bool over = false;
  std::uint64_t news = ~std::uint64_t{0};
  auto work = [&]() -> Task<> {
    for (int round = 0; round < 3; ++round) {
      const AllocCount count;
      for (int i = 0; i < 100; ++i) {
        const int got = co_await call_on(*pair.other, &doubles, i);
        REQUIRE(got == 2 * i);
      }
      news = count.here().news;
    }
    over = true;
  };
  const Running<> running = start(*pair.home, work());
  pair.until([&] { return over; });
  // Under AddressSanitizer every frame comes from the allocator on purpose.
  if (pair.home->stats().frame_pool_hits > 0) CHECK(news == 0);
}

TEST_CASE("thousands of calls between threads, with stops and deaths", "[call_on]") {
  Server server;
  auto home = make_test_reactor();
  int ended = 0;
  auto caller = [&](int number) -> Task<> {
    for (int i = 0; i < 400; ++i) {
      const int value = number * 1000 + i;
      const int got = co_await call_on(server.reactor(), &doubles, value);
      REQUIRE(got == 2 * value);
      if (i % 7 == 0) {
        // Dies with its call on the way.
        auto dropped = [](Reactor& r) -> Task<> {
          static_cast<void>(co_await call_on(r, &doubles, 1));
        };
        const Running<> running = start(*home, dropped(server.reactor()));
        static_cast<void>(co_await sleep_for(Duration::zero()));
      }
      if (i % 5 == 0) {
        auto sleeper = [](int ms) -> Task<Result<int>> {
          const Result<void> slept = co_await sleep_for(std::chrono::milliseconds(ms));
          if (!slept) co_return slept.error();
          co_return ms;
        };
        static Task<Result<int>> (*const sleeps)(int) = +sleeper;
        const Result<int> late = co_await with_deadline(
            call_on(server.reactor(), sleeps, 60'000), home->now() + std::chrono::microseconds(50));
        REQUIRE(!late);
        CHECK(late.error() == Errc::deadline);
      }
    }
    ++ended;
  };
  auto all = [&]() -> Task<> {
    std::vector<Task<>> callers;
    for (int i = 0; i < 8; ++i) callers.push_back(caller(i));
    co_await when_all(std::move(callers));
    // What was dropped is answered, too, before this reactor may go.
    const int last = co_await call_on(server.reactor(), &doubles, 1);
    CHECK(last == 2);
  };
  run(*home, all());
  CHECK(ended == 8);
}

}  // namespace diorite::test
