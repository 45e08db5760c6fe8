#include "journal/window.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

// A medium error may be passing; three tries is what disks themselves are given.
constexpr int kTries = 3;

}  // namespace

void SegmentWindow::detach() noexcept {
  ahead_ = {};
  segment_.reset();
  limit_ = 0;
  unreadable_.clear();
  front_.begin = front_.end = back_.begin = back_.end = 0;
}

void SegmentWindow::attach(SegmentRef segment, std::uint64_t limit) {
  detach();
  segment_ = std::move(segment);
  raise_limit(limit);
}

void SegmentWindow::raise_limit(std::uint64_t limit) noexcept {
  // A segment that is older than the device's present alignment may end between two of its units;
  // nobody writes to such a segment any more.
  limit_ = std::max(limit_, align_up(limit, read_unit()));
}

std::uint32_t SegmentWindow::read_unit() const noexcept {
  return segment_->file.alignment().read_offset;
}

std::span<const std::byte> SegmentWindow::have(std::uint64_t at) const noexcept {
  if (at < front_.begin || at >= front_.end) return {};
  const std::size_t skipped = static_cast<std::size_t>(at - front_.begin);
  return {front_.memory.data() + front_.at + skipped,
          static_cast<std::size_t>(front_.end - front_.begin) - skipped};
}

Task<Error> SegmentWindow::read(SegmentRef segment, RawIoBuf to, std::uint64_t offset) {
  Error error;
  for (int tries = 0; tries < kTries; ++tries) {
    const IoResult result = co_await segment->file.read_at(to, offset);
    error = result.error();
    if (!is_device(error)) break;
  }
  co_return error;
}

Result<void> SegmentWindow::make_room(Part& part, std::uint64_t bytes) {
  const std::uint64_t needed = kCarryBytes + bytes;
  if (part.memory.capacity() >= needed) return {};
  // Room for all chunks to come, but small segments need no large memory.
  const std::uint64_t wanted =
      std::max(needed, kCarryBytes + std::min<std::uint64_t>(kChunkBytes, limit_));
  Result<AlignedBuf> memory = AlignedBuf::with_cap(static_cast<std::size_t>(wanted));
  if (!memory) return memory.error();
  part.memory = std::move(*memory);
  return {};
}

void SegmentWindow::note_unreadable(std::uint64_t begin, std::uint64_t end, const Error& error) {
  if (!first_failure_.error) {
    first_failure_ = {error, std::string(segment_->file.path()), begin};
  }
  if (!unreadable_.empty() && unreadable_.back().end == begin) {
    unreadable_.back().end = end;
  } else {
    unreadable_.push_back({begin, end, error});
  }
}

const UnreadableRange* SegmentWindow::unreadable_in(std::uint64_t at,
                                                    std::uint64_t bytes) const noexcept {
  for (const UnreadableRange& range : unreadable_) {
    if (range.begin < at + bytes && range.end > at) return &range;
  }
  return nullptr;
}

Task<Result<void>> SegmentWindow::read_blocks(RawIoBuf to, std::uint64_t offset) {
  // As small as commits may be: one that can be read must not be lost with its neighbour.
  const std::uint64_t unit = std::max(segment_->header.pad_unit, read_unit());
  for (std::uint64_t done = 0; done < to.capacity();) {
    const std::uint64_t step = std::min<std::uint64_t>(unit, to.capacity() - done);
    const RawIoBuf block =
        to.slice_unchecked(static_cast<std::size_t>(done), static_cast<std::size_t>(step));
    const Error error = co_await read(segment_, block, offset + done);
    if (is_device(error)) {
      std::memset(block.data(), 0, block.capacity());
      note_unreadable(offset + done, offset + done + step, error);
    } else if (error) {
      co_return error;
    }
    done += step;
  }
  co_return Result<void>();
}

Task<Result<void>> SegmentWindow::load(Part& part, std::uint64_t begin, std::uint64_t bytes) {
  DIORITE_CO_CHECK(make_room(part, bytes));
  part.at = kCarryBytes;
  part.begin = part.end = begin;
  const RawIoBuf to = RawIoBuf(part.memory.data() + part.at, static_cast<std::size_t>(bytes));
  const Error error = co_await read(segment_, to, begin);
  if (is_device(error) && on_error_ == OnError::remember) {
    DIORITE_CO_CHECK(co_await read_blocks(to, begin));
  } else if (error) {
    co_return error;
  }
  part.end = begin + bytes;
  bytes_read_ += bytes;
  co_return Result<void>();
}

Result<void> SegmentWindow::read_ahead() {
  const std::uint64_t bytes = std::min<std::uint64_t>(kChunkBytes, limit_ - front_.end);
  if (bytes == 0) return {};
  const Result<void> room = make_room(back_, bytes);
  if (!room) return room;
  back_.at = kCarryBytes;
  back_.begin = front_.end;
  back_.end = front_.end + bytes;
  const RawIoBuf to = RawIoBuf(back_.memory.data() + back_.at, static_cast<std::size_t>(bytes));
  ahead_ = start(reactor_, read(segment_, to, back_.begin));
  return {};
}

Task<Result<void>> SegmentWindow::take_ahead() {
  const std::uint64_t begin = back_.begin;
  const std::uint64_t bytes = back_.end - back_.begin;
  const Error error = co_await std::move(ahead_);
  ahead_ = {};
  if (is_device(error) && on_error_ == OnError::remember) {
    const RawIoBuf to = RawIoBuf(back_.memory.data() + back_.at, static_cast<std::size_t>(bytes));
    DIORITE_CO_CHECK(co_await read_blocks(to, begin));
  } else if (error) {
    back_.begin = back_.end = 0;
    co_return error;
  }
  bytes_read_ += bytes;
  co_return Result<void>();
}

Task<Result<void>> SegmentWindow::fill(std::uint64_t at, std::uint64_t bytes) {
  DIORITE_ASSERT(segment_ != nullptr && at <= limit_, "reading beyond the limit of a segment");
  bytes = std::min(bytes, limit_ - at);
  const std::size_t carry = have(at).size();
  if (carry >= bytes) co_return Result<void>();

  const bool adjoins = carry > 0 || at == front_.end;
  if (ahead_ && adjoins && carry <= kCarryBytes && at + bytes <= back_.end) {
    DIORITE_CO_CHECK(co_await take_ahead());
    back_.at -= carry;
    back_.begin -= carry;
    if (carry > 0) std::memcpy(back_.memory.data() + back_.at, have(at).data(), carry);
    std::swap(front_, back_);
  } else {
    ahead_ = {};
    const std::uint64_t begin = align_down(at, read_unit());
    const std::uint64_t wanted =
        align_up(std::max<std::uint64_t>(at - begin + bytes, kChunkBytes), read_unit());
    DIORITE_CO_CHECK(co_await load(front_, begin, std::min(wanted, limit_ - begin)));
  }
  co_return read_ahead();
}

}  // namespace diorite::detail
