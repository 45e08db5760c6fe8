// P19: blocking threads append durably through a ReactorThread; against stores that are made for
// threads, and against a durable write by each thread on its own.

#include "cases.hpp"

#include "journal_rig.hpp"
#include "peers/thread_log.hpp"
#include "thread_team.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include <diorite/journal.hpp>
#include <diorite/reactor_thread.hpp>

namespace diorite::bench {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::size_t kRecordBytes = 100;
constexpr std::uint64_t kFrameBytes = 120;  // of such a record, as the journal stores it

/// The journal, behind a reactor on a thread of its own.
class OurLog final : public ThreadLog {
 public:
  OurLog(const Workspace& workspace, bool quick) : workspace_(workspace), quick_(quick) {
    ReactorOptions options;
    options.driver.choice = DriverChoice::uring;
    options.driver.forbid_fallback = true;
    thread_ = require(ReactorThread::create(options));
  }
  ~OurLog() override {
    // Only after a failure is there still one.
    if (journal_ != nullptr) thread_->call([&](Reactor&) { return drop(journal_); });
  }
  std::string name() const override { return "diorite"; }
  void renew(unsigned threads, std::uint64_t records) override {
    if (journal_ != nullptr) close();
    const std::uint64_t in_commit =
        std::max<std::uint64_t>(1, std::min<std::uint64_t>(threads, kBlockBytes / kFrameBytes) / 2);
    const std::uint64_t limit = std::uint64_t{quick_ ? 512U : 2048U} << 20;
    const std::uint64_t bytes = std::min(limit, (records / in_commit + 1) * kBlockBytes);
    const std::string dir = workspace_.file(kName);
    journal_ = require(
        thread_->call([&](Reactor& reactor) { return open_fresh_journal(reactor, dir, bytes); }));
  }
  void append(unsigned, std::span<const std::byte> record) override {
    const Result<Ticket> ticket =
        thread_->call([&](Reactor&) { return journal_->append_durable(record); });
    if (!ticket) throw Failure(ticket.error().text());
  }
  void close() override {
    require(thread_->call([&](Reactor&) { return end(journal_); }));
    workspace_.remove(kName);
  }
  std::uint64_t enters() override {
    return thread_->call([](Reactor& reactor) { return enters_of(reactor); });
  }

 private:
  static constexpr const char* kName = "journal";
  static Task<std::uint64_t> enters_of(Reactor& reactor) {
    co_return reactor.stats().driver.enters;
  }
  // A journal dies on its reactor's thread.
  static Task<> drop(std::unique_ptr<Journal>& journal) {
    journal.reset();
    co_return;
  }
  static Task<Result<void>> end(std::unique_ptr<Journal>& journal) {
    const Result<void> closed = co_await journal->close();
    journal.reset();
    co_return closed;
  }
  const Workspace& workspace_;
  bool quick_;
  std::unique_ptr<ReactorThread> thread_;
  std::unique_ptr<Journal> journal_;
};

/// Every thread writes one block after the other in its own part of a file, each durable by itself.
class RawLog final : public ThreadLog {
 public:
  explicit RawLog(const Workspace& workspace) : workspace_(workspace) {}
  std::string name() const override { return "pwritev2 by each thread"; }
  void renew(unsigned threads, std::uint64_t records) override {
    // Of all threads together so many: each begins again in its own part when it has gone through.
    const std::uint64_t blocks = std::min<std::uint64_t>(records, kBlocksMax) / threads + 1;
    file_ = Descriptor();
    fill_file(workspace_.file(kName), blocks * threads * kBlockBytes, true);
    file_ = Descriptor(workspace_.file(kName), true);
    workspace_.settle();
    lanes_.clear();
    for (unsigned i = 0; i < threads; ++i) {
      lanes_.push_back({require(AlignedBuf::page()), i * blocks, blocks, 0});
    }
  }
  void append(unsigned thread, std::span<const std::byte> record) override {
    Lane& lane = lanes_[thread];
    std::copy(record.begin(), record.end(), lane.block.data());
    const iovec part{lane.block.data(), kBlockBytes};
    const auto at = static_cast<off_t>((lane.first + lane.next++ % lane.blocks) * kBlockBytes);
    if (::pwritev2(file_.get(), &part, 1, at, RWF_DSYNC) != static_cast<ssize_t>(kBlockBytes)) {
      throw Failure(fmt::format("raw durable write: {}", std::strerror(errno)));
    }
  }
  void close() override {
    file_ = Descriptor();
    workspace_.remove(kName);
  }

