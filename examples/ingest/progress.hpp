// The live line of journal_ingest, and the latencies behind it.

#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>

#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>

namespace ingest {

/// Counts of durations in classes that are at most 1/8 wide of their value.
class Latencies {
 public:
  void add(diorite::Duration taken) {
    const auto ns = static_cast<std::uint64_t>(taken.count() < 8 ? 8 : taken.count());
    const auto exponent = static_cast<unsigned>(std::bit_width(ns)) - 4;
    const auto step = static_cast<unsigned>(ns >> exponent) & 7;
    ++classes_[exponent * 8 + step];
    ++count_;
  }
  /// The upper end of the class in which the given share of all durations is reached, microseconds.
  double percentile_us(double share) const;
  std::uint64_t count() const { return count_; }

 private:
  std::array<std::uint64_t, 64 * 8> classes_{};
  std::uint64_t count_ = 0;
};

struct Progress {
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  std::uint64_t files_total = 0;
  Latencies latencies;
  bool finished = false;
};

/// "1234567 records  98.7 MB/s  6543 commits/s  p50 310 us  p99 800 us  12% of the files"
std::string describe(const Progress& progress, const diorite::JournalStats& stats, double seconds);

/// Prints the line several times a second until progress.finished: over itself on a terminal, once
/// a second elsewhere.
diorite::Task<> show(diorite::Reactor& reactor, diorite::Journal& journal, const Progress& progress,
                     std::string label);

}  // namespace ingest
