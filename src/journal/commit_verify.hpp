// Whether bytes are a valid commit: everything that recovery demands of one, short of its place in
// the chain.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "journal/commit_header.hpp"
#include "journal/format.hpp"

namespace diorite::wal {

struct CommitCheck {
  CommitVerdict verdict = CommitVerdict::too_short;
  std::uint64_t offset =
      0;  ///< of the fault, from the start of the commit; 0 when it is in the header
  CommitHeader header{};  ///< set when header_is_valid(verdict)
  Cut cut{};              ///< set when the verdict is `valid` and the commit is an EPOCH
};

/// Judges the commit that should stand at `lsn`, alone: salt, sequence number and position bind it
/// to its place, so no other commit is needed. `bytes` starts at the commit and may reach beyond
/// it; when it ends before it, the verdict is `incomplete` and the header says how much to read.
/// Any bytes are safe: the work is bounded by the footprint, which lies inside the segment.
/// Requires: the geometry of a valid segment header.
CommitCheck verify_commit(std::span<const std::byte> bytes, const SegmentGeometry& segment,
                          std::uint64_t lsn) noexcept;

}  // namespace diorite::wal
