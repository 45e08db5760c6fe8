// JournalCore: the appending side of a journal.
//
//   append ──▶ admission ──▶ open commit ──seal──▶ sealed ──▶ flying (≤ K) ──▶ acknowledged in
//   order
//
// Everything that coroutines append during one turn of the reactor goes into one commit: the
// end-of-turn hook seals it when nothing is in flight or enough has gathered, and a flight (a
// coroutine made at open, one for each commit that may be in flight) writes it. While commits are
// in flight the next one fills: batching comes from the device's own pace, without a timer.
//
// append.cpp: admission, copying, the awaitables. commit.cpp: sealing, flights, acknowledgement,
// poison. keeper.cpp: spares, MANIFEST, CONFIRM, closing.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "journal/commit_buffer.hpp"
#include "journal/format.hpp"
#include "journal/store.hpp"

#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/stop.hpp>

namespace diorite::detail {

class JournalCore {
 public:
  JournalCore(Reactor& reactor, OpenedJournal opened);
  JournalCore(const JournalCore&) = delete;
  JournalCore& operator=(const JournalCore&) = delete;
  ~JournalCore();

  /// Allocates the first commit buffers and starts the flights and the keeper.
  Result<void> start();

  // Appending: append.cpp.
  /// What forbids an append of these records, apart from lack of room.
  Error refusal(std::span<const RecordRef> records) const noexcept;
  /// Whether `bytes` of frames can be copied in this very moment.
  bool has_room_now(std::uint64_t bytes) const noexcept;
  bool nobody_waits() const noexcept { return admission_.empty() && granted_ == nullptr; }
  void enqueue(JournalWaiter& waiter) noexcept;
  /// A waiter that has copied, or gives up: the next one may come.
  void leave(JournalWaiter& waiter) noexcept;
  /// Gives room to the waiters in front, one at a time; see grant_next in append.cpp.
  void grant_next() noexcept;
  /// Has another segment prepared if none is ready, also after an attempt that failed.
  void ask_for_spare() noexcept;
  /// `bytes`: of the records' frames. Requires: room.
  Result<Ticket> copy_in(std::span<const RecordRef> records, std::uint64_t bytes) noexcept;
  static std::uint64_t frames_bytes(std::span<const RecordRef> records) noexcept;

  // Waiting for durability: commit.cpp.
  void wait_durable(JournalWaiter& waiter) noexcept;
  Error indeterminate(const char* operation) const noexcept;
  /// Waits for everything, ends cleanly: keeper.cpp.
  Task<Result<void>> close();

  Reactor& reactor() noexcept { return reactor_; }
  JournalStore& store() noexcept { return *store_; }
  const JournalStore& store() const noexcept { return *store_; }
  const JournalRecovery& recovery() const noexcept { return recovery_; }
  std::uint64_t durable_lsn() const noexcept { return durable_lsn_; }
  std::uint64_t next_lsn() const noexcept {
    return open_ != nullptr && open_->header.record_count > 0 ? open_->tail_lsn()
                                                              : next_commit_lsn_;
  }
  std::uint64_t record_bytes_max() const noexcept;
  Error poison() const noexcept { return poison_; }
  JournalStats stats() const noexcept;

 private:
  struct Flight {
    CommitBuffer* commit = nullptr;
    ReadyNode node;  ///< of the parked coroutine
    Running<> task;
  };
  class FlightAwait;
  class ParkAwait;
  class IdleAwait;
  class CloseMark;

  struct Hook : TurnHook {
    explicit Hook(JournalCore& owner) noexcept : TurnHook(&JournalCore::end_of_turn), core(owner) {}
    JournalCore& core;
  };

  // append.cpp
  bool within_budget(std::uint64_t bytes) const noexcept {
    return buffered_bytes_ == 0 || buffered_bytes_ + bytes <= options_.buffered_bytes_max;
  }
  bool fits_open(std::uint64_t bytes) const noexcept;
  bool fits_segment(std::uint64_t lsn, std::uint64_t bytes) const noexcept;
  bool fits_behind_open(std::uint64_t bytes) const noexcept;
  Error open_commit(std::uint64_t bytes) noexcept;
  void fail_admissions(const Error& error) noexcept;
  void fail_unplaced() noexcept;

