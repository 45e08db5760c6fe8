#include <algorithm>

#include <diorite/assert.hpp>

#include "sim/file_node.hpp"

namespace diorite::sim::detail {
namespace {

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) noexcept {
  hash = (hash ^ value) * 0x9E37'79B9'7F4A'7C15;
  return hash ^ (hash >> 32);
}

unsigned sector_of(std::uint64_t offset) noexcept {
  return static_cast<unsigned>(offset % kBlockBytes / kSectorBytes);
}

// Bytes beyond the end must read as zeros when the file grows.
void zero_beyond(BlockRef& ref, std::uint64_t end, std::uint64_t block) {
  const std::uint64_t begin = block * kBlockBytes;
  if (end < begin + kBlockBytes) ref.zero_range(std::max(end, begin) - begin, kBlockBytes);
}

}  // namespace

bool FileNode::all_durable() const noexcept {
  if (!touched_) return true;
  if (live_bytes_ != durable_bytes_) return false;
  for (const SizeChange& change : changes_) {
    if (change.kind == SizeChange::Kind::truncate) return false;
    if (size_after(durable_bytes_, change) != durable_bytes_) return false;
  }
  for (const PendingSectors& pending : pending_) {
    const BlockState* const state = table_.find(pending.block);
    for (unsigned sector = 0; sector < kSectorsPerBlock; ++sector) {
      if ((pending.mask & sector_bit(sector)) == 0) continue;
      if ((state->written & sector_bit(sector)) == 0) return false;
      if (!same_sector(pending.version, state->durable, sector)) return false;
    }
  }
  bool equal = true;
  table_.each(0, [&equal](std::uint64_t, const BlockState& state) {
    equal = equal && state.bad_live == state.bad_durable && same_bytes(state.live, state.durable);
  });
  return equal;
}

std::uint64_t FileNode::hash(std::uint64_t seed) const noexcept {
  std::uint64_t hash = mixed(seed, live_bytes_);
  table_.each(0, [&hash](std::uint64_t block, const BlockState& state) {
    if (state.bad_live != 0) hash = mixed(mixed(hash, block), state.bad_live);
    if (state.live.all_zero()) return;
    hash = mixed(hash, block);
    for (std::size_t at = 0; at < kBlockBytes; at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, state.live.bytes() + at, sizeof(word));
      hash = mixed(hash, word);
    }
  });
  return hash;
}

void FileNode::free_blocks(FreedBlocks& freed) const {
  table_.each(0, [&freed](std::uint64_t, const BlockState& state) { freed.add(state.live); });
}

void FileNode::replace_sector(std::uint64_t offset, const BlockRef& from, unsigned from_sector) {
  DIORITE_ASSERT(offset < live_bytes_, "damage beyond the end of the file");
  // `from` may be a block of this very table.
  const BlockRef source = from;
  const unsigned sector = sector_of(offset);
  const SectorMask mask = sector_bit(sector);
  const std::uint64_t begin = offset % kBlockBytes / kSectorBytes * kSectorBytes;
  supersede(offset / kBlockBytes * kBlockBytes + begin,
            offset / kBlockBytes * kBlockBytes + begin + kSectorBytes);
  BlockState& state = table_.at(offset / kBlockBytes);
  state.live.set_range(begin, begin + kSectorBytes, source.sector(from_sector));
  state.durable.set_range(begin, begin + kSectorBytes, source.sector(from_sector));
  zero_beyond(state.live, live_bytes_, offset / kBlockBytes);
  zero_beyond(state.durable, std::max(live_bytes_, durable_bytes_), offset / kBlockBytes);
  state.written |= mask;
  state.bad_live = without(state.bad_live, mask);
  state.bad_durable = without(state.bad_durable, mask);
}

void FileNode::flip_bit(std::uint64_t offset, unsigned bit) {
  DIORITE_ASSERT(bit < 8, "a byte has eight bits");
  BlockRef changed = table_.at(offset / kBlockBytes).live;
  std::byte& byte = changed.writable()[offset % kBlockBytes];
  byte ^= static_cast<std::byte>(1U << bit);
  replace_sector(offset, changed, sector_of(offset));
}

void FileNode::copy_sector(std::uint64_t from, std::uint64_t to) {
  DIORITE_ASSERT(from < live_bytes_, "damage beyond the end of the file");
  const BlockRef source = table_.at(from / kBlockBytes).live;
  replace_sector(to, source, sector_of(from));
}

void FileNode::zero_sector(std::uint64_t offset) { replace_sector(offset, BlockRef(), 0); }

bool FileNode::stale_sector(std::uint64_t offset) {
  DIORITE_ASSERT(offset < live_bytes_, "damage beyond the end of the file");
  const unsigned sector = sector_of(offset);
  const BlockState& state = table_.at(offset / kBlockBytes);
  if ((state.had_previous & sector_bit(sector)) == 0) return false;
  if (same_sector(state.previous, state.durable, sector)) return false;
  const BlockRef before = state.previous;
  replace_sector(offset, before, sector);
  return true;
}

void FileNode::make_unreadable(std::uint64_t offset, std::uint32_t physical_block_bytes) {
  DIORITE_ASSERT(offset < live_bytes_, "damage beyond the end of the file");
  const std::uint64_t bytes = std::min(physical_block_bytes, kBlockBytes);
  const std::uint64_t begin = offset / bytes * bytes;
  supersede(begin, begin + bytes);
  BlockState& state = table_.at(offset / kBlockBytes);
  const SectorMask mask = sectors_touched(begin % kBlockBytes, begin % kBlockBytes + bytes);
  state.bad_live |= mask;
  state.bad_durable |= mask;
  // Otherwise a power cut would skip the file, and reads and disk could part.
  touched_ = true;
}

}  // namespace diorite::sim::detail
