#include "sim/file_node.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sim/trace.hpp"

namespace diorite::sim::detail {

std::uint64_t size_after(std::uint64_t bytes, const SizeChange& change) noexcept {
  switch (change.kind) {
    case SizeChange::Kind::extend:
      return std::max(bytes, change.bytes);
    case SizeChange::Kind::truncate:
      return change.bytes;
    case SizeChange::Kind::reserve:
    case SizeChange::Kind::reserve_metadata:
      break;
  }
  return bytes;
}

std::int64_t FileNode::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset >= live_bytes_ || into.empty()) return 0;
  const std::uint64_t end = std::min(live_bytes_, offset + into.size());
  const std::uint64_t first = offset / kBlockBytes;
  const std::uint64_t last = (end - 1) / kBlockBytes;
  for (std::uint64_t block = first; block <= last; ++block) {
    const BlockState* const state = table_.find(block);
    if (state == nullptr || state->bad_live == 0) continue;
    const Piece piece = piece_of(block, offset, end);
    if ((state->bad_live & sectors_touched(piece.begin, piece.end)) != 0) return -EIO;
  }
  std::byte* to = into.data();
  for (std::uint64_t block = first; block <= last; ++block) {
    const Piece piece = piece_of(block, offset, end);
    const BlockState* const state = table_.find(block);
    const std::uint64_t length = piece.end - piece.begin;
    if (state == nullptr || state->live.is_null()) {
      std::memset(to, 0, length);
    } else {
      std::memcpy(to, state->live.bytes() + piece.begin, length);
    }
    to += length;
  }
  return static_cast<std::int64_t>(end - offset);
}

std::uint64_t FileNode::hash_of(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  Trace trace;
  for (std::uint64_t block = offset / kBlockBytes; block * kBlockBytes < offset + bytes; ++block) {
    const BlockState* const state = table_.find(block);
    const Piece piece = piece_of(block, offset, offset + bytes);
    trace.fold(piece.hash(state == nullptr ? BlockRef() : state->live));
  }
  return trace.hash();
}

bool FileNode::has_bad_edge(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  for (const std::uint64_t edge : {offset, offset + bytes}) {
    if (edge % kSectorBytes == 0) continue;
    const BlockState* const state = table_.find(edge / kBlockBytes);
    if (state == nullptr) continue;
    const std::uint64_t within = edge % kBlockBytes;
    if ((state->bad_live & sectors_touched(within, within + 1)) != 0) return true;
  }
  return false;
}

std::uint64_t FileNode::blocks_missing(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  return taken_.missing(offset / kBlockBytes, blocks_for(offset + bytes));
}

void FileNode::take_space(std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t first = offset / kBlockBytes;
  const std::uint64_t end = blocks_for(offset + bytes);
  if (taken_.missing(first, end) == 0) return;
  touched_ = true;
  // Only what is new: space that was taken long ago has shown what it holds.
  taken_.each_gap(first, end,
                  [this](std::uint64_t from, std::uint64_t to) { unsettled_.add(from, to); });
  taken_.add(first, end);
}

void FileNode::write(const Captured& data, std::uint64_t begin, std::uint64_t end,
                     std::uint64_t sequence, bool durable, FreedBlocks& freed) {
  if (begin >= end) return;
  touched_ = true;
  take_space(begin, end - begin);
  if (durable) {
    land_cuts_before(end);
    supersede(begin, end);
  }
  const std::uint64_t origin = data.offset / kBlockBytes;
  const std::uint64_t last = (end - 1) / kBlockBytes;
  for (std::uint64_t block = begin / kBlockBytes; block <= last; ++block) {
    const Piece piece = piece_of(block, begin, end);
    const BlockRef& bytes = data.blocks[block - origin];
    BlockState& state = table_.at(block);
    if (piece.whole()) {
      state.live = bytes;
    } else {
      state.live.set_range(piece.begin, piece.end, bytes.bytes() + piece.begin);
    }
    const SectorMask mask = sectors_touched(piece.begin, piece.end);
    state.bad_live = without(state.bad_live, mask);
    if (durable) {
      land(state, state.live, mask, freed);
    } else {
      pending_.push_back({sequence, block, state.live, mask});
    }
  }
  if (durable) {
    durable_taken_.add(begin / kBlockBytes, last + 1);
    durable_bytes_ = std::max(durable_bytes_, end);
    coming_bytes_ = std::max(coming_bytes_, end);
    forget_needless_changes();
  } else {
    extend(end, sequence);
  }
  live_bytes_ = std::max(live_bytes_, end);
}

void FileNode::extend(std::uint64_t bytes, std::uint64_t sequence) {
  if (bytes <= coming_bytes_) return;
  coming_bytes_ = bytes;
  changes_.push_back({sequence, SizeChange::Kind::extend, bytes, 0, 0});
}