  // commit.cpp
  static void end_of_turn(TurnHook& hook) noexcept;
  void seal_if_due() noexcept;
  void seal_open(std::uint64_t& reason) noexcept;
  void launch() noexcept;
  void launch_one(CommitBuffer& commit) noexcept;
  CommitBuffer* next_unsynced() const noexcept;
  bool is_idle() const noexcept {
    return open_ == nullptr && sealed_.empty() && flying_.empty() && device_count_ == 0;
  }
  Result<CommitBuffer*> take_buffer(std::uint64_t bytes) noexcept;
  void give_back(CommitBuffer& commit) noexcept;
  Task<> fly(Flight& flight);
  Task<> flush();
  void written(CommitBuffer& commit) noexcept;
  void acknowledge() noexcept;
  void wake_closer_if_idle() noexcept;
  void wake_durable() noexcept;
  void fail(const Error& cause) noexcept;

  // keeper.cpp
  bool rotate() noexcept;
  Task<> keep();
  Task<> confirm();
  Result<Lsn> add_control(wal::CommitKind kind) noexcept;
  Task<Result<void>> refresh_manifest();
  Task<Result<SegmentRef>> make_spare();
  bool was_stopped(const Error& error) const noexcept {
    return is_cancelled(error) && background_stop_.stop_requested();
  }
  void refresh_failed(const Error& error) noexcept;
  void take_spare(Result<SegmentRef> spare) noexcept;
  Task<Result<void>> end_cleanly();
  Task<> record_poison();
  Task<> stop_background();
  wal::ManifestSlot manifest_now() const noexcept;
  void kick(ReadyNode& node) noexcept;

  Reactor& reactor_;
  std::unique_ptr<JournalStore> store_;
  JournalOptions options_;
  JournalRecovery recovery_;
  JournalStats stats_;

  // The log's end.
  SegmentRef segment_;
  std::vector<SegmentRef> spares_;  ///< ascending; has room for as many as are ever ready
  std::uint64_t next_commit_lsn_;   ///< where the next commit that is opened will begin
  std::uint64_t last_commit_lsn_;   ///< of the last commit that was sealed
  wal::ChainLink link_;             ///< the last commit that was submitted
  std::uint64_t next_record_no_;
  std::uint64_t durable_lsn_;
  std::uint64_t promised_lsn_;  ///< highest durable_lsn that a durable commit or MANIFEST carries
  Error poison_;
  std::string poison_note_;       ///< what every waiter is told; empty if memory was short
  bool poison_recorded_ = false;  ///< or need not be, or could not be
  bool closing_ = false;
  bool close_runs_ = false;

  // Commits.
  CommitBuffer* open_ = nullptr;
  IntrusiveList<CommitBuffer> sealed_;
  IntrusiveList<CommitBuffer> flying_;  ///< in LSN order, until acknowledged
  std::uint32_t flying_count_ = 0;
  std::uint32_t device_count_ = 0;    ///< writes that have not completed
  std::vector<CommitBuffer*> pool_;   ///< free buffers of commit_bytes_max
  std::uint64_t buffered_bytes_ = 0;  ///< admitted and not yet durable

  // Waiters.
  IntrusiveList<JournalWaiter> admission_;  ///< first come, first served
  IntrusiveList<JournalWaiter> durable_;    ///< by the LSN they wait for
  JournalWaiter* granted_ = nullptr;        ///< has room, and has not copied yet
  ReadyNode* closer_ = nullptr;             ///< close(), while it waits for the last commit

  // Background work.
  std::vector<Flight> flights_;
  std::vector<Flight*> idle_flights_;
  ReadyNode keeper_node_;  ///< has a target while its coroutine is parked; so the two below
  ReadyNode flusher_node_;
  ReadyNode confirmer_node_;
  bool manifest_stale_ = false;
  bool prepare_wanted_ = true;  ///< false after a failure, until an append asks again
  bool confirm_due_ = false;
  std::uint64_t activity_ = 0;  ///< grows with every commit that is launched
  Error prepare_error_;
  StopSource background_stop_;
  Running<> keeper_;
  Running<> flusher_;
  Running<> confirmer_;
  Hook hook_{*this};
};

}  // namespace diorite::detail
