#include "journal/segment_header.hpp"

#include <cstring>
#include <limits>

#include <diorite/assert.hpp>

#include "journal/byte_order.hpp"
#include "journal/crc32c.hpp"

namespace diorite::wal {
namespace {

namespace at = segment_at;

constexpr BlockLayout kLayout{kSegmentMagic, at::kIncompat, at::kCompat};
constexpr std::uint32_t kSaltMultiplier = 0x9E3779B1;
constexpr std::size_t kNameDigits = kSegmentNameBytes - kSegmentSuffix.size();
static_assert(kNameDigits == 16);

// One rule for both directions: what is not accepted is not written either.
BlockVerdict check_values(const SegmentHeader& header) noexcept {
  if (!legal_pad_unit(header.pad_unit)) return BlockVerdict::bad_pad_unit;
  if (!legal_capacity(header.capacity, header.pad_unit)) return BlockVerdict::bad_capacity;
  if (header.segment_seq == kNoSegment) return BlockVerdict::bad_sequence;
  // The base is the sum of the capacities below, so it is zero for the first segment alone.
  const bool first = header.segment_seq == 0;
  if ((header.base_lsn == 0) != first || !is_aligned(header.base_lsn, kBlockBytes) ||
      header.base_lsn > std::numeric_limits<std::uint64_t>::max() - header.capacity) {
    return BlockVerdict::bad_base_lsn;
  }
  return BlockVerdict::valid;
}

}  // namespace

std::uint32_t segment_salt(std::uint64_t segment_seq, const Uuid& uuid) noexcept {
  return static_cast<std::uint32_t>(segment_seq) * kSaltMultiplier +
         crc32c(0, uuid.data(), uuid.size());
}

void encode_segment_header(std::span<std::byte> block, const SegmentHeader& header) noexcept {
  DIORITE_ASSERT(block.size() == kSegmentHeaderBytes, "a segment header has 4096 bytes");
  DIORITE_ASSERT(check_values(header) == BlockVerdict::valid, "an illegal segment header");
  std::byte* const to = block.data();
  std::memset(to, 0, block.size());
  std::memcpy(to + at::kUuid, header.uuid.data(), header.uuid.size());
  store_le(to + at::kSeq, header.segment_seq);
  store_le(to + at::kBaseLsn, header.base_lsn);
  store_le(to + at::kCapacity, header.capacity);
  store_le(to + at::kBlockSize, kBlockBytes);
  store_le(to + at::kPadUnit, header.pad_unit);
  store_le(to + at::kSalt, segment_salt(header.segment_seq, header.uuid));
  store_le(to + at::kEpoch, header.epoch);
  store_le(to + at::kCompat, header.compat);
  seal_block(block, kLayout);
}

BlockVerdict decode_segment_header(std::span<const std::byte> block,
                                   SegmentHeader& header) noexcept {
  const BlockVerdict verdict = check_block(block, kLayout);
  if (verdict != BlockVerdict::valid) return verdict;
  block = block.first(kSegmentHeaderBytes);
  const std::byte* const from = block.data();
  if (reserved_must_be_zero(block, kLayout) &&
      (load_le<std::uint32_t>(from + at::kReserved) != 0 ||
       load_le<std::uint64_t>(from + at::kReservedWide) != 0 ||
       first_nonzero(block.subspan(at::kTail)) != block.size() - at::kTail)) {
    return BlockVerdict::reserved_not_zero;
  }
  if (load_le<std::uint32_t>(from + at::kBlockSize) != kBlockBytes) {
    return BlockVerdict::bad_block_size;
  }
  SegmentHeader read;
  std::memcpy(read.uuid.data(), from + at::kUuid, read.uuid.size());
  read.segment_seq = load_le<std::uint64_t>(from + at::kSeq);
  read.base_lsn = load_le<std::uint64_t>(from + at::kBaseLsn);
  read.capacity = load_le<std::uint64_t>(from + at::kCapacity);
  read.pad_unit = load_le<std::uint32_t>(from + at::kPadUnit);
  read.salt = load_le<std::uint32_t>(from + at::kSalt);
  read.epoch = load_le<std::uint64_t>(from + at::kEpoch);
  read.compat = load_le<std::uint64_t>(from + at::kCompat);
  const BlockVerdict values = check_values(read);
  if (values != BlockVerdict::valid) return values;
  if (read.salt != segment_salt(read.segment_seq, read.uuid)) return BlockVerdict::bad_salt;
  header = read;
  return BlockVerdict::valid;
}

std::array<char, kSegmentNameBytes> segment_file_name(std::uint64_t segment_seq) noexcept {
  std::array<char, kSegmentNameBytes> name{};
  for (std::size_t i = 0; i < kNameDigits; ++i) {
    name[i] = "0123456789abcdef"[(segment_seq >> (4 * (kNameDigits - 1 - i))) & 0xF];
  }
  std::memcpy(name.data() + kNameDigits, kSegmentSuffix.data(), kSegmentSuffix.size());
  return name;
}

bool parse_segment_file_name(std::string_view name, std::uint64_t& segment_seq) noexcept {
  if (name.size() != kSegmentNameBytes || name.substr(kNameDigits) != kSegmentSuffix) return false;
  std::uint64_t value = 0;
  for (const char digit : name.substr(0, kNameDigits)) {
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && (digit < 'a' || digit > 'f')) return false;
    value = value << 4 | static_cast<std::uint64_t>(decimal ? digit - '0' : digit - 'a' + 10);
  }
  segment_seq = value;
  return true;
}

}  // namespace diorite::wal
