#include "journal/store.hpp"

#include <algorithm>
#include <utility>

#include "file/file_core.hpp"
#include "journal/recover.hpp"

#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {

JournalStore::JournalStore(Reactor& owner, std::string directory, const JournalOptions& opened_with)
    : reactor(owner), dir(std::move(directory)), options(opened_with) {}

JournalStore::~JournalStore() {
  DIORITE_ASSERT(!manifest_busy_ && !preparing_, "a journal's store died at work");
}

std::string JournalStore::segment_path(std::uint64_t segment_seq) const {
  const auto name = wal::segment_file_name(segment_seq);
  return join_path(dir, std::string_view(name.data(), name.size()));
}

void JournalStore::remember(const SegmentRef& segment) {
  std::erase_if(open_segments_, [](const auto& entry) { return entry.expired(); });
  open_segments_.push_back(segment);
}

LockedDir JournalStore::names() noexcept {
  DIORITE_ASSERT(static_cast<bool>(lock_), "the files of an unlocked journal are to be changed");
  return LockedDir(lock_.file());
}

void JournalStore::expect_ranges(std::size_t more) {
  if (live.capacity() - live.size() >= more) return;
  // In proportion, as push_back grows: exact steps would copy all of them at each rotation.
  live.reserve(live.size() + std::max(more, live.size()));
}

Task<Result<SegmentRef>> JournalStore::open_segment(std::uint64_t segment_seq) {
  for (const std::weak_ptr<JournalSegment>& entry : open_segments_) {
    SegmentRef segment = entry.lock();
    if (segment && segment->header.segment_seq == segment_seq) co_return std::move(segment);
  }
  OpenOptions how;
  how.direct = options.direct;
  DIORITE_CO_TRY(DirectFile file,
                 co_await DirectFile::open_with(reactor, segment_path(segment_seq), how));
  SegmentFacts facts;
  facts.seq = segment_seq;
  facts.path = segment_path(segment_seq);
  DIORITE_CO_CHECK(co_await read_segment_header(file, facts));
  DIORITE_CO_CHECK(judge_segment(facts, uuid));
  auto segment = std::make_shared<JournalSegment>();
  segment->header = facts.header;
  segment->file = std::move(file);
  remember(segment);
  co_return std::move(segment);
}

Task<Result<void>> JournalStore::sync_names() {
  if (names_failure_) {
    co_return with_context(
        Error(Errc::poisoned),
        {.operation = "sync_dir",
         .path = dir,
         .note = "an earlier sync of the directory failed; open the journal again"});
  }
  Result<void> synced = co_await sync_dir(reactor, dir);
  if (!synced && !is_cancelled(synced.error())) names_failure_ = synced.error();
  co_return std::move(synced);
}

Task<Result<void>> JournalStore::close() {
  Result<void> outcome;
  if (manifest_file_) outcome = co_await std::move(manifest_file_).close();
  if (lock_) {
    DirectFile lock_file = std::move(lock_.file());
    Result<void> unlocked = co_await std::move(lock_file).close();
    if (outcome && !unlocked) outcome = unlocked.error();
  }
  co_return std::move(outcome);
}

}  // namespace diorite::detail
