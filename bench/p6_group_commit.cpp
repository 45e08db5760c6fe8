// P6: many coroutines append at once and share writes; against a loop that pays for nothing else.

#include "cases.hpp"

#include "journal_rig.hpp"
#include "raw/group_commit.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include <diorite/scope.hpp>

namespace diorite::bench {
namespace {

constexpr unsigned kBlockBytes = 4096;
constexpr unsigned kRecordBytes = 100;
constexpr unsigned kFrameBytes = 120;  // of a record of 100 bytes, as the journal stores it
constexpr unsigned kLatencyStride = 16;
constexpr unsigned kInFlightMax = JournalOptions{}.in_flight_max;
constexpr const char* kFileName = "commits";

struct Work {
  std::uint64_t left = 0;
};

/// Every kLatencyStride-th appender has `latencies`: reading the clock for each record would be a
/// good part of what a record costs. The ideal loop does the same.
Task<Result<void>> append_many(Journal& journal, std::span<const std::byte> record, Work& work,
                               Latencies* latencies) {
  while (work.left > 0) {
    --work.left;
    Clock::time_point begin;
    if (latencies != nullptr) begin = Clock::now();
    Result<Ticket> ticket = co_await journal.append_durable(record);
    if (latencies != nullptr) latencies->add(Clock::now() - begin);
    if (!ticket) co_return ticket.error();
  }
  co_return Result<void>();
}

Task<Result<void>> join(TaskScope& scope) { co_return co_await scope.join(); }

class AppendBench {
 public:
  AppendBench(Bench& bench, Reactor& reactor, raw::Ring& ring, unsigned appenders);
  void run();

 private:
  std::uint64_t file_bytes(std::uint64_t record_bytes) const noexcept;
  void prepare_ours();
  void prepare_ideal(std::uint64_t bytes);
  Sample run_ours(std::uint64_t count);
  Sample run_ideal(std::uint64_t count);
  std::uint64_t calibrate();
  void add_row(const std::vector<Side>& sides, const std::vector<Round>& rounds);

