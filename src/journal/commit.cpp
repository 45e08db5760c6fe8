// Commits: sealed, written, made durable, acknowledged in order; and what the first failure does.

#include <new>
#include <utility>

#include "journal/core.hpp"
#include "journal/crc32c.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>

namespace diorite::detail {
namespace {

constexpr std::string_view kIndeterminate =
    "records above this LSN are indeterminate; destroy the journal and open it again";

}  // namespace

/// Parks a flight until it has a commit to write.
class JournalCore::FlightAwait {
 public:
  FlightAwait(JournalCore& core, Flight& flight) noexcept : core_(core), flight_(flight) {}
  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    flight_.commit = nullptr;
    flight_.node.set_frame(frame);
    core_.idle_flights_.push_back(&flight_);
  }
  CommitBuffer& await_resume() const noexcept { return *flight_.commit; }

 private:
  JournalCore& core_;
  Flight& flight_;
};

void JournalCore::end_of_turn(TurnHook& hook) noexcept {
  JournalCore& core = static_cast<Hook&>(hook).core;
  if (core.poison_) return;
  core.seal_if_due();
  core.launch();
}

void JournalCore::seal_if_due() noexcept {
  if (open_ == nullptr || !sealed_.empty()) return;
  if (flying_.empty()) {
    seal_open(stats_.commits_idle);
  } else if (flying_count_ < options_.in_flight_max &&
             wal::kCommitHeaderBytes + open_->header.body_bytes >= options_.fill_bytes) {
    seal_open(stats_.commits_fill);
  }
}

void JournalCore::seal_open(std::uint64_t& reason) noexcept {
  CommitBuffer& commit = *std::exchange(open_, nullptr);
  DIORITE_ASSERT(commit.state == CommitState::open, "sealing a commit that is not open");
  commit.header.prev_lsn = last_commit_lsn_;
  commit.header.frames_crc = wal::crc32c_finish(commit.frames_state);
  const std::uint64_t footprint = commit.footprint();
  const auto bytes = commit.memory().first(static_cast<std::size_t>(footprint));
  wal::encode_commit_header(bytes, commit.header);
  wal::zero_commit_padding(bytes, commit.header.body_bytes);
  commit.state = CommitState::sealed;
  sealed_.push_back(commit);
  last_commit_lsn_ = commit.header.lsn;
  next_commit_lsn_ = commit.end_lsn();
  DIORITE_ASSERT(next_commit_lsn_ <= commit.segment->end(), "a commit leaves its segment");
  ++reason;
  ++stats_.commits;
  stats_.payload_bytes += commit.payload_bytes;
  stats_.device_bytes += footprint;
  stats_.pad_bytes += footprint - wal::kCommitHeaderBytes - commit.header.body_bytes;
}

void JournalCore::launch() noexcept {
  while (!sealed_.empty() && flying_count_ < options_.in_flight_max && !idle_flights_.empty()) {
    launch_one(*sealed_.pop_front());
  }
}

void JournalCore::launch_one(CommitBuffer& commit) noexcept {
  DIORITE_ASSERT(!poison_, "a commit is written after a failure");
  DIORITE_ASSERT(durable_lsn_ <= commit.header.lsn, "the durable mark passed a commit in memory");
  // The mark is taken now and not at sealing: a commit may have waited while others became durable.
  commit.header.durable_lsn = durable_lsn_;
  commit.header.header_crc = wal::finish_commit_header(
      commit.memory(), durable_lsn_, link_.header_crc, commit.segment->header.salt);
  link_ = wal::link_of(commit.header);
  commit.state = CommitState::flying;
  flying_.push_back(commit);
  ++flying_count_;
  ++device_count_;
  ++activity_;
  Flight& flight = *idle_flights_.back();
  idle_flights_.pop_back();
  flight.commit = &commit;
  ReactorAccess::ready(reactor_).push(flight.node);
}

Result<CommitBuffer*> JournalCore::take_buffer(std::uint64_t bytes) noexcept {
  if (bytes > options_.commit_bytes_max) {
    return CommitBuffer::create(align_up(bytes, store_->pad_unit));
  }
  if (!pool_.empty()) {
    CommitBuffer* const commit = pool_.back();
    pool_.pop_back();
    return commit;
  }
  Result<CommitBuffer*> commit = CommitBuffer::create(options_.commit_bytes_max);
  if (commit) (*commit)->pooled = true;
  return commit;
}

void JournalCore::give_back(CommitBuffer& commit) noexcept {
  commit.segment.reset();
  commit.state = CommitState::free;
  if (commit.pooled && pool_.size() < pool_.capacity()) {
    pool_.push_back(&commit);
  } else {
    commit.release();
  }
}

