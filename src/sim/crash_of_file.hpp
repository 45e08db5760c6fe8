// CrashOfFile: decides what a power cut leaves of one file; the rules are in file_node.hpp.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/file_node.hpp"

namespace diorite::sim::detail {

class CrashOfFile {
 public:
  CrashOfFile(FileNode& file, Choices& choices, const CrashRules& rules, FreedBlocks& freed);
  CrashTally run();

 private:
  using Versions = std::span<PendingSectors* const>;  ///< of one block, oldest first

  void keep_changes();
  std::size_t pick_change_count();
  void void_without_cut(const SizeChange& cut);
  void show_stale_space();
  void settle_sectors();
  void settle_block(Versions versions);
  SectorMask damage_block(std::uint64_t block, SectorMask touched);
  void damage_sectors(BlockState& state, SectorMask mask, bool garbage);
  void settle_sector_of(Versions versions, BlockState& state, unsigned sector, SectorMask* landed);
  void settle_writes();
  bool decides_anything(std::size_t first, std::size_t end) const;
  void finish();
  std::vector<PendingSectors*> by_block();
  bool inside(std::uint64_t block, unsigned sector) const noexcept {
    return block * kBlockBytes + std::uint64_t{sector} * kSectorBytes < file_.durable_bytes_;
  }

  FileNode& file_;
  Choices& choices_;
  const CrashRules& rules_;
  FreedBlocks& freed_;
  CrashTally tally_;
};

}  // namespace diorite::sim::detail
