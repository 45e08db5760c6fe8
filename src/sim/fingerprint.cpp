// Hashes of all that can matter after a power cut now: for explore(), which goes on from each such
// state once.
//
// What a power cut forgets is left out: what reads see, marks of syncs, handles, locks. A write in
// flight counts like one that has ended and is not durable, since that is what a power cut makes of
// it. Sequence numbers count by their order only.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "sim/kernel.hpp"
#include "sim/trace.hpp"
#include "sim/volume_state.hpp"

namespace diorite::sim::detail {
namespace {

void fold_block(Trace& hash, const BlockRef& block) {
  // A block of zeros is the same whether it holds memory or not.
  const bool zero = block.all_zero();
  hash.fold(zero ? 0 : 1);
  if (!zero) hash.fold(hash_bytes(block.bytes(), kBlockBytes));
}

void fold_extents(Trace& hash, const ExtentSet& set) {
  hash.fold(set.extents().size());
  for (const Extent& extent : set.extents()) {
    hash.fold(extent.begin);
    hash.fold(extent.end);
  }
}

void fold_names(Trace& hash, const Names& names) {
  hash.fold(names.size());
  for (const auto& [name, node] : names) {
    hash.fold(name);
    hash.fold(node);
  }
}

// What ends with its process changes nothing.
bool may_take_place(const Flight& flight) noexcept {
  switch (flight.code) {
    case OpCode::allocate:
    case OpCode::truncate:
    case OpCode::make_dir:
    case OpCode::rename:
    case OpCode::remove:
      return true;
    case OpCode::open:
      return (flight.open_flags & (kOpenCreate | kOpenTruncate)) != 0;
    default:
      return false;
  }
}

}  // namespace

void FileNode::fold_durable(Trace& hash, bool shows_stale_space) const {
  hash.fold(durable_bytes_);
  fold_extents(hash, durable_taken_);
  table_.each(0, [&hash, shows_stale_space](std::uint64_t block, const BlockState& state) {
    const SectorMask written = shows_stale_space ? state.written : SectorMask{0};
    if (state.bad_durable == 0 && written == 0 && state.durable.all_zero()) return;
    hash.fold(block);
    hash.fold((std::uint64_t{state.bad_durable} << 8) | written);
    fold_block(hash, state.durable);
  });
  if (shows_stale_space) fold_extents(hash, unsettled_);
}

void FileNode::fold_pending(Trace& hash) const {
  std::vector<std::uint64_t> order;
  for (const PendingSectors& pending : pending_) order.push_back(pending.sequence);
  for (const SizeChange& change : changes_) order.push_back(change.sequence);
  std::sort(order.begin(), order.end());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  const auto rank = [&order](std::uint64_t sequence) {
    return static_cast<std::uint64_t>(std::lower_bound(order.begin(), order.end(), sequence) -
                                      order.begin());
  };
  hash.fold(pending_.size());
  for (const PendingSectors& pending : pending_) {
    hash.fold(rank(pending.sequence));
    hash.fold(pending.block);
    hash.fold(pending.mask);
    for (unsigned sector = 0; sector < kSectorsPerBlock; ++sector) {
      if ((pending.mask & sector_bit(sector)) == 0) continue;
      hash.fold(hash_bytes(pending.version.sector(sector), kSectorBytes));
    }
  }
  hash.fold(changes_.size());
  for (const SizeChange& change : changes_) {
    hash.fold(rank(change.sequence));
    hash.fold(static_cast<std::uint64_t>(change.kind));
    hash.fold(change.bytes);
    hash.fold(change.begin);
    hash.fold(change.end);
  }
}

void DirTree::fold_names_of_power_cut(Trace& hash) const {
  hash.fold(next_);
  for (const auto& [node, inode] : inodes_) {
    hash.fold(node);
    hash.fold(inode.is_directory() ? 1 : 0);
    fold_names(hash, inode.durable);
  }
  hash.fold(changes_.size());
  for (const EntryChange& change : changes_) {
    hash.fold(static_cast<std::uint64_t>(change.kind) | (change.of_directory ? 16 : 0) |
              (change.named ? 32 : 0));
    hash.fold(change.node);
    hash.fold((std::uint64_t{change.from_dir} << 32) | change.to_dir);
    hash.fold(change.replaced);
    hash.fold(change.from);
    hash.fold(change.to);
  }
}

std::uint64_t Volume::fingerprint(bool shows_stale_space) const {
  if (!state_->writes.empty()) {
    Volume landed(*this);
    landed.end_all_writes();
    return landed.fingerprint(shows_stale_space);
  }
  Trace hash;
  state_->tree.fold_names_of_power_cut(hash);
  for (const auto& [node, inode] : state_->tree.inodes()) {
    if (inode.is_directory()) continue;
    hash.fold(node);
    inode.file->fold_durable(hash, shows_stale_space);
    inode.file->fold_pending(hash);
  }
  if (!shows_stale_space) return hash.hash();
  for (std::size_t i = 0; i < state_->freed.size(); ++i) fold_block(hash, state_->freed[i]);
  return hash.hash();
}

std::uint64_t Kernel::fingerprint() const {
  Trace hash;
  hash.fold(disk_.volume().fingerprint(profile_.stale_space.per_million > 0));
  for (const Flight* next = in_flight_.front(); next != nullptr; next = in_flight_.next(*next)) {
    const Flight& flight = *next;
    if (!may_take_place(flight)) continue;
    hash.fold((static_cast<std::uint64_t>(flight.code) << 32) | flight.flags);
    hash.fold(flight.open_flags);
    hash.fold(flight.file != nullptr ? flight.file->node : kNoNode);
    hash.fold(flight.offset);
    hash.fold(flight.length);
    hash.fold(flight.path);
    hash.fold(flight.path2);
  }
  hash.fold(faults_.fingerprint());
  hash.fold(choices_.entropy_state());
  hash.fold(static_cast<std::uint64_t>(boot_after(now_).time_since_epoch().count()));
  return hash.hash();
}

}  // namespace diorite::sim::detail
