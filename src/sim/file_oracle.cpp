#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <diorite/align.hpp>
#include <diorite/assert.hpp>
#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

bool all_zero(std::span<const std::byte> bytes) noexcept {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

std::uint64_t FileOracle::writing(std::uint64_t offset, std::span<const std::byte> data) {
  const std::uint32_t sector = options_.sector_bytes;
  DIORITE_ASSERT(!data.empty() && offset % sector == 0 && data.size() % sector == 0,
                 "a write of less than sectors");
  const std::uint64_t id = ++clock_;
  writes_[id].begun = id;
  const std::uint64_t block = std::max(options_.block_bytes, sector);
  for (std::uint64_t at = align_up(offset, block); at + block <= offset + data.size();
       at += block) {
    unreadable_.erase(at);
  }
  for (std::size_t at = 0; at < data.size(); at += sector) {
    Versions& versions = sectors_[offset + at];
    if (versions.empty()) versions.push_back({});
    const std::span<const std::byte> bytes = data.subspan(at, sector);
    versions.push_back({id, {bytes.begin(), bytes.end()}});
  }
  return id;
}

void FileOracle::wrote(std::uint64_t id, bool success, bool durable) {
  const auto found = writes_.find(id);
  // The power has gone meanwhile, and what was found has taken its place.
  if (found == writes_.end() || !success) return;
  Write& write = found->second;
  write.ended = ++clock_;
  write.certain = durable || !write.lost;
  write.durable = durable;
  if (durable) prune();
}

std::uint64_t FileOracle::syncing(std::uint64_t since) {
  const std::uint64_t id = ++clock_;
  std::vector<std::uint64_t>& covered = syncs_[id];
  for (const auto& [name, write] : writes_) {
    if (write.begun > since && write.certain && !write.durable) covered.push_back(name);
  }
  return id;
}

void FileOracle::synced(std::uint64_t id, bool success) {
  const auto sync = syncs_.find(id);
  if (sync == syncs_.end()) return;
  const std::vector<std::uint64_t> covered = std::move(sync->second);
  syncs_.erase(sync);
  if (!success) return lose_all();
  for (const std::uint64_t name : covered) {
    // One that another sync has lost meanwhile stays lost.
    const auto found = writes_.find(name);
    if (found != writes_.end() && found->second.certain) found->second.durable = true;
  }
  prune();
}

/// The system takes up a sync later than it was asked for, and writes of which we have not heard
/// yet take place before: whatever is not durable may be gone, even what reports success later.
void FileOracle::lose_all() noexcept {
  for (auto& [name, write] : writes_) {
    if (write.durable) continue;
    write.certain = false;
    write.lost = true;
  }
}

/// Whether a write that is certain, and had ended before `before`, began when `version` had ended:
/// only then is their order known.
bool FileOracle::replaced(const Versions& versions, const Version& version, std::uint64_t before,
                          bool durable) const {
  std::uint64_t version_ended = 0;
  if (version.write != 0) {
    version_ended = writes_.at(version.write).ended;
    if (version_ended == 0) return false;
  }
  return std::any_of(versions.begin(), versions.end(), [&](const Version& other) {
    if (other.write == 0 || other.write == version.write) return false;
    const Write& write = writes_.at(other.write);
    return write.certain && (write.durable || !durable) && write.ended < before &&
           write.begun > version_ended;
  });
}

bool FileOracle::fits(const Version& version, std::span<const std::byte> bytes) const noexcept {
  if (!version.bytes.empty()) return same_bytes(version.bytes, bytes);
  return options_.stale_space || all_zero(bytes);
}

bool FileOracle::overlap(std::uint64_t a, std::uint64_t b) const {
  const Write& one = writes_.at(a);
  const Write& other = writes_.at(b);
  return (one.ended == 0 || other.begun < one.ended) &&
         (other.ended == 0 || one.begun < other.ended);
}

/// The beginning of one version and the end of another. Writes at the same time may each have been
/// cut within the sector, and lie over each other in one part more for each of them. A read that
/// was cut short goes on later, when more of them has landed: what it saw has any number of parts.
bool FileOracle::fits_in_parts(const Versions& versions, std::span<const std::byte> bytes,
                               std::uint64_t before, bool durable) const {
  const std::vector<std::byte> zeros(bytes.size());
  std::vector<std::span<const std::byte>> candidates;
  std::vector<std::uint64_t> writes;
  for (const Version& version : versions) {
    if (replaced(versions, version, before, durable)) continue;
    const std::vector<std::byte>& all = version.bytes.empty() ? zeros : version.bytes;
    if (all.size() != bytes.size()) continue;
    candidates.emplace_back(all);
    if (version.write != 0) writes.push_back(version.write);
  }
  std::size_t at_once = 1;
  for (const std::uint64_t write : writes) {
    const auto meets = [&](std::uint64_t other) { return overlap(write, other); };
    at_once = std::max(
        at_once, static_cast<std::size_t>(std::count_if(writes.begin(), writes.end(), meets)));
  }
  const std::size_t parts = durable ? at_once + 1 : bytes.size();
  std::size_t reached = 0;
  for (std::size_t part = 0; part < parts && reached < bytes.size(); ++part) {
    std::size_t furthest = reached;
    for (const std::span<const std::byte> all : candidates) {
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(reached);
      const auto same =
          std::mismatch(begin, bytes.end(), all.begin() + static_cast<std::ptrdiff_t>(reached));
      furthest = std::max(furthest, static_cast<std::size_t>(same.first - bytes.begin()));
    }
    if (furthest == reached) return false;
    reached = furthest;
  }
  return reached == bytes.size();
}

bool FileOracle::may_be(const Versions& versions, std::span<const std::byte> bytes,
                        std::uint64_t before, bool durable) const {
  if (options_.splits_sectors && fits_in_parts(versions, bytes, before, durable)) return true;
  return std::any_of(versions.begin(), versions.end(), [&](const Version& version) {
    return fits(version, bytes) && !replaced(versions, version, before, durable);
  });
}

/// Zeros where perhaps nothing has ever been written, so that no space may be there yet: what stood
/// in it before can show after a later power cut, when a write beside it has taken the space.
bool FileOracle::may_be_hole(const Versions& versions, std::span<const std::byte> bytes) const {
  return options_.stale_space && all_zero(bytes) &&
         std::any_of(versions.begin(), versions.end(), [&](const Version& version) {
           return version.bytes.empty() && !replaced(versions, version, kAlways, true);
         });
}

bool FileOracle::may_be_damaged(std::uint64_t offset) const {
  if (options_.block_bytes == 0) return false;
  const std::uint64_t begin = align_down(offset, std::uint64_t{options_.block_bytes});
  for (auto at = sectors_.lower_bound(begin);
       at != sectors_.end() && at->first < begin + options_.block_bytes; ++at) {
    const Versions& versions = at->second;
    for (const Version& version : versions) {
      if (version.write == 0 || writes_.at(version.write).durable) continue;
      if (!replaced(versions, version, kAlways, true)) return true;
    }
  }
  return false;
}

void FileOracle::prune() {
  // A read that is under way may still return what has been replaced since it began.
  const std::uint64_t before = reads_.empty() ? kAlways : *reads_.begin();
  for (auto& [offset, versions] : sectors_) {
    if (versions.size() < 2) continue;
    // Each is judged beside all the others, so none goes before all have been.
    std::vector<std::uint64_t> gone;
    for (const Version& version : versions) {
      if (replaced(versions, version, before, true)) gone.push_back(version.write);
    }
    if (gone.empty()) continue;
    std::erase_if(versions, [&gone](const Version& version) {
      return std::find(gone.begin(), gone.end(), version.write) != gone.end();
    });
  }
}

bool FileOracle::process_ended() {
  const bool unheard = !syncs_.empty();
  if (unheard) lose_all();
  syncs_.clear();
  reads_.clear();
  return unheard;
}

std::uint64_t FileOracle::reading() {
  reads_.insert(++clock_);
  return clock_;
}

std::string FileOracle::check_read(std::uint64_t id, std::uint64_t offset,
                                   std::span<const std::byte> data) {
  reads_.erase(id);
  const std::uint32_t sector = options_.sector_bytes;
  for (std::size_t at = 0; at + sector <= data.size(); at += sector) {
    const auto found = sectors_.find(offset + at);
    if (found == sectors_.end()) continue;
    if (may_be(found->second, data.subspan(at, sector), id, false)) continue;
    return fmt::format(
        "a read of offset {} returned bytes that were never there, or had been "
        "written over before it began",
        offset + at);
  }
  return {};
}

std::string FileOracle::check_unreadable(std::span<const std::uint64_t> unreadable) const {
  for (const std::uint64_t offset : unreadable) {
    if (unreadable_.count(offset) != 0 || may_be_damaged(offset)) continue;
    return fmt::format("the block at offset {} cannot be read, and nothing was being written there",
                       offset);
  }
  return {};
}

/// Whether the sector lies in one of the blocks that cannot be read.
bool FileOracle::is_hidden(std::span<const std::uint64_t> unreadable,
                           std::uint64_t offset) const noexcept {
  const std::uint64_t block = std::max(options_.block_bytes, options_.sector_bytes);
  return std::find(unreadable.begin(), unreadable.end(), align_down(offset, block)) !=
         unreadable.end();
}

/// Where the file ends within a block, or before it, nobody sees what a torn write has done to the
/// rest: it shows when the file grows over it.
std::set<std::uint64_t> FileOracle::damage_behind(std::uint64_t end) const {
  std::set<std::uint64_t> blocks;
  if (options_.block_bytes == 0) return blocks;
  for (const std::uint64_t block : unreadable_) {
    if (block + options_.block_bytes > end) blocks.insert(block);
  }
  for (const auto& [offset, versions] : sectors_) {
    const std::uint64_t block = align_down(offset, std::uint64_t{options_.block_bytes});
    if (block + options_.block_bytes > end && may_be_damaged(block)) blocks.insert(block);
  }
  return blocks;
}

std::string FileOracle::check_found(std::span<const std::byte> contents,
                                    std::span<const std::uint64_t> unreadable) {
  if (std::string wrong = check_unreadable(unreadable); !wrong.empty()) return wrong;
  const std::uint32_t sector = options_.sector_bytes;
  std::map<std::uint64_t, Versions> next;
  for (const auto& [offset, versions] : sectors_) {
    const bool there = offset + sector <= contents.size();
    // Shorter than the sector: as good as never written, but not where bytes had been promised.
    const std::span<const std::byte> bytes =
        there ? contents.subspan(static_cast<std::size_t>(offset), sector)
              : std::span<const std::byte>();
    const bool hidden = is_hidden(unreadable, offset);
    if (hidden) continue;
    if (!may_be(versions, bytes, kAlways, true) && !may_be_damaged(offset)) {
      return fmt::format("offset {} holds {}", offset,
                         there ? "none of the bytes that a power cut may have left"
                               : "nothing, although its bytes were promised");
    }
    Version found{0, {bytes.begin(), bytes.end()}};
    if (may_be_hole(versions, bytes)) found.bytes.clear();
    next[offset].push_back(std::move(found));
  }
  unreadable_ = damage_behind(contents.size());
  unreadable_.insert(unreadable.begin(), unreadable.end());
  sectors_ = std::move(next);
  writes_.clear();
  syncs_.clear();
  reads_.clear();
  return {};
}

bool FileOracle::is_surely(std::uint64_t offset, std::span<const std::byte> data) const {
  const std::uint32_t sector = options_.sector_bytes;
  for (std::size_t at = 0; at + sector <= data.size(); at += sector) {
    const std::span<const std::byte> bytes = data.subspan(at, sector);
    const auto found = sectors_.find(offset + at);
    if (found == sectors_.end()) {
      if (options_.stale_space || !all_zero(bytes)) return false;
      continue;
    }
    for (const Version& version : found->second) {
      const bool same = !version.bytes.empty() ? same_bytes(version.bytes, bytes)
                                               : !options_.stale_space && all_zero(bytes);
      if (!same && !replaced(found->second, version, kAlways, true)) return false;
    }
  }
  return true;
}

}  // namespace diorite::sim
