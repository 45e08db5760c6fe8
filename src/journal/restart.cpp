// R2 and R8: what an open changes, once it is certain that it may.

#include <algorithm>
#include <utility>

#include "journal/crc32c.hpp"
#include "journal/frame.hpp"
#include "journal/open.hpp"

#include <diorite/assert.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {

/// What MANIFEST says while the journal is open.
wal::ManifestSlot JournalOpener::next_manifest() const noexcept {
  wal::ManifestSlot manifest = store_->manifest_;
  manifest.epoch = store_->epoch;
  manifest.state = wal::ManifestState::dirty;
  manifest.end_lsn = 0;
  manifest.pad_unit = store_->pad_unit;
  manifest.capacity = store_->options.segment_bytes;
  manifest.poison_boot = {};
  return manifest;
}

/// Segments that no live one needs. The head is spared as long as MANIFEST names it.
Task<> JournalOpener::remove_dead() {
  std::vector<std::uint64_t> needed;
  for (const LiveRange& range : store_->live) needed.push_back(range.segment_seq);
  if (store_->live.empty()) {
    for (const std::size_t index : live_) needed.push_back(all_[index].seq);
  }
  const std::uint64_t top = needed.back();
  for (const std::uint64_t seq : listing_.segments) {
    if (seq > top || seq == store_->manifest_.head_seq) continue;
    if (std::find(needed.begin(), needed.end(), seq) != needed.end()) continue;
    co_await remove_if_possible(store_->names(), store_->segment_path(seq));
  }
}

Task<Result<SegmentRef>> JournalOpener::open_to_write(std::size_t index) {
  const OpenOptions how = open_options();
  auto segment = std::make_shared<JournalSegment>();
  DIORITE_CO_TRY(segment->file, co_await store_->names().open(all_[index].path, how));
  if (!store_->lock_registered) {
    DIORITE_CO_CHECK(co_await lock_file(segment->file, lock_wait()));
  }
  segment->header = all_[index].header;
  store_->remember(segment);
  co_return std::move(segment);
}

/// Position in live_ of the first segment that certainly holds nothing and can be written to. Those
/// that were made for smaller units than the device demands now are passed over; the cut makes them
/// dead.
std::size_t JournalOpener::first_spare() const noexcept {
  std::size_t spare = 0;
  if (log_.has_commits || log_.highest_used) {
    const std::size_t used =
        log_.highest_used.value_or(log_.has_commits ? log_.walked.back().index : std::size_t{0});
    const auto above = std::upper_bound(live_.begin(), live_.end(), used);
    spare = static_cast<std::size_t>(above - live_.begin());
  }
  for (std::size_t at = spare; at < live_.size(); ++at) {
    if (all_[live_[at]].header.pad_unit < store_->pad_unit) spare = at + 1;
  }
  return spare;
}

/// Whether the last segment, and all above it, suit what the device demands now.
bool JournalOpener::can_go_on() const noexcept {
  const auto last = std::find(live_.begin(), live_.end(), log_.walked.back().index);
  return std::all_of(last, live_.end(), [this](std::size_t index) {
    return all_[index].header.pad_unit >= store_->pad_unit;
  });
}

Task<Result<void>> JournalOpener::open_spares(std::size_t from) {
  for (; from < live_.size(); ++from) {
    DIORITE_CO_TRY(SegmentRef spare, co_await open_to_write(live_[from]));
    opened_.spares.push_back(std::move(spare));
  }
  co_return Result<void>();
}

/// The parts of the log that stay, and the cuts between them.
void JournalOpener::list_ranges() {
  for (const SegmentWalk& walk : log_.walked) {
    store_->live.push_back(walk.range);
    if (walk.cut) store_->cuts.push_back({walk.cut->epoch, walk.cut->cut_lsn, walk.range.begin});
  }
}

void JournalOpener::go_read_only() {
  store_->read_only = true;
  store_->live.clear();
  store_->cuts.clear();
  opened_.segment.reset();
  list_ranges();
  opened_.link = log_.link;
  opened_.next_commit_lsn = log_.end;
}

/// The cut at E. A newest segment without records is left out of the log, so that a process that
/// crashes at every start does not let it grow.
wal::Cut JournalOpener::make_cut() {
  wal::Cut cut;
  if (log_.has_commits) {
    const SegmentWalk& last = log_.walked.back();
    cut.pred_seq = last.range.segment_seq;
    cut.cut_lsn = log_.end;
    cut.pred_last_commit_lsn = log_.link.lsn;
    cut.pred_last_commit_crc = log_.link.header_crc;
    if (!last.has_records && last.cut) {
      // It says what is kept of the segment before, also if that is only a part of the last commit
      // there.
      cut = *last.cut;
      log_.walked.pop_back();
    } else if (!last.has_records && log_.walked.size() > 1) {
      cut.pred_seq = log_.walked[log_.walked.size() - 2].range.segment_seq;
      cut.cut_lsn = last.before_end;
      cut.pred_last_commit_lsn = last.before.lsn;
      cut.pred_last_commit_crc = last.before.header_crc;
      log_.walked.pop_back();
    }
  }
  cut.epoch = store_->epoch;
  cut.next_record_no = log_.link.next_record_no;
  return cut;
}