void FileNode::allocate(std::uint64_t offset, std::uint64_t bytes, bool keep_size,
                        std::uint64_t sequence) {
  touched_ = true;
  take_space(offset, bytes);
  const std::uint64_t end = offset + bytes;
  const bool extends = !keep_size && end > live_bytes_;
  changes_.push_back({sequence,
                      extends ? SizeChange::Kind::reserve : SizeChange::Kind::reserve_metadata, 0,
                      offset / kBlockBytes, blocks_for(end)});
  if (keep_size) return;
  live_bytes_ = std::max(live_bytes_, end);
  extend(end, sequence);
}

void FileNode::truncate(std::uint64_t bytes, std::uint64_t sequence, FreedBlocks& freed) {
  touched_ = true;
  const std::uint64_t taken_before = taken_.count();
  if (bytes > live_bytes_) {
    live_bytes_ = bytes;
  } else {
    cut_live(bytes, &freed);
  }
  if (bytes > coming_bytes_) {
    extend(bytes, sequence);
  } else if (bytes < coming_bytes_ || taken_.count() < taken_before) {
    coming_bytes_ = bytes;
    changes_.push_back({sequence, SizeChange::Kind::truncate, bytes, 0, 0});
  }
}

void FileNode::cut_live(std::uint64_t bytes, FreedBlocks* freed) {
  live_bytes_ = bytes;
  const std::uint64_t first_gone = blocks_for(bytes);
  table_.each(first_gone, [freed](std::uint64_t, BlockState& state) {
    if (freed != nullptr) freed->add(state.live);
    state.live = BlockRef();
    state.bad_live = 0;
  });
  taken_.remove(first_gone, ExtentSet::kForever);
  unsettled_.remove(first_gone, ExtentSet::kForever);
  // What is beyond the end must read as zeros when the file grows again.
  if (bytes % kBlockBytes == 0) return;
  if (BlockState* const state = table_.find(bytes / kBlockBytes)) {
    state->live.zero_range(bytes % kBlockBytes, kBlockBytes);
  }
}

void FileNode::cut_durable(std::uint64_t bytes) {
  const std::uint64_t first_gone = blocks_for(bytes);
  table_.each(first_gone, [](std::uint64_t, BlockState& state) {
    state.durable = BlockRef();
    state.previous = BlockRef();
    state.written = 0;
    state.had_previous = 0;
    state.bad_durable = 0;
  });
  durable_taken_.remove(first_gone, ExtentSet::kForever);
  if (bytes % kBlockBytes == 0) return;
  if (BlockState* const state = table_.find(bytes / kBlockBytes)) {
    state->durable.zero_range(bytes % kBlockBytes, kBlockBytes);
  }
}

void FileNode::land(BlockState& state, const BlockRef& version, SectorMask mask,
                    FreedBlocks& freed) {
  if (!same_bytes(state.durable, version)) {
    if (mask == kAllSectors) {
      freed.add(state.durable);
      state.previous = std::move(state.durable);
    } else {
      state.previous.set_sectors(state.durable, mask);
    }
    state.had_previous = static_cast<SectorMask>(state.had_previous | (state.written & mask));
    state.durable.set_sectors(version, mask);
  }
  state.written = static_cast<SectorMask>(state.written | mask);
  state.bad_durable = without(state.bad_durable, mask);
}

void FileNode::land(const PendingSectors& pending, FreedBlocks& freed) {
  if (pending.mask == 0) return;
  land(table_.at(pending.block), pending.version, pending.mask, freed);
  durable_taken_.add(pending.block, pending.block + 1);
}

bool FileNode::land(const SizeChange& change, bool with_metadata) {
  durable_bytes_ = size_after(durable_bytes_, change);
  switch (change.kind) {
    case SizeChange::Kind::extend:
      return true;
    case SizeChange::Kind::truncate:
      cut_durable(change.bytes);
      void_older(change);
      return true;
    case SizeChange::Kind::reserve_metadata:
      if (!with_metadata) return false;
      [[fallthrough]];
    case SizeChange::Kind::reserve:
      durable_taken_.add(change.begin, change.end);
      return true;
  }
  return true;
}

void FileNode::land_cuts_before(std::uint64_t end) {
  std::size_t count = changes_.size();
  const auto cuts = [end](const SizeChange& change) {
    return change.kind == SizeChange::Kind::truncate && change.bytes < end;
  };
  while (count > 0 && !cuts(changes_[count - 1])) --count;
  for (std::size_t i = 0; i < count; ++i) static_cast<void>(land(changes_[i], true));
  changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count));
}

void FileNode::void_older(const SizeChange& cut) {
  const std::uint64_t block = cut.bytes / kBlockBytes;
  const std::uint64_t within = cut.bytes % kBlockBytes;
  for (PendingSectors& pending : pending_) {
    if (pending.sequence >= cut.sequence) break;
    if (pending.block < block) continue;
    if (pending.block > block || within == 0) {
      pending.mask = 0;
      continue;
    }
    pending.mask &= sectors_touched(0, within);
    pending.version.zero_range(within, kBlockBytes);
  }
}

