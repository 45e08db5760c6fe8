// R5: from commit to commit, as long as each is valid and names the one before it.

#include <algorithm>
#include <string>
#include <utility>

#include "journal/block.hpp"
#include "journal/frame.hpp"
#include "journal/recover.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

/// The records of a commit that begin at `from` or above, among its first `kept`.
std::uint64_t records_from(std::span<const std::byte> commit, const wal::CommitHeader& header,
                           std::uint64_t from, std::uint64_t kept) noexcept {
  if (header.lsn >= from) return kept;
  wal::FrameCursor cursor(commit, header);
  wal::Frame frame;
  std::uint64_t seen = 0;
  std::uint64_t counted = 0;
  while (seen < kept && cursor.next(frame)) {
    if (frame.kind != wal::FrameKind::data) continue;
    ++seen;
    if (frame.begin >= from) ++counted;
  }
  return counted;
}

class Walker {
 public:
  Walker(SegmentOpener& segments, const std::vector<std::size_t>& live, LogFacts& log)
      : segments_(segments),
        live_(live),
        log_(log),
        window_(segments.store().reactor, SegmentWindow::OnError::remember) {}

  Task<Result<void>> run();
  const ReadFailure& first_failure() const noexcept { return window_.first_failure(); }

 private:
  Task<Result<wal::CommitCheck>> check(std::uint64_t lsn);
  /// -> whether the log goes on in this segment.
  Task<Result<bool>> walk_segment(std::size_t position);
  void accept(const wal::CommitCheck& check);
  LogFacts::Break break_at(std::size_t index, std::uint64_t lsn,
                           const wal::CommitCheck& found) const;
  bool chained(const wal::CommitHeader& header) const noexcept {
    return !log_.has_commits || wal::continues(header, log_.link);
  }

  SegmentOpener& segments_;
  const std::vector<std::size_t>& live_;
  LogFacts& log_;
  SegmentWindow window_;
  wal::SegmentGeometry geometry_;
  const wal::Cut* cut_here_ = nullptr;  ///< by which the next live segment cuts this one
};

/// The commit that should stand at `lsn`, read whole.
Task<Result<wal::CommitCheck>> Walker::check(std::uint64_t lsn) {
  const std::uint64_t at = lsn - geometry_.base_lsn;
  std::uint64_t bytes = geometry_.pad_unit;
  DIORITE_CO_CHECK(co_await window_.fill(at, bytes));
  wal::CommitCheck check = wal::verify_commit(window_.have(at), geometry_, lsn);
  if (check.verdict == wal::CommitVerdict::incomplete) {
    bytes = wal::commit_footprint(check.header.body_bytes, geometry_.pad_unit);
    DIORITE_CO_CHECK(co_await window_.fill(at, bytes));
    check = wal::verify_commit(window_.have(at), geometry_, lsn);
  }
  if (check.verdict == wal::CommitVerdict::valid) {
    bytes = wal::commit_footprint(check.header.body_bytes, geometry_.pad_unit);
    // What cannot be read was taken for zeros, which may happen to be right; it is not to be relied
    // on.
    if (window_.unreadable_in(at, bytes) != nullptr) check.verdict = wal::CommitVerdict::incomplete;
  }
  co_return check;
}

void Walker::accept(const wal::CommitCheck& check) {
  const wal::CommitHeader& header = check.header;
  SegmentWalk& walk = log_.walked.back();
  log_.link = wal::link_of(header);
  log_.end = header.lsn + wal::commit_footprint(header.body_bytes, geometry_.pad_unit);
  log_.promise = std::max(log_.promise, header.durable_lsn);
  log_.has_commits = true;
  walk.range.end = log_.end;
  std::uint64_t kept = header.record_count;
  if (cut_here_ != nullptr && header.lsn == cut_here_->pred_last_commit_lsn &&
      cut_here_->records_kept != wal::kKeepAll) {
    kept = std::min<std::uint64_t>(kept, cut_here_->records_kept);
    walk.range.records_kept_in_last = cut_here_->records_kept;
    log_.link.next_record_no = header.first_record_no + kept;
  }
  if (header.record_count > 0) {
    walk.has_records = true;
    log_.records += records_from(window_.have(header.lsn - geometry_.base_lsn), header,
                                 segments_.store().head_lsn, kept);
  }
}

