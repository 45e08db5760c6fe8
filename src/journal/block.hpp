// What MANIFEST slots and segment headers have in common: a magic number, a checksum over the rest
// of the 4096 bytes, a version, feature bits, and reserved bytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace diorite::wal {

/// Why a MANIFEST slot or a segment header is not valid; `valid` if it is.
enum class BlockVerdict : std::uint8_t {
  valid,
  too_short,          ///< fewer bytes than the structure has
  bad_magic,          ///< not such a structure
  bad_crc,            ///< torn, damaged, or not such a structure
  unknown_version,    ///< intact, but of a major version that this code does not know
  unknown_feature,    ///< intact, but with an incompatible feature that this code does not know
  reserved_not_zero,  ///< from here on: intact, but no writer of this version writes such a value
  bad_block_size,
  bad_pad_unit,
  bad_capacity,
  bad_state,
  bad_end_lsn,
  bad_sequence,
  bad_base_lsn,
  bad_salt,
};

/// True when the structure is intact, but this code must keep its hands off the journal: going by
/// the other slot, or writing the block anew, would destroy what a newer version relies on.
constexpr bool refuses_to_open(BlockVerdict verdict) noexcept {
  return verdict == BlockVerdict::unknown_version || verdict == BlockVerdict::unknown_feature;
}

/// A sentence for an error's text.
const char* text_of(BlockVerdict verdict) noexcept;

/// Where the two structures differ.
struct BlockLayout {
  std::uint64_t magic;
  std::size_t incompat_at;
  std::size_t compat_at;
};

/// Writes magic and versions, then the checksum of the whole block. Requires: 4096 bytes whose
/// other fields are in place.
void seal_block(std::span<std::byte> block, const BlockLayout& layout) noexcept;

/// Everything that can be said without knowing the fields. Never reads beyond the span.
BlockVerdict check_block(std::span<const std::byte> block, const BlockLayout& layout) noexcept;

/// Whether reserved bytes have to be zero: a later minor version, or a compatible feature, may use
/// them.
/// Requires: check_block found the block valid.
bool reserved_must_be_zero(std::span<const std::byte> block, const BlockLayout& layout) noexcept;

/// The offset of the first byte that is not zero, or the size of the range.
std::size_t first_nonzero(std::span<const std::byte> bytes) noexcept;

}  // namespace diorite::wal
