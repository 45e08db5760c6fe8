// Journal: a durable, ordered log of records with group commit.
//
// Use it as the write-ahead log of an engine: append the change, wait until it is durable,
// acknowledge. Many coroutines append at once and share one write to the device. It is not a queue
// between processes, and a record of a few bytes written alone still costs a block.
//
// Thread: the reactor's. One process writes a journal at a time (LOCK).
// Lifetime: the journal outlives its readers and every coroutine that waits in it; the reactor
// outlives the journal. Bytes given to append() must live until it returns from its co_await.
// Durability: a record is durable when append_durable() or sync_through() of its ticket says so,
// and then survives any number of power cuts, byte for byte and in append order. A record that was
// appended and not waited for may or may not survive; what survives is a gap-free prefix.
// Failure: the first write or sync that fails poisons the journal. Every waiter above durable_lsn()
// gets Errc::poisoned: its record is indeterminate, it may or may not be found by the next open.
// Nothing is acknowledged afterwards. Destroy the journal and open it again.
// Cancel: destroying or stopping a coroutine that waits never takes a record back.
//
//   DIORITE_CO_TRY(auto journal, co_await Journal::open(reactor, "wal"));
//   DIORITE_CO_TRY(Ticket t, co_await journal->append(record));
//   apply_to_page(change, t.begin);                  // nothing else ran since the LSN was given
//   DIORITE_CO_CHECK(co_await journal->sync_through(t));
//   acknowledge();

#pragma once

#include <compare>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>

namespace diorite {

namespace detail {
class JournalCore;
}

/// A position in the journal, in bytes. Lsn{0} is before every record. Positions only grow; they
/// jump where an unclean open cut the log, while record numbers stay dense.
struct Lsn {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(Lsn, Lsn) noexcept = default;
};

/// What an append hands out. [begin, end) is the record; end is what sync_through takes.
struct Ticket {
  Lsn begin;
  Lsn end;
  std::uint64_t record_no = 0;  ///< dense, from 0, across opens
  std::uint64_t epoch = 0;      ///< of the open that gave it
};

/// A record to append, in one or two pieces, so that no engine has to glue header and body first.
/// Borrowed: see the lifetime rule above.
class RecordRef {
 public:
  template <class R>
    requires std::convertible_to<const R&, std::span<const std::byte>>
  RecordRef(const R& whole, std::uint16_t tag = 0) noexcept : head_(whole), tag_(tag) {}
  RecordRef(std::span<const std::byte> head, std::span<const std::byte> body,
            std::uint16_t tag) noexcept
      : head_(head), body_(body), tag_(tag) {}
  std::span<const std::byte> head() const noexcept { return head_; }
  std::span<const std::byte> body() const noexcept { return body_; }
  std::uint16_t tag() const noexcept { return tag_; }
  std::uint64_t bytes() const noexcept { return head_.size() + body_.size(); }

