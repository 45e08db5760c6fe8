// Builds commits for tests with the journal's own codecs, and damages them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "journal/commit_header.hpp"
#include "journal/crc32c.hpp"
#include "journal/format.hpp"
#include "journal/frame.hpp"
#include "journal/segment_header.hpp"

namespace diorite::test {

using Bytes = std::vector<std::byte>;

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline std::string to_hex(std::span<const std::byte> bytes) {
  std::string hex;
  for (const std::byte byte : bytes) {
    hex += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
    hex += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 0xF];
  }
  return hex;
}

/// The bytes up to the last that is not zero.
inline std::span<const std::byte> without_trailing_zeros(std::span<const std::byte> bytes) {
  while (!bytes.empty() && bytes.back() == std::byte{0}) bytes = bytes.first(bytes.size() - 1);
  return bytes;
}

inline void flip(Bytes& bytes, std::size_t bit) {
  bytes[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
}

inline wal::Uuid test_uuid() {
  wal::Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::byte>(0x10 + i);
  return uuid;
}

/// A segment whose sequence number does not fit 32 bits.
inline wal::SegmentGeometry test_segment(std::uint32_t pad_unit = 512) {
  wal::SegmentGeometry segment;
  segment.segment_seq = 0x100000007;
  segment.base_lsn = 0x700000;
  segment.capacity = 1_MiB;
  segment.pad_unit = pad_unit;
  segment.salt = wal::segment_salt(segment.segment_seq, test_uuid());
  return segment;
}

struct TestRecord {
  std::string payload;
  std::uint16_t tag = 0;
  wal::BatchPosition batch = wal::BatchPosition::only;
};

struct CommitPlan {
  wal::CommitKind kind = wal::CommitKind::data;
  std::uint64_t lsn = 0;
  std::uint64_t prev_lsn = 0;
  std::uint64_t durable_lsn = 0;
  std::uint64_t first_record_no = 0;
  std::uint32_t prev_crc = 0;
  wal::Cut cut{};  // of an EPOCH commit
  std::vector<TestRecord> records;
};

/// The whole footprint, whether or not the plan makes sense as far as the encoders allow it.
inline Bytes build_commit(const wal::SegmentGeometry& segment, const CommitPlan& plan) {
  std::uint64_t size = wal::kCommitHeaderBytes;
  if (is_epoch(plan.kind)) size += wal::kCutFrameBytes;
  for (const TestRecord& record : plan.records) size += wal::frame_bytes(record.payload.size());
  Bytes commit(align_up(size, segment.pad_unit), std::byte{0xEE});
  const std::span<std::byte> all(commit);

  std::uint32_t frames_state = wal::crc32c_begin(segment.salt);
  std::uint64_t at = wal::kCommitHeaderBytes;
  if (is_epoch(plan.kind)) {
    at += wal::encode_cut_frame(all.subspan(at), plan.lsn, plan.cut, segment.salt, frames_state);
  }
  for (const TestRecord& record : plan.records) {
    const wal::FrameSpec spec{plan.lsn + at, static_cast<std::uint32_t>(at), record.tag,
                              wal::FrameKind::data, record.batch};
    at += wal::encode_frame(all.subspan(at), spec, as_bytes(record.payload), {}, segment.salt,
                            frames_state);
  }

  wal::CommitHeader header;
  header.kind = plan.kind;
  header.segment_seq = segment.segment_seq;
  header.lsn = plan.lsn;
  header.prev_lsn = plan.prev_lsn;
  header.first_record_no = plan.first_record_no;
  header.record_count = static_cast<std::uint32_t>(plan.records.size());
  header.body_bytes = static_cast<std::uint32_t>(at - wal::kCommitHeaderBytes);
  header.frames_crc = wal::crc32c_finish(frames_state);
  wal::encode_commit_header(all, header);
  wal::zero_commit_padding(all, header.body_bytes);
  wal::finish_commit_header(all, plan.durable_lsn, plan.prev_crc, segment.salt);
  return commit;
}

/// Makes the header's checksum right again after its fields were changed.
inline void reseal_header(Bytes& commit, const wal::SegmentGeometry& segment) {
  const std::uint32_t crc = wal::crc32c(segment.salt, commit.data() + 4, 60);
  for (std::size_t i = 0; i < 4; ++i) commit[i] = static_cast<std::byte>(crc >> (8 * i));
}

}  // namespace diorite::test
