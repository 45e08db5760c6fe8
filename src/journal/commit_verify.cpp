#include "journal/commit_verify.hpp"

#include "journal/block.hpp"
#include "journal/crc32c.hpp"
#include "journal/frame.hpp"

namespace diorite::wal {
namespace {

// The marks of user batches, read one after the other: a batch lies within one commit.
class BatchMarks {
 public:
  bool accept(BatchPosition position) noexcept {
    const auto bits = static_cast<unsigned>(position);
    const bool first = (bits & static_cast<unsigned>(BatchPosition::first)) != 0;
    const bool last = (bits & static_cast<unsigned>(BatchPosition::last)) != 0;
    if (first == open_) return false;
    open_ = !last;
    return true;
  }
  bool complete() const noexcept { return !open_; }

 private:
  bool open_ = false;
};

bool sensible_cut(const Cut& cut, const CommitHeader& header,
                  const SegmentGeometry& segment) noexcept {
  if (header.prev_lsn != cut.pred_last_commit_lsn || header.prev_crc != cut.pred_last_commit_crc ||
      header.first_record_no != cut.next_record_no) {
    return false;
  }
  if (cut.pred_seq == kNoSegment) {
    return cut.cut_lsn == 0 && cut.pred_last_commit_lsn == 0 && cut.pred_last_commit_crc == 0 &&
           cut.records_kept == kKeepAll;
  }
  // What is kept ends in an earlier segment, and not before its last commit begins.
  return cut.pred_seq < segment.segment_seq && cut.cut_lsn <= segment.base_lsn &&
         cut.cut_lsn >= cut.pred_last_commit_lsn;
}

// Walks the frames and fills in the verdict, the offset and the cut.
void verify_frames(std::span<const std::byte> commit, const SegmentGeometry& segment,
                   CommitCheck& check) noexcept {
  const CommitHeader& header = check.header;
  const std::uint64_t end = std::uint64_t{kCommitHeaderBytes} + header.body_bytes;
  const Crc32cKernel& kernel = crc32c_kernel();
  std::uint32_t frames_state = crc32c_begin(segment.salt);
  std::uint64_t records = 0;
  BatchMarks batch;
  const auto fail = [&check](CommitVerdict verdict, std::uint64_t offset) {
    check.verdict = verdict;
    check.offset = offset;
  };
  for (std::uint64_t at = kCommitHeaderBytes; at < end;) {
    Frame frame;
    const CommitVerdict verdict = decode_frame(commit.subspan(at, end - at), header.lsn + at,
                                               static_cast<std::uint32_t>(at), segment.salt, frame);
    if (verdict != CommitVerdict::valid) return fail(verdict, at);
    const bool cut_belongs_here = is_epoch(header.kind) && at == kCommitHeaderBytes;
    if ((frame.kind == FrameKind::cut) != cut_belongs_here) {
      return fail(CommitVerdict::bad_cut, at);
    }
    if (frame.kind == FrameKind::cut) {
      check.cut = decode_cut(frame.payload);
      if (!sensible_cut(check.cut, header, segment)) return fail(CommitVerdict::bad_cut, at);
    } else {
      if (!batch.accept(frame.batch)) return fail(CommitVerdict::bad_batch, at);
      ++records;
    }
    frames_state = kernel.extend(frames_state, commit.data() + at, kFrameHeaderBytes);
    at += frame.end - frame.begin;
  }
  if (!batch.complete()) return fail(CommitVerdict::bad_batch, end);
  if (records != header.record_count) return fail(CommitVerdict::bad_record_count, end);
  if (crc32c_finish(frames_state) != header.frames_crc) {
    return fail(CommitVerdict::bad_frames_crc, 0);
  }
  const auto padding = commit.subspan(end);
  const std::size_t nonzero = first_nonzero(padding);
  if (nonzero != padding.size()) return fail(CommitVerdict::bad_padding, end + nonzero);
  check.verdict = CommitVerdict::valid;
}

}  // namespace

CommitCheck verify_commit(std::span<const std::byte> bytes, const SegmentGeometry& segment,
                          std::uint64_t lsn) noexcept {
  CommitCheck check;
  check.verdict = decode_commit_header(bytes, segment, lsn, check.header);
  if (check.verdict != CommitVerdict::valid) return check;
  const std::uint64_t footprint = commit_footprint(check.header.body_bytes, segment.pad_unit);
  if (bytes.size() < footprint) {
    check.verdict = CommitVerdict::incomplete;
    check.offset = bytes.size();
    return check;
  }
  verify_frames(bytes.first(footprint), segment, check);
  return check;
}

}  // namespace diorite::wal
