#include "sim/extent_set.hpp"

#include <algorithm>

namespace diorite::sim::detail {

std::size_t ExtentSet::reaching(std::uint64_t block) const noexcept {
  const auto found =
      std::lower_bound(extents_.begin(), extents_.end(), block,
                       [](const Extent& extent, std::uint64_t at) { return extent.end < at; });
  return static_cast<std::size_t>(found - extents_.begin());
}

std::uint64_t ExtentSet::missing(std::uint64_t begin, std::uint64_t end) const noexcept {
  std::uint64_t found = 0;
  for (std::size_t i = reaching(begin); i < extents_.size() && extents_[i].begin < end; ++i) {
    const std::uint64_t from = std::max(begin, extents_[i].begin);
    const std::uint64_t to = std::min(end, extents_[i].end);
    if (from < to) found += to - from;
  }
  return end - begin - found;
}

void ExtentSet::add(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  const std::size_t first = reaching(begin);
  if (first < extents_.size() && extents_[first].begin <= begin && end <= extents_[first].end) {
    return;
  }
  Extent merged{begin, end};
  std::size_t last = first;
  for (; last < extents_.size() && extents_[last].begin <= end; ++last) {
    merged.begin = std::min(merged.begin, extents_[last].begin);
    merged.end = std::max(merged.end, extents_[last].end);
    count_ -= extents_[last].end - extents_[last].begin;
  }
  count_ += merged.end - merged.begin;
  const auto at = extents_.begin() + static_cast<std::ptrdiff_t>(first);
  if (first == last) {
    extents_.insert(at, merged);
    return;
  }
  *at = merged;
  extents_.erase(at + 1, extents_.begin() + static_cast<std::ptrdiff_t>(last));
}

void ExtentSet::remove(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  for (std::size_t i = reaching(begin); i < extents_.size() && extents_[i].begin < end;) {
    const Extent old = extents_[i];
    const std::uint64_t from = std::max(begin, old.begin);
    const std::uint64_t to = std::min(end, old.end);
    if (from >= to) {
      ++i;
      continue;
    }
    count_ -= to - from;
    const auto at = extents_.begin() + static_cast<std::ptrdiff_t>(i);
    if (old.begin < from && to < old.end) {
      at->end = from;
      extents_.insert(at + 1, Extent{to, old.end});
      return;
    }
    if (old.begin < from) {
      at->end = from;
      ++i;
    } else if (to < old.end) {
      at->begin = to;
      return;
    } else {
      extents_.erase(at);
    }
  }
}

}  // namespace diorite::sim::detail