 private:
  std::span<const std::byte> head_;
  std::span<const std::byte> body_;
  std::uint16_t tag_;
};

enum class JournalSync : std::uint8_t {
  dsync,  ///< every commit's write is durable by itself (RWF_DSYNC): lowest latency with FUA or a
          ///< protected cache
  flush,  ///< plain writes, and one fdatasync for all that have completed
};

/// Trivially copyable. Every limit is checked by open(): Errc::out_of_range names the field.
struct JournalOptions {
  /// Of new segments: 64 KiB to 4 GiB in steps of 64 KiB, and at least 16 pad units.
  std::uint64_t segment_bytes = std::uint64_t{64} << 20;
  JournalSync sync = JournalSync::dsync;
  std::uint32_t in_flight_max = 4;             ///< commits with the device at once, 1 to 64
  std::uint32_t commit_bytes_max = 256 << 10;  ///< 16 KiB to 4 MiB; a larger record commits alone
  std::uint32_t fill_bytes = 0;                ///< a commit this large need not wait for the one in
                                               ///< flight; 0 = one pad unit
  std::uint64_t buffered_bytes_max = 8 << 20;  ///< appended and not yet durable; more waits
  std::uint32_t spares = 2;                    ///< segments prepared ahead, 1 to 16
  std::uint32_t confirm_idle_ms = 100;  ///< writes the durable mark once the journal idles; 0 =
                                        ///< never
  std::uint32_t lock_wait_ms = 10'000;  ///< how long open waits for another process
  Direct direct = Direct::preferred;
  bool pad_512 = false;  ///< pad commits to 512 bytes: only where a torn write
                         ///< damages no more than that
  /// What an open does when the device cannot read blocks behind the end of the log. A torn write
  /// may leave such blocks, so by default they are taken for a torn end, and recovery().verdict
  /// says torn_unreadable. But they may also be all that the device has left of the last
  /// acknowledged records: of the last in_flight_max commits nothing else on the disk says that
  /// they were durable (a later commit does, close() does, and so does an idle journal after
  /// confirm_idle_ms), and the open would cut them off for good. With this set it changes nothing
  /// and fails with Errc::tail_unreadable, so that somebody can look at the device first.
  bool refuse_unreadable_tail = false;
  bool read_only = false;           ///< takes no lock, writes nothing
  bool force_after_poison = false;  ///< open a buffered journal in the boot that poisoned it
};
static_assert(std::is_trivially_copyable_v<JournalOptions>);

enum class JournalVerdict : std::uint8_t {
  created,          ///< there was no journal
  clean,            ///< closed by close()
  torn,             ///< ended by a crash; everything that was promised is there
  torn_unreadable,  ///< ended by a crash, and blocks after the end cannot be read: the last records
                    ///< that were promised may be lost, see refuse_unreadable_tail
};
const char* to_string(JournalVerdict verdict) noexcept;

/// What open found. All of it constant afterwards.
struct JournalRecovery {
  JournalVerdict verdict = JournalVerdict::created;
  Lsn end;                    ///< E: end of the valid chain
  Lsn durable;                ///< D: the largest durable promise seen; never above end
  std::uint64_t records = 0;  ///< retained
  std::uint64_t next_record_no = 0;
  std::uint64_t torn_bytes = 0;  ///< non-zero bytes' extent after the end, discarded
  std::uint64_t zombies = 0;     ///< intact commits after the end that were never acknowledged
  std::uint64_t segments = 0;    ///< live
  std::uint64_t scanned_bytes = 0;
  std::uint64_t epoch = 0;
  /// False when the log was read through the page cache, and may show what a process that died had
  /// failed to write: in a read-only open without direct I/O, and where the system cannot drop the
  /// pages that it holds.
  bool from_device = true;
  Duration duration{};
};

/// How commits reach the device.
struct JournalBackend {
  JournalSync sync = JournalSync::dsync;
  bool direct = false;
  std::string_view direct_reason;
  std::string_view driver;
  std::uint32_t pad_unit = 0;
  bool lock_registered = false;  ///< LOCK is held by the driver's kernel object too
  bool read_only = false;        ///< asked for, or no space was left to begin a segment
};

/// Only ever grows, but the gauges at the end.
struct JournalStats {
  std::uint64_t records = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t commits = 0;
  std::uint64_t device_bytes = 0;
  std::uint64_t pad_bytes = 0;
  std::uint64_t syncs = 0;
  std::uint64_t commits_idle = 0;  ///< sealed because nothing was in flight
  std::uint64_t commits_fill = 0;  ///< because fill_bytes had gathered
  std::uint64_t commits_full = 0;  ///< because commit_bytes_max, or the segment, was full
  std::uint64_t commits_confirm = 0;
  std::uint64_t rotations = 0;
  std::uint64_t segments_created = 0;
  std::uint64_t spare_waits = 0;      ///< rotations that found no segment ready
  std::uint64_t admission_waits = 0;  ///< appends that waited for room
  std::uint64_t in_flight = 0;        ///< commits now
  std::uint64_t buffered_bytes = 0;   ///< now
  std::uint64_t spares_ready = 0;     ///< now
};

namespace detail {

/// A coroutine that waits in a journal: for room, or for durability.
struct JournalWaiter : ReadyNode {
  Lsn until;                ///< sync_through: resumed when durable_lsn reaches it
  std::uint64_t bytes = 0;  ///< append: room wanted
  Error error;
  bool granted = false;  ///< append: room was granted, and must be used or given back
};

/// The part that append, append_batch and append_durable share; see Journal::append.
class AppendCore {
 public:
  AppendCore(const AppendCore&) = delete;
  AppendCore& operator=(const AppendCore&) = delete;

