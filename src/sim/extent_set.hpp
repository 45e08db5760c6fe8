// ExtentSet: a set of block numbers, as sorted ranges that do not touch.
//
// A file's space is a handful of ranges, also where it is terabytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diorite::sim::detail {

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

class ExtentSet {
 public:
  static constexpr std::uint64_t kForever = ~std::uint64_t{0};

  std::uint64_t count() const noexcept { return count_; }
  /// How many of these are not in the set.
  std::uint64_t missing(std::uint64_t begin, std::uint64_t end) const noexcept;
  void add(std::uint64_t begin, std::uint64_t end);
  void remove(std::uint64_t begin, std::uint64_t end);
  /// Calls with each range of these that is not in the set: see(begin, end).
  template <class See>
  void each_gap(std::uint64_t begin, std::uint64_t end, See see) const {
    for (std::size_t i = reaching(begin); begin < end; ++i) {
      const bool at_end = i == extents_.size() || extents_[i].begin >= end;
      const std::uint64_t stop = at_end ? end : extents_[i].begin;
      if (begin < stop) see(begin, stop);
      if (at_end) return;
      begin = extents_[i].end;
    }
  }
  const std::vector<Extent>& extents() const noexcept { return extents_; }

 private:
  /// The first that ends at or after `block`.
  std::size_t reaching(std::uint64_t block) const noexcept;

  std::vector<Extent> extents_;
  std::uint64_t count_ = 0;
};

}  // namespace diorite::sim::detail
