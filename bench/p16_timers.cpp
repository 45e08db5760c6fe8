// P16, timers: whether a timer costs the same among a million of them as among a thousand.

#include "cases.hpp"

#include "random.hpp"
#include "raw/timer_queue.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

namespace diorite::bench {
namespace {

constexpr std::size_t kFew = 1000;
constexpr double kGrowthMax = 1.25;
/// What the moments of a run are spread over.
constexpr std::uint64_t kSpreadNs = 1'000'000'000;

/// So that a turn resumes all that have fired: only then is every timer set when the first fires.
std::unique_ptr<Reactor> make_unbounded_reactor() {
  ReactorOptions options;
  options.driver.choice = DriverChoice::uring;
  options.driver.forbid_fallback = true;
  options.resumes_per_turn_max = std::numeric_limits<std::uint32_t>::max();
  return require(Reactor::create(options));
}

Task<Result<void>> join(TaskScope& scope) { co_return co_await scope.join(); }

/// So many coroutines, each with a timer at a random moment that has passed. In every turn all of
/// them fire, in the order of their moments, and all are set again.
class Firing {
 public:
  explicit Firing(std::size_t timers)
      : reactor_(make_unbounded_reactor()), timers_(timers), scope_(*reactor_) {
    for (std::size_t i = 0; i < timers; ++i) scope_.spawn(sleep_again(*this, i));
    turn();
    turn();
  }
  Firing(const Firing&) = delete;
  Firing& operator=(const Firing&) = delete;
  ~Firing() {
    ends_ = true;
    turn();
    static_cast<void>(reactor_->block_on(join(scope_)));
  }

  Sample run(std::uint64_t rounds) {
    const std::uint64_t fired = fired_;
    Meter meter;
    meter.start(reactor_->stats().driver.enters);
    for (std::uint64_t i = 0; i < rounds; ++i) turn();
    const Sample sample = meter.stop(rounds * timers_, reactor_->stats().driver.enters);
    if (fired_ - fired != sample.operations) throw Failure("P16: not every timer has fired");
    return sample;
  }

 private:
  static Task<> sleep_again(Firing& self, std::uint64_t seed) {
    Random random(seed);
    while (!self.ends_) {
      const Duration before(static_cast<Duration::rep>(random.below(kSpreadNs)));
      static_cast<void>(co_await sleep_until(self.now_ - before));
      ++self.fired_;
    }
  }
  void turn() { reactor_->turn(kAtOnce); }

  std::unique_ptr<Reactor> reactor_;
  std::size_t timers_;
  TaskScope scope_;
  Instant now_ = reactor_->now();
  std::uint64_t fired_ = 0;
  bool ends_ = false;
};

/// So many coroutines that sleep until some random moment of the far future. Again and again one of
/// them is dropped with its timer, and another one takes its place.
class Cancelling {
 public:
  explicit Cancelling(std::size_t timers)
      : reactor_(make_unbounded_reactor()), random_(timers), sleeping_(timers) {
    for (Running<>& one : sleeping_) one = start_one();
    reactor_->turn(kAtOnce);
  }
  Cancelling(const Cancelling&) = delete;
  Cancelling& operator=(const Cancelling&) = delete;
  ~Cancelling() { sleeping_.clear(); }

  Sample run(std::uint64_t count) {
    // So few that a task is rarely dropped before it has set its timer.
    constexpr std::uint64_t kPerTurn = 50;
    Meter meter;
    meter.start(reactor_->stats().driver.enters);
    for (std::uint64_t i = 0; i < count; ++i) {
      sleeping_[static_cast<std::size_t>(random_.below(sleeping_.size()))] = start_one();
      if (i % kPerTurn == kPerTurn - 1) reactor_->turn(kAtOnce);
    }
    return meter.stop(count, reactor_->stats().driver.enters);
  }

 private:
  static Task<> sleep(Instant due) { static_cast<void>(co_await sleep_until(due)); }
  Running<> start_one() {
    const Duration after(static_cast<Duration::rep>(random_.below(kSpreadNs)));
    return start(*reactor_, sleep(now_ + std::chrono::hours(24) + after));
  }

