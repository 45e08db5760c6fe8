// post and request_shutdown: the two doors for other threads.

#include <atomic>
#include <csignal>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <diorite/io.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "coro/trail.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

constexpr int kThreads = 4;
constexpr int kPosts = 25'000;

/// What the posting threads share with the reactor.
struct Tally {
  std::vector<int> last = std::vector<int>(kThreads, -1);
  int total = 0;
  int disorders = 0;
  Reactor* reactor = nullptr;
};

struct Numbered : PostNode {
  Numbered() : PostNode(&Numbered::run) {}
  static void run(PostNode& node) noexcept {
    auto& self = static_cast<Numbered&>(node);
    Tally& tally = *self.tally;
    int& last = tally.last[static_cast<std::size_t>(self.thread)];
    if (self.number != last + 1) ++tally.disorders;
    last = self.number;
    if (++tally.total == kThreads * kPosts) tally.reactor->request_shutdown();
  }
  Tally* tally = nullptr;
  int thread = 0;
  int number = 0;
};

Reactor* signalled = nullptr;

}  // namespace

TEST_CASE("posts of four threads all run once, in order for each thread", "[post]") {
  auto reactor = make_test_reactor();
  Tally tally;
  tally.reactor = reactor.get();
  std::vector<std::vector<Numbered>> nodes(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    auto& mine = nodes[static_cast<std::size_t>(t)];
    mine = std::vector<Numbered>(kPosts);
    for (int i = 0; i < kPosts; ++i) {
      Numbered& node = mine[static_cast<std::size_t>(i)];
      node.tally = &tally;
      node.thread = t;
      node.number = i;
    }
    threads.emplace_back([&mine, &reactor] {
      for (Numbered& node : mine) reactor->post(node);
    });
  }
  reactor->run();
  for (std::thread& thread : threads) thread.join();
  CHECK(tally.total == kThreads * kPosts);
  CHECK(tally.disorders == 0);
  CHECK(reactor->stats().posts == kThreads * kPosts);
}

TEST_CASE("a post wakes a reactor that sleeps, every time", "[post]") {
  // Each round trip goes through a sleep of the reactor: a lost wake would hang here.
  auto reactor = make_test_reactor();
  std::atomic<int> seen{0};
  std::thread poster([&] {
    for (int i = 1; i <= 2000; ++i) {
      reactor->post([&seen, i] { seen.store(i, std::memory_order_release); });
      while (seen.load(std::memory_order_acquire) != i) std::this_thread::yield();
    }
    reactor->request_shutdown();
  });
  reactor->run();
  poster.join();
  CHECK(seen.load() == 2000);
}

TEST_CASE("a posted function is destroyed on the reactor's thread", "[post]") {
  auto reactor = make_test_reactor();
  struct Witness {
    explicit Witness(std::thread::id& id) : where(&id) {}
    Witness(Witness&& other) noexcept : where(std::exchange(other.where, nullptr)) {}
    ~Witness() {
      if (where != nullptr) *where = std::this_thread::get_id();
    }
    std::thread::id* where;
  };
  std::thread::id died;
  std::thread poster(
      [&] { reactor->post([witness = Witness(died), &reactor] { reactor->request_shutdown(); }); });
  reactor->run();
  poster.join();
  CHECK(died == std::this_thread::get_id());
}

TEST_CASE("a post from inside a post runs in the next turn", "[post]") {
  auto reactor = make_test_reactor();
  struct Again : PostNode {
    explicit Again(Reactor& reactor_) : PostNode(&Again::run), reactor(reactor_) {}
    static void run(PostNode& node) noexcept {
      auto& self = static_cast<Again&>(node);
      if (++self.runs < 3) self.reactor.post(self);
    }
    Reactor& reactor;
    int runs = 0;
  };
  Again again(*reactor);
  reactor->post(again);
  CHECK(reactor->turn(kAtOnce));
  CHECK(again.runs == 1);
  CHECK(reactor->turn(kNever));  // must not sleep
  CHECK(again.runs == 2);
  CHECK_FALSE(reactor->turn(kAtOnce));
  CHECK(again.runs == 3);
}