 protected:
  AppendCore(JournalCore& core, std::span<const RecordRef> records) noexcept;
  AppendCore(JournalCore& core, const RecordRef& record) noexcept;
  AppendCore(AppendCore&& other) noexcept;
  ~AppendCore();

  std::span<const RecordRef> records() const noexcept;
  bool admit() noexcept;  ///< true: copy() now, for the record or the error
  /// False when a stop had been requested.
  bool arm_stop(TaskContext& context) noexcept;
  bool wait(std::coroutine_handle<> frame, TaskContext& context) noexcept;
  Result<Ticket> copy() noexcept;
  Result<Ticket> copy_now() noexcept;

  struct Stop : StopCallback {
    explicit Stop(AppendCore& owner) noexcept : StopCallback(&AppendCore::stopped), append(owner) {}
    AppendCore& append;
  };
  static void stopped(StopCallback& callback) noexcept;

  JournalCore* core_;
  std::span<const RecordRef> batch_;
  RecordRef single_;
  bool is_batch_ = false;
  JournalWaiter waiter_;
  StopState* stop_state_ = nullptr;
  Stop stop_{*this};
};

}  // namespace detail

/// What append returns. -> Result<Ticket>
class [[nodiscard]] AppendAwait : public detail::AppendCore {
 public:
  AppendAwait(AppendAwait&&) noexcept = default;
  bool await_ready() noexcept { return admit(); }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return wait(frame, *frame.promise().context);
  }
  Result<Ticket> await_resume() noexcept { return copy(); }

 private:
  friend class Journal;
  using AppendCore::AppendCore;
};

/// What sync_through returns. -> Result<void>
class [[nodiscard]] SyncThroughAwait {
 public:
  SyncThroughAwait(SyncThroughAwait&& other) noexcept;
  ~SyncThroughAwait();
  bool await_ready() noexcept;
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return wait(frame, *frame.promise().context);
  }
  Result<void> await_resume() noexcept;

 private:
  friend class Journal;
  friend class detail::JournalCore;
  SyncThroughAwait(detail::JournalCore& core, Lsn until, Error refusal) noexcept;
  bool wait(std::coroutine_handle<> frame, TaskContext& context) noexcept;
  struct Stop : StopCallback {
    explicit Stop(SyncThroughAwait& owner) noexcept
        : StopCallback(&SyncThroughAwait::stopped), sync(owner) {}
    SyncThroughAwait& sync;
  };
  static void stopped(StopCallback& callback) noexcept;

  detail::JournalCore* core_;
  detail::JournalWaiter waiter_;
  StopState* stop_state_ = nullptr;
  Stop stop_{*this};
};

/// What append_durable returns: one await, resumed when the record is durable. -> Result<Ticket>
class [[nodiscard]] DurableAwait : public detail::AppendCore {
 public:
  DurableAwait(DurableAwait&& other) noexcept;
  ~DurableAwait();
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return begin(frame, *frame.promise().context);
  }
  Result<Ticket> await_resume() noexcept;

 private:
  friend class Journal;
  using AppendCore::AppendCore;
  bool begin(std::coroutine_handle<> frame, TaskContext& context) noexcept;
  bool copy_and_wait() noexcept;
  void frame_ready() noexcept;
  /// Room came: copies, then waits for durability with the same node.
  static void room_granted(ReadyCall& call) noexcept;
  struct Turn : ReadyCall {
    explicit Turn(DurableAwait& owner) noexcept
        : ReadyCall(&DurableAwait::room_granted), await(owner) {}
    DurableAwait& await;
  };
  Turn turn_{*this};
  ReadyQueue* context_ready_ = nullptr;
  std::coroutine_handle<> frame_;
  Ticket ticket_;
  bool copied_ = false;
};

