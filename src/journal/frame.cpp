#include "journal/frame.hpp"

#include <array>
#include <cstring>

#include <diorite/assert.hpp>

#include "journal/block.hpp"
#include "journal/byte_order.hpp"
#include "journal/crc32c.hpp"

namespace diorite::wal {
namespace {

namespace at = frame_at;

// What the checksum of a frame covers before the payload: the LSN, which is not stored, and the
// header behind the checksum.
constexpr std::size_t kPrefixBytes = sizeof(std::uint64_t) + kFrameHeaderBytes - at::kLength;

constexpr std::uint8_t kBatchMask = 3;

// The length, kind, flags and tag of a frame as the 64-bit number that their bytes form.
constexpr std::uint64_t pack(std::uint32_t length, FrameKind kind, BatchPosition batch,
                             std::uint16_t tag) noexcept {
  static_assert(at::kKind == at::kLength + 4 && at::kFlags == at::kLength + 5 &&
                at::kTag == at::kLength + 6 && at::kCommitOff == at::kLength + 8);
  return length | static_cast<std::uint64_t>(kind) << 32 | static_cast<std::uint64_t>(batch) << 40 |
         static_cast<std::uint64_t>(tag) << 48;
}

std::uint32_t checksum(const std::byte* frame, std::uint64_t lsn, std::uint32_t length,
                       std::uint32_t salt) noexcept {
  const Crc32cKernel& kernel = crc32c_kernel();
  std::array<std::byte, sizeof(std::uint64_t)> position;
  store_le(position.data(), lsn);
  std::uint32_t state = kernel.extend(crc32c_begin(salt), position.data(), position.size());
  // Header and payload are neighbours, so the rest is one range.
  state = kernel.extend(state, frame + at::kLength, kFrameHeaderBytes - at::kLength + length);
  return crc32c_finish(state);
}

}  // namespace

std::uint64_t encode_frame(std::span<std::byte> to, const FrameSpec& spec,
                           std::span<const std::byte> head, std::span<const std::byte> body,
                           std::uint32_t salt, std::uint32_t& frames_state) noexcept {
  DIORITE_ASSERT(head.size() <= kRecordBytesMax && body.size() <= kRecordBytesMax - head.size(),
                 "a record of more than 16 MiB");
  const auto length = static_cast<std::uint32_t>(head.size() + body.size());
  const std::uint64_t total = frame_bytes(length);
  DIORITE_ASSERT(total <= to.size(), "a frame does not fit the room that was given to it");
  DIORITE_ASSERT(spec.kind == FrameKind::data ||
                     (spec.kind == FrameKind::cut && spec.tag == 0 &&
                      spec.batch == BatchPosition::middle && length == kCutPayloadBytes),
                 "an illegal frame");
  const Crc32cKernel& kernel = crc32c_kernel();
  const std::uint64_t fields = pack(length, spec.kind, spec.batch, spec.tag);
  std::array<std::byte, kPrefixBytes> prefix;
  store_le(prefix.data(), spec.lsn);
  store_le(prefix.data() + 8, fields);
  store_le(prefix.data() + 16, spec.commit_off);

  std::byte* const frame = to.data();
  // The last word is zeroed first and then overwritten by the payload as far as that goes. A frame
  // without a payload has no such word: it is all header.
  store_le(frame + (total - kFrameAlignment), std::uint64_t{0});
  std::uint32_t state = kernel.extend(crc32c_begin(salt), prefix.data(), prefix.size());
  if (!head.empty()) {
    state = kernel.copy(state, frame + kFrameHeaderBytes, head.data(), head.size());
  }
  if (!body.empty()) {
    state = kernel.copy(state, frame + kFrameHeaderBytes + head.size(), body.data(), body.size());
  }
  // Two whole words, because frames_crc loads them again at once: a load that spans two smaller
  // stores would have to wait for both to reach the cache.
  store_le(frame, crc32c_finish(state) | fields << 32);
  store_le(frame + 8, fields >> 32 | static_cast<std::uint64_t>(spec.commit_off) << 32);
  frames_state = kernel.extend(frames_state, frame, kFrameHeaderBytes);
  return total;
}

void encode_cut(std::span<std::byte> to, const Cut& cut) noexcept {
  DIORITE_ASSERT(to.size() == kCutPayloadBytes, "the payload of a CUT frame has 48 bytes");
  std::byte* const bytes = to.data();
  store_le(bytes + cut_at::kPredSeq, cut.pred_seq);
  store_le(bytes + cut_at::kCutLsn, cut.cut_lsn);
  store_le(bytes + cut_at::kPredLastCommitLsn, cut.pred_last_commit_lsn);
  store_le(bytes + cut_at::kPredLastCommitCrc, cut.pred_last_commit_crc);
  store_le(bytes + cut_at::kRecordsKept, cut.records_kept);
  store_le(bytes + cut_at::kEpoch, cut.epoch);
  store_le(bytes + cut_at::kNextRecordNo, cut.next_record_no);
}

Cut decode_cut(std::span<const std::byte> payload) noexcept {
  DIORITE_ASSERT(payload.size() == kCutPayloadBytes, "the payload of a CUT frame has 48 bytes");
  const std::byte* const bytes = payload.data();
  Cut cut;
  cut.pred_seq = load_le<std::uint64_t>(bytes + cut_at::kPredSeq);
  cut.cut_lsn = load_le<std::uint64_t>(bytes + cut_at::kCutLsn);
  cut.pred_last_commit_lsn = load_le<std::uint64_t>(bytes + cut_at::kPredLastCommitLsn);
  cut.pred_last_commit_crc = load_le<std::uint32_t>(bytes + cut_at::kPredLastCommitCrc);
  cut.records_kept = load_le<std::uint32_t>(bytes + cut_at::kRecordsKept);
  cut.epoch = load_le<std::uint64_t>(bytes + cut_at::kEpoch);
  cut.next_record_no = load_le<std::uint64_t>(bytes + cut_at::kNextRecordNo);
  return cut;
}

std::uint64_t encode_cut_frame(std::span<std::byte> to, std::uint64_t commit_lsn, const Cut& cut,
                               std::uint32_t salt, std::uint32_t& frames_state) noexcept {
  std::array<std::byte, kCutPayloadBytes> payload;
  encode_cut(payload, cut);
  const FrameSpec spec{commit_lsn + kCommitHeaderBytes, kCommitHeaderBytes, 0, FrameKind::cut,
                       BatchPosition::middle};
  return encode_frame(to, spec, payload, {}, salt, frames_state);
}

CommitVerdict decode_frame(std::span<const std::byte> rest, std::uint64_t lsn,
                           std::uint32_t commit_off, std::uint32_t salt, Frame& frame) noexcept {
  if (rest.size() < kFrameHeaderBytes) return CommitVerdict::frame_overrun;
  const std::byte* const from = rest.data();
  const auto length = load_le<std::uint32_t>(from + at::kLength);
  const std::uint64_t total = frame_bytes(length);
  if (length > kRecordBytesMax || total > rest.size()) return CommitVerdict::frame_overrun;
  if (load_le<std::uint32_t>(from + at::kCrc) != checksum(from, lsn, length, salt)) {
    return CommitVerdict::bad_frame_crc;
  }
  const auto kind = static_cast<FrameKind>(load_le<std::uint8_t>(from + at::kKind));
  const auto flags = load_le<std::uint8_t>(from + at::kFlags);
  const auto tag = load_le<std::uint16_t>(from + at::kTag);
  if (kind != FrameKind::data && kind != FrameKind::cut) return CommitVerdict::bad_frame_kind;
  if ((flags & ~kBatchMask) != 0) return CommitVerdict::bad_frame_flags;
  if (kind == FrameKind::cut) {
    if (flags != 0 || tag != 0) return CommitVerdict::bad_frame_flags;
    if (length != kCutPayloadBytes) return CommitVerdict::bad_cut;
  }
  if (load_le<std::uint32_t>(from + at::kCommitOff) != commit_off) {
    return CommitVerdict::bad_commit_off;
  }
  const std::size_t used = std::size_t{kFrameHeaderBytes} + length;
  const auto padding = rest.subspan(used, total - used);
  if (first_nonzero(padding) != padding.size()) return CommitVerdict::bad_frame_padding;
  frame.kind = kind;
  frame.batch = static_cast<BatchPosition>(flags);
  frame.tag = tag;
  frame.begin = lsn;
  frame.end = lsn + total;
  frame.payload = rest.subspan(kFrameHeaderBytes, length);
  return CommitVerdict::valid;
}

FrameCursor::FrameCursor(std::span<const std::byte> commit, const CommitHeader& header) noexcept
    : lsn_(header.lsn), next_record_no_(header.first_record_no) {
  const std::uint64_t used = std::uint64_t{kCommitHeaderBytes} + header.body_bytes;
  DIORITE_ASSERT(used <= commit.size(), "a commit that is not there as a whole");
  commit_ = commit.first(used);
}

bool FrameCursor::next(Frame& frame) noexcept {
  const auto rest = commit_.subspan(at_);
  if (rest.size() < kFrameHeaderBytes) return false;
  const std::byte* const from = rest.data();
  const auto length = load_le<std::uint32_t>(from + at::kLength);
  const std::uint64_t total = frame_bytes(length);
  if (total > rest.size()) return false;
  frame.kind = static_cast<FrameKind>(load_le<std::uint8_t>(from + at::kKind));
  frame.batch = static_cast<BatchPosition>(load_le<std::uint8_t>(from + at::kFlags) & kBatchMask);
  frame.tag = load_le<std::uint16_t>(from + at::kTag);
  frame.begin = lsn_ + at_;
  frame.end = frame.begin + total;
  frame.payload = rest.subspan(kFrameHeaderBytes, length);
  at_ += total;
  if (frame.kind == FrameKind::data) ++next_record_no_;
  return true;
}

}  // namespace diorite::wal