void FileNode::supersede(std::uint64_t begin, std::uint64_t end) {
  if (pending_.empty()) return;
  const std::uint64_t last = (end - 1) / kBlockBytes;
  for (PendingSectors& pending : pending_) {
    if (pending.block < begin / kBlockBytes || pending.block > last) continue;
    const Piece piece = piece_of(pending.block, begin, end);
    pending.mask = without(pending.mask, sectors_touched(piece.begin, piece.end));
  }
  pending_.erase(std::remove_if(pending_.begin(), pending_.end(),
                                [](const PendingSectors& pending) { return pending.mask == 0; }),
                 pending_.end());
}

// Extensions that a durable write has overtaken.
void FileNode::forget_needless_changes() {
  std::size_t count = 0;
  while (count < changes_.size() && changes_[count].kind == SizeChange::Kind::extend &&
         changes_[count].bytes <= durable_bytes_) {
    ++count;
  }
  changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count));
}

void FileNode::sync(std::uint64_t mark, bool with_metadata, FreedBlocks& freed) {
  std::vector<SizeChange> kept;
  std::size_t change = 0;
  const auto land_changes_before = [&](std::uint64_t sequence) {
    for (; change < changes_.size() && changes_[change].sequence < sequence; ++change) {
      if (!land(changes_[change], with_metadata)) kept.push_back(changes_[change]);
    }
  };
  std::size_t landed = 0;
  for (; landed < pending_.size() && pending_[landed].sequence <= mark; ++landed) {
    land_changes_before(pending_[landed].sequence);
    land(pending_[landed], freed);
  }
  land_changes_before(mark + 1);
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(landed));
  changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(change));
  changes_.insert(changes_.begin(), kept.begin(), kept.end());
}

void FileNode::drop(std::uint64_t mark, DropRules rules) {
  touched_ = true;
  const auto covered = [mark, &rules](const auto& pending) {
    return pending.sequence > rules.since && pending.sequence <= mark;
  };
  pending_.erase(std::remove_if(pending_.begin(), pending_.end(), covered), pending_.end());
  if (!rules.keeps_sizes) {
    changes_.erase(std::remove_if(changes_.begin(), changes_.end(), covered), changes_.end());
  }
  demand_sizes();
  if (rules.lie == Lie::none) {
    replay_pending();
    return;
  }
  reads_lie_ = true;
  direct_reads_lie_ = direct_reads_lie_ || rules.lie == Lie::everywhere;
}

std::int64_t FileNode::read_direct(std::uint64_t offset, std::span<std::byte> into) const {
  if (!reads_lie_ || direct_reads_lie_) return read(offset, into);
  FileNode device = *this;
  device.drop_cache();
  return device.read(offset, into);
}

void FileNode::drop_cache() {
  // What is read past the cache comes back into it.
  if (!reads_lie_ || direct_reads_lie_) return;
  // The size is no page: it stays in the inode.
  const std::uint64_t bytes = live_bytes_;
  replay_pending();
  if (bytes < live_bytes_) cut_live(bytes, nullptr);
  live_bytes_ = bytes;
}

// A write that needed no larger size may have relied on one that was dropped just now. A later sync
// must not leave its data beyond the end.
void FileNode::demand_sizes() {
  std::vector<SizeChange> all;
  std::uint64_t bytes = durable_bytes_;
  std::size_t change = 0;
  const auto keep_changes_before = [&](std::uint64_t sequence) {
    for (; change < changes_.size() && changes_[change].sequence < sequence; ++change) {
      bytes = size_after(bytes, changes_[change]);
      all.push_back(changes_[change]);
    }
  };
  for (const PendingSectors& pending : pending_) {
    keep_changes_before(pending.sequence + 1);
    const std::uint64_t end = std::min(live_bytes_, (pending.block + 1) * kBlockBytes);
    if (end <= bytes) continue;
    bytes = end;
    all.push_back({pending.sequence, SizeChange::Kind::extend, end, 0, 0});
  }
  keep_changes_before(~std::uint64_t{0});
  changes_ = std::move(all);
  coming_bytes_ = bytes;
}

void FileNode::replay_pending() {
  reads_lie_ = direct_reads_lie_ = false;
  live_bytes_ = durable_bytes_;
  table_.each(0, [](std::uint64_t, BlockState& state) {
    state.live = state.durable;
    state.bad_live = state.bad_durable;
  });
  std::size_t change = 0;
  const auto replay_changes_before = [&](std::uint64_t sequence) {
    for (; change < changes_.size() && changes_[change].sequence < sequence; ++change) {
      const SizeChange& next = changes_[change];
      if (next.kind == SizeChange::Kind::truncate) cut_live(next.bytes, nullptr);
      live_bytes_ = size_after(live_bytes_, next);
    }
  };
  for (const PendingSectors& pending : pending_) {
    replay_changes_before(pending.sequence);
    BlockState& state = table_.at(pending.block);
    state.live.set_sectors(pending.version, pending.mask);
    state.bad_live = without(state.bad_live, pending.mask);
  }
  replay_changes_before(~std::uint64_t{0});
}

}  // namespace diorite::sim::detail
