// Background work: segments made ahead, MANIFEST, syncs of the flush back end, CONFIRM; and
// closing.

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>

#include "journal/core.hpp"

#include <diorite/align.hpp>
#include <diorite/assert.hpp>
#include <diorite/timer.hpp>

namespace diorite::detail {
namespace {

Error out_of_memory(const JournalStore& store) noexcept {
  return with_context(Error(std::make_error_code(std::errc::not_enough_memory)),
                      {.operation = "journal", .path = store.dir});
}

}  // namespace

/// Parks a background coroutine until kick() of its node.
class JournalCore::ParkAwait {
 public:
  explicit ParkAwait(ReadyNode& node) noexcept : node_(node) {}
  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    node_.set_frame(frame);
  }
  void await_resume() const noexcept { node_.clear_target(); }

 private:
  ReadyNode& node_;
};

/// Waits until no commit is anywhere between its first record and its acknowledgement; after a
/// failure, until none is with the device.
class JournalCore::IdleAwait {
 public:
  explicit IdleAwait(JournalCore& core) noexcept : core_(core) {}
  IdleAwait(const IdleAwait&) = delete;
  ~IdleAwait() {
    if (node_.linked()) node_.unlink();
    if (core_.closer_ == &node_) core_.closer_ = nullptr;
  }
  bool await_ready() const noexcept {
    return core_.poison_ ? core_.device_count_ == 0 : core_.is_idle();
  }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    DIORITE_ASSERT(core_.closer_ == nullptr, "two wait for a journal to be idle");
    node_.set_frame(frame);
    core_.closer_ = &node_;
  }
  void await_resume() const noexcept {}

 private:
  JournalCore& core_;
  ReadyNode node_;
};

/// While close() runs, the journal must not die under it.
class JournalCore::CloseMark {
 public:
  explicit CloseMark(bool& runs) noexcept : runs_(runs) { runs_ = true; }
  CloseMark(const CloseMark&) = delete;
  CloseMark& operator=(const CloseMark&) = delete;
  ~CloseMark() { runs_ = false; }

 private:
  bool& runs_;
};

JournalCore::JournalCore(Reactor& reactor, OpenedJournal opened)
    : reactor_(reactor),
      store_(std::move(opened.store)),
      options_(store_->options),
      recovery_(opened.recovery),
      segment_(std::move(opened.segment)),
      spares_(std::move(opened.spares)),
      next_commit_lsn_(opened.next_commit_lsn),
      last_commit_lsn_(opened.link.lsn),
      link_(opened.link),
      next_record_no_(opened.link.next_record_no),
      durable_lsn_(opened.next_commit_lsn),
      promised_lsn_(opened.next_commit_lsn) {
  if (options_.fill_bytes == 0) options_.fill_bytes = store_->pad_unit;
  // A full buffer is written with its padding.
  options_.commit_bytes_max =
      static_cast<std::uint32_t>(align_up(options_.commit_bytes_max, store_->pad_unit));
  // Commits are sealed early only when they are full, so two neighbours hold more than one commit's
  // worth of admitted bytes together: the budget bounds their number.
  const std::uint64_t queued = 2 * options_.buffered_bytes_max / options_.commit_bytes_max;
  pool_.reserve(static_cast<std::size_t>(queued + options_.in_flight_max + 2));
  // Closing may make one more than the options ask for.
  spares_.reserve(std::max<std::size_t>(spares_.size(), options_.spares + 1));
  store_->expect_ranges(spares_.size());
}

Result<void> JournalCore::start() {
  if (store_->read_only) return {};
  Result<CommitBuffer*> first = take_buffer(wal::kCommitHeaderBytes);
  if (!first) return first.error();
  give_back(**first);
  flights_ = std::vector<Flight>(options_.in_flight_max);
  idle_flights_.reserve(flights_.size());
  for (Flight& flight : flights_) flight.task = diorite::start(reactor_, fly(flight));
  keeper_ = diorite::start(reactor_, keep(), background_stop_.token());
  confirmer_ = diorite::start(reactor_, confirm(), background_stop_.token());
  if (options_.sync == JournalSync::flush) flusher_ = diorite::start(reactor_, flush());
  reactor_.add_turn_hook(hook_);
  return {};
}

JournalCore::~JournalCore() {
  DIORITE_ASSERT(!close_runs_, "a journal was destroyed while it is being closed");
  // Whoever still waits hears of it, and touches the journal no more.
  ReadyQueue& ready = ReactorAccess::ready(reactor_);
  const Error closed =
      with_context(Error(Errc::closed), {.operation = "journal", .path = store_->dir});
  fail_admissions(closed);
  while (JournalWaiter* waiter = durable_.pop_front()) {
    waiter->error = closed;
    ready.push(*waiter);
  }
  for (ReadyNode* node : {&keeper_node_, &flusher_node_, &confirmer_node_}) {
    if (node->linked()) node->unlink();
  }
  for (Flight& flight : flights_) {
    if (flight.node.linked()) flight.node.unlink();
  }
  background_stop_.request_stop();
  // The frames go before what they refer to; writes in flight keep their buffers and files by pins.
  keeper_ = {};
  confirmer_ = {};
  flusher_ = {};
  flights_.clear();
  if (open_ != nullptr) open_->release();
  while (CommitBuffer* commit = sealed_.pop_front()) commit->release();
  while (CommitBuffer* commit = flying_.pop_front()) commit->release();
  for (CommitBuffer* commit : pool_) commit->release();
}

