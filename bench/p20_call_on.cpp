// P20: appends to a journal of another core, by call_on; against appends where the journal is.

#include "cases.hpp"

#include "journal_rig.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include <diorite/call_on.hpp>
#include <diorite/reactor_thread.hpp>
#include <diorite/scope.hpp>
#include <diorite/sync.hpp>

namespace diorite::bench {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::size_t kRecordBytes = 100;
constexpr std::uint64_t kFrameBytes = 120;  // of such a record, as the journal stores it
constexpr double kExtraNsMax = 150;
constexpr unsigned kJudgedOutstanding = 64;

struct Record {
  std::array<std::byte, kRecordBytes> bytes;
};

double thread_cpu_seconds() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// What the appenders of one reactor share.
struct Work {
  std::uint64_t left = 0;
  Error error;
};

Task<> append_here(Journal& journal, const Record& record, Work& work) {
  while (work.left > 0) {
    --work.left;
    const Result<Ticket> ticket = co_await journal.append_durable(RecordRef(record.bytes));
    if (!ticket) work.error = ticket.error();
  }
}

/// Runs on the journal's reactor. The record came with the call.
Task<Result<Ticket>> append(Journal& journal, Record record) {
  co_return co_await journal.append_durable(RecordRef(record.bytes));
}

Task<> append_there(Reactor& home, Journal& journal, const Record& record, Work& work) {
  while (work.left > 0) {
    --work.left;
    const Result<Ticket> ticket = co_await call_on(home, &append, journal, record);
    if (!ticket) work.error = ticket.error();
  }
}

/// Of the calling thread, which is that of the journal's reactor.
class HomeMeter {
 public:
  explicit HomeMeter(const Reactor& home) noexcept : home_(home) {}
  void start() {
    meter_.start(home_.stats().driver.enters);
    cpu_seconds_ = thread_cpu_seconds();
  }
  Sample stop(std::uint64_t operations) {
    const double cpu_seconds = thread_cpu_seconds() - cpu_seconds_;
    Sample sample = meter_.stop(operations, home_.stats().driver.enters);
    sample.cpu_seconds = cpu_seconds;
    return sample;
  }

 private:
  const Reactor& home_;
  Meter meter_;
  double cpu_seconds_ = 0;
};

Task<Result<void>> join(TaskScope& scope) { co_return co_await scope.join(); }
Task<Result<void>> wait_for(Event& event) { co_return co_await event.wait(); }

class CallBench {
 public:
  CallBench(Bench& bench, Reactor& home, unsigned cores, unsigned outstanding);
  void run();

 private:
  /// A reactor that calls, on its own thread.
  struct Core {
    std::unique_ptr<ReactorThread> thread;
    Work work;
  };
  std::uint64_t segment_bytes() const noexcept;
  void prepare(bool remote);
  Sample run_local(std::uint64_t count);
  Sample run_remote(std::uint64_t count);
  static Task<> drive(CallBench& self, Core& core, Event& ended);

