// Histogram: exact below 64 ns, within 1/32 above, and never too low.

#include <diorite/histogram.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"

namespace diorite::test {
namespace {

Duration ns(std::int64_t count) { return Duration(count); }

// What a sorted list of everything would answer.
Duration exact_percentile(std::vector<std::int64_t> values, double percent) {
  std::sort(values.begin(), values.end());
  const double wanted = std::ceil(percent / 100.0 * static_cast<double>(values.size()));
  const auto rank = std::max<std::size_t>(static_cast<std::size_t>(wanted), 1);
  return ns(values[rank - 1]);
}

bool is_near(Duration told, Duration exact) { return told >= exact && told <= exact + exact / 32; }

}  // namespace

TEST_CASE("an empty histogram answers zero", "[histogram]") {
  const Histogram empty;
  CHECK(empty.empty());
  CHECK(empty.count() == 0);
  CHECK(empty.min() == ns(0));
  CHECK(empty.max() == ns(0));
  CHECK(empty.mean() == ns(0));
  CHECK(empty.percentile(0) == ns(0));
  CHECK(empty.percentile(50) == ns(0));
  CHECK(empty.percentile(100) == ns(0));
}

TEST_CASE("durations below 64 ns are kept exactly", "[histogram]") {
  Histogram histogram;
  for (std::int64_t i = 0; i < 64; ++i) histogram.record(ns(i));
  CHECK(histogram.count() == 64);
  for (std::int64_t i = 0; i < 64; ++i) {
    CHECK(histogram.count_in(static_cast<std::size_t>(i)) == 1);
    CHECK(histogram.percentile(100.0 * static_cast<double>(i + 1) / 64.0) == ns(i));
  }
  CHECK(histogram.min() == ns(0));
  CHECK(histogram.max() == ns(63));
  CHECK(histogram.mean() == ns(31));
}

TEST_CASE("the parts are what the header says", "[histogram]") {
  // The beginning and the end of parts, and who is told for both.
  const auto told_for = [](std::int64_t value) {
    Histogram histogram;
    histogram.record(ns(value));
    histogram.record(std::chrono::hours(1));  // so that max() is not the answer
    return histogram.percentile(50);
  };
  CHECK(told_for(63) == ns(63));
  CHECK(told_for(64) == ns(65));
  CHECK(told_for(65) == ns(65));
  CHECK(told_for(66) == ns(67));
  CHECK(told_for(126) == ns(127));
  CHECK(told_for(128) == ns(131));
  CHECK(told_for(131) == ns(131));
  CHECK(told_for(132) == ns(135));
  CHECK(told_for(1'000'000) == ns(1'015'807));
  CHECK(told_for(1'015'808) == ns(1'032'191));
  for (std::size_t i = 1; i < Histogram::kBuckets; ++i) {
    CHECK(Histogram::upper_end_of(i) > Histogram::upper_end_of(i - 1));
  }
  CHECK(Histogram::upper_end_of(Histogram::kBuckets - 1) == Duration::max());
}

TEST_CASE("no value of any size is told too low, or more than 1/32 too high", "[histogram]") {
  for (unsigned bits = 0; bits < Histogram::kValueBits; ++bits) {
    const std::int64_t power = std::int64_t{1} << bits;
    for (const std::int64_t value : {power - 1, power, power + 1, power + power / 3}) {
      Histogram histogram;
      histogram.record(ns(value));
      histogram.record(Duration::max());
      CAPTURE(value);
      CHECK(is_near(histogram.percentile(50), ns(value)));
    }
  }
}

TEST_CASE("what is beyond all parts is told as the greatest", "[histogram]") {
  Histogram histogram;
  histogram.record(ns(10));
  histogram.record(Duration::max());
  histogram.record(std::chrono::hours(2));
  histogram.record(ns(-5));
  CHECK(histogram.count_in(Histogram::kBuckets - 1) == 2);
  CHECK(histogram.min() == ns(0));
  CHECK(histogram.max() == Duration::max());
  CHECK(histogram.percentile(25) == ns(0));
  CHECK(histogram.percentile(50) == ns(10));
  CHECK(histogram.percentile(75) == Duration::max());
  CHECK(histogram.percentile(100) == Duration::max());
}

TEST_CASE("a percentile that is a whole number of values is not one more", "[histogram]") {
  Histogram histogram;
  for (int i = 0; i < 999; ++i) histogram.record(ns(10));
  histogram.record(ns(50));
  CHECK(histogram.percentile(99.9) == ns(10));
  CHECK(histogram.percentile(99.91) == ns(50));
  Histogram hundred;
  for (int i = 0; i < 32; ++i) hundred.record(ns(i));
  for (int i = 32; i < 100; ++i) hundred.record(ns(60));
  for (int i = 1; i <= 32; ++i) CHECK(hundred.percentile(i) == ns(i - 1));
}

TEST_CASE("percentiles of many values are near the exact ones", "[histogram]") {
  std::vector<std::int64_t> values;
  Histogram histogram;
  std::uint64_t state = 88172645463325252ULL;
  std::uint64_t sum = 0;
  for (int i = 0; i < 20'000; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    // Every order of magnitude from nanoseconds to minutes.
    const auto value = static_cast<std::int64_t>(state >> (28 + state % 34));
    values.push_back(value);
    sum += static_cast<std::uint64_t>(value);
    histogram.record(ns(value));
  }
  for (const double percent : {0.0, 0.01, 1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99}) {
    CAPTURE(percent);
    CHECK(is_near(histogram.percentile(percent), exact_percentile(values, percent)));
  }
  CHECK(histogram.percentile(100) == histogram.max());
  CHECK(histogram.min() == exact_percentile(values, 0));
  CHECK(histogram.max() == exact_percentile(values, 100));
  CHECK(histogram.mean() == ns(static_cast<std::int64_t>(sum / values.size())));
}

TEST_CASE("merged histograms answer as one that heard it all", "[histogram]") {
  Histogram left;
  Histogram right;
  Histogram both;
  for (std::int64_t i = 1; i < 1000; ++i) {
    const Duration value = ns(i * i * 17);
    (i % 3 == 0 ? left : right).record(value);
    both.record(value);
  }
  left.merge(right);
  left.merge(Histogram());
  CHECK(left.count() == both.count());
  CHECK(left.min() == both.min());
  CHECK(left.max() == both.max());
  CHECK(left.mean() == both.mean());
  for (std::size_t i = 0; i < Histogram::kBuckets; ++i) {
    CHECK(left.count_in(i) == both.count_in(i));
  }
  left.reset();
  CHECK(left.empty());
  CHECK(left.min() == ns(0));
  CHECK(left.percentile(99) == ns(0));
}

TEST_CASE("recording and reading allocate nothing", "[histogram]") {
  Histogram histogram;
  const AllocCount count;
  for (std::int64_t i = 0; i < 1000; ++i) histogram.record(ns(i * 1000));
  const Duration told = histogram.percentile(99);
  CHECK(count.here().news == 0);
  CHECK(is_near(told, ns(989'000)));
}

}  // namespace diorite::test
