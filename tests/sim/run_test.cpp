// run(), explore(), shrinking: with small engines, good and bad ones.

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/timer.hpp>
#include <diorite/try.hpp>

namespace diorite::sim {
namespace {

enum class Bug : std::uint8_t { none, acknowledges_early, forgets_directory };

/// Appends pages that hold their own number, and promises each once it is durable.
template <Bug kBug>
class Pages final : public Engine {
 public:
  Task<> live(Life& life) override {
    const Result<void> lived = co_await work(life);
    if (!lived) life.failed(lived.error());
  }

 private:
  Task<Result<void>> work(Life& life) {
    const OpenOptions options{.write = true, .create = true};
    DIORITE_CO_TRY(DirectFile file,
                   co_await DirectFile::open_with(life.reactor(), "pages", options));
    if (kBug != Bug::forgets_directory) {
      DIORITE_CO_CHECK(co_await sync_dir(life.reactor(), "."));
    }
    // What a killed process wrote is believed only once it is durable.
    DIORITE_CO_CHECK(co_await file.sync_data());
    DIORITE_CO_TRY(const std::uint64_t bytes, co_await file.size());
    if (!life.check(bytes >= promised_ * kPageBytes, "pages are lost with the end of the file")) {
      co_return Result<void>();
    }
    for (std::uint64_t i = 0; i < promised_; ++i) {
      DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
      BufIoResult read = co_await file.read_at(std::move(page), i * kPageBytes);
      if (!read) co_return read.error();
      std::uint64_t number = 0;
      std::memcpy(&number, read.buf().data(), sizeof(number));
      if (!life.check(number == i + 1, "a page is lost")) co_return Result<void>();
    }
    while (life.goes_on()) {
      const std::uint64_t number = promised_ + 1;
      DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
      std::memcpy(page.data(), &number, sizeof(number));
      BufIoResult written = co_await file.write_at(std::move(page), promised_ * kPageBytes);
      if (!written) co_return written.error();
      if (kBug == Bug::acknowledges_early) promised_ = number;
      DIORITE_CO_CHECK(co_await file.sync_data());
      promised_ = number;
      life.acknowledge();
    }
    co_return Result<void>();
  }

  std::uint64_t promised_ = 0;
};

class Waits final : public Engine {
 public:
  Task<> live(Life& life) override {
    Running<> child = start(life.reactor(), for_ever());
    co_await std::move(child);
  }

 private:
  struct Never {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
  };
  static Task<> for_ever() { co_await Never(); }
};

class Fails final : public Engine {
 public:
  Task<> live(Life& life) override {
    if (life.is_healthy()) life.failed(Error(Errc::no_space));
    co_return;
  }
};

class Throws final : public Engine {
 public:
  Task<> live(Life& life) override {
    const Result<void> slept = co_await sleep_for(std::chrono::microseconds(1));
    if (slept && life.number() == 1) throw std::runtime_error("out of cheese");
  }
};

/// Two reactors; the second one does the writing.
class Twins final : public Engine {
 public:
  Task<> live(Life& life) override {
    Reactor& other = life.add_reactor();
    Reactor* const home = &life.reactor();
    bool done = false;
    other.spawn(write(other, done));
    // Turns of this reactor go on while the other one works.
    while (!done && !life.is_over()) {
      const Result<void> slept = co_await sleep_for(std::chrono::microseconds(50));
      if (!slept) break;
    }
    life.check(home == &life.reactor(), "a second reactor has become the first");
    if (life.is_healthy()) life.check(wrote_, "the second reactor did not write");
    life.acknowledge();
  }

