#include "sim/block_table.hpp"

#include <algorithm>

namespace diorite::sim::detail {

BlockTable::BlockTable(const BlockTable& other) {
  runs_.reserve(other.runs_.size());
  for (const std::unique_ptr<Run>& run : other.runs_) runs_.push_back(std::make_unique<Run>(*run));
}

std::size_t BlockTable::reaching(std::uint64_t index) const noexcept {
  const auto found = std::lower_bound(
      runs_.begin(), runs_.end(), index,
      [](const std::unique_ptr<Run>& run, std::uint64_t at) { return run->index < at; });
  return static_cast<std::size_t>(found - runs_.begin());
}

const BlockState* BlockTable::find(std::uint64_t block) const noexcept {
  const std::uint64_t index = block / kRun;
  if (recent_ >= runs_.size() || runs_[recent_]->index != index) {
    const std::size_t place = reaching(index);
    if (place == runs_.size() || runs_[place]->index != index) return nullptr;
    recent_ = place;
  }
  return &runs_[recent_]->states[block % kRun];
}

BlockState& BlockTable::at(std::uint64_t block) {
  if (BlockState* const found = find(block)) return *found;
  const std::size_t place = reaching(block / kRun);
  auto run = std::make_unique<Run>();
  run->index = block / kRun;
  runs_.insert(runs_.begin() + static_cast<std::ptrdiff_t>(place), std::move(run));
  recent_ = place;
  return runs_[place]->states[block % kRun];
}

}  // namespace diorite::sim::detail