Task<Result<void>> JournalOpener::write_epoch_commit(const wal::Cut& cut) {
  JournalSegment& segment = *opened_.segment;
  const wal::SegmentGeometry geometry = wal::geometry_of(segment.header);
  DIORITE_CO_TRY(AlignedBuf block, AlignedBuf::zeroed(geometry.pad_unit));
  wal::CommitHeader header;
  header.kind = wal::CommitKind::epoch;
  header.segment_seq = geometry.segment_seq;
  header.lsn = geometry.data_begin();
  header.prev_lsn = cut.pred_last_commit_lsn;
  header.first_record_no = cut.next_record_no;
  header.body_bytes = wal::kCutFrameBytes;
  std::uint32_t frames = wal::crc32c_begin(geometry.salt);
  wal::encode_cut_frame(block.bytes().subspan(wal::kCommitHeaderBytes), header.lsn, cut,
                        geometry.salt, frames);
  header.frames_crc = wal::crc32c_finish(frames);
  wal::encode_commit_header(block.bytes(), header);
  header.header_crc =
      wal::finish_commit_header(block.bytes(), log_.end, cut.pred_last_commit_crc, geometry.salt);

  WriteFlags flags;
  flags.dsync = store_->options.sync == JournalSync::dsync;
  const std::uint64_t offset = header.lsn - geometry.base_lsn;
  BufIoResult written = co_await segment.file.write_at(std::move(block), offset, flags);
  if (!written) co_return written.error();
  if (!flags.dsync) {
    DIORITE_CO_CHECK(co_await segment.file.sync_data());
  }
  opened_.link = wal::link_of(header);
  opened_.next_commit_lsn =
      header.lsn + wal::commit_footprint(header.body_bytes, geometry.pad_unit);
  co_return Result<void>();
}

/// After an orderly close: on in the same segment.
Task<Result<void>> JournalOpener::resume() {
  const std::size_t last = log_.walked.back().index;
  DIORITE_CO_TRY(opened_.segment, co_await open_to_write(last));
  log_.walked.back().range.end = LiveRange::kOpen;
  list_ranges();
  opened_.link = log_.link;
  opened_.next_commit_lsn = log_.end;
  co_return Result<void>();
}

/// In a fresh segment, whose first commit says where the log was cut.
Task<Result<void>> JournalOpener::restart(std::size_t spare) {
  if (spare < live_.size()) {
    DIORITE_CO_TRY(opened_.segment, co_await open_to_write(live_[spare]));
  } else {
    DIORITE_CO_TRY(opened_.segment, co_await store_->prepare_next());
  }
  const wal::Cut cut = make_cut();
  DIORITE_CO_CHECK(co_await write_epoch_commit(cut));
  LiveRange range;
  range.segment_seq = opened_.segment->header.segment_seq;
  range.begin = opened_.segment->data_begin();
  list_ranges();
  store_->live.push_back(range);
  store_->cuts.push_back({cut.epoch, cut.cut_lsn, range.begin});

  wal::ManifestSlot manifest = next_manifest();
  manifest.durable_floor = opened_.next_commit_lsn;
  manifest.tail_seq_floor = range.segment_seq;
  manifest.head_seq = store_->live.front().segment_seq;
  co_return co_await store_->write_manifest(manifest);
}

Task<Result<void>> JournalOpener::proceed() {
  DIORITE_CO_TRY(store_->pad_unit,
                 required_pad_unit(store_->manifest_file_, store_->options, store_->pad_unit));
  for (const std::string& name : listing_.temporaries) {
    co_await remove_if_possible(store_->names(), join_path(store_->dir, name));
  }
  co_await remove_dead();

  const bool clean = is_clean();
  const wal::SegmentHeader& top = all_[live_.back()].header;
  store_->next_seq_ = top.segment_seq + 1;
  store_->next_base_lsn_ = top.base_lsn + top.capacity;
  const std::size_t spare = first_spare();
  const bool goes_on = clean && can_go_on();
  if (clean) {
    // First of all, or the commits to come would be found beyond the end that MANIFEST still tells.
    wal::ManifestSlot manifest = next_manifest();
    manifest.durable_floor = log_.end;
    manifest.tail_seq_floor =
        std::max(manifest.tail_seq_floor, log_.walked.back().range.segment_seq);
    manifest.head_seq = log_.walked.front().range.segment_seq;
    DIORITE_CO_CHECK(co_await store_->write_manifest(manifest));
  }
  if (goes_on) {
    DIORITE_CO_CHECK(co_await resume());
    DIORITE_CO_CHECK(co_await open_spares(spare));
  } else {
    Result<void> restarted = co_await restart(spare);
    if (!restarted && is_no_space(restarted.error())) {
      // Nothing can be appended, but everything can be read, and the next open may find room.
      go_read_only();
      co_return Result<void>();
    }
    if (!restarted) co_return std::move(restarted);
    DIORITE_CO_CHECK(co_await open_spares(spare + 1));
  }
  co_await remove_dead();
  co_return co_await ensure_spare();
}

/// One is always kept for the next recovery, so that no open needs room.
Task<Result<void>> JournalOpener::ensure_spare() {
  store_->direct = opened_.segment->file.is_direct();
  store_->direct_reason = opened_.segment->file.direct_reason();
  if (!opened_.spares.empty()) co_return Result<void>();
  Result<SegmentRef> spare = co_await store_->prepare_next();
  if (spare) {
    opened_.spares.push_back(std::move(*spare));
  } else if (!is_no_space(spare.error())) {
    co_return spare.error();
  }
  co_return Result<void>();
}

}  // namespace diorite::detail
