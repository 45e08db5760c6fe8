// CommitBuffer: the memory of one commit, from its first record to its acknowledgement.
//
// It belongs to the journal and to the write in flight, never to a waiting coroutine: so a dropped
// waiter can neither free memory under the device nor leave a hole in the log. Counted, because the
// write may outlive the journal.

#pragma once

#include <cstdint>
#include <memory>

#include "journal/commit_header.hpp"
#include "journal/format.hpp"
#include "journal/store.hpp"

#include <diorite/buffer.hpp>
#include <diorite/intrusive_list.hpp>
#include <diorite/pin.hpp>
#include <diorite/result.hpp>

namespace diorite::detail {

enum class CommitState : std::uint8_t {
  free,     ///< in the pool
  open,     ///< takes records
  sealed,   ///< complete but for its header's last fields; waits for its turn
  flying,   ///< its write is with the device
  written,  ///< the write completed; with the flush back end a sync must follow
  durable,  ///< waits for the commits before it
};

class CommitBuffer : public ListNode {
 public:
  /// Allocates: the memory and this object. Errors: not_enough_memory.
  static Result<CommitBuffer*> create(std::uint64_t bytes);
  CommitBuffer(const CommitBuffer&) = delete;
  CommitBuffer& operator=(const CommitBuffer&) = delete;

  /// Empties it for a commit at `lsn` of `segment`.
  void begin(SegmentRef segment, std::uint64_t lsn, std::uint64_t first_record_no) noexcept;

  std::span<std::byte> memory() noexcept { return {memory_.data(), memory_.capacity()}; }
  std::uint64_t capacity() const noexcept { return memory_.capacity(); }
  std::uint64_t body_room() const noexcept {
    return capacity() - wal::kCommitHeaderBytes - header.body_bytes;
  }
  std::uint64_t footprint() const noexcept {
    return wal::commit_footprint(header.body_bytes, segment->header.pad_unit);
  }
  std::uint64_t end_lsn() const noexcept { return header.lsn + footprint(); }
  /// LSN of the next frame.
  std::uint64_t tail_lsn() const noexcept {
    return header.lsn + wal::kCommitHeaderBytes + header.body_bytes;
  }
  std::uint64_t file_offset() const noexcept { return header.lsn - segment->header.base_lsn; }

  /// The whole footprint, held by a count of its own until the write's completion.
  PinnedBuf pinned() noexcept;
  void release() noexcept;

  wal::CommitHeader header;
  std::uint32_t frames_state = 0;
  CommitState state = CommitState::free;
  bool pooled = false;               ///< returns to the pool; larger ones are freed
  bool under_sync = false;           ///< the sync in flight covers it
  std::uint64_t buffered_bytes = 0;  ///< what admission counted for its records
  std::uint64_t payload_bytes = 0;
  SegmentRef segment;

 private:
  explicit CommitBuffer(AlignedBuf memory) noexcept : memory_(std::move(memory)) {}
  ~CommitBuffer() = default;

  AlignedBuf memory_;
  std::uint32_t refs_ = 1;
};

}  // namespace diorite::detail
