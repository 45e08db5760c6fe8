// P1: what a round trip through reactor and driver costs beyond the same on a bare ring.

#include "cases.hpp"

#include "raw/nop.hpp"

#include <fmt/format.h>

#include <diorite/io.hpp>
#include <diorite/task.hpp>

namespace diorite::bench {
namespace {

Task<Result<void>> await_nops(Reactor& reactor, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    Result<void> done = co_await nop(reactor);
    if (!done) co_return done.error();
  }
  co_return Result<void>();
}

}  // namespace

void run_p1(Bench& bench) {
  constexpr std::uint64_t kCount = 1'000'000;
  constexpr std::uint64_t kWarmUp = 10'000;
  constexpr double kTargetNs = 25;
  const std::unique_ptr<Reactor> reactor = make_reactor();
  raw::Ring ring(256);
  const std::vector<Side> sides = {
      {"diorite",
       {},
       [&] {
         require(reactor->block_on(await_nops(*reactor, kWarmUp)));
         Meter meter;
         meter.start(reactor->stats().driver.enters);
         require(reactor->block_on(await_nops(*reactor, kCount)));
         return meter.stop(kCount, reactor->stats().driver.enters);
       }},
      {"raw ring",
       {},
       [&] {
         raw::run_nops(ring, kWarmUp);
         Meter meter;
         meter.start(ring.enters());
         raw::run_nops(ring, kCount);
         return meter.stop(kCount, ring.enters());
       }},
  };
  const std::vector<Round> rounds = run_rounds(bench.plan, "P1", sides);
  Row row = make_row("P1", sides, rounds, 1, ns_per_op);
  row.quantity = "no-op round trip, one coroutine";
  row.unit = "ns";
  row.higher_is_better = false;
  row.target = fmt::format("<= {:.0f} ns more", kTargetNs);
  row.met = row.verdict.difference <= kTargetNs;
  row.more.emplace_back("extra_ns_per_op", row.verdict.difference);
  bench.report.note(
      "P1: one coroutine awaits a no-op 10^6 times; the raw loop submits a NOP, waits for it and "
      "takes its completion, one system call each. Both rings have SINGLE_ISSUER, DEFER_TASKRUN "
      "and "
      "a registered descriptor.");
  bench.report.add(std::move(row));
}

}  // namespace diorite::bench
