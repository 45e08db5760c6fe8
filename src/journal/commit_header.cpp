#include "journal/commit_header.hpp"

#include <cstring>
#include <limits>

#include <diorite/assert.hpp>

#include "journal/byte_order.hpp"
#include "journal/crc32c.hpp"

namespace diorite::wal {
namespace {

namespace at = commit_at;

constexpr std::size_t kCrcStart = at::kMagic;

std::uint32_t checksum(std::span<const std::byte> header, std::uint32_t salt) noexcept {
  return crc32c(salt, header.data() + kCrcStart, kCommitHeaderBytes - kCrcStart);
}

bool legal_kind(CommitKind kind) noexcept {
  switch (kind) {
    case CommitKind::data:
    case CommitKind::confirm:
    case CommitKind::close:
    case CommitKind::epoch_with_records:
    case CommitKind::epoch:
      return true;
  }
  return false;
}

bool legal_counts(const CommitHeader& header) noexcept {
  if (header.first_record_no > std::numeric_limits<std::uint64_t>::max() - header.record_count) {
    return false;
  }
  // 64-bit arithmetic: the product of two 32-bit numbers cannot wrap.
  const std::uint64_t frames = std::uint64_t{header.record_count} * kFrameHeaderBytes;
  const bool whole_frames =
      header.record_count != 0 && is_aligned(header.body_bytes, kFrameAlignment);
  switch (header.kind) {
    case CommitKind::data:
      return whole_frames && header.body_bytes >= frames;
    case CommitKind::confirm:
    case CommitKind::close:
      return header.record_count == 0 && header.body_bytes == 0;
    case CommitKind::epoch_with_records:
      return whole_frames && header.body_bytes >= kCutFrameBytes + frames;
    case CommitKind::epoch:
      return header.record_count == 0 && header.body_bytes == kCutFrameBytes;
  }
  return false;
}

bool commit_may_start_at(const SegmentGeometry& segment, std::uint64_t lsn) noexcept {
  // Alignment is that of the place in the file; the base is aligned to smaller units only, when
  // pad_unit has grown since the journal was made.
  return lsn >= segment.data_begin() && lsn < segment.end() &&
         is_aligned(lsn - segment.base_lsn, segment.pad_unit);
}

CommitHeader load(const std::byte* from) noexcept {
  CommitHeader header;
  header.header_crc = load_le<std::uint32_t>(from + at::kHeaderCrc);
  header.kind = static_cast<CommitKind>(load_le<std::uint8_t>(from + at::kFlags));
  header.segment_seq = load_le<std::uint64_t>(from + at::kSeq);
  header.lsn = load_le<std::uint64_t>(from + at::kLsn);
  header.prev_lsn = load_le<std::uint64_t>(from + at::kPrevLsn);
  header.durable_lsn = load_le<std::uint64_t>(from + at::kDurableLsn);
  header.first_record_no = load_le<std::uint64_t>(from + at::kFirstRecordNo);
  header.record_count = load_le<std::uint32_t>(from + at::kRecordCount);
  header.body_bytes = load_le<std::uint32_t>(from + at::kBodyBytes);
  header.frames_crc = load_le<std::uint32_t>(from + at::kFramesCrc);
  header.prev_crc = load_le<std::uint32_t>(from + at::kPrevCrc);
  return header;
}

// What an intact header has to satisfy at this place.
CommitVerdict check_values(const CommitHeader& header, const SegmentGeometry& segment,
                           std::uint64_t lsn) noexcept {
  if (!legal_kind(header.kind)) return CommitVerdict::bad_flags;
  if (is_epoch(header.kind) && lsn != segment.data_begin()) return CommitVerdict::bad_flags;
  if (header.segment_seq != segment.segment_seq) return CommitVerdict::wrong_segment;
  if (header.lsn != lsn) return CommitVerdict::wrong_lsn;
  // What is durable, or before, when a commit is submitted ends where it begins at the latest. A
  // promise beyond that could only turn a good journal into a corrupt one.
  if (header.prev_lsn >= lsn || header.durable_lsn > lsn) return CommitVerdict::bad_links;
  if (!legal_counts(header)) return CommitVerdict::bad_counts;
  if (commit_footprint(header.body_bytes, segment.pad_unit) > segment.end() - lsn) {
    return CommitVerdict::outside_segment;
  }
  return CommitVerdict::valid;
}

}  // namespace

const char* text_of(CommitVerdict verdict) noexcept {
  switch (verdict) {
    case CommitVerdict::valid:
      return "valid";
    case CommitVerdict::too_short:
      return "fewer bytes than a commit header";
    case CommitVerdict::misplaced:
      return "no commit may start here";
    case CommitVerdict::bad_magic:
      return "no commit header here";
    case CommitVerdict::bad_header_crc:
      return "commit header checksum mismatch";
    case CommitVerdict::unknown_version:
      return "commit header of an unknown version";
    case CommitVerdict::bad_flags:
      return "illegal commit flags";
    case CommitVerdict::wrong_segment:
      return "commit header of another segment";
    case CommitVerdict::wrong_lsn:
      return "commit header of another position";
    case CommitVerdict::bad_links:
      return "commit header points beyond itself";
    case CommitVerdict::bad_counts:
      return "illegal record or byte count in a commit header";
    case CommitVerdict::outside_segment:
      return "commit reaches beyond its segment";
    case CommitVerdict::incomplete:
      return "commit is cut short";
    case CommitVerdict::frame_overrun:
      return "frame reaches beyond its commit";
    case CommitVerdict::bad_frame_kind:
      return "unknown kind of frame";
    case CommitVerdict::bad_frame_flags:
      return "illegal frame flags";
    case CommitVerdict::bad_commit_off:
      return "frame of another commit";
    case CommitVerdict::bad_frame_crc:
      return "frame checksum mismatch";
    case CommitVerdict::bad_frame_padding:
      return "padding of a frame is not zero";
    case CommitVerdict::bad_batch:
      return "batch marks do not pair up";
    case CommitVerdict::bad_cut:
      return "CUT frame missing, misplaced or senseless";
    case CommitVerdict::bad_record_count:
      return "commit holds another number of records";
    case CommitVerdict::bad_frames_crc:
      return "checksum of the frame headers does not match";
    case CommitVerdict::bad_padding:
      return "padding of a commit is not zero";
  }
  return "unknown verdict";
}

void encode_commit_header(std::span<std::byte> to, const CommitHeader& header) noexcept {
  DIORITE_ASSERT(to.size() >= kCommitHeaderBytes, "a commit header has 64 bytes");
  DIORITE_ASSERT(legal_kind(header.kind), "illegal commit flags");
  DIORITE_ASSERT(legal_counts(header), "the counts of a commit do not fit its kind");
  DIORITE_ASSERT(header.prev_lsn < header.lsn, "a commit must follow its predecessor");
  std::byte* const bytes = to.data();
  store_le(bytes + at::kHeaderCrc, std::uint32_t{0});
  store_le(bytes + at::kMagic, kCommitMagic);
  store_le(bytes + at::kVersion, kCommitVersion);
  store_le(bytes + at::kFlags, static_cast<std::uint8_t>(header.kind));
  store_le(bytes + at::kSeq, header.segment_seq);
  store_le(bytes + at::kLsn, header.lsn);
  store_le(bytes + at::kPrevLsn, header.prev_lsn);
  store_le(bytes + at::kDurableLsn, std::uint64_t{0});
  store_le(bytes + at::kFirstRecordNo, header.first_record_no);
  store_le(bytes + at::kRecordCount, header.record_count);
  store_le(bytes + at::kBodyBytes, header.body_bytes);
  store_le(bytes + at::kFramesCrc, header.frames_crc);
  store_le(bytes + at::kPrevCrc, std::uint32_t{0});
}

std::uint32_t finish_commit_header(std::span<std::byte> to, std::uint64_t durable_lsn,
                                   std::uint32_t prev_crc, std::uint32_t salt) noexcept {
  DIORITE_ASSERT(to.size() >= kCommitHeaderBytes, "a commit header has 64 bytes");
  std::byte* const bytes = to.data();
  DIORITE_ASSERT(durable_lsn <= load_le<std::uint64_t>(bytes + at::kLsn),
                 "a commit promises itself, or more, to be durable");
  store_le(bytes + at::kDurableLsn, durable_lsn);
  store_le(bytes + at::kPrevCrc, prev_crc);
  const std::uint32_t header_crc = checksum(to, salt);
  store_le(bytes + at::kHeaderCrc, header_crc);
  return header_crc;
}

void zero_commit_padding(std::span<std::byte> commit, std::uint32_t body_bytes) noexcept {
  const std::uint64_t used = std::uint64_t{kCommitHeaderBytes} + body_bytes;
  DIORITE_ASSERT(used <= commit.size(), "a commit is larger than its footprint");
  if (used < commit.size()) std::memset(commit.data() + used, 0, commit.size() - used);
}

CommitVerdict decode_commit_header(std::span<const std::byte> bytes, const SegmentGeometry& segment,
                                   std::uint64_t lsn, CommitHeader& header) noexcept {
  if (!commit_may_start_at(segment, lsn)) return CommitVerdict::misplaced;
  if (bytes.size() < kCommitHeaderBytes) return CommitVerdict::too_short;
  const std::byte* const from = bytes.data();
  if (load_le<std::uint16_t>(from + at::kMagic) != kCommitMagic) return CommitVerdict::bad_magic;
  if (load_le<std::uint32_t>(from + at::kHeaderCrc) != checksum(bytes, segment.salt)) {
    return CommitVerdict::bad_header_crc;
  }
  if (load_le<std::uint8_t>(from + at::kVersion) != kCommitVersion) {
    return CommitVerdict::unknown_version;
  }
  const CommitHeader read = load(from);
  const CommitVerdict verdict = check_values(read, segment, lsn);
  if (verdict == CommitVerdict::valid) header = read;
  return verdict;
}

}  // namespace diorite::wal