Task<> JournalCore::fly(Flight& flight) {
  for (;;) {
    FlightAwait next(*this, flight);
    CommitBuffer& commit = co_await next;
    WriteFlags flags;
    flags.dsync = options_.sync == JournalSync::dsync;
    WriteBufAwait<PinnedBuf> writing =
        commit.segment->file.write_at(commit.pinned(), commit.file_offset(), flags);
    Error error;
    {
      // The result brings the pin back; it goes before the commit may be reused.
      const PinIoResult result = co_await std::move(writing);
      error = result.error();
    }
    --device_count_;
    if (error) {
      fail(error);
    } else {
      written(commit);
    }
  }
}

void JournalCore::written(CommitBuffer& commit) noexcept {
  DIORITE_ASSERT(commit.state == CommitState::flying, "a commit completed twice");
  if (options_.sync == JournalSync::dsync) {
    commit.state = CommitState::durable;
    acknowledge();
  } else {
    commit.state = CommitState::written;
    kick(flusher_node_);
    // After a failure no sync follows that could tell.
    if (poison_) wake_closer_if_idle();
  }
}

CommitBuffer* JournalCore::next_unsynced() const noexcept {
  for (CommitBuffer* commit = flying_.front(); commit != nullptr; commit = flying_.next(*commit)) {
    if (commit->state == CommitState::written) return commit;
  }
  return nullptr;
}

void JournalCore::acknowledge() noexcept {
  if (poison_) {
    wake_closer_if_idle();
    return;
  }
  bool advanced = false;
  for (CommitBuffer* commit = flying_.front();
       commit != nullptr && commit->state == CommitState::durable; commit = flying_.front()) {
    commit->unlink();
    --flying_count_;
    DIORITE_ASSERT(durable_lsn_ < commit->end_lsn(), "the durable mark went backwards");
    durable_lsn_ = commit->end_lsn();
    promised_lsn_ = std::max(promised_lsn_, commit->header.durable_lsn);
    buffered_bytes_ -= commit->buffered_bytes;
    if (commit->header.record_count > 0) confirm_due_ = true;
    give_back(*commit);
    advanced = true;
  }
  if (!advanced) return;
  wake_durable();
  grant_next();
  if (confirm_due_ && options_.confirm_idle_ms > 0) kick(confirmer_node_);
  wake_closer_if_idle();
}

void JournalCore::wake_closer_if_idle() noexcept {
  if (closer_ == nullptr || device_count_ > 0) return;
  if (poison_ || is_idle()) ReactorAccess::ready(reactor_).push(*std::exchange(closer_, nullptr));
}

void JournalCore::wait_durable(JournalWaiter& waiter) noexcept {
  // Waiters come nearly in the order of their LSNs, so the place is found from the end.
  JournalWaiter* before = durable_.back();
  while (before != nullptr && before->until > waiter.until) before = durable_.prev(*before);
  durable_.insert_after(before, waiter);
}

void JournalCore::wake_durable() noexcept {
  ReadyQueue& ready = ReactorAccess::ready(reactor_);
  for (JournalWaiter* waiter = durable_.front();
       waiter != nullptr && waiter->until.value <= durable_lsn_; waiter = durable_.front()) {
    waiter->unlink();
    waiter->granted = true;
    ready.push(*waiter);
  }
}

Error JournalCore::indeterminate(const char* operation) const noexcept {
  return with_context(
      Error(Errc::poisoned, static_cast<std::uint64_t>(poison_.code().value())),
      {.operation = operation,
       .path = store_->dir,
       .offset = durable_lsn_,
       .note = poison_note_.empty() ? kIndeterminate : std::string_view(poison_note_)});
}

void JournalCore::fail(const Error& cause) noexcept {
  if (!poison_) {
    poison_ = cause;
    try {
      poison_note_ = fmt::format("{}; the cause: {}", kIndeterminate, cause.text());
    } catch (const std::bad_alloc&) {
      poison_note_.clear();
    }
    // First of all: a waiter that hears of the failure may destroy the journal.
    kick(keeper_node_);
    background_stop_.request_stop();
    const Error error = indeterminate("journal");
    fail_admissions(error);
    while (JournalWaiter* waiter = durable_.pop_front()) {
      waiter->error = error;
      ReactorAccess::ready(reactor_).push(*waiter);
    }
    kick(flusher_node_);
    kick(confirmer_node_);
  }
  wake_closer_if_idle();
}

}  // namespace diorite::detail