 private:
  Task<> write(Reactor& reactor, bool& done) {
    const OpenOptions options{.write = true, .create = true};
    Result<DirectFile> file = co_await DirectFile::open_with(reactor, "twin", options);
    Result<AlignedBuf> page = AlignedBuf::page();
    if (file && page) {
      const BufIoResult written = co_await file->write_at(std::move(*page), 0);
      wrote_ = static_cast<bool>(written);
    }
    done = true;
  }
  bool wrote_ = false;
};

}  // namespace

TEST_CASE("a correct engine passes, and everything is counted") {
  const Report report = run<Pages<Bug::none>>({.schedules = 300});
  INFO(report.text());
  CHECK(report.passed());
  CHECK(report.schedules == 300);
  CHECK(report.lives >= 600);
  CHECK(report.machine.power_cuts > 100);
  CHECK(report.machine.kills > 20);
  CHECK(report.crashes() == report.machine.power_cuts + report.machine.kills);
  CHECK(report.acknowledged > 1000);
  CHECK(report.text().find("300 schedules") != std::string::npos);
  CHECK(report.json().find("\"failures\":[]") != std::string::npos);
}

TEST_CASE("an engine that acknowledges before its sync is found, and its schedule made smaller") {
  RunOptions options{.schedules = 1000};
  options.shrinks = false;
  const Report whole = run<Pages<Bug::acknowledges_early>>(options);
  REQUIRE(whole.failures.size() == 1);
  options.shrinks = true;
  const Report small = run<Pages<Bug::acknowledges_early>>(options);
  REQUIRE(small.failures.size() == 1);
  CHECK(small.failures[0].seed == whole.failures[0].seed);
  CHECK(small.failures[0].decisions.size() < whole.failures[0].decisions.size());
  CHECK(small.shrink_steps > 0);

  const Report again =
      replay(options, factory_of<Pages<Bug::acknowledges_early>>(), small.failures[0]);
  REQUIRE(again.failures.size() == 1);
  CHECK(again.failures[0].text == small.failures[0].text);
  CHECK(again.failures[0].trace_hash == small.failures[0].trace_hash);
  CHECK(small.text().find("FAILED at schedule") != std::string::npos);
}

TEST_CASE("an engine that never syncs its directory is found") {
  const Report report = run<Pages<Bug::forgets_directory>>({.schedules = 1000});
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].text.find("lost") != std::string::npos);
}

TEST_CASE("equal seeds make equal runs") {
  RunOptions options{.schedules = 50};
  options.checks_determinism = true;
  options.profile = Profile::hostile();
  const Report report = run<Pages<Bug::none>>(options);
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("exploring a small engine comes to an end, and finds what there is to find") {
  RunOptions options{.profile = Profile::bounded(), .schedules = 200'000};
  options.lives_max = 2;
  options.steps_max = 1;
  options.events_max = 40;
  options.kill = never();
  const Report good = explore<Pages<Bug::none>>(options);
  INFO(good.text());
  CHECK(good.passed());
  CHECK(good.complete);
  CHECK(good.schedules > 20);

  const Report bad = explore<Pages<Bug::acknowledges_early>>(options);
  REQUIRE(bad.failures.size() == 1);
  const Report again =
      replay(options, factory_of<Pages<Bug::acknowledges_early>>(), bad.failures[0]);
  CHECK_FALSE(again.passed());
}

TEST_CASE("a life that waits for nothing is a violation, not a hang") {
  const Report report = run<Waits>({.schedules = 1});
  REQUIRE(report.failures.size() == 1);
  INFO(report.failures[0].text);
  const bool says_why = report.failures[0].text.find("nothing can happen") != std::string::npos ||
                        report.failures[0].text.find("deadlock") != std::string::npos;
  CHECK(says_why);
}

TEST_CASE("a healthy life must succeed") {
  const Report report = run<Fails>({.schedules = 1});
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].text.find("(healthy): failed although") != std::string::npos);
}

TEST_CASE("an exception of the engine is a violation") {
  const Report report = run<Throws>({.schedules = 1});
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].text.find("out of cheese") != std::string::npos);
}

TEST_CASE("an engine of two reactors is run, and power-cut whole") {
  RunOptions options{.schedules = 100};
  options.checks_determinism = true;
  const Report report = run<Twins>(options);
  INFO(report.text());
  CHECK(report.passed());
  CHECK(report.crashes() > 50);
}

TEST_CASE("reports add up") {
  Report sum = run<Pages<Bug::none>>({.schedules = 3});
  const Report more = run<Pages<Bug::none>>({.first_seed = 4, .schedules = 2});
  const std::uint64_t before = sum.machine.events;
  sum.add(more);
  CHECK(sum.schedules == 5);
  CHECK(sum.machine.events == before + more.machine.events);
  RunOptions limited{.schedules = 1000};
  limited.crashes_max = 5;
  const Report few = run<Pages<Bug::none>>(limited);
  CHECK(few.crashes() >= 5);
  CHECK(few.schedules < 10);
}

}  // namespace diorite::sim