class Journal {
 public:
  /// Opens `dir`, creating it and the journal when missing, and recovers it. When this returns,
  /// what it recovered is durable and stays. Errors, and then nothing in the directory was changed:
  /// corrupt (names segment and offset, says why), missing_segment, manifest_lost, bad_format
  /// (unknown version or feature), locked (a = milliseconds waited), tail_unreadable, poisoned (a
  /// buffered journal in the boot that poisoned it), out_of_range (an option), the system's own.
  /// What seems to be corrupt or missing because the device could not read something is reported as
  /// the device's error, with the conclusion in its note.
  /// Cancel: a stop ends waiting for the lock; recovery is not cut short. Allocates.
  static Task<Result<std::unique_ptr<Journal>>> open(Reactor& reactor, std::string dir,
                                                     JournalOptions options = {});
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  /// Seals nothing: what is not with the device is gone. Waiters resume with Errc::closed.
  ~Journal();

  /// Copies the record into the commit that is being filled and gives it its LSN. Suspends only
  /// when buffered_bytes_max is reached or no segment is ready; waits first come, first served.
  /// From the LSN to the caller's next co_await nothing else runs, and LSNs are given in that
  /// order.
  /// -> Ticket. Errors: overflow (a = bytes, b = the limit) for a record above the limit; poisoned;
  /// closed; no_space while no segment can be made; unsupported when read-only.
  /// Durable: not yet. Cancel: a stop ends the waiting for room, and nothing was appended.
  AppendAwait append(RecordRef record) noexcept;
  /// All in one commit: after a crash all are there, or none. The ticket spans from the first's
  /// begin to the last's end. Errors: as append; out_of_range for an empty batch.
  AppendAwait append_batch(std::span<const RecordRef> records) noexcept;
  /// As append, but never suspends: Errc::busy instead.
  Result<Ticket> try_append(RecordRef record) noexcept;
  /// append and sync_through in one await -> Ticket, once durable.
  DurableAwait append_durable(RecordRef record) noexcept;

  /// Resumes once the record of `ticket` is durable. Errors: poisoned (the record is
  /// indeterminate); closed; lost when the ticket is of an earlier open whose end lies below it.
  SyncThroughAwait sync_through(const Ticket& ticket) noexcept;
  /// Errors: also out_of_range for an end beyond next_lsn().
  SyncThroughAwait sync_through(Lsn end) noexcept;
  /// Everything that has been appended.
  SyncThroughAwait sync_all() noexcept;

  /// head <= durable <= next, always.
  Lsn head_lsn() const noexcept;
  Lsn durable_lsn() const noexcept;
  Lsn next_lsn() const noexcept;

  /// Largest payload of a record, and total of a batch with 16 bytes and padding to 8 for each.
  std::uint64_t record_bytes_max() const noexcept;
  const JournalRecovery& recovery() const noexcept;
  JournalBackend backend() const noexcept;
  JournalStats stats() const noexcept;
  /// The first failure, if there was one.
  Error poison() const noexcept;
  std::string_view dir() const noexcept;

  /// Waits for everything appended, ends the journal cleanly, releases the lock. Appends are
  /// refused from the call on. Errors: poisoned; the system's where the last segment is full and no
  /// other can be made: then everything appended is durable, and the next open finds a torn end.
  Task<Result<void>> close();

 private:
  friend class JournalReader;
  explicit Journal(std::unique_ptr<detail::JournalCore> core) noexcept;
  std::unique_ptr<detail::JournalCore> core_;
};

}  // namespace diorite