LogFacts::Break Walker::break_at(std::size_t index, std::uint64_t lsn,
                                 const wal::CommitCheck& found) const {
  const std::uint64_t at = lsn - geometry_.base_lsn;
  const auto block = window_.have(at).first(geometry_.pad_unit);
  LogFacts::Break here;
  here.index = index;
  here.lsn = lsn;
  here.check = found;
  here.nonzero = wal::first_nonzero(block) != block.size();
  std::uint64_t bytes = geometry_.pad_unit;
  if (wal::header_is_valid(found.verdict)) {
    bytes = wal::commit_footprint(found.header.body_bytes, geometry_.pad_unit);
  }
  here.unreadable = window_.unreadable_in(at, bytes) != nullptr;
  return here;
}

Task<Result<bool>> Walker::walk_segment(std::size_t position) {
  const std::size_t index = live_[position];
  const SegmentFacts& facts = segments_.facts(index);
  geometry_ = wal::geometry_of(facts.header);
  cut_here_ = nullptr;
  if (position + 1 < live_.size()) {
    const SegmentFacts& next = segments_.facts(live_[position + 1]);
    if (next.is_epoch()) cut_here_ = &next.first.cut;
  }
  DIORITE_CO_TRY(SegmentRef segment, co_await segments_.open(index));
  window_.attach(std::move(segment), geometry_.capacity);

  bool entered = false;
  std::uint64_t lsn = geometry_.data_begin();
  for (; lsn < geometry_.end(); lsn = log_.end) {
    DIORITE_CO_TRY(const wal::CommitCheck found, co_await check(lsn));
    if (found.verdict != wal::CommitVerdict::valid || !chained(found.header)) {
      const LogFacts::Break here = break_at(index, lsn, found);
      if (entered || !log_.has_commits) {
        log_.at_end = here;
      } else {
        log_.in_next = here;
      }
      co_return entered;
    }
    if (!entered) {
      SegmentWalk walk;
      walk.index = index;
      walk.range.segment_seq = facts.seq;
      walk.range.begin = lsn;
      walk.before = log_.link;
      walk.before_end = log_.end;
      if (wal::is_epoch(found.header.kind)) walk.cut = found.cut;
      log_.walked.push_back(walk);
      log_.in_next.reset();
      entered = true;
    }
    accept(found);
    if (cut_here_ != nullptr && found.header.lsn == cut_here_->pred_last_commit_lsn) break;
  }
  log_.at_end = LogFacts::Break{};
  log_.at_end.index = index;
  log_.at_end.lsn = log_.end;
  co_return entered;
}

Task<Result<void>> Walker::run() {
  for (std::size_t position = 0; position < live_.size(); ++position) {
    const SegmentFacts& facts = segments_.facts(live_[position]);
    DIORITE_CO_TRY(const bool entered, co_await walk_segment(position));
    const bool reached_cut =
        cut_here_ == nullptr || (entered && log_.link.lsn == cut_here_->pred_last_commit_lsn &&
                                 log_.link.header_crc == cut_here_->pred_last_commit_crc);
    // An EPOCH commit is written only when everything up to its cut has been read and is durable.
    if (!reached_cut || (!entered && position > 0 && facts.is_epoch())) {
      const std::string why =
          fmt::format("the cut in segment {:016x} names a commit at {} that is not reached",
                      reached_cut ? facts.seq : segments_.facts(live_[position + 1]).seq,
                      (reached_cut ? facts.first.cut : *cut_here_).pred_last_commit_lsn);
      co_return damage_at(segments_.all(), likely_damage(log_), why);
    }
    if (!entered) break;
  }
  log_.scanned_bytes = window_.bytes_read();
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> walk_chain(SegmentOpener& segments, const std::vector<std::size_t>& live,
                              LogFacts& log) {
  Walker walker(segments, live, log);
  Result<void> walked = co_await walker.run();
  log.read_failure.note(walker.first_failure());
  co_return std::move(walked);
}

}  // namespace diorite::detail
