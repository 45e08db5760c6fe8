#include <algorithm>

#include <diorite/assert.hpp>
#include <diorite/sim/disk.hpp>

namespace diorite::sim {
namespace {

constexpr std::uint64_t kSector = Disk::kSectorBytes;
constexpr std::uint32_t kKinds = static_cast<std::uint32_t>(Damage::Kind::lost_file) + 1;

/// A file, its bytes, and where it holds anything but zeros.
struct Victim {
  std::string path;
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> sectors;  ///< offsets

  std::uint64_t length_at(std::uint64_t offset) const noexcept {
    return std::min<std::uint64_t>(kSector, bytes.size() - offset);
  }
};

Victim look_into(const Disk& disk, std::string path) {
  Victim victim;
  victim.bytes = disk.contents(path);
  victim.path = std::move(path);
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  for (std::uint64_t at = 0; at < victim.bytes.size(); at += kSector) {
    const auto begin = victim.bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = begin + static_cast<std::ptrdiff_t>(victim.length_at(at));
    if (!std::all_of(begin, end, is_zero)) victim.sectors.push_back(at);
  }
  return victim;
}

std::uint64_t pick_from(const std::vector<std::uint64_t>& offsets, Choices& choices) {
  return offsets[choices.pick(static_cast<std::uint32_t>(offsets.size()))];
}

bool equal_sectors(const Victim& victim, std::uint64_t a, std::uint64_t b) {
  const std::uint64_t length = std::min(victim.length_at(a), victim.length_at(b));
  const auto begin = victim.bytes.begin();
  return std::equal(begin + static_cast<std::ptrdiff_t>(a),
                    begin + static_cast<std::ptrdiff_t>(a + length),
                    begin + static_cast<std::ptrdiff_t>(b));
}

constexpr std::uint32_t kHeaderBytes = 64;

void flip(Disk& disk, const Victim& victim, Choices& choices, Damage& done) {
  done.kind = Damage::Kind::flipped;
  auto length = static_cast<std::uint32_t>(victim.length_at(done.offset));
  // The beginning of a sector is where formats keep what holds the rest together.
  if (choices.pick(2) == 0) length = std::min(length, kHeaderBytes);
  done.offset += choices.pick(length);
  done.bytes = 1;
  disk.flip_bit(victim.path, done.offset, choices.pick(8));
}

// False when no other sector of the file has other bytes.
bool misdirect(Disk& disk, const Victim& victim, Choices& choices, Damage& done) {
  std::vector<std::uint64_t> sources;
  for (const std::uint64_t from : victim.sectors) {
    if (!equal_sectors(victim, from, done.offset)) sources.push_back(from);
  }
  if (sources.empty()) return false;
  disk.misdirect(victim.path, pick_from(sources, choices), done.offset);
  return true;
}

}  // namespace

const char* to_string(Damage::Kind kind) noexcept {
  switch (kind) {
    case Damage::Kind::flipped:
      return "flipped";
    case Damage::Kind::zeroed:
      return "zeroed";
    case Damage::Kind::stale:
      return "stale";
    case Damage::Kind::misdirected:
      return "misdirected";
    case Damage::Kind::unreadable:
      return "unreadable";
    case Damage::Kind::lost_file:
      return "lost_file";
  }
  return "?";
}

// A sector of zeros is mostly space that nobody reads: damage goes where data is. What cannot be
// done to the chosen sector becomes a flipped bit, so that there is always damage.
Damage damage(Disk& disk, Choices& choices) {
  std::vector<Victim> victims;
  for (std::string& path : disk.files()) {
    Victim victim = look_into(disk, std::move(path));
    if (!victim.sectors.empty()) victims.push_back(std::move(victim));
  }
  Damage done;
  if (victims.empty()) return done;
  const Victim& victim = victims[choices.pick(static_cast<std::uint32_t>(victims.size()))];
  done.kind = static_cast<Damage::Kind>(choices.pick(kKinds));
  done.path = victim.path;
  if (done.kind == Damage::Kind::lost_file) {
    done.bytes = victim.bytes.size();
    disk.remove(victim.path);
    return done;
  }
  done.offset = pick_from(victim.sectors, choices);
  done.bytes = victim.length_at(done.offset);
  switch (done.kind) {
    case Damage::Kind::zeroed:
      disk.zero_sector(victim.path, done.offset);
      return done;
    case Damage::Kind::stale:
      if (disk.stale_sector(victim.path, done.offset)) return done;
      break;
    case Damage::Kind::misdirected:
      if (misdirect(disk, victim, choices, done)) return done;
      break;
    case Damage::Kind::unreadable: {
      const std::uint64_t block = disk.options().physical_block_bytes;
      disk.make_unreadable(victim.path, done.offset);
      done.offset = done.offset / block * block;
      done.bytes = std::min<std::uint64_t>(block, victim.bytes.size() - done.offset);
      return done;
    }
    case Damage::Kind::flipped:
    case Damage::Kind::lost_file:
      break;
  }
  flip(disk, victim, choices, done);
  return done;
}

}  // namespace diorite::sim
