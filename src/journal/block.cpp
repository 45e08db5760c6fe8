#include "journal/block.hpp"

#include <cstring>

#include <diorite/assert.hpp>

#include "journal/byte_order.hpp"
#include "journal/crc32c.hpp"
#include "journal/format.hpp"

namespace diorite::wal {
namespace {

// The offsets that a block's two kinds share.
constexpr std::size_t kMagicAt = manifest_at::kMagic;
constexpr std::size_t kCrcAt = manifest_at::kCrc;
constexpr std::size_t kMajorAt = manifest_at::kVersionMajor;
constexpr std::size_t kMinorAt = manifest_at::kVersionMinor;
static_assert(kMagicAt == segment_at::kMagic && kCrcAt == segment_at::kCrc &&
              kMajorAt == segment_at::kVersionMajor && kMinorAt == segment_at::kVersionMinor);
static_assert(kManifestSlotBytes == kBlockBytes && kSegmentHeaderBytes == kBlockBytes);

std::uint32_t checksum(std::span<const std::byte> block) noexcept {
  return crc32c(0, block.data() + kMajorAt, kBlockBytes - kMajorAt);
}

}  // namespace

const char* text_of(BlockVerdict verdict) noexcept {
  switch (verdict) {
    case BlockVerdict::valid:
      return "valid";
    case BlockVerdict::too_short:
      return "shorter than 4096 bytes";
    case BlockVerdict::bad_magic:
      return "wrong magic number";
    case BlockVerdict::bad_crc:
      return "checksum mismatch";
    case BlockVerdict::unknown_version:
      return "written by an unknown major version";
    case BlockVerdict::unknown_feature:
      return "uses an unknown incompatible feature";
    case BlockVerdict::reserved_not_zero:
      return "reserved bytes are not zero";
    case BlockVerdict::bad_block_size:
      return "block_size is not 4096";
    case BlockVerdict::bad_pad_unit:
      return "pad_unit is not a power of two from 512 to 65536";
    case BlockVerdict::bad_capacity:
      return "illegal segment capacity";
    case BlockVerdict::bad_state:
      return "state is neither DIRTY nor CLEAN";
    case BlockVerdict::bad_end_lsn:
      return "end_lsn does not fit the state";
    case BlockVerdict::bad_sequence:
      return "illegal segment sequence number";
    case BlockVerdict::bad_base_lsn:
      return "illegal base_lsn";
    case BlockVerdict::bad_salt:
      return "the salt does not follow from sequence number and uuid";
  }
  return "unknown verdict";
}

void seal_block(std::span<std::byte> block, const BlockLayout& layout) noexcept {
  DIORITE_ASSERT(block.size() == kBlockBytes, "a journal block has 4096 bytes");
  store_le(&block[kMagicAt], layout.magic);
  store_le(&block[kMajorAt], kVersionMajor);
  store_le(&block[kMinorAt], kVersionMinor);
  store_le(&block[kCrcAt], checksum(block));
}

BlockVerdict check_block(std::span<const std::byte> block, const BlockLayout& layout) noexcept {
  if (block.size() < kBlockBytes) return BlockVerdict::too_short;
  if (load_le<std::uint64_t>(&block[kMagicAt]) != layout.magic) return BlockVerdict::bad_magic;
  if (load_le<std::uint32_t>(&block[kCrcAt]) != checksum(block)) return BlockVerdict::bad_crc;
  if (load_le<std::uint16_t>(&block[kMajorAt]) != kVersionMajor) {
    return BlockVerdict::unknown_version;
  }
  if ((load_le<std::uint64_t>(&block[layout.incompat_at]) & ~kKnownIncompat) != 0) {
    return BlockVerdict::unknown_feature;
  }
  return BlockVerdict::valid;
}

bool reserved_must_be_zero(std::span<const std::byte> block, const BlockLayout& layout) noexcept {
  return load_le<std::uint16_t>(&block[kMinorAt]) <= kVersionMinor &&
         (load_le<std::uint64_t>(&block[layout.compat_at]) & ~kKnownCompat) == 0;
}

std::size_t first_nonzero(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return 0;
  // What is scanned is mostly zeros from end to end, and memcmp() is the fastest to say so.
  if (bytes.front() == std::byte{0} &&
      std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0) {
    return bytes.size();
  }
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    if (word != 0) break;
  }
  while (at < bytes.size() && bytes[at] == std::byte{0}) ++at;
  return at;
}

}  // namespace diorite::wal
