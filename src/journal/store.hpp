// JournalStore: the files of a journal and everything about them that is not an append.
//
// Opening a journal (locking, creating, recovering) ends in an OpenedJournal: all that the
// appending side (core.hpp) needs to go on. From then on the store prepares segments ahead, writes
// MANIFEST, and remembers which segments hold which part of the log, for readers.
//
// Thread: the reactor's. Every operation goes through DirectFile and fs.hpp.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "file/locked_dir.hpp"
#include "journal/commit_header.hpp"
#include "journal/format.hpp"
#include "journal/manifest_slot.hpp"
#include "journal/segment_header.hpp"

#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite::detail {

/// An open segment. Shared by the writer, the commits in flight to it, and readers.
struct JournalSegment {
  wal::SegmentHeader header;
  DirectFile file;

  std::uint64_t data_begin() const noexcept { return wal::geometry_of(header).data_begin(); }
  std::uint64_t end() const noexcept { return wal::geometry_of(header).end(); }
};
using SegmentRef = std::shared_ptr<JournalSegment>;

/// A part of the log as it lies in one segment: commits from `begin` to `end`, which is where the
/// log goes on in the next range, or was cut. The last range's end is open: the writer's durable
/// mark.
struct LiveRange {
  static constexpr std::uint64_t kOpen = ~std::uint64_t{0};
  std::uint64_t segment_seq = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = kOpen;
  /// Of the commit that contains the cut: how many of its records are kept (wal::kKeepAll: all).
  std::uint32_t records_kept_in_last = wal::kKeepAll;
};

/// Where an unclean open cut the log: positions of `epoch` and earlier at or above `cut_lsn` that
/// lie below `next_begin` were never acknowledged and are gone.
struct CutMark {
  std::uint64_t epoch = 0;  ///< of the open that made the cut
  std::uint64_t cut_lsn = 0;
  std::uint64_t next_begin = 0;  ///< where the log goes on
};

class JournalStore {
 public:
  Reactor& reactor;
  const std::string dir;
  const JournalOptions options;
  wal::Uuid uuid{};
  std::uint32_t pad_unit = wal::kBlockBytes;
  std::uint64_t epoch = 0;
  std::uint64_t head_lsn = 0;  ///< records below are truncated
  std::uint64_t head_seq = 0;
  bool direct = false;
  std::string_view direct_reason;
  bool lock_registered = false;
  bool read_only = false;
  std::vector<LiveRange> live;  ///< ascending; the writer appends a range when it rotates
  std::vector<CutMark> cuts;    ///< ascending

  JournalStore(Reactor& owner, std::string directory, const JournalOptions& opened_with);
  JournalStore(const JournalStore&) = delete;
  JournalStore& operator=(const JournalStore&) = delete;
  ~JournalStore();

  /// What MANIFEST says now; write_manifest changes it.
  const wal::ManifestSlot& manifest() const noexcept { return manifest_; }
  /// Writes `next` (its generation is filled in) to the slot that is not the valid one, durably.
  /// One at a time (asserted). A failure leaves the valid slot alone, and forbids every later call;
  /// a stop that came before the write does not, nor does a lack of memory before it. Errors:
  /// poisoned after a failure.
  Task<Result<void>> write_manifest(wal::ManifestSlot next);
  /// False when a write has failed, or may have.
  bool can_write_manifest() const noexcept { return !manifest_failure_; }

  /// Makes the segment after the highest one: allocated, zero-filled, headed, synced, named, its
  /// directory synced; in this order. One at a time (asserted). On failure nothing with a name is
  /// left behind, where it can be removed. Errors: the system's, not_enough_memory, limit when LSNs
  /// or sequence numbers are used up; poisoned after a sync of the directory failed.
  Task<Result<SegmentRef>> prepare_next();
  /// The highest segment that has a name. Requires: there is one.
  std::uint64_t tail_seq() const noexcept { return next_seq_ - 1; }

  std::string segment_path(std::uint64_t segment_seq) const;
  /// For readers: the segment, opened if it is not open.
  Task<Result<SegmentRef>> open_segment(std::uint64_t segment_seq);
  void remember(const SegmentRef& segment);
  /// Opens every file that is written to, names and removes them: LOCK is held until the last of
  /// these operations has ended, also one whose journal was destroyed first. What lands later would
  /// land in somebody else's journal. Requires: not read-only.
  LockedDir names() noexcept;
  /// Makes room in `live` for `more` ranges, so that rotating to as many segments cannot throw.
  void expect_ranges(std::size_t more);

  /// Releases LOCK and closes MANIFEST.
  Task<Result<void>> close();

 private:
  friend class JournalOpener;
  class Busy;

  Result<void> check_can_prepare() const noexcept;
  Task<Result<SegmentRef>> fill_and_name(wal::SegmentHeader header, std::string temporary);
  Task<Result<DirectFile>> create_temporary(std::string path);
  /// After a failed sync the next one would succeed and say nothing of what the first has dropped.
  Task<Result<void>> sync_names();

  wal::ManifestSlot manifest_;
  std::uint32_t manifest_slot_ = 0;  ///< the one that holds manifest_
  bool manifest_busy_ = false;
  bool preparing_ = false;
  std::uint64_t next_seq_ = 0;  ///< of the segment that prepare_next makes
  std::uint64_t next_base_lsn_ = 0;
  Error manifest_failure_;
  Error names_failure_;
  DirectFile manifest_file_;
  FileLock lock_;
  std::vector<std::weak_ptr<JournalSegment>> open_segments_;
};

/// All that the appending side needs.
struct OpenedJournal {
  OpenedJournal() = default;
  OpenedJournal(OpenedJournal&&) = default;
  OpenedJournal& operator=(OpenedJournal&&) = default;

  std::unique_ptr<JournalStore> store;
  JournalRecovery recovery;
  SegmentRef segment;                 ///< being filled; null when read-only
  std::vector<SegmentRef> spares;     ///< prepared and named, ascending, directly above `segment`
  std::uint64_t next_commit_lsn = 0;  ///< in `segment`; everything below is durable
  wal::ChainLink link;                ///< the last commit of the log
};
// It moves from frame to frame while a coroutine ends, where nothing may be thrown. Not promised
// above but found out here: g++ 12 lets an exception that breaks the promise of a defaulted move
// leave the coroutine past its handlers.
static_assert(std::is_nothrow_default_constructible_v<OpenedJournal> &&
              std::is_nothrow_move_constructible_v<OpenedJournal> &&
              std::is_nothrow_move_assignable_v<OpenedJournal>);

/// R0 to R8 of FORMAT.md's recovery: when this returns, the EPOCH commit (if one is needed) and
/// MANIFEST, DIRTY, are durable, and at least one spare exists unless space is short.
Task<Result<OpenedJournal>> open_journal(Reactor& reactor, std::string dir, JournalOptions options);

}  // namespace diorite::detail
