// P5: what one append, durable before the next begins, takes beyond one durable block.

#include "cases.hpp"

#include "journal_rig.hpp"
#include "raw/dsync_write.hpp"

#include <array>

#include <fmt/format.h>

namespace diorite::bench {
namespace {

constexpr unsigned kBlockBytes = 4096;
constexpr std::size_t kRecordBytes = 100;
constexpr const char* kFileName = "blocks";

Task<Result<void>> append_alone(Journal& journal, std::span<const std::byte> record,
                                std::uint64_t count, Latencies& latencies) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const Clock::time_point begin = Clock::now();
    Result<Ticket> ticket = co_await journal.append_durable(record);
    latencies.add(Clock::now() - begin);
    if (!ticket) co_return ticket.error();
  }
  co_return Result<void>();
}

Sample with_latencies(Sample sample, Latencies& latencies) {
  sample.p50_us = latencies.quantile_us(0.5);
  sample.p99_us = latencies.quantile_us(0.99);
  return sample;
}

/// How many durable writes fill a run.
std::uint64_t calibrate(const Bench& bench, const AlignedBuf& block) {
  constexpr std::uint64_t kProbe = 200;
  const std::string path = bench.workspace.file(kFileName);
  fill_file(path, kProbe * kBlockBytes, true);
  const Descriptor file(path, true);
  Latencies latencies;
  latencies.reserve(kProbe);
  const Clock::time_point begin = Clock::now();
  require_zero(raw::run_dsync_writes(file.get(), block.data(), kBlockBytes, kProbe, latencies),
               "raw durable write");
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return operations_for(bench.plan, static_cast<double>(kProbe) / seconds);
}

}  // namespace

void run_p5(Bench& bench) {
  constexpr std::uint64_t kWarmUp = 50;
  const std::unique_ptr<Reactor> reactor = make_reactor();
  JournalRig rig(bench.workspace, *reactor);
  Descriptor file;
  AlignedBuf block = require(AlignedBuf::page());
  std::array<std::byte, kRecordBytes> record;
  record.fill(std::byte{0x64});
  std::copy(record.begin(), record.end(), block.data());
  Latencies latencies;
  const std::uint64_t count = calibrate(bench, block);
  const std::uint64_t bytes = (count + kWarmUp) * kBlockBytes;

  const auto prepare_ours = [&] {
    rig.renew(bytes);
    latencies.reserve(kWarmUp);
    require(reactor->block_on(append_alone(rig.journal(), record, kWarmUp, latencies)));
  };
  const auto prepare_raw = [&] {
    file = Descriptor();
    fill_file(bench.workspace.file(kFileName), bytes, true);
    file = Descriptor(bench.workspace.file(kFileName), true);
    bench.workspace.settle();
  };
  const std::vector<Side> sides = {
      {"diorite", prepare_ours,
       [&] {
         latencies.reserve(count);
         Meter meter;
         meter.start(reactor->stats().driver.enters);
         require(reactor->block_on(append_alone(rig.journal(), record, count, latencies)));
         return with_latencies(meter.stop(count, reactor->stats().driver.enters), latencies);
       }},
      {"raw pwritev2", prepare_raw,
       [&] {
         latencies.reserve(count);
         Meter meter;
         meter.start(0);
         require_zero(
             raw::run_dsync_writes(file.get(), block.data(), kBlockBytes, count, latencies),
             "raw durable write");
         return with_latencies(meter.stop(count, count), latencies);
       }},
  };
  const std::vector<Round> rounds = run_rounds(bench.plan, "P5", sides);
  Row row = make_row("P5", sides, rounds, 1, p50_us);
  row.quantity = "lone durable append of 100 B, p50";
  row.unit = "us";
  row.higher_is_better = false;
  row.target = "<= 1.10";
  row.met = row.verdict.ratio <= 1.10;
  bench.report.note(
      "P5: one coroutine, append_durable of 100 B, the next when it is durable; against "
      "pwritev2(RWF_DSYNC) of one 4 KiB block. Both go through extents that were filled with zeros "
      "just before, O_DIRECT, one block behind the other, no rotation meanwhile. The system calls "
      "of "
      "the raw side are its writes.");
  bench.report.add(std::move(row));
  rig.close();
  bench.workspace.remove(kFileName);
}

}  // namespace diorite::bench
