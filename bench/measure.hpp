// Interleaved comparison: every round runs all sides one after the other, and what counts is the
// ratio within a round. A round that other processes disturbed is marked and left out, as long as
// enough others remain.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace diorite::bench {

using Clock = std::chrono::steady_clock;

/// Whatever makes going on pointless; main prints it.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What one run of one side did and took.
struct Sample {
  std::uint64_t operations = 0;
  double seconds = 0;
  double cpu_seconds = 0;  ///< of this process, user and system
  std::uint64_t allocations = 0;
  std::uint64_t enters = 0;  ///< system calls that submit to, or wait for, a ring
  double p50_us = 0;         ///< 0 where no latencies were taken
  double p99_us = 0;
  double foreign_seconds = 0;  ///< CPU that others took meanwhile

  /// Others took less than a twentieth of one core, as finely as clock ticks tell.
  bool quiet() const noexcept;
};

double per_second(const Sample& sample) noexcept;
double ns_per_op(const Sample& sample) noexcept;
double cpu_ns_per_op(const Sample& sample) noexcept;
double p50_us(const Sample& sample) noexcept;

/// Latencies of a run. Takes nothing from the heap after reserve().
class Latencies {
 public:
  void reserve(std::size_t count) {
    nanoseconds_.clear();
    nanoseconds_.reserve(count);
  }
  void add(Clock::duration latency) {
    const auto count = std::chrono::duration_cast<std::chrono::nanoseconds>(latency).count();
    if (nanoseconds_.size() < nanoseconds_.capacity()) {
      nanoseconds_.push_back(static_cast<std::uint32_t>(count));
    }
  }
  /// In microseconds; 0 of nothing. Reorders.
  double quantile_us(double quantile);

 private:
  std::vector<std::uint32_t> nanoseconds_;
};

/// Brackets the measured part of a run.
class Meter {
 public:
  void start(std::uint64_t enters);
  Sample stop(std::uint64_t operations, std::uint64_t enters);

 private:
  std::uint64_t enters_ = 0;
  std::uint64_t allocations_ = 0;
  double foreign_seconds_ = 0;
  double cpu_seconds_ = 0;
  Clock::time_point begin_;
};

/// One contestant. `prepare`, which may be empty, runs before each round's first run and is not
/// measured.
struct Side {
  std::string name;
  std::function<void()> prepare;
  std::function<Sample()> run;
};

struct Plan {
  bool quick = false;
  std::size_t pairs = 11;       ///< rounds that are wanted, quiet ones
  std::size_t extra_pairs = 6;  ///< rounds that may be added for disturbed ones
  double seconds = 1.0;         ///< that a run should take
  Clock::time_point no_extras_after = Clock::time_point::max();
};

inline constexpr std::size_t kPairsMin = 7;

struct Round {
  std::vector<Sample> samples;  ///< in the order of the sides
  bool quiet = false;
};

/// Errors: throws what a side throws, and Failure when the user interrupts.
std::vector<Round> run_rounds(const Plan& plan, std::string_view label,
                              const std::vector<Side>& sides);

/// Of sorted or unsorted values, interpolated; 0 of none.
double quantile(std::vector<double> values, double q);

/// What the rounds say of side 0 against another.
struct Verdict {
  double ours = 0;  ///< medians
  double baseline = 0;
  double ratio = 0;  ///< median of the rounds' ratios, and their quartiles
  double q1 = 0;
  double q3 = 0;
  double difference = 0;  ///< median of ours minus baseline
  std::size_t pairs = 0;  ///< that these figures rest on
  std::size_t disturbed = 0;
  bool busy =
      false;  ///< too few quiet rounds: all were used, and the figures are not to be trusted
};
using Value = double (*)(const Sample&) noexcept;
Verdict compare(const std::vector<Round>& rounds, std::size_t baseline, Value value);

/// The median over the rounds that compare() would use.
double median_of(const std::vector<Round>& rounds, std::size_t side, Value value);

/// Set by a signal handler: the run ends at the next round.
void interrupt() noexcept;
bool interrupted() noexcept;

}  // namespace diorite::bench
