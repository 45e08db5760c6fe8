// ReaderCore: walks the live ranges of a log, commit by commit, up to the durable mark.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "journal/commit_verify.hpp"
#include "journal/frame.hpp"
#include "journal/store.hpp"
#include "journal/window.hpp"

#include <diorite/journal_reader.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite::detail {

/// Where the log stands now: both may grow between two calls.
struct LogEnd {
  std::uint64_t durable = 0;
  std::uint64_t next = 0;
};

class ReaderCore {
 public:
  /// `end` is asked with `owner`, whenever it matters.
  ReaderCore(JournalStore& store, LogEnd (*end)(const void* owner), const void* owner) noexcept
      : store_(store),
        log_end_(end),
        owner_(owner),
        window_(store.reactor, SegmentWindow::OnError::fail) {}

  Result<void> seek(Lsn from);
  const Record* next_buffered() noexcept;
  Task<Result<const Record*>> next();

 private:
  enum class Step : std::uint8_t {
    entered,  ///< a commit is at hand
    missing,  ///< its bytes have to be read first
    ended,    ///< nothing more is durable
    damaged,
  };

  std::uint64_t durable() const noexcept { return log_end_(owner_).durable; }
  const Record* take_record() noexcept;
  Step step() noexcept;
  Step judge(std::span<const std::byte> bytes, const LiveRange& range, std::uint64_t end) noexcept;
  void enter(std::span<const std::byte> bytes, const LiveRange& range) noexcept;
  Task<Result<void>> bring();
  Error damage() const;

  JournalStore& store_;
  LogEnd (*log_end_)(const void* owner);
  const void* owner_;
  SegmentWindow window_;

  std::uint64_t from_ = 0;              ///< records that begin below are passed over
  std::size_t range_ = 0;               ///< index in store_.live
  std::uint64_t at_ = 0;                ///< of the next commit
  std::optional<wal::ChainLink> link_;  ///< the commit before it; none right after a seek
  wal::CommitCheck check_;              ///< of the commit at at_, when it is not at hand
  std::uint64_t wanted_ = 0;            ///< bytes of it that have to be in memory

  std::optional<wal::FrameCursor> cursor_;
  std::uint64_t records_left_ = 0;
  Record record_;
};

}  // namespace diorite::detail