TEST_CASE("a node that is posted twice before it ran ends the process", "[post][death]") {
  const Death twice = run_in_child([] {
    auto reactor = make_reactor_on(make_test_driver({DriverChoice::pool, false, true}));
    PostNode a([](PostNode&) noexcept {});
    reactor->post(a);
    reactor->post(a);
  });
  CHECK(twice.aborted());
  CHECK(twice.said("a node was posted again before it ran"));
}

TEST_CASE("posts run between resumptions and may spawn, start and stop", "[post]") {
  auto reactor = make_test_reactor();
  Trail trail;
  auto task = [&]() -> Task<> {
    trail.push_back('t');
    reactor->request_shutdown();
    co_return;
  };
  std::thread poster([&] {
    reactor->post([&] {
      reactor->spawn(task());
      trail.push_back('p');
    });
  });
  reactor->run();
  poster.join();
  CHECK(trail == "pt");
}

TEST_CASE("request_shutdown from another thread stops and joins the root scope", "[post]") {
  auto reactor = make_test_reactor();
  Trail trail;
  std::atomic<bool> asleep{false};
  auto sleeper = [&]() -> Task<> {
    asleep.store(true);
    const Result<void> slept = co_await sleep_until(kNever);
    trail.push_back(slept.error() == Errc::cancelled ? 'c' : '?');
    // Cleaning up may take a while: it is waited for.
    for (int i = 0; i < 3; ++i) static_cast<void>(co_await nop(*reactor));
    trail.push_back('e');
  };
  reactor->spawn(sleeper());
  std::thread stopper([&] {
    while (!asleep.load()) std::this_thread::yield();
    reactor->request_shutdown();
  });
  reactor->run();
  stopper.join();
  CHECK(trail == "ce");
}

TEST_CASE("request_shutdown from a signal handler ends run", "[post]") {
  auto reactor = make_test_reactor();
  signalled = reactor.get();
  struct sigaction action{};
  struct sigaction before{};
  action.sa_handler = [](int) { signalled->request_shutdown(); };
  REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
  auto raiser = []() -> Task<> {
    static_cast<void>(::raise(SIGUSR1));
    co_return;
  };
  reactor->spawn(raiser());
  reactor->run();
  ::sigaction(SIGUSR1, &before, nullptr);
  CHECK(reactor->stats().resumes >= 1);
}

TEST_CASE("a shutdown that was requested before run ends it at once, and run works again",
          "[post]") {
  auto reactor = make_test_reactor();
  reactor->request_shutdown();
  reactor->run();
  Trail trail;
  auto work = [&]() -> Task<> {
    const Result<void> slept = co_await sleep_for(Duration(1));
    trail.push_back(slept ? 's' : 'X');
    reactor->request_shutdown();
    reactor->request_shutdown();
  };
  for (int i = 0; i < 3; ++i) {
    reactor->spawn(work());
    reactor->run();
  }
  CHECK(trail == "sss");
}

TEST_CASE("a shutdown that nobody waits for does not keep the reactor awake", "[post]") {
  auto reactor = make_test_reactor();
  reactor->request_shutdown();
  const Instant begin = reactor->now();
  const std::uint64_t turns = reactor->stats().turns;
  auto work = []() -> Task<Result<void>> {
    co_return co_await sleep_for(std::chrono::milliseconds(20));
  };
  CHECK(run(*reactor, work()));
  CHECK(reactor->now() >= begin + std::chrono::milliseconds(20));
  // A spinning reactor makes thousands of turns in this time.
  CHECK(reactor->stats().turns - turns < 20);
}

TEST_CASE("posts that were never run come back from the destructor", "[post]") {
  Trail trail;
  auto reactor = make_test_reactor();
  Reactor& raw = *reactor;
  auto task = [&](Mark mark) -> Task<> {
    const Mark kept = std::move(mark);
    trail.push_back('!');
    co_return;
  };
  raw.post([&] { trail.push_back('a'); });
  raw.post([&] {
    // Comes too late to run: dies unstarted.
    raw.spawn(task(Mark(trail, 't')));
    trail.push_back('b');
  });
  reactor.reset();
  CHECK(trail == "abt");
}

}  // namespace diorite::test
