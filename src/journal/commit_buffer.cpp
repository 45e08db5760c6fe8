#include "journal/commit_buffer.hpp"

#include <new>
#include <utility>

#include "journal/crc32c.hpp"

#include <diorite/assert.hpp>

namespace diorite::detail {

Result<CommitBuffer*> CommitBuffer::create(std::uint64_t bytes) {
  Result<AlignedBuf> memory = AlignedBuf::with_cap(static_cast<std::size_t>(bytes));
  if (!memory) return memory.error();
  auto* const buffer = new (std::nothrow) CommitBuffer(std::move(*memory));
  if (buffer == nullptr) return Error(std::make_error_code(std::errc::not_enough_memory));
  return buffer;
}

void CommitBuffer::begin(SegmentRef in, std::uint64_t lsn, std::uint64_t first_record_no) noexcept {
  DIORITE_ASSERT(state == CommitState::free && !linked(), "a commit buffer is in use");
  DIORITE_ASSERT(refs_ == 1, "a commit buffer is still with the device");
  segment = std::move(in);
  header = wal::CommitHeader{};
  header.segment_seq = segment->header.segment_seq;
  header.lsn = lsn;
  header.first_record_no = first_record_no;
  frames_state = wal::crc32c_begin(segment->header.salt);
  state = CommitState::open;
  under_sync = false;
  buffered_bytes = 0;
  payload_bytes = 0;
}

PinnedBuf CommitBuffer::pinned() noexcept {
  ++refs_;
  const RawIoBuf raw =
      RawIoBuf::from_slice({memory_.data(), static_cast<std::size_t>(footprint())});
  return PinnedBuf(
      raw, Pin(this, [](void* object) noexcept { static_cast<CommitBuffer*>(object)->release(); }));
}

void CommitBuffer::release() noexcept {
  DIORITE_ASSERT(refs_ > 0, "a commit buffer was released more often than it was held");
  if (--refs_ == 0) delete this;
}

}  // namespace diorite::detail
