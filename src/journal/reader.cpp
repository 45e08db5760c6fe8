#include <algorithm>
#include <string>
#include <utility>

#include "journal/core.hpp"
#include "journal/reader_core.hpp"
#include "journal/recover.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>
#include <diorite/journal_reader.hpp>
#include <diorite/try.hpp>

namespace diorite {
namespace detail {
namespace {

BatchPos batch_of(wal::BatchPosition position) noexcept {
  switch (position) {
    case wal::BatchPosition::only:
      return BatchPos::single;
    case wal::BatchPosition::first:
      return BatchPos::first;
    case wal::BatchPosition::last:
      return BatchPos::last;
    case wal::BatchPosition::middle:
      break;
  }
  return BatchPos::middle;
}

}  // namespace

Result<void> ReaderCore::seek(Lsn from) {
  const LogEnd end = log_end_(owner_);
  if (from.value < store_.head_lsn) {
    return with_context(Error(Errc::truncated, store_.head_lsn),
                        {.operation = "seek",
                         .path = store_.dir,
                         .offset = from.value,
                         .note = "it lies below head_lsn"});
  }
  if (from.value > end.next) {
    return with_context(Error(Errc::out_of_range, from.value, end.next),
                        {.operation = "seek",
                         .path = store_.dir,
                         .offset = from.value,
                         .note = "nothing has been appended there"});
  }
  from_ = from.value;
  cursor_.reset();
  link_.reset();
  records_left_ = 0;
  wanted_ = 0;
  // The last range that begins at or below the position; in a gap between two, step() goes on to
  // the next.
  const auto above =
      std::upper_bound(store_.live.begin(), store_.live.end(), from_,
                       [](std::uint64_t lsn, const LiveRange& range) { return lsn < range.begin; });
  range_ =
      above == store_.live.begin() ? 0 : static_cast<std::size_t>(above - store_.live.begin()) - 1;
  at_ = store_.live.empty() ? 0 : store_.live[range_].begin;
  return {};
}

const Record* ReaderCore::take_record() noexcept {
  wal::Frame frame;
  while (cursor_ && records_left_ > 0 && cursor_->next(frame)) {
    if (frame.kind != wal::FrameKind::data) continue;
    --records_left_;
    if (frame.begin < from_) continue;
    record_.begin = Lsn{frame.begin};
    record_.end = Lsn{frame.end};
    record_.record_no = cursor_->record_no();
    record_.tag = frame.tag;
    record_.batch = batch_of(frame.batch);
    record_.payload = frame.payload;
    return &record_;
  }
  return nullptr;
}

/// Requires: the commit at hand is used up.
ReaderCore::Step ReaderCore::step() noexcept {
  if (range_ >= store_.live.size()) return Step::ended;
  if (at_ >= store_.live[range_].end && range_ + 1 < store_.live.size()) {
    ++range_;
    at_ = store_.live[range_].begin;
    wanted_ = 0;
  }
  const LiveRange& range = store_.live[range_];
  const std::uint64_t end = std::min(range.end, durable());
  if (at_ >= end) return Step::ended;
  const SegmentRef& segment = window_.segment();
  if (segment == nullptr || segment->header.segment_seq != range.segment_seq) return Step::missing;
  // Commits end at whole units. Another mark can only come from a promise that nobody has made
  // honestly.
  if (end - at_ < segment->header.pad_unit) return Step::ended;
  window_.raise_limit(end - segment->header.base_lsn);
  const std::span<const std::byte> bytes = window_.have(at_ - segment->header.base_lsn);
  wanted_ = std::max<std::uint64_t>(wanted_, segment->header.pad_unit);
  if (bytes.size() < wanted_) return Step::missing;
  return judge(bytes, range, end);
}

ReaderCore::Step ReaderCore::judge(std::span<const std::byte> bytes, const LiveRange& range,
                                   std::uint64_t end) noexcept {
  const wal::SegmentGeometry geometry = wal::geometry_of(window_.segment()->header);
  check_ = wal::verify_commit(bytes, geometry, at_);
  if (!wal::header_is_valid(check_.verdict)) return Step::damaged;
  const std::uint64_t footprint =
      wal::commit_footprint(check_.header.body_bytes, geometry.pad_unit);
  // Durable is what ends below the mark, so a commit that reaches beyond it is not what was written
  // here.
  if (footprint > end - at_) return Step::damaged;
  if (check_.verdict == wal::CommitVerdict::incomplete) {
    wanted_ = footprint;
    return bytes.size() < footprint ? Step::missing : Step::damaged;
  }
  if (check_.verdict != wal::CommitVerdict::valid) return Step::damaged;
  if (link_ && !wal::continues(check_.header, *link_)) return Step::damaged;
  enter(bytes.first(footprint), range);
  return Step::entered;
}

void ReaderCore::enter(std::span<const std::byte> bytes, const LiveRange& range) noexcept {
  const wal::CommitHeader& header = check_.header;
  link_ = wal::link_of(header);
  records_left_ = header.record_count;
  at_ += bytes.size();
  if (at_ == range.end && range.records_kept_in_last != wal::kKeepAll) {
    records_left_ = std::min<std::uint64_t>(records_left_, range.records_kept_in_last);
    link_->next_record_no = header.first_record_no + records_left_;
  }
  cursor_.emplace(bytes, header);
  wanted_ = 0;
}

const Record* ReaderCore::next_buffered() noexcept {
  for (;;) {
    if (const Record* record = take_record()) return record;
    if (step() != Step::entered) return nullptr;
  }
}

/// Brings what step() missed into memory.
Task<Result<void>> ReaderCore::bring() {
  cursor_.reset();
  const LiveRange range = store_.live[range_];
  const std::uint64_t end = std::min(range.end, durable());
  if (window_.segment() == nullptr || window_.segment()->header.segment_seq != range.segment_seq) {
    DIORITE_CO_TRY(SegmentRef segment, co_await store_.open_segment(range.segment_seq));
    const std::uint64_t base_lsn = segment->header.base_lsn;
    window_.attach(std::move(segment), end - base_lsn);
  }
  const wal::SegmentHeader& header = window_.segment()->header;
  wanted_ = std::max<std::uint64_t>(wanted_, header.pad_unit);
  co_return co_await window_.fill(at_ - header.base_lsn, wanted_);
}

Error ReaderCore::damage() const {
  const SegmentRef& segment = window_.segment();
  const char* why = text_of(check_.verdict);
  if (check_.verdict == wal::CommitVerdict::valid) {
    why = "the commit does not follow the one before it, or reaches beyond the end of the log";
  }
  const std::uint64_t offset = at_ - segment->header.base_lsn + check_.offset;
  return with_context(
      Error(Errc::corrupt, offset),
      {.operation = "read_journal", .path = segment->file.path(), .offset = offset, .note = why});
}

Task<Result<const Record*>> ReaderCore::next() {
  const Record* record = nullptr;
  for (;;) {
    record = take_record();
    if (record != nullptr) break;
    const Step found = step();
    if (found == Step::ended) break;
    if (found == Step::damaged) co_return damage();
    if (found == Step::missing) {
      DIORITE_CO_CHECK(co_await bring());
    }
  }
  co_return record;
}

}  // namespace detail

JournalReader::JournalReader(std::unique_ptr<detail::ReaderCore> core) noexcept
    : core_(std::move(core)) {}
JournalReader::JournalReader(JournalReader&&) noexcept = default;
JournalReader& JournalReader::operator=(JournalReader&&) noexcept = default;
JournalReader::~JournalReader() = default;

Task<Result<JournalReader>> JournalReader::open(Journal& journal, Lsn from) {
  detail::JournalCore& log = *journal.core_;
  const auto end = [](const void* owner) {
    const auto& core = *static_cast<const detail::JournalCore*>(owner);
    return detail::LogEnd{core.durable_lsn(), core.next_lsn()};
  };
  auto core = std::make_unique<detail::ReaderCore>(log.store(), end, &log);
  DIORITE_CO_CHECK(core->seek(from));
  co_return JournalReader(std::move(core));
}

Task<Result<const Record*>> JournalReader::next() { return core_->next(); }
const Record* JournalReader::next_buffered() noexcept { return core_->next_buffered(); }

Task<Result<void>> JournalReader::seek(Lsn from) {
  // Nothing has to be read for it, but a log with an index will.
  co_return core_->seek(from);
}

}  // namespace diorite
