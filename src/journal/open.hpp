// JournalOpener: one attempt to open a journal, from the lock to the first commit that may follow.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "journal/recover.hpp"
#include "journal/store.hpp"

namespace diorite::detail {

class JournalOpener {
 public:
  JournalOpener(Reactor& reactor, std::string dir, const JournalOptions& options);
  Task<Result<OpenedJournal>> run();

 private:
  // open.cpp
  Task<Result<void>> attempt();
  Error with_read_failure(const Error& verdict) const;
  Duration lock_wait() const noexcept;
  OpenOptions open_options() const noexcept;
  Task<Result<void>> enter_directory();
  Task<Result<void>> settle(DirectFile& file);
  Task<Result<DirectFile>> open_file(std::string path, OpenOptions how);
  Task<Result<void>> open_manifest();
  Task<Result<AlignedBuf>> read_slot(std::uint64_t offset);
  Result<void> adopt_manifest(const wal::ManifestChoice& choice);
  Task<Result<void>> survey();
  Task<Result<void>> survey_segment(SegmentWindow& window, SegmentFacts& facts);
  Task<Result<void>> judge();
  Result<void> choose_epoch();
  Task<Result<std::uint64_t>> readable_end();
  void describe();

  // create.cpp
  Task<Result<void>> create();
  Task<Result<void>> refuse_if_used(std::uint64_t seq);
  Task<Result<void>> make_first_segments();
  Task<Result<void>> name_manifest(DirectFile file);

  // restart.cpp
  Task<Result<void>> proceed();
  Task<Result<void>> resume();
  Task<Result<void>> restart(std::size_t spare);
  Task<Result<void>> ensure_spare();
  Task<Result<void>> write_epoch_commit(const wal::Cut& cut);
  wal::Cut make_cut();
  wal::ManifestSlot next_manifest() const noexcept;
  std::size_t first_spare() const noexcept;
  bool can_go_on() const noexcept;
  Task<Result<SegmentRef>> open_to_write(std::size_t index);
  Task<Result<void>> open_spares(std::size_t from);
  Task<> remove_dead();
  void go_read_only();
  void list_ranges();

  bool is_clean() const noexcept { return store_->manifest_.state == wal::ManifestState::clean; }

  Reactor& reactor_;
  std::unique_ptr<JournalStore> store_;
  Instant begin_;
  DirectoryListing listing_;
  std::vector<SegmentFacts> all_;
  std::vector<std::size_t> live_;  ///< indices in all_
  LogFacts log_;
  JournalVerdict verdict_ = JournalVerdict::created;
  bool created_ = false;
  ReadFailure read_failure_;  ///< of what R1 to R7 wanted to see
  bool from_device_ = true;   ///< nothing was read that the page cache may have made up
  OpenedJournal opened_;
};

/// Removes a file that nobody needs any more. A failure only costs room.
Task<> remove_if_possible(LockedDir dir, std::string path);
/// Closes what no other reference uses, so that its lock is free when this returns.
Task<Result<void>> close_segment(SegmentRef segment);

}  // namespace diorite::detail
