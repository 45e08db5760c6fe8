#include "ingest/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include <diorite/timer.hpp>

namespace ingest {

double Latencies::percentile_us(double share) const {
  const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(count_));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < classes_.size(); ++i) {
    seen += classes_[i];
    if (seen > wanted) {
      const std::uint64_t upper = (8 + i % 8 + 1) << (i / 8);
      return static_cast<double>(upper) / 1000.0;
    }
  }
  return 0;
}

std::string describe(const Progress& progress, const diorite::JournalStats& stats, double seconds) {
  if (seconds <= 0) seconds = 1e-9;
  return fmt::format(
      "{:>9} records  {:>6.1f} MB/s  {:>6.0f} commits/s  p50 {:>5.0f} us  p99 {:>6.0f} us  "
      "{:>3}% of {} files",
      progress.records, static_cast<double>(progress.bytes) / 1e6 / seconds,
      static_cast<double>(stats.commits) / seconds, progress.latencies.percentile_us(0.5),
      progress.latencies.percentile_us(0.99),
      progress.files_total == 0 ? 100 : progress.files * 100 / progress.files_total,
      progress.files_total);
}

diorite::Task<> show(diorite::Reactor& reactor, diorite::Journal& journal, const Progress& progress,
                     std::string label) {
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  const auto pause = terminal ? std::chrono::milliseconds(100) : std::chrono::milliseconds(1000);
  const diorite::Instant begin = reactor.now();
  while (!progress.finished) {
    const diorite::Result<void> slept = co_await diorite::sleep_for(pause);
    if (!slept) break;
    const double seconds = std::chrono::duration<double>(reactor.now() - begin).count();
    fmt::print("{}  {} {}{}", terminal ? "\r" : "", label,
               describe(progress, journal.stats(), seconds), terminal ? "" : "\n");
    std::fflush(stdout);
  }
  if (terminal) fmt::print("\r\x1b[K");
}

}  // namespace ingest
