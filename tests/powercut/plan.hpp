// Plan: which states a power cut could have left on the disk, from what the disk saw.
//
// A cut is a place in the trace. On the disk for certain is every write that had completed before a
// flush arrived, when that flush had completed before the cut. Of all other writes that had arrived
// by then any subset may be there, and each of them in part.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "powercut/random.hpp"
#include "powercut/trace.hpp"

namespace diorite::powercut {

/// A device writes a sector or does not.
inline constexpr std::uint32_t kSector = 512;
/// File systems count on blocks of this size being written whole: their own are torn at no other
/// place, while what a file holds is.
inline constexpr std::uint32_t kBlock = 4096;

/// Goes through a trace and knows, at every place, what was durable.
class Walk {
 public:
  explicit Walk(const std::vector<Event>& events) : events_(events) {}

  /// Goes on until just before event `cut`. Writes that became durable are appended to `durable`,
  /// in the order in which they arrived. Requires: not behind where it is.
  void advance(std::size_t cut, std::vector<std::size_t>& durable);
  /// The writes that may or may not be on the disk, in order of arrival.
  const std::vector<std::size_t>& pending() const noexcept { return pending_; }

 private:
  struct Flush {
    std::uint32_t id;
    std::vector<std::size_t> covers;
  };
  void end_flush(std::uint32_t id, std::vector<std::size_t>& durable);

  const std::vector<Event>& events_;
  std::size_t at_ = 0;
  std::vector<std::size_t> pending_;
  std::vector<std::uint32_t> completed_;  ///< ids of pending writes that have completed
  std::vector<Flush> flushes_;            ///< in progress
};

enum class Choice : std::uint8_t { none, all, prefix, subset, all_but_one, torn };
inline constexpr std::size_t kChoices = 6;
const char* to_string(Choice choice) noexcept;

/// Bytes [begin, end) of a write that reached the disk.
struct Piece {
  std::size_t event = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// Where on the disk files have their bytes.
class FileBlocks {
 public:
  /// Extents of one snapshot, valid for writes that arrived in [from, to).
  void add(std::size_t from, std::size_t to,
           std::vector<std::pair<std::uint64_t, std::uint64_t>> extents);
  bool holds(std::size_t event, std::uint64_t offset) const noexcept;

 private:
  struct Snapshot {
    std::size_t from;
    std::size_t to;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;  ///< begin and end, sorted
  };
  std::vector<Snapshot> snapshots_;
};

struct Chosen {
  std::vector<Piece> pieces;
  std::uint64_t torn_writes = 0;  ///< of which a part is there
  std::uint64_t torn_blocks = 0;  ///< of those, blocks of files torn at a sector
};

Chosen choose(Choice choice, const std::vector<Event>& events,
              const std::vector<std::size_t>& pending, const FileBlocks& files, Random& random);

/// A cut with its choice.
struct PlannedState {
  std::size_t cut = 0;
  Choice choice = Choice::none;
};

/// Cuts right after marks, right before flushes complete, and anywhere, from `first` on; sorted.
std::vector<PlannedState> plan_states(const std::vector<Event>& events, std::size_t first,
                                      std::size_t count, Random& random);

}  // namespace diorite::powercut
