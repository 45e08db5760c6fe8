// The 4096 bytes at the start of a segment, its salt, and its file name.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "journal/block.hpp"
#include "journal/format.hpp"

namespace diorite::wal {

/// The salt of every checksum in the segment. Different for 2^32 successive sequence numbers of a
/// journal, since the multiplier is odd.
std::uint32_t segment_salt(std::uint64_t segment_seq, const Uuid& uuid) noexcept;

/// Writes all 4096 bytes. The salt is computed, whatever the struct says. Requires: 4096 bytes, and
/// values that decode_segment_header would accept.
void encode_segment_header(std::span<std::byte> block, const SegmentHeader& header) noexcept;

/// Reads a header. `header` is written only when the verdict is `valid`. Any bytes are safe.
/// Whether the uuid is the journal's and the sequence number that of the name is the caller's to
/// compare.
BlockVerdict decode_segment_header(std::span<const std::byte> block,
                                   SegmentHeader& header) noexcept;

constexpr SegmentGeometry geometry_of(const SegmentHeader& header) noexcept {
  return {header.segment_seq, header.base_lsn, header.capacity, header.pad_unit, header.salt};
}

inline constexpr std::string_view kLockName = "LOCK";
inline constexpr std::string_view kManifestName = "MANIFEST";
inline constexpr std::string_view kSegmentSuffix = ".seg";
inline constexpr std::string_view kTemporarySuffix = ".tmp";
inline constexpr std::size_t kSegmentNameBytes = 20;

/// Sixteen lower-case hexadecimal digits and ".seg", without a terminating zero.
std::array<char, kSegmentNameBytes> segment_file_name(std::uint64_t segment_seq) noexcept;

/// True when the name is exactly what segment_file_name writes, and then sets the sequence number.
bool parse_segment_file_name(std::string_view name, std::uint64_t& segment_seq) noexcept;

}  // namespace diorite::wal
