// P2: random reads of 4 KiB from the device, by as many coroutines as may be in flight.

#include "cases.hpp"

#include "fio.hpp"
#include "random.hpp"
#include "raw/random_read.hpp"

#include <fmt/format.h>

#include <diorite/file.hpp>
#include <diorite/scope.hpp>

namespace diorite::bench {
namespace {

constexpr unsigned kBlockBytes = 4096;
constexpr unsigned kDepthMax = 128;
constexpr const char* kFileName = "reads";

struct Work {
  Random random{1};
  std::uint64_t blocks = 0;
  std::uint64_t left = 0;
};

Task<Result<void>> read_blocks(DirectFile& file, RawIoBuf block, Work& work) {
  while (work.left > 0) {
    --work.left;
    const std::uint64_t offset = work.random.below(work.blocks) * kBlockBytes;
    IoResult read = co_await file.read_at(block, offset);
    if (!read) co_return read.error();
  }
  co_return Result<void>();
}

Task<Result<void>> join(TaskScope& scope) { co_return co_await scope.join(); }

class ReadBench {
 public:
  explicit ReadBench(Bench& bench);
  void run_depth(unsigned depth);

 private:
  Sample run_ours(unsigned depth, std::uint64_t count);
  Sample run_raw(unsigned depth, std::uint64_t count);
  void add_rows(unsigned depth, const std::vector<Side>& sides, const std::vector<Round>& rounds);

  Bench& bench_;
  std::uint64_t file_bytes_;
  std::string path_;
  std::string fio_;
  std::unique_ptr<Reactor> reactor_;
  DirectFile file_;
  Descriptor raw_file_;
  raw::Ring ring_{256};
  AlignedBuf memory_;
  std::uint64_t seed_ = 0;  ///< another one for each run: nobody reads what the other has just read
};

ReadBench::ReadBench(Bench& bench)
    : bench_(bench),
      file_bytes_((bench.plan.quick ? std::uint64_t{512} : std::uint64_t{4096}) << 20),
      path_(bench.workspace.file(kFileName)),
      fio_(fio_version()),
      reactor_(make_reactor()) {
  fmt::print(stderr, "P2: writing a file of {} MiB\n", file_bytes_ >> 20);
  fill_file(path_, file_bytes_, false);
  OpenOptions options;
  options.direct = Direct::required;
  file_ = require(reactor_->block_on(DirectFile::open_with(*reactor_, path_, options)));
  raw_file_ = Descriptor(path_, false);
  memory_ = require(AlignedBuf::zeroed(std::size_t{kDepthMax} * kBlockBytes));
  bench.report.note(fmt::format(
      "P2: a file of {} MiB of noise, O_DIRECT, offsets from the same generator on both sides. "
      "Ours: "
      "as many coroutines as the depth, each with one borrowed page. Neither side registers "
      "buffers "
      "or files. {}",
      file_bytes_ >> 20,
      fio_.empty()
          ? "fio is not installed, so the comparison with it is missing."
          : fio_ + ": engine io_uring, its own defaults but gtod_reduce and norandommap."));
}

Sample ReadBench::run_ours(unsigned depth, std::uint64_t count) {
  Work work{Random(++seed_), file_bytes_ / kBlockBytes, count};
  const RawIoBuf memory = memory_.as_raw();
  TaskScope scope(*reactor_);
  for (unsigned i = 0; i < depth; ++i) {
    scope.spawn(read_blocks(
        file_, memory.slice_unchecked(std::size_t{i} * kBlockBytes, kBlockBytes), work));
  }
  Meter meter;
  meter.start(reactor_->stats().driver.enters);
  require(reactor_->block_on(join(scope)));
  return meter.stop(count, reactor_->stats().driver.enters);
}

Sample ReadBench::run_raw(unsigned depth, std::uint64_t count) {
  raw::RandomRead job;
  job.file = raw_file_.get();
  job.memory = memory_.data();
  job.depth = depth;
  job.block_bytes = kBlockBytes;
  job.blocks = file_bytes_ / kBlockBytes;
  job.count = count;
  job.seed = ++seed_;
  Meter meter;
  meter.start(ring_.enters());
  require_zero(raw::run_random_reads(ring_, job), "raw read");
  return meter.stop(count, ring_.enters());
}

void ReadBench::run_depth(unsigned depth) {
  constexpr std::uint64_t kProbe = 2000;
  run_ours(depth, kProbe);
  const std::uint64_t count = operations_for(bench_.plan, per_second(run_raw(depth, kProbe)));
  std::vector<Side> sides = {
      {"diorite", {}, [&] { return run_ours(depth, count); }},
      {"raw ring", {}, [&] { return run_raw(depth, count); }},
  };
  if (!fio_.empty()) {
    sides.push_back({"fio io_uring", {}, [&] {
                       return run_fio(path_, file_bytes_, depth, bench_.plan.seconds);
                     }});
  }
  add_rows(depth, sides, run_rounds(bench_.plan, fmt::format("P2 depth {}", depth), sides));
}

void ReadBench::add_rows(unsigned depth, const std::vector<Side>& sides,
                         const std::vector<Round>& rounds) {
  const std::string name = fmt::format("P2 depth {}", depth);
  Row reads = make_row(name, sides, rounds, 1, per_second);
  reads.quantity = "4 KiB random reads";
  reads.unit = "1/s";
  reads.target = ">= 0.98";
  reads.met = reads.verdict.ratio >= 0.98;
  reads.more.emplace_back("depth", depth);
  bench_.report.add(std::move(reads));

  Row cpu = make_row(name + " CPU", sides, rounds, 1, cpu_ns_per_op);
  cpu.quantity = "CPU per read";
  cpu.unit = "ns";
  cpu.higher_is_better = false;
  cpu.target = "<= 1.15";
  cpu.met = cpu.verdict.ratio <= 1.15;
  cpu.more.clear();
  cpu.more.emplace_back("depth", depth);
  bench_.report.add(std::move(cpu));

  if (fio_.empty()) return;
  Row fio = make_row(name + " fio", sides, rounds, 2, per_second);
  fio.quantity = "4 KiB random reads";
  fio.unit = "1/s";
  fio.target = ">= 1";
  fio.met = fio.verdict.ratio >= 1;
  fio.more.clear();
  fio.more.emplace_back("depth", depth);
  bench_.report.add(std::move(fio));
}

}  // namespace

void run_p2(Bench& bench) {
  ReadBench reads(bench);
  for (const unsigned depth : {1U, 4U, 32U, 128U}) reads.run_depth(depth);
  bench.workspace.remove(kFileName);
}

}  // namespace diorite::bench
