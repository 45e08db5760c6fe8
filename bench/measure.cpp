#include "measure.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>

#include <fmt/format.h>

#include "alloc_count.hpp"
#include "machine.hpp"

namespace diorite::bench {
namespace {

// The kernel accounts CPU time in ticks of 10 ms at the coarsest: less cannot be told from nothing.
constexpr double kForeignSecondsMin = 0.02;
constexpr double kForeignShareMax = 0.05;

volatile std::sig_atomic_t interrupt_wanted = 0;

double per_op(double seconds, const Sample& sample) noexcept {
  return sample.operations == 0 ? 0 : seconds * 1e9 / static_cast<double>(sample.operations);
}

/// A line that is overwritten on a terminal, and left out elsewhere but for its last state.
void show_progress(std::string_view label, std::size_t done, std::size_t wanted,
                   std::size_t disturbed) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const bool last = done >= wanted;
  if (!terminal && !last && done % 4 != 1) return;
  const std::string text =
      fmt::format("{}: round {} of {}{}", label, done, wanted,
                  disturbed != 0 ? fmt::format(", {} disturbed", disturbed) : std::string());
  fmt::print(stderr, "{}{:<78}{}", terminal ? "\r" : "", text, terminal && !last ? "" : "\n");
  std::fflush(stderr);
}

std::vector<const Round*> usable(const std::vector<Round>& rounds, bool& busy) {
  std::vector<const Round*> chosen;
  for (const Round& round : rounds) {
    if (round.quiet) chosen.push_back(&round);
  }
  busy = chosen.size() < kPairsMin;
  if (!busy) return chosen;
  chosen.clear();
  for (const Round& round : rounds) chosen.push_back(&round);
  return chosen;
}

}  // namespace

bool Sample::quiet() const noexcept {
  return foreign_seconds <= std::max(kForeignSecondsMin, kForeignShareMax * seconds);
}

double per_second(const Sample& sample) noexcept {
  return sample.seconds > 0 ? static_cast<double>(sample.operations) / sample.seconds : 0;
}
double ns_per_op(const Sample& sample) noexcept { return per_op(sample.seconds, sample); }
double cpu_ns_per_op(const Sample& sample) noexcept { return per_op(sample.cpu_seconds, sample); }
double p50_us(const Sample& sample) noexcept { return sample.p50_us; }

double Latencies::quantile_us(double q) {
  if (nanoseconds_.empty()) return 0;
  const auto place = static_cast<std::size_t>(q * static_cast<double>(nanoseconds_.size() - 1));
  const auto nth = nanoseconds_.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(nanoseconds_.begin(), nth, nanoseconds_.end());
  return *nth / 1000.0;
}

void Meter::start(std::uint64_t enters) {
  enters_ = enters;
  foreign_seconds_ = foreign_cpu_seconds();
  allocations_ = allocations();
  cpu_seconds_ = own_cpu_seconds();
  begin_ = Clock::now();
}

Sample Meter::stop(std::uint64_t operations, std::uint64_t enters) {
  Sample sample;
  sample.seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  sample.cpu_seconds = own_cpu_seconds() - cpu_seconds_;
  sample.allocations = allocations() - allocations_;
  sample.foreign_seconds = std::max(0.0, foreign_cpu_seconds() - foreign_seconds_);
  sample.operations = operations;
  sample.enters = enters - enters_;
  return sample;
}

std::vector<Round> run_rounds(const Plan& plan, std::string_view label,
                              const std::vector<Side>& sides) {
  std::vector<Round> rounds;
  std::size_t quiet = 0;
  std::size_t wanted = plan.pairs;
  for (std::size_t done = 0; done < wanted; ++done) {
    for (const Side& side : sides) {
      if (side.prepare) side.prepare();
    }
    Round round;
    round.quiet = true;
    for (const Side& side : sides) {
      if (interrupted()) throw Failure("interrupted");
      round.samples.push_back(side.run());
      round.quiet = round.quiet && round.samples.back().quiet();
    }
    if (round.quiet) ++quiet;
    rounds.push_back(std::move(round));
    const bool may_add = wanted < plan.pairs + plan.extra_pairs;
    if (done + 1 == wanted && quiet < kPairsMin && may_add && Clock::now() < plan.no_extras_after) {
      ++wanted;
    }
    show_progress(label, done + 1, wanted, done + 1 - quiet);
  }
  return rounds;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double part = place - std::floor(place);
  return values[below] + (values[above] - values[below]) * part;
}

Verdict compare(const std::vector<Round>& rounds, std::size_t baseline, Value value) {
  Verdict verdict;
  const std::vector<const Round*> chosen = usable(rounds, verdict.busy);
  std::vector<double> ours;
  std::vector<double> theirs;
  std::vector<double> ratios;
  std::vector<double> differences;
  for (const Round* round : chosen) {
    const double a = value(round->samples[0]);
    const double b = value(round->samples[baseline]);
    ours.push_back(a);
    theirs.push_back(b);
    ratios.push_back(b > 0 ? a / b : 0);
    differences.push_back(a - b);
  }
  verdict.ours = quantile(ours, 0.5);
  verdict.baseline = quantile(theirs, 0.5);
  verdict.ratio = quantile(ratios, 0.5);
  verdict.q1 = quantile(ratios, 0.25);
  verdict.q3 = quantile(ratios, 0.75);
  verdict.difference = quantile(differences, 0.5);
  verdict.pairs = chosen.size();
  for (const Round& round : rounds) {
    if (!round.quiet) ++verdict.disturbed;
  }
  return verdict;
}

double median_of(const std::vector<Round>& rounds, std::size_t side, Value value) {
  bool busy = false;
  std::vector<double> values;
  for (const Round* round : usable(rounds, busy)) values.push_back(value(round->samples[side]));
  return quantile(values, 0.5);
}

void interrupt() noexcept { interrupt_wanted = 1; }
bool interrupted() noexcept { return interrupt_wanted != 0; }

}  // namespace diorite::bench
