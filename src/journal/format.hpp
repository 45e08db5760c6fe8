// The journal's byte format as constants and plain structs. FORMAT.md beside this file is the
// normative text; every number here stands there too.
//
// The structs hold host integers and say nothing of where the bytes lie; the codecs beside this
// file load and store each field, little-endian, at the offsets named here. LSNs are plain 64-bit
// numbers.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <diorite/align.hpp>

namespace diorite::wal {

using Uuid = std::array<std::byte, 16>;

// Sizes and limits.
inline constexpr std::uint32_t kBlockBytes = 4096;
inline constexpr std::uint32_t kPadUnitMin = 512;
inline constexpr std::uint32_t kPadUnitMax = 65536;
inline constexpr std::uint64_t kSegmentBytesMin = 64_KiB;
inline constexpr std::uint64_t kSegmentBytesMax = 4_GiB;
inline constexpr std::uint64_t kRecordBytesMax = 16_MiB;
inline constexpr std::uint32_t kCommitHeaderBytes = 64;
inline constexpr std::uint32_t kFrameHeaderBytes = 16;
inline constexpr std::uint32_t kFrameAlignment = 8;
inline constexpr std::uint32_t kCutPayloadBytes = 48;
inline constexpr std::uint32_t kCutFrameBytes = kFrameHeaderBytes + kCutPayloadBytes;

/// The version of MANIFEST slots and segment headers that this code writes. Another major number is
/// refused; a higher minor number changes nothing that this code relies on.
inline constexpr std::uint16_t kVersionMajor = 1;
inline constexpr std::uint16_t kVersionMinor = 0;
inline constexpr std::uint64_t kKnownIncompat = 0;
inline constexpr std::uint64_t kKnownCompat = 0;

/// The second slot lies where the first cannot reach it, however large pad_unit is, and neither
/// moves when pad_unit grows.
inline constexpr std::array<std::uint64_t, 2> kManifestSlotOffsets{0, kPadUnitMax};
inline constexpr std::uint32_t kManifestSlotBytes = kBlockBytes;
inline constexpr std::uint32_t kSegmentHeaderBytes = kBlockBytes;

/// The bytes that a MANIFEST slot or a segment header occupies; data of a segment starts behind
/// them.
constexpr std::uint32_t stride_of(std::uint32_t pad_unit) noexcept {
  return pad_unit > kBlockBytes ? pad_unit : kBlockBytes;
}

/// The largest payload of one record in a segment of this capacity: it must fit with the headers of
/// its frame and its commit. Requires: the capacity is legal.
constexpr std::uint64_t record_bytes_max(std::uint64_t capacity, std::uint32_t pad_unit) noexcept {
  const std::uint64_t room =
      capacity - stride_of(pad_unit) - kCommitHeaderBytes - kFrameHeaderBytes;
  return room < kRecordBytesMax ? room : kRecordBytesMax;
}

// Offsets, by structure.
namespace manifest_at {
inline constexpr std::size_t kMagic = 0, kCrc = 8, kVersionMajor = 12, kVersionMinor = 14,
                             kUuid = 16, kGeneration = 32, kEpoch = 40, kHeadLsn = 48,
                             kHeadSeq = 56, kTailSeqFloor = 64, kDurableFloor = 72, kEndLsn = 80,
                             kState = 88, kBlockSize = 92, kPadUnit = 96, kReserved = 100,
                             kCapacity = 104, kIncompat = 112, kCompat = 120, kPoisonBoot = 128,
                             kTail = 144;
}
namespace segment_at {
inline constexpr std::size_t kMagic = 0, kCrc = 8, kVersionMajor = 12, kVersionMinor = 14,
                             kUuid = 16, kSeq = 32, kBaseLsn = 40, kCapacity = 48, kBlockSize = 56,
                             kPadUnit = 60, kSalt = 64, kReserved = 68, kEpoch = 72,
                             kReservedWide = 80, kIncompat = 88, kCompat = 96, kTail = 104;
}
namespace commit_at {
inline constexpr std::size_t kHeaderCrc = 0, kMagic = 4, kVersion = 6, kFlags = 7, kSeq = 8,
                             kLsn = 16, kPrevLsn = 24, kDurableLsn = 32, kFirstRecordNo = 40,
                             kRecordCount = 48, kBodyBytes = 52, kFramesCrc = 56, kPrevCrc = 60;
}
namespace frame_at {
inline constexpr std::size_t kCrc = 0, kLength = 4, kKind = 8, kFlags = 9, kTag = 10,
                             kCommitOff = 12;
}
namespace cut_at {
inline constexpr std::size_t kPredSeq = 0, kCutLsn = 8, kPredLastCommitLsn = 16,
                             kPredLastCommitCrc = 24, kRecordsKept = 28, kEpoch = 32,
                             kNextRecordNo = 40;
}

// Magic numbers: the eight letters as they stand in the file, read as a little-endian number.
inline constexpr std::uint64_t kManifestMagic = 0x31304E414D4F4944;  // "DIOMAN01"
inline constexpr std::uint64_t kSegmentMagic = 0x31304745534F4944;   // "DIOSEG01"
inline constexpr std::uint16_t kCommitMagic = 0x4A43;                // "CJ"
inline constexpr std::uint8_t kCommitVersion = 1;

inline constexpr std::uint64_t kNoSegment = ~std::uint64_t{0};
inline constexpr std::uint32_t kKeepAll = ~std::uint32_t{0};

enum class ManifestState : std::uint32_t { dirty = 1, clean = 2 };

struct ManifestSlot {
  Uuid uuid{};
  std::uint64_t generation = 0;
  std::uint64_t epoch = 0;
  std::uint64_t head_lsn = 0;
  std::uint64_t head_seq = 0;
  std::uint64_t tail_seq_floor = 0;
  std::uint64_t durable_floor = 0;
  std::uint64_t end_lsn = 0;
  ManifestState state = ManifestState::dirty;
  std::uint32_t pad_unit = kBlockBytes;
  std::uint64_t capacity = 64_MiB;
  std::uint64_t compat = 0;
  Uuid poison_boot{};

