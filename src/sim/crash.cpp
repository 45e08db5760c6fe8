#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include <diorite/assert.hpp>

#include "sim/crash_of_file.hpp"

namespace diorite::sim::detail {
namespace {

/// Of one file; a bound on the work, not on what can be seen.
constexpr std::uint64_t kStaleBlocksMax = 4096;

bool cuts(const SizeChange& change) noexcept { return change.kind == SizeChange::Kind::truncate; }

}  // namespace

CrashTally FileNode::crash(Choices& choices, const CrashRules& rules, FreedBlocks& freed) {
  if (!touched_) return {};
  return CrashOfFile(*this, choices, rules, freed).run();
}

CrashOfFile::CrashOfFile(FileNode& file, Choices& choices, const CrashRules& rules,
                         FreedBlocks& freed)
    : file_(file), choices_(choices), rules_(rules), freed_(freed) {}

CrashTally CrashOfFile::run() {
  // The size comes first: what is beyond it asks no questions. Stale space before sectors, since it
  // is what a sector of a new block shows when no write to it has landed.
  keep_changes();
  show_stale_space();
  if (rules_.profile.tears) {
    settle_sectors();
  } else {
    settle_writes();
  }
  finish();
  return tally_;
}

// How many of the pending size changes survive. Counts that give the same file are one answer.
std::size_t CrashOfFile::pick_change_count() {
  std::vector<std::uint64_t> sizes;
  sizes.reserve(file_.changes_.size() + 1);
  sizes.push_back(file_.durable_bytes_);
  for (const SizeChange& change : file_.changes_) {
    sizes.push_back(size_after(sizes.back(), change));
  }
  std::vector<std::uint32_t> counts;
  for (std::size_t count = file_.changes_.size() + 1; count-- > 0;) {
    const bool newest = count == file_.changes_.size();
    if (newest || sizes[count] != sizes[count + 1] || cuts(file_.changes_[count])) {
      counts.push_back(static_cast<std::uint32_t>(count));
    }
  }
  return counts[choices_.pick(static_cast<std::uint32_t>(counts.size()))];
}

void CrashOfFile::keep_changes() {
  const std::size_t kept = pick_change_count();
  for (std::size_t i = kept; i < file_.changes_.size(); ++i) {
    if (cuts(file_.changes_[i])) void_without_cut(file_.changes_[i]);
  }
  for (std::size_t i = 0; i < kept; ++i) {
    static_cast<void>(file_.land(file_.changes_[i], true));
  }
  file_.changes_.clear();
  const std::uint64_t end = blocks_for(file_.durable_bytes_);
  for (PendingSectors& pending : file_.pending_) {
    if (pending.block < end) continue;
    tally_.sectors_lost += static_cast<unsigned>(std::popcount(pending.mask));
    pending.mask = 0;
  }
}

// Space beyond the cut was free for later writes only because of the cut.
void CrashOfFile::void_without_cut(const SizeChange& cut) {
  const std::uint64_t first_sector = (cut.bytes + kSectorBytes - 1) / kSectorBytes;
  for (PendingSectors& pending : file_.pending_) {
    if (pending.sequence < cut.sequence) continue;
    for (unsigned sector = 0; sector < kSectorsPerBlock; ++sector) {
      if (pending.block * kSectorsPerBlock + sector < first_sector) continue;
      if ((pending.mask & sector_bit(sector)) != 0) ++tally_.sectors_lost;
      pending.mask = without(pending.mask, sector_bit(sector));
    }
  }
}

void CrashOfFile::show_stale_space() {
  const std::uint64_t end = blocks_for(file_.durable_bytes_);
  std::vector<std::uint64_t> unwritten;
  for (const Extent& extent : file_.unsettled_.extents()) {
    for (std::uint64_t block = extent.begin; block < std::min(extent.end, end); ++block) {
      if (unwritten.size() == kStaleBlocksMax) break;
      const BlockState* const state = file_.table_.find(block);
      if (state == nullptr || state->written != kAllSectors) unwritten.push_back(block);
    }
  }
  file_.unsettled_.remove(0, end);
  if (unwritten.empty() || rules_.freed.size() == 0) return;
  if (!choices_.chance(rules_.profile.stale_space)) return;
  // In a row, as they were freed: what was there before may be a whole run of valid blocks.
  const std::size_t start = choices_.pick(static_cast<std::uint32_t>(rules_.freed.size()));
  for (std::size_t i = 0; i < unwritten.size(); ++i) {
    BlockState& state = file_.table_.at(unwritten[i]);
    const BlockRef& stale = rules_.freed[(start + i) % rules_.freed.size()];
    state.durable.set_sectors(stale, without(kAllSectors, state.written));
    state.written = kAllSectors;
  }
}

std::vector<PendingSectors*> CrashOfFile::by_block() {
  std::vector<PendingSectors*> sorted;
  sorted.reserve(file_.pending_.size());
  for (PendingSectors& pending : file_.pending_) {
    if (pending.mask != 0) sorted.push_back(&pending);
  }
  // The parts of one failed write have one sequence number, and no sector in common.
  std::sort(sorted.begin(), sorted.end(), [](const PendingSectors* a, const PendingSectors* b) {
    return std::tie(a->block, a->sequence, a->mask) < std::tie(b->block, b->sequence, b->mask);
  });
  return sorted;
}

void CrashOfFile::settle_sectors() {
  const std::vector<PendingSectors*> sorted = by_block();
  for (std::size_t first = 0; first < sorted.size();) {
    std::size_t end = first + 1;
    while (end < sorted.size() && sorted[end]->block == sorted[first]->block) ++end;
    settle_block(Versions(sorted).subspan(first, end - first));
    first = end;
  }
}

void CrashOfFile::settle_block(Versions versions) {
  const std::uint64_t block = versions.front()->block;
  SectorMask touched = 0;
  for (const PendingSectors* version : versions) touched |= version->mask;
  const SectorMask damaged = damage_block(block, touched);
  BlockState& state = file_.table_.at(block);
  std::vector<SectorMask> landed(versions.size(), 0);
  for (unsigned sector = 0; sector < kSectorsPerBlock; ++sector) {
    if ((without(touched, damaged) & sector_bit(sector)) == 0 || !inside(block, sector)) continue;
    settle_sector_of(versions, state, sector, landed.data());
  }
  for (std::size_t i = 0; i < versions.size(); ++i) {
    if (landed[i] != 0) FileNode::land(state, versions[i]->version, landed[i], freed_);
  }
}

// Versions with the same bytes are one answer: the newest of them.
void CrashOfFile::settle_sector_of(Versions versions, BlockState& state, unsigned sector,
                                   SectorMask* landed) {
  std::vector<std::size_t> different;
  for (std::size_t i = versions.size(); i-- > 0;) {
    if ((versions[i]->mask & sector_bit(sector)) == 0) continue;
    const auto same = [&](std::size_t other) {
      return same_sector(versions[i]->version, versions[other]->version, sector);
    };
    if (std::none_of(different.begin(), different.end(), same)) different.push_back(i);
  }
  const auto is_durable = [&](std::size_t i) {
    return same_sector(versions[i]->version, state.durable, sector);
  };
  // Bytes that cannot be read equal no others.
  const bool bad = (state.bad_durable & sector_bit(sector)) != 0;
  const bool may_stay = bad || std::none_of(different.begin(), different.end(), is_durable);
  const std::size_t answer =
      choices_.pick(static_cast<std::uint32_t>(different.size() + (may_stay ? 1 : 0)));
  if (answer > 0) ++tally_.sectors_lost;
  if (answer < different.size()) landed[different[answer]] |= sector_bit(sector);
}

SectorMask CrashOfFile::damage_block(std::uint64_t block, SectorMask touched) {
  const Profile& profile = rules_.profile;
  if (profile.garbage_block.per_million == 0 && profile.unreadable_block.per_million == 0) return 0;
  const unsigned sectors = std::min(rules_.physical_block_bytes, kBlockBytes) / kSectorBytes;
  SectorMask damaged = 0;
  for (unsigned first = 0; first < kSectorsPerBlock; first += sectors) {
    const auto mask = static_cast<SectorMask>(((1U << sectors) - 1) << first);
    if ((touched & mask) == 0 || !inside(block, first)) continue;
    const bool garbage = choices_.chance(profile.garbage_block);
    if (!garbage && !choices_.chance(profile.unreadable_block)) continue;
    damage_sectors(file_.table_.at(block), mask, garbage);
    damaged |= mask;
    ++tally_.blocks_damaged;
  }
  return damaged;
}

void CrashOfFile::damage_sectors(BlockState& state, SectorMask mask, bool garbage) {
  if (!garbage) {
    state.bad_durable |= mask;
    return;
  }
  for (unsigned sector = 0; sector < kSectorsPerBlock; ++sector) {
    if ((mask & sector_bit(sector)) == 0) continue;
    std::byte* const to = state.durable.writable() + sector * kSectorBytes;
    for (std::size_t at = 0; at < kSectorBytes; at += sizeof(std::uint64_t)) {
      const std::uint64_t bits = choices_.entropy();
      std::memcpy(to + at, &bits, sizeof(bits));
    }
  }
  state.written |= mask;
  state.bad_durable = without(state.bad_durable, mask);
}

// Whole writes, in any order: each lands or not, and one that lands may be overtaken by those
// before it where they overlap.
void CrashOfFile::settle_writes() {
  struct Write {
    std::size_t first;
    std::size_t end;
  };
  std::vector<PendingSectors>& pending = file_.pending_;
  const auto overlap = [&pending](const Write& a, const Write& b) {
    for (std::size_t i = a.first; i < a.end; ++i) {
      for (std::size_t j = b.first; j < b.end; ++j) {
        if (pending[i].block == pending[j].block && (pending[i].mask & pending[j].mask) != 0) {
          return true;
        }
      }
    }
    return false;
  };
  std::vector<Write> landed;
  for (std::size_t first = 0; first < pending.size();) {
    Write write{first, first + 1};
    while (write.end < pending.size() && pending[write.end].sequence == pending[first].sequence) {
      ++write.end;
    }
    first = write.end;
    const bool lands = !decides_anything(write.first, write.end) || choices_.pick(2) == 0;
    if (!lands) {
      for (std::size_t i = write.first; i < write.end; ++i) {
        tally_.sectors_lost += static_cast<unsigned>(std::popcount(pending[i].mask));
      }
      continue;
    }
    std::vector<std::size_t> overlapped;
    for (std::size_t i = 0; i < landed.size(); ++i) {
      if (overlap(landed[i], write)) overlapped.push_back(i);
    }
    const std::size_t overtaken = choices_.pick(static_cast<std::uint32_t>(overlapped.size() + 1));
    const std::size_t place =
        overtaken == 0 ? landed.size() : overlapped[overlapped.size() - overtaken];
    landed.insert(landed.begin() + static_cast<std::ptrdiff_t>(place), write);
  }
  for (const Write& write : landed) {
    for (std::size_t i = write.first; i < write.end; ++i) file_.land(pending[i], freed_);
  }
  for (const PendingSectors* const touched : by_block()) {
    static_cast<void>(damage_block(touched->block, touched->mask));
  }
}

// False where it makes no difference whether a write lands: the bytes are there, and no other
// version of them is pending.
bool CrashOfFile::decides_anything(std::size_t first, std::size_t end) const {
  for (std::size_t i = first; i < end; ++i) {
    const PendingSectors& mine = file_.pending_[i];
    if (mine.mask == 0) continue;
    for (const PendingSectors& other : file_.pending_) {
      if (other.sequence != mine.sequence && other.block == mine.block &&
          (other.mask & mine.mask) != 0) {
        return true;
      }
    }
    const BlockState* const state = file_.table_.find(mine.block);
    for (unsigned sector = 0; sector < kSectorsPerBlock; ++sector) {
      if ((mine.mask & sector_bit(sector)) == 0 || !inside(mine.block, sector)) continue;
      if ((state->bad_durable & sector_bit(sector)) != 0) return true;
      if (!same_sector(mine.version, state->durable, sector)) return true;
    }
  }
  return false;
}

void CrashOfFile::finish() {
  const std::uint64_t end = blocks_for(file_.durable_bytes_);
  for (const PendingSectors& pending : file_.pending_) {
    if (pending.block < end) file_.durable_taken_.add(pending.block, pending.block + 1);
  }
  file_.pending_.clear();
  // Bytes beyond the end, of sectors that landed without the size that they needed, must not show
  // when the file grows again. Space that was reserved there stays.
  const ExtentSet taken = file_.durable_taken_;
  file_.cut_durable(file_.durable_bytes_);
  file_.durable_taken_ = taken;
  file_.taken_ = taken;
  file_.replay_pending();
  file_.coming_bytes_ = file_.durable_bytes_;
  file_.touched_ = false;
}

}  // namespace diorite::sim::detail