  Bench& bench_;
  Reactor& home_;
  unsigned per_core_;
  Record record_{};
  JournalRig rig_;
  std::vector<Core> cores_;
  std::size_t cores_left_ = 0;
  std::uint64_t count_ = 0;
  double commits_ours_ = 0;
  double commits_local_ = 0;
};

CallBench::CallBench(Bench& bench, Reactor& home, unsigned cores, unsigned outstanding)
    : bench_(bench),
      home_(home),
      per_core_(std::max(1U, outstanding / cores)),
      rig_(bench.workspace, home),
      cores_(cores) {
  ReactorOptions options;
  options.driver.choice = DriverChoice::uring;
  options.driver.forbid_fallback = true;
  for (Core& core : cores_) core.thread = require(ReactorThread::create(options));
  record_.bytes.fill(std::byte{0x64});
}

/// Enough for the commits of most runs; what is more goes to another segment, on both sides.
std::uint64_t CallBench::segment_bytes() const noexcept {
  const std::uint64_t outstanding = std::uint64_t{per_core_} * cores_.size();
  const std::uint64_t in_commit =
      std::max<std::uint64_t>(1, std::min(outstanding, kBlockBytes / kFrameBytes) / 2);
  const std::uint64_t limit = std::uint64_t{bench_.plan.quick ? 512U : 2048U} << 20;
  return std::min(limit, (count_ / in_commit + 1) * kBlockBytes);
}

void CallBench::prepare(bool remote) {
  rig_.renew(segment_bytes());
  // Buffers and frames are allocated by the first of them.
  const std::uint64_t warm_up = std::uint64_t{8} * per_core_ * cores_.size();
  static_cast<void>(remote ? run_remote(warm_up) : run_local(warm_up));
}

Sample CallBench::run_local(std::uint64_t count) {
  Work work{count, {}};
  TaskScope scope(home_);
  for (std::size_t i = 0; i < per_core_ * cores_.size(); ++i) {
    scope.spawn(append_here(rig_.journal(), record_, work));
  }
  const std::uint64_t commits = rig_.journal().stats().commits;
  HomeMeter meter(home_);
  meter.start();
  require(home_.block_on(join(scope)));
  const Sample sample = meter.stop(count);
  if (work.error) throw Failure(work.error.text());
  commits_local_ = static_cast<double>(rig_.journal().stats().commits - commits);
  return sample;
}

/// Runs on the core's reactor.
Task<> CallBench::drive(CallBench& self, Core& core, Event& ended) {
  TaskScope scope(core.thread->reactor());
  for (unsigned i = 0; i < self.per_core_; ++i) {
    scope.spawn(append_there(self.home_, self.rig_.journal(), self.record_, core.work));
  }
  const Result<void> joined = co_await scope.join();
  if (!joined) core.work.error = joined.error();
  self.home_.post([&self, &ended] {
    if (--self.cores_left_ == 0) ended.set();
  });
}

Sample CallBench::run_remote(std::uint64_t count) {
  const std::uint64_t share = count / cores_.size();
  Event ended;
  cores_left_ = cores_.size();
  for (Core& core : cores_) core.work = Work{share, {}};
  const std::uint64_t commits = rig_.journal().stats().commits;
  HomeMeter meter(home_);
  meter.start();
  for (Core& core : cores_) {
    Reactor& there = core.thread->reactor();
    there.post([this, &core, &there, &ended] { there.spawn(drive(*this, core, ended)); });
  }
  require(home_.block_on(wait_for(ended)));
  const Sample sample = meter.stop(share * cores_.size());
  for (const Core& core : cores_) {
    if (core.work.error) throw Failure(core.work.error.text());
  }
  commits_ours_ = static_cast<double>(rig_.journal().stats().commits - commits);
  return sample;
}

void CallBench::run() {
  const auto outstanding = static_cast<unsigned>(per_core_ * cores_.size());
  count_ = std::uint64_t{400} * outstanding;
  prepare(true);
  count_ = operations_for(bench_.plan, per_second(run_remote(count_)));
  // Each in a journal of its own: the rig has one at a time.
  const std::vector<Side> sides = {
      {"diorite, call_on", {}, [this] { return prepare(true), run_remote(count_); }},
      {"local appends", {}, [this] { return prepare(false), run_local(count_); }},
  };
  const std::string name = fmt::format("P20 {} reactor{}, {} outstanding", cores_.size(),
                                       cores_.size() > 1 ? "s" : "", outstanding);
  const std::vector<Round> rounds = run_rounds(bench_.plan, name, sides);
  rig_.close();
  Row row = make_row(name, sides, rounds, 1, cpu_ns_per_op);
  row.quantity = "CPU of the journal's reactor for a durable append of 100 B";
  row.unit = "ns";
  row.higher_is_better = false;
  if (per_core_ == kJudgedOutstanding / cores_.size()) {
    row.target = fmt::format("<= {:.0f} ns more", kExtraNsMax);
    row.met = row.verdict.difference <= kExtraNsMax;
  }
  row.more.emplace_back("extra_ns_per_op", row.verdict.difference);
  row.more.emplace_back("ours_per_second", median_of(rounds, 0, per_second));
  row.more.emplace_back("baseline_per_second", median_of(rounds, 1, per_second));
  row.more.emplace_back("ours_records_per_commit", static_cast<double>(count_) / commits_ours_);
  row.more.emplace_back("baseline_records_per_commit",
                        static_cast<double>(count_) / commits_local_);
  bench_.report.add(std::move(row));
}

}  // namespace

void run_p20(Bench& bench) {
  const std::unique_ptr<Reactor> home = make_reactor();
  bench.report.note(
      "P20: coroutines of other reactors, each on its own thread, append 100 B durably to a "
      "journal "
      "by call_on; against as many coroutines of the journal's own reactor. The CPU is that of the "
      "thread of the journal's reactor, kernel included; what the callers' threads take is not in "
      "it. Ring enters are those of the journal's reactor.");
  std::vector<unsigned> depths = {1, kJudgedOutstanding, 512};
  std::vector<unsigned> callers = {1, 3};
  if (bench.plan.quick) {
    depths = {kJudgedOutstanding};
    callers = {1};
  }
  for (const unsigned cores : callers) {
    for (const unsigned outstanding : depths) {
      CallBench(bench, *home, cores, outstanding).run();
    }
  }
}

}  // namespace diorite::bench
