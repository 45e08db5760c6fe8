// A reactor inside an Asio io_context, by the host that the examples show: it is never asleep while
// it has something to do.
//
// Every wait of the context has a generous limit that only a bug reaches: a host that runs into it
// has slept through something, and the test fails.

#include <fcntl.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include <diorite/file.hpp>
#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "asio_host.hpp"
#include "reactor/hosted_load.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {
namespace {

using std::chrono::milliseconds;

/// A reactor and its host, which stops the host and runs its handlers before it goes.
class Hosted {
 public:
  explicit Hosted(Reactor& reactor) : host_(context_, reactor) {}
  Hosted(const Hosted&) = delete;
  Hosted& operator=(const Hosted&) = delete;
  ~Hosted() { stop(); }

  /// The loop of a program that has nothing else to do. False when it has slept through something.
  template <class Done>
  bool run_until(Done done) {
    while (!done()) {
      if (context_.run_one_for(std::chrono::seconds(30)) == 0) return false;
      ++handlers_;
    }
    return true;
  }
  /// Runs what can run at once.
  void settle() {
    while (context_.poll_one() != 0) {
    }
  }
  void stop() {
    host_.stop();
    context_.run();
  }
  asio::io_context& context() { return context_; }
  AsioHost& host() { return host_; }
  std::uint64_t handlers() const { return handlers_; }

 private:
  asio::io_context context_{1};
  AsioHost host_;
  std::uint64_t handlers_ = 0;
};

}  // namespace

TEST_CASE("an Asio host never sleeps past one of 100,000 random operations", "[asio_host]") {
  run_random_load<Hosted>([](Hosted& hosted) {
    CHECK(hosted.handlers() > 100);
    hosted.stop();
  });
}

TEST_CASE("an Asio host hears of what an end begins", "[asio_host]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  Result<DirectFile> file = make_file(*reactor, dir, kPageBytes);
  Hosted hosted(*reactor);
  for (int i = 0; i < 5000; ++i) {
    if (i > 0) file = run(*reactor, DirectFile::open(*reactor, dir.file("data")));
    REQUIRE(file);
    Running<BufIoResult> reading = start(*reactor, read_page(*file, 0));
    hosted.settle();
    // Both are dropped. The file is closed by the end of the read, which resumes nobody.
    reading = Running<BufIoResult>();
    *file = DirectFile();
    REQUIRE(hosted.run_until([&] { return reactor->stats().in_flight == 0; }));
  }
}

TEST_CASE("an Asio host hears timers, also an earlier one than it waits for", "[asio_host]") {
  auto reactor = make_test_reactor();
  Hosted hosted(*reactor);
  auto sleep = [](Duration delay) -> Task<> { static_cast<void>(co_await sleep_for(delay)); };
  StopSource stop;
  const Running<> late = start(*reactor, sleep(std::chrono::hours(1)), stop.token());
  hosted.settle();
  CHECK_FALSE(late.done());
  for (int i = 0; i < 5; ++i) {
    const Running<> early = start(*reactor, sleep(milliseconds(1)));
    REQUIRE(hosted.run_until([&] { return early.done(); }));
  }
  CHECK_FALSE(late.done());
  stop.request_stop();  // between turns
  REQUIRE(hosted.run_until([&] { return late.done(); }));
}

TEST_CASE("posts of other threads reach reactor and context beside each other", "[asio_host]") {
  constexpr int kPosts = 2000;
  auto reactor = make_test_reactor();
  Hosted hosted(*reactor);
  hosted.settle();
  int reactor_ran = 0;
  int context_ran = 0;
  std::thread other([&] {
    for (int i = 0; i < kPosts; ++i) {
      reactor->post([&] { ++reactor_ran; });
      if (i % 2 == 0) asio::post(hosted.context(), [&] { ++context_ran; });
      // In pairs, and one by one, so that the host is met awake and asleep.
      if (i % 3 == 0) std::this_thread::yield();
    }
  });
  CHECK(hosted.run_until([&] { return reactor_ran == kPosts && context_ran == kPosts / 2; }));
  other.join();
}

TEST_CASE("a reactor that always has work leaves room for Asio's handlers", "[asio_host]") {
  auto reactor = make_test_reactor();
  Hosted hosted(*reactor);
  bool ends = false;
  auto yields = [&]() -> Task<> {
    while (!ends) static_cast<void>(co_await nop(*reactor));
  };
  const Running<> busy = start(*reactor, yields());
  int ran = 0;
  for (; ran < 100; ++ran) {
    bool heard = false;
    asio::post(hosted.context(), [&] { heard = true; });
    REQUIRE(hosted.run_until([&] { return heard; }));
  }
  CHECK(ran == 100);
  CHECK_FALSE(busy.done());
  ends = true;
  REQUIRE(hosted.run_until([&] { return busy.done(); }));
}

TEST_CASE("a stopped host leaves the reactor and its handle alone", "[asio_host]") {
  auto reactor = make_test_reactor();
  auto sleeps = []() -> Task<int> {
    static_cast<void>(co_await sleep_for(milliseconds(1)));
    co_return 7;
  };
  for (int i = 0; i < 3; ++i) {
    {
      Hosted hosted(*reactor);
      auto stops = [&]() -> Task<> {
        static_cast<void>(co_await sleep_for(milliseconds(1)));
        hosted.host().stop();
      };
      const Running<> running = start(*reactor, stops());
      hosted.context().run();  // returns: nothing is left in it
      CHECK(running.done());
    }
    CHECK(::fcntl(reactor->pollable(), F_GETFD) >= 0);
    CHECK(run(*reactor, sleeps()) == 7);
  }
}

}  // namespace diorite::test