void JournalCore::kick(ReadyNode& node) noexcept {
  if (node.has_target() && !node.linked()) ReactorAccess::ready(reactor_).push(node);
}

bool JournalCore::rotate() noexcept {
  if (spares_.empty()) return false;
  DIORITE_ASSERT(open_ == nullptr, "rotating away from an open commit");
  store_->live.back().end = next_commit_lsn_;
  segment_ = std::move(spares_.front());
  spares_.erase(spares_.begin());
  next_commit_lsn_ = segment_->data_begin();
  LiveRange range;
  range.segment_seq = segment_->header.segment_seq;
  range.begin = next_commit_lsn_;
  DIORITE_ASSERT(store_->live.size() < store_->live.capacity(),
                 "a spare without a place in the log");
  store_->live.push_back(range);
  ++stats_.rotations;
  manifest_stale_ = true;
  prepare_wanted_ = true;
  kick(keeper_node_);
  return true;
}

wal::ManifestSlot JournalCore::manifest_now() const noexcept {
  wal::ManifestSlot manifest = store_->manifest();
  manifest.tail_seq_floor = std::max(manifest.tail_seq_floor, segment_->header.segment_seq);
  manifest.durable_floor = durable_lsn_;
  manifest.state = wal::ManifestState::dirty;
  manifest.end_lsn = 0;
  return manifest;
}

Task<Result<void>> JournalCore::refresh_manifest() {
  const wal::ManifestSlot manifest = manifest_now();
  Result<void> outcome = co_await store_->write_manifest(manifest);
  if (outcome) promised_lsn_ = std::max(promised_lsn_, manifest.durable_floor);
  co_return std::move(outcome);
}

/// The place that the segment will have in the log comes first: rotate() must not fail.
Task<Result<SegmentRef>> JournalCore::make_spare() {
  store_->expect_ranges(spares_.size() + 1);
  co_return co_await store_->prepare_next();
}

// MANIFEST's slot that counts is untouched, and tells less than could be told: as it did a moment
// ago, when the rotation had not been written down yet. So lack of memory can wait for the next
// rotation, or for close(), as long as nothing of the other slot was written.
void JournalCore::refresh_failed(const Error& error) noexcept {
  if (error == std::errc::not_enough_memory && store_->can_write_manifest()) return;
  fail(error);
}

void JournalCore::take_spare(Result<SegmentRef> spare) noexcept {
  if (spare) {
    prepare_error_ = Error();
    ++stats_.segments_created;
    spares_.push_back(std::move(*spare));
    grant_next();
  } else {
    prepare_error_ = spare.error();
    prepare_wanted_ = false;
    fail_unplaced();
  }
}

// Nobody awaits it before the end, so an exception would end all background work unseen. A
// cancellation that was not asked for is a failure like any other.
Task<> JournalCore::keep() {
  for (;;) {
    if (poison_) {
      try {
        co_await record_poison();
      } catch (const std::bad_alloc&) {
        // Tried, as with a device that fails again.
      }
    }
    if (background_stop_.stop_requested()) co_return;
    if (manifest_stale_) {
      manifest_stale_ = false;
      Result<void> outcome;
      try {
        outcome = co_await refresh_manifest();
      } catch (const std::bad_alloc&) {
        outcome = out_of_memory(*store_);
      }
      if (!outcome && !was_stopped(outcome.error())) refresh_failed(outcome.error());
    } else if (prepare_wanted_ && spares_.size() < options_.spares) {
      Result<SegmentRef> spare = SegmentRef();
      try {
        spare = co_await make_spare();
      } catch (const std::bad_alloc&) {
        spare = out_of_memory(*store_);
      }
      if (!was_stopped(spare.error())) take_spare(std::move(spare));
    } else {
      co_await ParkAwait(keeper_node_);
    }
  }
}

// The page cache may show bytes that are not on the device until the next boot, so a buffered
// journal must not be believed before. Best effort: the device has just failed.
Task<> JournalCore::record_poison() {
  if (store_->direct || std::exchange(poison_recorded_, true)) co_return;
  wal::ManifestSlot manifest = manifest_now();
  const auto& boot = reactor_.driver().boot_id;
  std::transform(boot.begin(), boot.end(), manifest.poison_boot.begin(),
                 [](std::uint8_t byte) { return std::byte{byte}; });
  // The background work, and perhaps close() too, was told to stop; this must be done all the same.
  [[maybe_unused]] const Result<void> tried =
      co_await TaskAwaiter<Result<void>>(store_->write_manifest(manifest), &reactor_.context());
}

