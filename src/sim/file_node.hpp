// FileNode: one file of a simulated disk: what reads see, what is durable, and what is between.
//
// Between the two stand pending sectors (of writes that took effect and are not durable) and
// pending size changes, both in the order in which they took effect. A sync lands those up to its
// mark; a durable write lands its own sectors and removes older versions of them, so that they can
// never come back; a power cut decides about the rest (crash.cpp):
//
//  - Size changes survive as a prefix: some of the oldest, never one without those before it. A
//    write after a truncation went to space that only the truncation had freed, so without it the
//    write is lost, too, where it is beyond the cut.
//  - A write is merged with what reads see at that moment, to whole sectors, as the page cache
//    does.
//  - A sector that cannot be read heals when it is written as a whole: for reads at once, for good
//    when the write is durable.
//
// Thread: one. Sequence numbers come from the volume and only grow.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <diorite/sim/choices.hpp>
#include <diorite/sim/profile.hpp>

#include "sim/block.hpp"
#include "sim/block_table.hpp"
#include "sim/captured.hpp"
#include "sim/drop_rules.hpp"
#include "sim/extent_set.hpp"

namespace diorite::sim::detail {

class Trace;

/// Sectors of one block, by one write.
struct PendingSectors {
  std::uint64_t sequence = 0;
  std::uint64_t block = 0;
  BlockRef version;
  SectorMask mask = 0;
};

struct SizeChange {
  enum class Kind : std::uint8_t {
    extend,            ///< at least `bytes`
    truncate,          ///< to `bytes`; what is beyond is gone
    reserve,           ///< blocks from `begin` to `end`, inside a size that an extend gives
    reserve_metadata,  ///< the same, of use to no reader: fdatasync may leave it out
  };
  std::uint64_t sequence = 0;
  Kind kind = Kind::extend;
  std::uint64_t bytes = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

std::uint64_t size_after(std::uint64_t bytes, const SizeChange& change) noexcept;

/// What a power cut did to a file, or to a volume.
struct CrashTally {
  std::uint64_t sectors_lost = 0;
  std::uint64_t blocks_damaged = 0;
};

struct CrashRules {
  const Profile& profile;
  std::uint32_t physical_block_bytes;
  const FreedBlocks& freed;
};

class FileNode {
 public:
  std::uint64_t bytes() const noexcept { return live_bytes_; }

  /// -EIO when a sector of it cannot be read.
  std::int64_t read(std::uint64_t offset, std::span<std::byte> into) const;
  /// Past the page cache: what the device has, below the size that is in memory.
  std::int64_t read_direct(std::uint64_t offset, std::span<std::byte> into) const;
  bool reads_lie() const noexcept { return reads_lie_; }
  /// Of the bytes that a read of this range has returned.
  std::uint64_t hash_of(std::uint64_t offset, std::uint64_t bytes) const noexcept;
  /// True when a write of this range must first read a sector, and cannot.
  bool has_bad_edge(std::uint64_t offset, std::uint64_t bytes) const noexcept;

  /// Blocks of space that the file takes, and that a range would take beyond these.
  std::uint64_t blocks_taken() const noexcept { return taken_.count(); }
  std::uint64_t blocks_missing(std::uint64_t offset, std::uint64_t bytes) const noexcept;
  void take_space(std::uint64_t offset, std::uint64_t bytes);

  /// Bytes `begin` to `end` of the file, which are within `data`, take effect.
  void write(const Captured& data, std::uint64_t begin, std::uint64_t end, std::uint64_t sequence,
             bool durable, FreedBlocks& freed);
  void allocate(std::uint64_t offset, std::uint64_t bytes, bool keep_size, std::uint64_t sequence);
  void truncate(std::uint64_t bytes, std::uint64_t sequence, FreedBlocks& freed);

  void sync(std::uint64_t mark, bool with_metadata, FreedBlocks& freed);
  void drop(std::uint64_t mark, DropRules rules);
  /// Reads see what the device has, and what is still to be written to it.
  void drop_cache();
  /// Afterwards everything is durable.
  CrashTally crash(Choices& choices, const CrashRules& rules, FreedBlocks& freed);

  bool all_durable() const noexcept;
  std::uint64_t hash(std::uint64_t seed) const noexcept;
  /// What is durable, and what may yet become so: fingerprint.cpp.
  void fold_durable(Trace& hash, bool shows_stale_space) const;
  void fold_pending(Trace& hash) const;
  /// Gives what it holds to those who may see it in space of their own.
  void free_blocks(FreedBlocks& freed) const;

  // Damage, to what reads see and to what is durable. Offsets are inside the file.
  void flip_bit(std::uint64_t offset, unsigned bit);
  void copy_sector(std::uint64_t from, std::uint64_t to);
  void zero_sector(std::uint64_t offset);
  bool stale_sector(std::uint64_t offset);
  void make_unreadable(std::uint64_t offset, std::uint32_t physical_block_bytes);

 private:
  friend class CrashOfFile;

  /// The version becomes durable in these sectors.
  static void land(BlockState& state, const BlockRef& version, SectorMask mask, FreedBlocks& freed);
  void land(const PendingSectors& pending, FreedBlocks& freed);
  /// False when it is to stay pending.
  bool land(const SizeChange& change, bool with_metadata);
  /// Size changes up to the last truncation that cuts before `end`.
  void land_cuts_before(std::uint64_t end);
  /// Pending sectors older than a truncation are no more, where it cut.
  void void_older(const SizeChange& cut);
  void supersede(std::uint64_t begin, std::uint64_t end);
  void forget_needless_changes();
  void extend(std::uint64_t bytes, std::uint64_t sequence);
  void demand_sizes();
  void cut_live(std::uint64_t bytes, FreedBlocks* freed);
  void cut_durable(std::uint64_t bytes);
  void replay_pending();
  /// The sector is this from now on, durably.
  void replace_sector(std::uint64_t offset, const BlockRef& from, unsigned from_sector);

  BlockTable table_;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t durable_bytes_ = 0;
  std::uint64_t coming_bytes_ = 0;  ///< durable when all changes land; reads that lie see another
  std::vector<PendingSectors> pending_;
  std::vector<SizeChange> changes_;
  ExtentSet taken_;          ///< as reads see it
  ExtentSet durable_taken_;  ///< and as it is durable
  ExtentSet unsettled_;      ///< taken since the last power cut: it may show what was there before
  bool touched_ = false;     ///< since the last power cut
  bool reads_lie_ = false;   ///< they show what a failed sync has dropped
  bool direct_reads_lie_ = false;
};

}  // namespace diorite::sim::detail