  std::unique_ptr<Reactor> reactor_;
  Random random_;
  Instant now_ = reactor_->now();
  std::vector<Running<>> sleeping_;
};

Row growth_row(std::string name, const std::vector<Side>& sides, const std::vector<Round>& rounds) {
  Row row = make_row(std::move(name), sides, rounds, 1, cpu_ns_per_op);
  row.unit = "ns of CPU";
  row.higher_is_better = false;
  row.target = fmt::format("<= {:.2f}", kGrowthMax);
  row.met = row.verdict.ratio <= kGrowthMax;
  return row;
}

void run_firing(Bench& bench, std::size_t many) {
  Firing few(kFew);
  Firing lots(many);
  raw::TimerQueue plain_few(kFew);
  raw::TimerQueue plain_lots(many);
  const std::uint64_t rounds_of_lots =
      std::max<std::uint64_t>(1, operations_for(bench.plan, 2e6) / many);
  const std::uint64_t count = rounds_of_lots * many;
  const auto run_plain = [](raw::TimerQueue& queue, std::uint64_t rounds, std::uint64_t fires) {
    Meter meter;
    meter.start(0);
    queue.run(rounds);
    return meter.stop(fires, 0);
  };
  const std::vector<Side> sides = {
      {"diorite", {}, [&] { return lots.run(rounds_of_lots); }},
      {fmt::format("among {}", kFew), {}, [&] { return few.run(count / kFew); }},
      {"std::priority_queue", {}, [&] { return run_plain(plain_lots, rounds_of_lots, count); }},
      {"std::priority_queue among few",
       {},
       [&] { return run_plain(plain_few, count / kFew, count); }},
  };
  const std::vector<Round> rounds =
      run_rounds(bench.plan, fmt::format("P16 {} timers fire", many), sides);
  const double plain_growth =
      median_of(rounds, 2, cpu_ns_per_op) / median_of(rounds, 3, cpu_ns_per_op);
  Row growth = growth_row(fmt::format("P16 {} timers, fire", many), sides, rounds);
  growth.quantity = "set a timer and let it fire";
  growth.more.emplace_back("timers", static_cast<double>(many));
  growth.more.emplace_back("priority_queue_growth", plain_growth);
  bench.report.add(std::move(growth));
  Row peer = make_row(fmt::format("P16 {} timers, fire", many), sides, rounds, 2, cpu_ns_per_op);
  peer.quantity = "set a timer and let it fire";
  peer.unit = "ns of CPU";
  peer.higher_is_better = false;
  bench.report.add(std::move(peer));
}

void run_cancelling(Bench& bench, std::size_t many) {
  Cancelling few(kFew);
  Cancelling lots(many);
  const std::uint64_t count = operations_for(bench.plan, 2e6);
  const std::vector<Side> sides = {
      {"diorite", {}, [&] { return lots.run(count); }},
      {fmt::format("among {}", kFew), {}, [&] { return few.run(count); }},
  };
  const std::vector<Round> rounds =
      run_rounds(bench.plan, fmt::format("P16 {} timers cancelled", many), sides);
  Row row = growth_row(fmt::format("P16 {} timers, cancel", many), sides, rounds);
  row.quantity = "start a task that sleeps, and drop it";
  row.more.emplace_back("timers", static_cast<double>(many));
  bench.report.add(std::move(row));
}

}  // namespace

void run_p16(Bench& bench) {
  bench.report.note(fmt::format(
      "P16: what a timer costs among many, against the same among {}. Fire: so many coroutines "
      "sleep until random moments that have passed, so that all timers are set before all fire, in "
      "their order, and each coroutine is resumed to set the next; the std::priority_queue holds "
      "as many callbacks, which count. Cancel: of so many coroutines that sleep, a random one is "
      "dropped with its timer and another is started, which takes a frame and a record from the "
      "pool and a trip through the ready queue. The heap of timers takes log n steps, and what a "
      "million coroutines take is in no cache: both are in the ratio.",
      kFew));
  std::vector<std::size_t> sizes = {100'000, 1'000'000};
  if (bench.plan.quick) sizes = {1'000'000};
  for (const std::size_t many : sizes) {
    run_firing(bench, many);
    run_cancelling(bench, many);
  }
}

}  // namespace diorite::bench