Task<> JournalCore::flush() {
  while (!poison_) {
    CommitBuffer* const oldest = next_unsynced();
    if (oldest == nullptr) {
      co_await ParkAwait(flusher_node_);
      continue;
    }
    // A sync covers the writes of its own file that had completed when it was submitted, and no
    // others.
    const SegmentRef segment = oldest->segment;
    for (CommitBuffer* commit = oldest; commit != nullptr; commit = flying_.next(*commit)) {
      commit->under_sync = commit->state == CommitState::written && commit->segment == segment;
    }
    ++stats_.syncs;
    ++device_count_;
    Result<void> synced = co_await segment->file.sync_data();
    --device_count_;
    if (!synced) {
      fail(synced.error());
      co_return;
    }
    for (CommitBuffer* commit = flying_.front(); commit != nullptr;
         commit = flying_.next(*commit)) {
      if (std::exchange(commit->under_sync, false)) commit->state = CommitState::durable;
    }
    acknowledge();
  }
}

Result<Lsn> JournalCore::add_control(wal::CommitKind kind) noexcept {
  DIORITE_ASSERT(open_ == nullptr && fits_segment(next_commit_lsn_, 0),
                 "no place for a control commit");
  Result<CommitBuffer*> buffer = take_buffer(wal::kCommitHeaderBytes);
  if (!buffer) return buffer.error();
  open_ = *buffer;
  open_->begin(segment_, next_commit_lsn_, next_record_no_);
  open_->header.kind = kind;
  seal_open(stats_.commits_confirm);
  return Lsn{next_commit_lsn_};
}

Task<> JournalCore::confirm() {
  while (!poison_ && !background_stop_.stop_requested()) {
    if (!confirm_due_ || options_.confirm_idle_ms == 0) {
      co_await ParkAwait(confirmer_node_);
      continue;
    }
    const std::uint64_t before = activity_;
    Result<void> slept = co_await sleep_for(std::chrono::milliseconds(options_.confirm_idle_ms));
    // No timer could be had. The next durable record asks again.
    if (!slept) confirm_due_ = false;
    if (!slept || poison_ || closing_) continue;
    // A granted append counts on the room that it was shown.
    if (activity_ != before || !is_idle() || granted_ != nullptr) continue;
    confirm_due_ = false;
    // The next commit or the MANIFEST carries the mark if there is no room for one of its own.
    if (promised_lsn_ >= durable_lsn_ || !fits_segment(next_commit_lsn_, 0)) continue;
    [[maybe_unused]] const Result<Lsn> added = add_control(wal::CommitKind::confirm);
  }
}

Task<> JournalCore::stop_background() {
  background_stop_.request_stop();
  kick(keeper_node_);
  kick(confirmer_node_);
  co_await std::move(keeper_);
  co_await std::move(confirmer_);
}

Task<Result<void>> JournalCore::end_cleanly() {
  if (!fits_segment(next_commit_lsn_, 0)) {
    if (spares_.empty()) {
      Result<SegmentRef> spare = co_await make_spare();
      if (!spare) co_return spare.error();
      spares_.push_back(std::move(*spare));
    }
    rotate();
  }
  Result<Lsn> end = add_control(wal::CommitKind::close);
  if (!end) co_return end.error();
  SyncThroughAwait closed(*this, *end, Error());
  Result<void> durable = co_await std::move(closed);
  if (!durable) co_return durable.error();
  wal::ManifestSlot manifest = manifest_now();
  manifest.state = wal::ManifestState::clean;
  manifest.end_lsn = durable_lsn_;
  co_return co_await store_->write_manifest(manifest);
}

Task<Result<void>> JournalCore::close() {
  if (closing_) {
    co_return with_context(Error(Errc::closed), {.operation = "close", .path = store_->dir});
  }
  closing_ = true;
  const CloseMark mark(close_runs_);
  if (store_->read_only) co_return co_await store_->close();
  fail_admissions(with_context(Error(Errc::closed), {.operation = "append", .path = store_->dir}));
  co_await IdleAwait(*this);
  co_await stop_background();
  Result<void> ended;
  if (poison_) {
    ended = indeterminate("close");
  } else {
    ended = co_await end_cleanly();
    // Stopped while its commit is with the device, it must not give LOCK away yet.
    co_await IdleAwait(*this);
  }
  if (poison_) co_await record_poison();
  Result<void> released = co_await store_->close();
  if (!ended) co_return ended.error();
  co_return std::move(released);
}

JournalStats JournalCore::stats() const noexcept {
  JournalStats stats = stats_;
  stats.in_flight = flying_count_;
  stats.buffered_bytes = buffered_bytes_;
  stats.spares_ready = spares_.size();
  return stats;
}

}  // namespace diorite::detail
