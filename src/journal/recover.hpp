// Recovery, in the order in which open_journal runs it.
//
//   survey.cpp         R1 to R3: what is in the directory, made durable before it is believed
//   recover_chain.cpp  R4: which of the segments hold the log
//   recover_walk.cpp   R5: commit by commit to E, the end of the valid chain
//   recover_probe.cpp  R6: promises and intact commits behind E
//   recover_rule.cpp   R7: E against D
//   open.cpp           R0 and the order of all; create.cpp: a new journal
//   restart.cpp        R2 and R8: what is written once the judgement is made
//
// R1 to R7 change nothing in the directory: an open that fails leaves it as it was.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "journal/commit_verify.hpp"
#include "journal/format.hpp"
#include "journal/segment_header.hpp"
#include "journal/store.hpp"
#include "journal/window.hpp"

#include <diorite/file.hpp>
#include <diorite/journal.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>

namespace diorite::detail {

/// What is known of a file that has the name of a segment.
struct SegmentFacts {
  std::uint64_t seq = 0;
  std::string path;
  std::uint64_t bytes = 0;
  Error unreadable;  ///< of the header's block
  wal::BlockVerdict verdict = wal::BlockVerdict::too_short;
  wal::SegmentHeader header{};  ///< set when the verdict is `valid`
  wal::CommitCheck first{};     ///< the commit at the start of the data, judged alone

  std::uint64_t data_begin() const noexcept { return wal::geometry_of(header).data_begin(); }
  std::uint64_t end() const noexcept { return wal::geometry_of(header).end(); }
  bool is_epoch() const noexcept {
    return first.verdict == wal::CommitVerdict::valid && wal::is_epoch(first.header.kind);
  }
};

/// Errc::corrupt with the file, the offset in it, and the reason.
Error corrupt_at(std::string_view path, std::uint64_t offset, std::string_view why) noexcept;

/// Reads the block at offset 0 and the file's size. What is wrong with the bytes is a fact, not an
/// error.
Task<Result<void>> read_segment_header(DirectFile& file, SegmentFacts& facts);
/// The first commit, when the header is valid.
Task<Result<void>> read_first_commit(SegmentWindow& window, SegmentRef segment,
                                     SegmentFacts& facts);
/// Whether a segment of the live chain is what its name and its journal say. Errors: corrupt,
/// bad_format.
Result<void> judge_segment(const SegmentFacts& facts, const wal::Uuid& uuid) noexcept;

/// What the names in the directory say.
struct DirectoryListing {
  bool manifest = false;
  std::vector<std::uint64_t> segments;  ///< ascending
  std::vector<std::string> temporaries;
};
Task<Result<DirectoryListing>> list_journal(Reactor& reactor, std::string dir);

/// R4. `all`: ascending, none below head_seq. -> indices of the live ones, ascending; spares
/// included. Errors: missing_segment, corrupt, bad_format.
Result<std::vector<std::size_t>> find_live_chain(const std::vector<SegmentFacts>& all,
                                                 const wal::ManifestSlot& manifest,
                                                 std::string_view dir);

/// What the walk found in one segment.
struct SegmentWalk {
  std::size_t index = 0;  ///< in the survey
  LiveRange range;
  bool has_records = false;
  std::optional<wal::Cut> cut;  ///< when it begins with an EPOCH commit
  wal::ChainLink before;        ///< the last commit of the log before this segment
  std::uint64_t before_end = 0;
};

/// R5 to R7, for one log.
struct LogFacts {
  std::vector<SegmentWalk> walked;  ///< segments that hold chained commits
  bool has_commits = false;
  std::uint64_t end = 0;      ///< E
  std::uint64_t promise = 0;  ///< D
  wal::ChainLink link;
  std::uint64_t records = 0;

  // What stands where the chain ends, and at the start of the next live segment where it might go
  // on.
  struct Break {
    std::size_t index = 0;  ///< in the survey
    std::uint64_t lsn = 0;
    wal::CommitCheck check{};
    bool nonzero = false;     ///< whether there is anything in the first block
    bool unreadable = false;  ///< the device fails to read it
  };
  Break at_end;
  std::optional<Break> in_next;

  // Behind E.
  std::uint64_t zombies = 0;
  std::uint64_t torn_bytes = 0;
  std::optional<std::size_t>
      highest_used;  ///< survey index of the highest that holds intact headers
  Error unreadable;  ///< of a block behind E; none if all could be read

  ReadFailure read_failure;  ///< anywhere
  std::uint64_t scanned_bytes = 0;
};

/// Opens segments of the survey for reading.
class SegmentOpener {
 public:
  SegmentOpener(JournalStore& store, const std::vector<SegmentFacts>& all) noexcept
      : store_(store), all_(all) {}
  const SegmentFacts& facts(std::size_t index) const noexcept { return all_[index]; }
  const std::vector<SegmentFacts>& all() const noexcept { return all_; }
  JournalStore& store() const noexcept { return store_; }
  Task<Result<SegmentRef>> open(std::size_t index);

 private:
  JournalStore& store_;
  const std::vector<SegmentFacts>& all_;
};

/// Of the two places where the chain may be broken, the one that is damaged if anything is.
const LogFacts::Break& likely_damage(const LogFacts& log) noexcept;
/// Errc::corrupt for that place. `why` says what tells that it is damaged.
Error damage_at(const std::vector<SegmentFacts>& all, const LogFacts::Break& damage,
                std::string_view why);

/// R5. Errors: corrupt where the chain contradicts itself; the system's.
Task<Result<void>> walk_chain(SegmentOpener& segments, const std::vector<std::size_t>& live,
                              LogFacts& log);
/// R6.
Task<Result<void>> probe_tail(SegmentOpener& segments, const std::vector<std::size_t>& live,
                              LogFacts& log);
/// The header-valid commits of one segment from an LSN on.
struct SegmentProbe {
  std::uint64_t promise = 0;
  std::uint64_t intact = 0;
  std::uint64_t nonzero_bytes = 0;  ///< from the start to the last byte that is not zero
  Error unreadable;
};
Task<Result<void>> probe_segment(SegmentWindow& window, SegmentRef segment, std::uint64_t from_lsn,
                                 SegmentProbe& probe);
/// R7. -> the verdict. Errors: corrupt, tail_unreadable.
Result<JournalVerdict> judge_log(const std::vector<SegmentFacts>& all, const LogFacts& log,
                                 const wal::ManifestSlot& manifest, const JournalOptions& options);

/// Waits for the lock of an open file as long as that of LOCK. Errors: locked.
Task<Result<void>> lock_file(DirectFile& file, Duration wait);

/// Errors: out_of_range, naming the field.
Error check_options(const JournalOptions& options, std::string_view dir) noexcept;
/// What the commits of this journal must at least be padded to on the device of `file`. `present`:
/// what they have been padded to so far, 0 for a new journal; it never shrinks.
Result<std::uint32_t> required_pad_unit(const DirectFile& file, const JournalOptions& options,
                                        std::uint32_t present);

}  // namespace diorite::detail
