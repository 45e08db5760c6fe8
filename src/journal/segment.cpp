// Making segments. Everything of a segment is durable before it gets its name, and the name before
// it is used: so a named segment is whole, and one that holds an acknowledged commit is found
// again.

#include <algorithm>
#include <limits>
#include <new>
#include <system_error>
#include <utility>

#include "journal/open.hpp"
#include "journal/store.hpp"
#include "journal/store_busy.hpp"

#include <diorite/align.hpp>
#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

// Small enough not to stand in the way of commits that go to the same device at the same time.
constexpr std::size_t kZeroBytes = 128_KiB;
// Never written to. Not const, so that it costs address space instead of room in the binary.
alignas(kPageBytes) std::byte zeros[kZeroBytes];

/// Pinned, although static memory needs no pin: so that a preparation can be dropped without
/// waiting for the device, as with any memory that is not merely borrowed.
PinnedBuf zero_bytes(std::uint64_t bytes) noexcept {
  const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kZeroBytes));
  return PinnedBuf(RawIoBuf::from_slice({zeros, length}), Pin(zeros, [](void*) noexcept {}));
}

bool cannot_allocate(const Error& error) noexcept {
  return error == std::errc::operation_not_supported ||
         error == std::errc::function_not_supported || error == Errc::unsupported;
}

/// Blocks that are written, not merely reserved: overwriting them later changes no metadata, so
/// that a durable write is a single one.
Task<Result<void>> write_zeros(DirectFile& file, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t at = from; at < to;) {
    PinIoResult written = co_await file.write_at(zero_bytes(to - at), at);
    if (!written) co_return written.error();
    at += written.bytes();
  }
  co_return Result<void>();
}

Task<Result<void>> fill(DirectFile& file, const wal::SegmentHeader& header) {
  Result<void> reserved = co_await file.preallocate(header.capacity);
  if (!reserved && !cannot_allocate(reserved.error())) co_return std::move(reserved);
  const std::uint32_t stride = wal::stride_of(header.pad_unit);
  DIORITE_CO_CHECK(co_await write_zeros(file, stride, header.capacity));
  DIORITE_CO_TRY(AlignedBuf block, AlignedBuf::zeroed(stride));
  wal::encode_segment_header(block.bytes().first(wal::kSegmentHeaderBytes), header);
  BufIoResult written = co_await file.write_at(std::move(block), 0);
  if (!written) co_return written.error();
  co_return co_await file.sync_data();
}

}  // namespace

Result<void> JournalStore::check_can_prepare() const noexcept {
  const std::uint64_t lsns_left = std::numeric_limits<std::uint64_t>::max() - next_base_lsn_;
  if (next_seq_ != wal::kNoSegment && lsns_left >= options.segment_bytes) return {};
  return with_context(Error(Errc::limit, next_seq_, wal::kNoSegment - 1),
                      {.operation = "prepare_segment",
                       .path = dir,
                       .note = "the journal has used up its positions"});
}

Task<Result<DirectFile>> JournalStore::create_temporary(std::string path) {
  OpenOptions how;
  how.direct = options.direct;
  how.write = how.create = how.exclusive = true;
  for (bool again = false;; again = true) {
    Result<DirectFile> file = co_await names().open(path, how);
    if (file || again || !(file.error() == std::errc::file_exists)) co_return std::move(file);
    // Left by an attempt that could not remove it. Never reused: what was in flight to it may still
    // land.
    DIORITE_CO_CHECK(co_await names().remove(path));
  }
}

Task<Result<SegmentRef>> JournalStore::fill_and_name(wal::SegmentHeader header,
                                                     std::string temporary) {
  DIORITE_CO_TRY(DirectFile file, co_await create_temporary(temporary));
  DIORITE_CO_CHECK(co_await fill(file, header));
  // The name is taken by a fresh handle, so that errors tell the segment's path.
  const std::string path = segment_path(header.segment_seq);
  DIORITE_CO_CHECK(co_await std::move(file).close());
  DIORITE_CO_CHECK(co_await names().rename(std::move(temporary), path));
  DIORITE_CO_CHECK(co_await sync_names());
  OpenOptions how;
  how.direct = options.direct;
  how.write = true;
  auto segment = std::make_shared<JournalSegment>();
  DIORITE_CO_TRY(segment->file, co_await names().open(path, how));
  if (!lock_registered) {
    DIORITE_CO_CHECK(co_await segment->file.try_lock());
  }
  segment->header = header;
  co_return std::move(segment);
}

Task<Result<SegmentRef>> JournalStore::prepare_next() {
  DIORITE_ASSERT(!read_only, "a segment is prepared for a read-only journal");
  const Busy busy(preparing_, "two segments are prepared at a time");
  if (names_failure_) co_return (co_await sync_names()).error();
  DIORITE_CO_CHECK(check_can_prepare());
  wal::SegmentHeader header;
  header.uuid = uuid;
  header.segment_seq = next_seq_;
  header.base_lsn = next_base_lsn_;
  header.capacity = options.segment_bytes;
  header.pad_unit = pad_unit;
  header.salt = wal::segment_salt(next_seq_, uuid);
  header.epoch = epoch;

  const std::string path = segment_path(next_seq_);
  const std::string temporary = path + std::string(wal::kTemporarySuffix);
  Result<SegmentRef> segment = SegmentRef();
  try {
    segment = co_await fill_and_name(header, temporary);
    // Before its number counts as used: a gap in the numbers would be a lost segment.
    if (segment) remember(*segment);
  } catch (const std::bad_alloc&) {
    segment = with_context(Error(std::make_error_code(std::errc::not_enough_memory)),
                           {.operation = "prepare_segment", .path = path});
  }
  if (!segment) {
    // A segment that is not known to be named durably must not be there either. What cannot be
    // removed is empty and harmless: the next attempt replaces it, and an open takes it for a
    // spare.
    co_await remove_if_possible(names(), temporary);
    co_await remove_if_possible(names(), path);
    co_return std::move(segment);
  }
  next_seq_ = header.segment_seq + 1;
  next_base_lsn_ = header.base_lsn + header.capacity;
  co_return std::move(segment);
}

}  // namespace diorite::detail