  friend bool operator==(const ManifestSlot&, const ManifestSlot&) = default;
};

struct SegmentHeader {
  Uuid uuid{};
  std::uint64_t segment_seq = 0;
  std::uint64_t base_lsn = 0;
  std::uint64_t capacity = 64_MiB;
  std::uint32_t pad_unit = kBlockBytes;
  std::uint32_t salt = 0;
  std::uint64_t epoch = 0;
  std::uint64_t compat = 0;

  friend bool operator==(const SegmentHeader&, const SegmentHeader&) = default;
};

/// What a commit is judged against: the segment that it lies in.
struct SegmentGeometry {
  std::uint64_t segment_seq = 0;
  std::uint64_t base_lsn = 0;
  std::uint64_t capacity = 0;
  std::uint32_t pad_unit = 0;
  std::uint32_t salt = 0;

  constexpr std::uint64_t data_begin() const noexcept { return base_lsn + stride_of(pad_unit); }
  constexpr std::uint64_t end() const noexcept { return base_lsn + capacity; }
};

namespace commit_flag {
inline constexpr std::uint8_t kControl = 1, kConfirm = 2, kClose = 8, kEpoch = 16;
}

/// The only legal combinations of the flags of a commit.
enum class CommitKind : std::uint8_t {
  data = 0,
  confirm = commit_flag::kControl | commit_flag::kConfirm,
  close = commit_flag::kControl | commit_flag::kClose,
  epoch_with_records = commit_flag::kEpoch,
  epoch = commit_flag::kControl | commit_flag::kEpoch,
};

constexpr bool is_epoch(CommitKind kind) noexcept {
  return (static_cast<std::uint8_t>(kind) & commit_flag::kEpoch) != 0;
}

struct CommitHeader {
  std::uint32_t header_crc = 0;
  CommitKind kind = CommitKind::data;
  std::uint64_t segment_seq = 0;
  std::uint64_t lsn = 0;
  std::uint64_t prev_lsn = 0;
  std::uint64_t durable_lsn = 0;
  std::uint64_t first_record_no = 0;
  std::uint32_t record_count = 0;
  std::uint32_t body_bytes = 0;
  std::uint32_t frames_crc = 0;
  std::uint32_t prev_crc = 0;

  friend bool operator==(const CommitHeader&, const CommitHeader&) = default;
};

enum class FrameKind : std::uint8_t { data = 1, cut = 2 };

/// Where a record stands in its user batch. The values are the flag bits.
enum class BatchPosition : std::uint8_t { middle = 0, first = 1, last = 2, only = 3 };

/// The payload of a CUT frame. The default is that of a new journal's first commit.
struct Cut {
  std::uint64_t pred_seq = kNoSegment;
  std::uint64_t cut_lsn = 0;
  std::uint64_t pred_last_commit_lsn = 0;
  std::uint32_t pred_last_commit_crc = 0;
  std::uint32_t records_kept = kKeepAll;
  std::uint64_t epoch = 0;
  std::uint64_t next_record_no = 0;

  friend bool operator==(const Cut&, const Cut&) = default;
};

/// The bytes of a frame with its padding. Total: a payload of any 32-bit length fits the result.
constexpr std::uint64_t frame_bytes(std::uint64_t payload_bytes) noexcept {
  return align_up(kFrameHeaderBytes + payload_bytes, kFrameAlignment);
}

/// The bytes of a commit with its padding. Requires: pad_unit is legal.
constexpr std::uint64_t commit_footprint(std::uint32_t body_bytes,
                                         std::uint32_t pad_unit) noexcept {
  return align_up(std::uint64_t{kCommitHeaderBytes} + body_bytes, pad_unit);
}

constexpr bool legal_pad_unit(std::uint32_t pad_unit) noexcept {
  return is_power_of_two(pad_unit) && pad_unit >= kPadUnitMin && pad_unit <= kPadUnitMax;
}

/// Room for a few commits however large the unit is. Requires: pad_unit is legal.
constexpr std::uint64_t capacity_min(std::uint32_t pad_unit) noexcept {
  return std::max(kSegmentBytesMin, 16 * std::uint64_t{stride_of(pad_unit)});
}

/// Requires: pad_unit is legal.
constexpr bool legal_capacity(std::uint64_t capacity, std::uint32_t pad_unit) noexcept {
  return capacity >= capacity_min(pad_unit) && capacity <= kSegmentBytesMax &&
         is_aligned(capacity, stride_of(pad_unit));
}

}  // namespace diorite::wal
