// Histogram: how durations are distributed, in a fixed amount of memory.
//
// Use it for latencies: recording is a few instructions, percentiles are read when somebody asks,
// and histograms of several reactors merge into one. It keeps no single value but the least and the
// greatest.
//
// Precision: a duration below 64 ns is kept exactly; above, every power of two is cut into 32
// equal parts, so that a percentile is at most 1/32 (3.2 %) above the value that was recorded, and
// never below it. Durations of 73 minutes and more share the last part, and max() knows the
// greatest. Thread: a plain value. Allocates: nothing; about 9 KiB.
//
//   Histogram reads;
//   reads.record(reactor.now() - begun);
//   report(reads.percentile(50), reads.percentile(99.9), reads.max());

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <diorite/time.hpp>

namespace diorite {

class Histogram {
 public:
  static constexpr unsigned kPartBits = 5;  ///< 32 parts of every power of two
  static constexpr unsigned kValueBits = 42;
  static constexpr std::size_t kBuckets = std::size_t{kValueBits - kPartBits + 1} << kPartBits;

  /// A negative duration counts as zero: clocks of decorated drivers may be set back.
  void record(Duration duration) noexcept {
    const std::uint64_t value =
        duration > Duration::zero() ? static_cast<std::uint64_t>(duration.count()) : 0;
    ++buckets_[bucket_of(value)];
    ++count_;
    sum_ += value;
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }

  std::uint64_t count() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  /// Exact, as are max() and mean(), which is cut to whole nanoseconds. Zero when empty.
  Duration min() const noexcept { return empty() ? Duration::zero() : duration(min_); }
  Duration max() const noexcept { return duration(max_); }
  Duration mean() const noexcept { return empty() ? Duration::zero() : duration(sum_ / count_); }

  /// A duration that at least `percent` of the recorded ones do not exceed: the upper end of the
  /// part in which the first such one lies, or max() where that is less. Zero when empty.
  /// Requires: 0 to 100.
  Duration percentile(double percent) const noexcept {
    if (empty()) return Duration::zero();
    const double wanted = std::ceil(percent * static_cast<double>(count_) / 100.0);
    const std::uint64_t rank =
        std::clamp<std::uint64_t>(wanted > 0 ? static_cast<std::uint64_t>(wanted) : 1, 1, count_);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < kBuckets - 1; ++bucket) {
      seen += buckets_[bucket];
      if (seen >= rank) return duration(std::min(upper_end(bucket), max_));
    }
    return max();
  }

  void merge(const Histogram& other) noexcept {
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
      buckets_[bucket] += other.buckets_[bucket];
    }
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
  }

  void reset() noexcept { *this = Histogram(); }

  /// For exporting: how many lie in a part, and the greatest that belongs there.
  /// Requires: bucket < kBuckets.
  std::uint64_t count_in(std::size_t bucket) const noexcept { return buckets_[bucket]; }
  static Duration upper_end_of(std::size_t bucket) noexcept {
    return bucket == kBuckets - 1 ? Duration::max() : duration(upper_end(bucket));
  }

 private:
  // The first 32 buckets hold 0 to 31; each further 32 the next power of two, whose parts are 1, 2,
  // 4, ... wide.
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    constexpr std::uint64_t kParts = std::uint64_t{1} << kPartBits;
    if (value < kParts) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kPartBits - 1;
    const std::uint64_t bucket = (std::uint64_t{shift} << kPartBits) + (value >> shift);
    return bucket < kBuckets ? static_cast<std::size_t>(bucket) : kBuckets - 1;
  }
  static constexpr std::uint64_t upper_end(std::size_t bucket) noexcept {
    constexpr std::uint64_t kParts = std::uint64_t{1} << kPartBits;
    if (bucket < 2 * kParts) return bucket;
    const std::uint64_t shift = (bucket >> kPartBits) - 1;
    const std::uint64_t part = (bucket & (kParts - 1)) + kParts;
    return ((part + 1) << shift) - 1;
  }

  static constexpr Duration duration(std::uint64_t value) noexcept {
    return Duration(static_cast<Duration::rep>(value));
  }

  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};
  std::uint64_t max_ = 0;
};

}  // namespace diorite