 private:
  static constexpr const char* kName = "blocks";
  static constexpr std::uint64_t kBlocksMax = 16'384;
  struct Lane {
    AlignedBuf block;
    std::uint64_t first;
    std::uint64_t blocks;
    std::uint64_t next;
  };
  const Workspace& workspace_;
  Descriptor file_;
  std::vector<Lane> lanes_;
};

/// Latencies are those of the first thread.
Sample run_log(ThreadLog& log, unsigned threads, std::uint64_t count) {
  std::array<std::byte, kRecordBytes> record;
  record.fill(std::byte{0x64});
  Latencies latencies;
  latencies.reserve(count / threads);
  const std::uint64_t enters = log.enters();
  Sample sample = run_team(threads, count, [&](unsigned thread, std::uint64_t records) {
    for (std::uint64_t i = 0; i < records; ++i) {
      const Clock::time_point begin = Clock::now();
      log.append(thread, record);
      if (thread == 0) latencies.add(Clock::now() - begin);
    }
  });
  sample.enters = log.enters() - enters;
  sample.p50_us = latencies.quantile_us(0.5);
  sample.p99_us = latencies.quantile_us(0.99);
  return sample;
}

void run_appends(Bench& bench, const std::vector<std::unique_ptr<ThreadLog>>& logs,
                 unsigned threads) {
  const std::uint64_t probe = std::uint64_t{200} * threads;
  logs[0]->renew(threads, probe);
  // Ours is the fastest with many threads by far, and all do as many: half the time for ours.
  const std::uint64_t count =
      operations_for(bench.plan, per_second(run_log(*logs[0], threads, probe)) / 2);
  const std::uint64_t warm_up = std::uint64_t{4} * threads;
  std::vector<Side> sides;
  for (const std::unique_ptr<ThreadLog>& log : logs) {
    ThreadLog& one = *log;
    sides.push_back({one.name(),
                     [&one, threads, count, warm_up] {
                       one.renew(threads, count + warm_up);
                       static_cast<void>(run_log(one, threads, warm_up));
                     },
                     [&one, threads, count] { return run_log(one, threads, count); }});
  }
  const std::string name = fmt::format("P19 {} thread{}", threads, threads > 1 ? "s" : "");
  const std::vector<Round> rounds = run_rounds(bench.plan, name, sides);
  for (const std::unique_ptr<ThreadLog>& log : logs) log->close();
  for (std::size_t baseline = 1; baseline < sides.size(); ++baseline) {
    Row row = make_row(name, sides, rounds, baseline, per_second);
    row.quantity = "durable appends of 100 B by ReactorThread::call";
    row.unit = "1/s";
    row.more.emplace_back("threads", threads);
    if (baseline > 1) {
      row.target = "> 1";
      row.met = row.verdict.ratio > 1;
    }
    bench.report.add(std::move(row));
  }
}

void run_all_appends(Bench& bench) {
  std::vector<std::unique_ptr<ThreadLog>> logs;
  logs.push_back(std::make_unique<OurLog>(bench.workspace, bench.plan.quick));
  logs.push_back(std::make_unique<RawLog>(bench.workspace));
  struct Peer {
    const char* name;
    std::unique_ptr<ThreadLog> log;
  };
  std::array<Peer, 2> peers = {Peer{"LevelDB", make_leveldb_log(bench.workspace)},
                               Peer{"RocksDB", make_rocksdb_log(bench.workspace)}};
  for (Peer& peer : peers) {
    if (peer.log != nullptr) {
      logs.push_back(std::move(peer.log));
      continue;
    }
    const std::string text = fmt::format(
        "P19: {} was not compared with: it was not found when this was built; see "
        "scripts/setup.sh peers",
        peer.name);
    fmt::print(stderr, "{}\n", text);
    bench.report.note(text + ".");
  }
  bench.report.note(
      "P19: so many threads append records of 100 B, each its next when the last is durable. "
      "diorite: ReactorThread::call of append_durable. LevelDB and RocksDB: Put of 8 + 92 B with "
      "sync, which also enters the record into a table in memory and an index; their files grow, "
      "ours and the raw file are prepared. pwritev2: every thread writes 4 KiB of its own with "
      "RWF_DSYNC and shares no write. Latencies are those of the first thread.");
  std::vector<unsigned> teams = {1, 16, 64};
  if (bench.plan.quick) teams = {16};
  for (const unsigned threads : teams) run_appends(bench, logs, threads);
}

}  // namespace

void run_p19(Bench& bench) {
  run_all_appends(bench);
  run_cached_reads(bench);
}

}  // namespace diorite::bench
