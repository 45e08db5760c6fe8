// The 64 bytes in front of every commit: how they are written in two steps, judged, and chained.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "journal/format.hpp"

namespace diorite::wal {

/// Why bytes are not a valid commit at this place; `valid` if they are. Up to `outside_segment` the
/// header itself fails, and nothing that it says may be used; after that the header is valid, so
/// its durable_lsn is a promise, although the commit as a whole is not.
enum class CommitVerdict : std::uint8_t {
  valid,
  too_short,  ///< fewer than 64 bytes were given
  misplaced,  ///< no commit may start at this position
  bad_magic,
  bad_header_crc,  ///< torn, damaged, stale, or not a header
  unknown_version,
  bad_flags,        ///< not one of the legal combinations, or EPOCH where it may not stand
  wrong_segment,    ///< intact, but of another segment
  wrong_lsn,        ///< intact, but of another position
  bad_links,        ///< prev_lsn or durable_lsn points at or beyond the commit itself
  bad_counts,       ///< record_count and body_bytes do not fit each other or the flags
  outside_segment,  ///< reaches beyond the segment's end

  incomplete,     ///< not all bytes of the commit were given
  frame_overrun,  ///< a frame reaches beyond body_bytes, or is longer than any record
  bad_frame_kind,
  bad_frame_flags,
  bad_commit_off,
  bad_frame_crc,
  bad_frame_padding,  ///< the bytes behind a payload are not zero
  bad_batch,          ///< first and last marks do not pair up within the commit
  bad_cut,            ///< a CUT frame is missing, senseless, or where none may stand
  bad_record_count,
  bad_frames_crc,
  bad_padding,  ///< the bytes behind the last frame are not zero
};

constexpr bool header_is_valid(CommitVerdict verdict) noexcept {
  return verdict == CommitVerdict::valid || verdict >= CommitVerdict::incomplete;
}

/// A sentence for an error's text.
const char* text_of(CommitVerdict verdict) noexcept;

/// At sealing: writes everything but header_crc, durable_lsn and prev_crc, which become zero and
/// make the header invalid until it is finished. Requires: 64 bytes, counts that fit the kind.
void encode_commit_header(std::span<std::byte> to, const CommitHeader& header) noexcept;

/// At submission: fills in what was not known at sealing and returns header_crc. durable_lsn is
/// taken this late because a sealed commit may wait in a queue while earlier ones become durable.
std::uint32_t finish_commit_header(std::span<std::byte> to, std::uint64_t durable_lsn,
                                   std::uint32_t prev_crc, std::uint32_t salt) noexcept;

/// Writes zeros behind the last frame. Requires: `commit` is the whole footprint.
void zero_commit_padding(std::span<std::byte> commit, std::uint32_t body_bytes) noexcept;

/// Judges the header that should stand at `lsn`. `header` is written only when the verdict is
/// `valid`. Looks at 64 bytes at most; any bytes are safe. Requires: the geometry of a valid
/// segment header.
CommitVerdict decode_commit_header(std::span<const std::byte> bytes, const SegmentGeometry& segment,
                                   std::uint64_t lsn, CommitHeader& header) noexcept;

/// The end of a chain of commits: what the next one has to name.
struct ChainLink {
  std::uint64_t lsn = 0;
  std::uint32_t header_crc = 0;
  std::uint64_t next_record_no = 0;

  friend bool operator==(const ChainLink&, const ChainLink&) = default;
};

constexpr ChainLink link_of(const CommitHeader& header) noexcept {
  return {header.lsn, header.header_crc, header.first_record_no + header.record_count};
}

constexpr bool continues(const CommitHeader& next, const ChainLink& link) noexcept {
  return next.prev_lsn == link.lsn && next.prev_crc == link.header_crc &&
         next.first_record_no == link.next_record_no;
}

}  // namespace diorite::wal
