// BlockTable: the blocks of one file, each as reads see it and as it is durable.
//
// Sparse: only runs of blocks that were ever touched are there, in a sorted vector, so that a file
// of terabytes with one block at its end costs next to nothing. Every other block is zero.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/block.hpp"

namespace diorite::sim::detail {

struct BlockState {
  BlockRef live;                ///< what reads see
  BlockRef durable;             ///< what is left when power is cut now and nothing pending lands
  BlockRef previous;            ///< before the last durable change of each sector
  SectorMask written = 0;       ///< sectors with durable bytes of their own
  SectorMask had_previous = 0;  ///< sectors for which `previous` says anything
  SectorMask bad_live = 0;      ///< cannot be read
  SectorMask bad_durable = 0;
};

class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(const BlockTable& other);
  BlockTable& operator=(const BlockTable&) = delete;

  BlockState& at(std::uint64_t block);
  /// Null when it was never touched: then it is zero.
  const BlockState* find(std::uint64_t block) const noexcept;
  BlockState* find(std::uint64_t block) noexcept {
    return const_cast<BlockState*>(static_cast<const BlockTable*>(this)->find(block));
  }

  /// Calls with each block from `first` on that was touched, in order: see(block, state).
  template <class See>
  void each(std::uint64_t first, See see) {
    for (std::size_t i = reaching(first / kRun); i < runs_.size(); ++i) {
      for (std::size_t j = 0; j < kRun; ++j) {
        const std::uint64_t block = runs_[i]->index * kRun + j;
        if (block >= first) see(block, runs_[i]->states[j]);
      }
    }
  }
  template <class See>
  void each(std::uint64_t first, See see) const {
    const_cast<BlockTable*>(this)->each(
        first, [&see](std::uint64_t block, const BlockState& state) { see(block, state); });
  }

 private:
  static constexpr std::size_t kRun = 16;
  struct Run {
    std::uint64_t index = 0;
    std::array<BlockState, kRun> states;
  };
  std::size_t reaching(std::uint64_t index) const noexcept;

  std::vector<std::unique_ptr<Run>> runs_;
  mutable std::size_t recent_ = 0;  ///< the run that was used last: the next use is mostly the same
};

}  // namespace diorite::sim::detail