  Bench& bench_;
  Reactor& reactor_;
  raw::Ring& ring_;
  unsigned appenders_;
  std::vector<std::byte> records_;  ///< one for each appender, the same on both sides
  JournalRig rig_;
  Descriptor file_;
  std::uint64_t file_size_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t commits_ours_ = 0;
  std::uint64_t commits_ideal_ = 0;
  Latencies latencies_;
};

AppendBench::AppendBench(Bench& bench, Reactor& reactor, raw::Ring& ring, unsigned appenders)
    : bench_(bench),
      reactor_(reactor),
      ring_(ring),
      appenders_(appenders),
      records_(std::size_t{appenders} * kRecordBytes),
      rig_(bench.workspace, reactor) {
  for (std::size_t i = 0; i < records_.size(); ++i) records_[i] = static_cast<std::byte>(i * 7);
}

/// Enough for every commit of a run. A commit goes out with all that the appenders have, or with a
/// block of records at least, which then takes up to two blocks; half of that is taken for safety.
std::uint64_t AppendBench::file_bytes(std::uint64_t record_bytes) const noexcept {
  const std::uint64_t in_block = kBlockBytes / record_bytes;
  const std::uint64_t in_commit =
      std::max<std::uint64_t>(1, std::min<std::uint64_t>(appenders_, in_block) / 2);
  const std::uint64_t records = count_ + std::uint64_t{8} * appenders_;
  return (records / in_commit + 1) * kBlockBytes;
}

void AppendBench::prepare_ours() {
  rig_.renew(file_bytes(kFrameBytes));
  // Buffers and frames are allocated by the first commits.
  run_ours(std::uint64_t{4} * appenders_);
}

void AppendBench::prepare_ideal(std::uint64_t bytes) {
  file_ = Descriptor();
  file_size_ = bytes;
  fill_file(bench_.workspace.file(kFileName), bytes, true);
  file_ = Descriptor(bench_.workspace.file(kFileName), true);
  bench_.workspace.settle();
}

Sample AppendBench::run_ours(std::uint64_t count) {
  Work work{count};
  latencies_.reserve(count / kLatencyStride + appenders_);
  TaskScope scope(reactor_);
  for (unsigned i = 0; i < appenders_; ++i) {
    const auto record =
        std::span<const std::byte>(records_).subspan(std::size_t{i} * kRecordBytes, kRecordBytes);
    scope.spawn(
        append_many(rig_.journal(), record, work, i % kLatencyStride == 0 ? &latencies_ : nullptr));
  }
  const std::uint64_t commits = rig_.journal().stats().commits;
  Meter meter;
  meter.start(reactor_.stats().driver.enters);
  require(reactor_.block_on(join(scope)));
  Sample sample = meter.stop(count, reactor_.stats().driver.enters);
  const JournalStats stats = rig_.journal().stats();
  if (stats.rotations != 0) throw Failure("P6: the segment was too small for the run");
  commits_ours_ = stats.commits - commits;
  sample.p50_us = latencies_.quantile_us(0.5);
  sample.p99_us = latencies_.quantile_us(0.99);
  return sample;
}

Sample AppendBench::run_ideal(std::uint64_t count) {
  raw::GroupCommitJob job;
  job.file = file_.get();
  job.file_bytes = file_size_;
  job.appenders = appenders_;
  job.in_flight_max = kInFlightMax;
  job.block_bytes = kBlockBytes;
  job.record_bytes = kRecordBytes;
  job.latency_stride = kLatencyStride;
  raw::GroupCommit loop(ring_, job, records_.data());
  latencies_.reserve(count / kLatencyStride + appenders_);
  Meter meter;
  meter.start(ring_.enters());
  require_zero(loop.run(count, latencies_), "ideal group commit");
  Sample sample = meter.stop(count, ring_.enters());
  commits_ideal_ = loop.commits();
  sample.p50_us = latencies_.quantile_us(0.5);
  sample.p99_us = latencies_.quantile_us(0.99);
  return sample;
}

std::uint64_t AppendBench::calibrate() {
  constexpr std::uint64_t kProbeBytes = std::uint64_t{64} << 20;
  prepare_ideal(kProbeBytes);
  const Sample probe = run_ideal(std::uint64_t{400} * appenders_);
  return operations_for(bench_.plan, per_second(probe));
}

void AppendBench::run() {
  count_ = calibrate();
  const std::uint64_t bytes_max = (bench_.plan.quick ? std::uint64_t{512} : std::uint64_t{2048})
                                  << 20;
  while (file_bytes(kFrameBytes) > bytes_max) count_ /= 2;
  const std::vector<Side> sides = {
      {"diorite", [this] { prepare_ours(); }, [this] { return run_ours(count_); }},
      {"ideal loop", [this] { prepare_ideal(file_bytes(kRecordBytes)); },
       [this] { return run_ideal(count_); }},
  };
  add_row(sides, run_rounds(bench_.plan, fmt::format("P6 {} appenders", appenders_), sides));
  rig_.close();
  file_ = Descriptor();
  bench_.workspace.remove(kFileName);
}

void AppendBench::add_row(const std::vector<Side>& sides, const std::vector<Round>& rounds) {
  Row row = make_row(fmt::format("P6 {} appenders", appenders_), sides, rounds, 1, per_second);
  row.quantity = "durable appends of 100 B";
  row.unit = "1/s";
  row.target = ">= 0.90";
  row.met = row.verdict.ratio >= 0.90;
  const auto records_per_commit = [this](std::uint64_t commits) {
    return static_cast<double>(count_) / static_cast<double>(std::max<std::uint64_t>(1, commits));
  };
  row.more.emplace_back("appenders", appenders_);
  row.more.emplace_back("ours_records_per_commit", records_per_commit(commits_ours_));
  row.more.emplace_back("baseline_records_per_commit", records_per_commit(commits_ideal_));
  bench_.report.add(std::move(row));
}

}  // namespace

void run_p6(Bench& bench) {
  const std::unique_ptr<Reactor> reactor = make_reactor();
  raw::Ring ring(64);
  bench.report.note(fmt::format(
      "P6: coroutines that await append_durable of 100 B, over and over; against a loop that "
      "copies "
      "as many records of 100 B into a block-aligned buffer and writes it with RWF_DSYNC on a raw "
      "ring. Both let the next commit fill while up to {} are in flight, and acknowledge in order. "
      "The journal adds what the loop does not: a header and a checksum for each record and each "
      "commit ({} bytes on the device for 100), and coroutines that are resumed. Both go through "
      "extents that were filled with zeros just before; no rotation falls into a run, and so the "
      "preparation of segments, which writes each byte once more, is left out of the figures. "
      "Latencies are those of every {}th appender.",
      kInFlightMax, kFrameBytes, kLatencyStride));
  for (const unsigned appenders : {16U, 64U, 512U, 4096U}) {
    AppendBench(bench, *reactor, ring, appenders).run();
  }
}

}  // namespace diorite::bench
