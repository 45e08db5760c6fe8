// Frames: how a record lies inside a commit.
//
// Writing is the hot path of an append: one pass copies the payload and checksums it. Reading never
// copies; spans point into the commit's own bytes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "journal/commit_header.hpp"
#include "journal/format.hpp"

namespace diorite::wal {

/// What is to be said of a frame besides its payload.
struct FrameSpec {
  std::uint64_t lsn = 0;         ///< of the frame's first byte
  std::uint32_t commit_off = 0;  ///< distance back to the commit header
  std::uint16_t tag = 0;
  FrameKind kind = FrameKind::data;
  BatchPosition batch = BatchPosition::only;
};

/// Writes a frame whose payload is `head` followed by `body`, with its padding, and returns its
/// size, which is frame_bytes(head + body). `frames_state` is the raw register of frames_crc:
/// crc32c_begin(salt) before the first frame of a commit, and crc32c_finish of it goes into the
/// commit header.
/// Requires: room for the frame; at most 16 MiB of payload; payload and room do not overlap; a CUT
/// frame has tag 0 and BatchPosition::middle.
std::uint64_t encode_frame(std::span<std::byte> to, const FrameSpec& spec,
                           std::span<const std::byte> head, std::span<const std::byte> body,
                           std::uint32_t salt, std::uint32_t& frames_state) noexcept;

/// Writes the frame that opens an EPOCH commit, 64 bytes behind the header at `commit_lsn`.
std::uint64_t encode_cut_frame(std::span<std::byte> to, std::uint64_t commit_lsn, const Cut& cut,
                               std::uint32_t salt, std::uint32_t& frames_state) noexcept;

/// The payload of a CUT frame. Requires: 48 bytes.
void encode_cut(std::span<std::byte> to, const Cut& cut) noexcept;
Cut decode_cut(std::span<const std::byte> payload) noexcept;

/// A frame as it lies in a commit.
struct Frame {
  FrameKind kind = FrameKind::data;
  BatchPosition batch = BatchPosition::only;
  std::uint16_t tag = 0;
  std::uint64_t begin = 0;  ///< LSN of the frame header
  std::uint64_t end = 0;    ///< LSN behind the padding
  std::span<const std::byte> payload;
};

/// Judges the frame at the start of `rest`, which is what is left of the commit's body. `frame` is
/// written only when the verdict is `valid`. Any bytes are safe.
CommitVerdict decode_frame(std::span<const std::byte> rest, std::uint64_t lsn,
                           std::uint32_t commit_off, std::uint32_t salt, Frame& frame) noexcept;

/// Walks the frames of a commit that verify_commit found valid. The spans it yields live as long as
/// the commit's bytes. On other bytes it yields nonsense, but never reads beyond the body.
class FrameCursor {
 public:
  /// Requires: at least 64 + body_bytes bytes.
  FrameCursor(std::span<const std::byte> commit, const CommitHeader& header) noexcept;

  /// The next frame, CUT frames included; false at the end.
  bool next(Frame& frame) noexcept;

  /// The number of the record that next() yielded last. Requires: it was a DATA frame.
  std::uint64_t record_no() const noexcept { return next_record_no_ - 1; }

 private:
  std::span<const std::byte> commit_;  // header and body, without the padding
  std::size_t at_ = kCommitHeaderBytes;
  std::uint64_t lsn_;
  std::uint64_t next_record_no_;
};

}  // namespace diorite::wal
