// P18: what it costs to make a task and to await it, when it has nothing to wait for.

#include "cases.hpp"

#include "raw/plain_task.hpp"

#include <fmt/format.h>

#include <diorite/task.hpp>

namespace diorite::bench {
namespace {

__attribute__((noinline)) Task<std::uint64_t> next(std::uint64_t value) { co_return value + 1; }

Task<std::uint64_t> chain(std::uint64_t count, std::uint64_t value) {
  for (std::uint64_t i = 0; i < count; ++i) value = co_await next(value);
  co_return value;
}

void expect(std::uint64_t value, std::uint64_t wanted) {
  if (value != wanted) throw Failure("P18: a side has lost count");
}

}  // namespace

void run_p18(Bench& bench) {
  constexpr std::uint64_t kWarmUp = 1000;
  constexpr double kTargetNs = 10;
  const std::uint64_t count = operations_for(bench.plan, 20e6);
  const std::unique_ptr<Reactor> reactor = make_reactor();
  double frames_per_op = 0;
  const std::vector<Side> sides = {
      {"diorite",
       {},
       [&] {
         expect(reactor->block_on(chain(kWarmUp, 0)), kWarmUp);
         const ReactorStats before = reactor->stats();
         Meter meter;
         meter.start(before.driver.enters);
         const std::uint64_t value = reactor->block_on(chain(count, 0));
         const ReactorStats after = reactor->stats();
         const Sample sample = meter.stop(count, after.driver.enters);
         expect(value, count);
         const std::uint64_t frames = after.frame_pool_hits + after.frame_pool_misses -
                                      before.frame_pool_hits - before.frame_pool_misses;
         frames_per_op = static_cast<double>(frames) / static_cast<double>(count);
         return sample;
       }},
      {"call",
       {},
       [&] {
         Meter meter;
         meter.start(0);
         const std::uint64_t value = raw::run_calls(count, 0);
         const Sample sample = meter.stop(count, 0);
         expect(value, count);
         return sample;
       }},
      {"plain coroutine, malloc",
       {},
       [&] {
         Meter meter;
         meter.start(0);
         const std::uint64_t value = raw::run_plain_tasks(count, 0);
         const Sample sample = meter.stop(count, 0);
         expect(value, count);
         return sample;
       }},
  };
  const std::vector<Round> rounds = run_rounds(bench.plan, "P18", sides);
  bench.report.note(
      "P18: a coroutine makes a task that adds 1, awaits it and frees it, over and over. The "
      "call, which is not inlined, does the addition alone; the plain coroutine is a lazy task "
      "written for this "
      "loop, which can neither wait nor be stopped and has its frame from malloc (not counted "
      "among the allocations).");
  for (std::size_t baseline = 1; baseline < sides.size(); ++baseline) {
    Row row = make_row("P18", sides, rounds, baseline, cpu_ns_per_op);
    row.quantity = "make and await a ready task";
    row.unit = "ns of CPU";
    row.higher_is_better = false;
    row.more.emplace_back("frames_per_op", frames_per_op);
    if (baseline == 1) {
      row.target = fmt::format("<= {:.0f} ns", kTargetNs);
      row.met = row.verdict.ours <= kTargetNs;
    }
    bench.report.add(std::move(row));
  }
}

}  // namespace diorite::bench
