// P19, reads: pages of the page cache by SharedFile::read_blocking, on the threads that want them;
// against pread.

#include "cases.hpp"

#include "random.hpp"
#include "thread_team.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include <diorite/buffer.hpp>
#include <diorite/shared_file.hpp>

namespace diorite::bench {
namespace {

constexpr std::uint64_t kFileBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kPageSize = 4096;
constexpr const char* kFileName = "cached";
constexpr double kRatioMin = 0.95;

std::uint64_t next_offset(Random& random) noexcept {
  return random.below(kFileBytes / kPageSize) * kPageSize;
}

void read_shared(const SharedFile& file, unsigned thread, std::uint64_t count) {
  AlignedBuf page = require(AlignedBuf::page());
  Random random(thread);
  for (std::uint64_t i = 0; i < count; ++i) {
    const IoResult read = file.read_blocking(page.as_raw(), next_offset(random));
    if (!read) throw Failure(read.error().text());
  }
}

void read_plain(int file, unsigned thread, std::uint64_t count) {
  AlignedBuf page = require(AlignedBuf::page());
  Random random(thread);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto at = static_cast<off_t>(next_offset(random));
    if (::pread(file, page.data(), kPageSize, at) != static_cast<ssize_t>(kPageSize)) {
      throw Failure(fmt::format("pread: {}", std::strerror(errno)));
    }
  }
}

/// Closed by the kernel when the benchmark ends on a failure.
class PlainFile {
 public:
  explicit PlainFile(const std::string& path) : value_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (value_ < 0) throw Failure(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  PlainFile(const PlainFile&) = delete;
  PlainFile& operator=(const PlainFile&) = delete;
  ~PlainFile() { ::close(value_); }
  int get() const noexcept { return value_; }

 private:
  int value_;
};

void compare_reads(Bench& bench, const SharedFile& shared, const PlainFile& plain,
                   unsigned threads) {
  const std::uint64_t count = operations_for(bench.plan, 1e6);
  const std::vector<Side> sides = {
      {"diorite",
       {},
       [&] {
         return run_team(threads, count, [&](unsigned thread, std::uint64_t reads) {
           read_shared(shared, thread, reads);
         });
       }},
      {"pread",
       {},
       [&] {
         return run_team(threads, count, [&](unsigned thread, std::uint64_t reads) {
           read_plain(plain.get(), thread, reads);
         });
       }},
  };
  const std::string name =
      fmt::format("P19 cached reads, {} thread{}", threads, threads > 1 ? "s" : "");
  const std::vector<Round> rounds = run_rounds(bench.plan, name, sides);
  Row row = make_row(name, sides, rounds, 1, per_second);
  row.quantity = "4 KiB of the page cache by SharedFile::read_blocking";
  row.unit = "1/s";
  row.target = fmt::format(">= {:.2f}", kRatioMin);
  row.met = row.verdict.ratio >= kRatioMin;
  row.more.emplace_back("threads", threads);
  bench.report.add(std::move(row));
}

}  // namespace

void run_cached_reads(Bench& bench) {
  const std::string path = bench.workspace.file(kFileName);
  fill_file(path, kFileBytes, false);
  const std::unique_ptr<Reactor> reactor = make_reactor();
  OpenOptions options;
  options.direct = Direct::off;
  DirectFile file = require(reactor->block_on(DirectFile::open_with(*reactor, path, options)));
  {
    const PlainFile plain(path);
    const SharedFile shared = file.share();
    AlignedBuf page = require(AlignedBuf::page());
    for (std::uint64_t at = 0; at < kFileBytes; at += kPageSize) {
      const IoResult read = shared.read_blocking(page.as_raw(), at);
      if (!read) throw Failure(read.error().text());
    }
    bench.report.note(
        "P19, cached reads: random pages of a file of 64 MiB that lies in the page cache, read on "
        "the calling threads into a page of each; one SharedFile for all, one descriptor for all.");
    compare_reads(bench, shared, plain, 1);
    const unsigned cores = std::max(2U, std::thread::hardware_concurrency());
    if (!bench.plan.quick) compare_reads(bench, shared, plain, cores);
  }
  require(reactor->block_on(std::move(file).close()));
  bench.workspace.remove(kFileName);
}

}  // namespace diorite::bench
