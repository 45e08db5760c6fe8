// Admission and copying: how a record gets its place in the open commit.

#include "journal/core.hpp"

#include <algorithm>

#include "journal/frame.hpp"

#include <diorite/align.hpp>
#include <diorite/assert.hpp>

namespace diorite::detail {
namespace {

wal::BatchPosition position_of(std::size_t index, std::size_t count) noexcept {
  if (count == 1) return wal::BatchPosition::only;
  if (index == 0) return wal::BatchPosition::first;
  return index + 1 == count ? wal::BatchPosition::last : wal::BatchPosition::middle;
}

}  // namespace

std::uint64_t JournalCore::frames_bytes(std::span<const RecordRef> records) noexcept {
  std::uint64_t bytes = 0;
  for (const RecordRef& record : records) bytes += wal::frame_bytes(record.bytes());
  return bytes;
}

std::uint64_t JournalCore::record_bytes_max() const noexcept {
  // A record must fit into an empty segment, whichever is filled next.
  std::uint64_t capacity =
      std::min(options_.segment_bytes,
               segment_ == nullptr ? options_.segment_bytes : segment_->header.capacity);
  for (const SegmentRef& spare : spares_) capacity = std::min(capacity, spare->header.capacity);
  return wal::record_bytes_max(capacity, store_->pad_unit);
}

Error JournalCore::refusal(std::span<const RecordRef> records) const noexcept {
  const ErrorContext context{.operation = "append", .path = store_->dir};
  if (poison_) return indeterminate("append");
  if (closing_) return with_context(Error(Errc::closed), context);
  if (store_->read_only) {
    return with_context(Error(Errc::unsupported),
                        {.operation = "append",
                         .path = store_->dir,
                         .note = "the journal is open read-only; see backend()"});
  }
  if (records.empty()) {
    return with_context(
        Error(Errc::out_of_range),
        {.operation = "append_batch", .path = store_->dir, .note = "a batch of no records"});
  }
  const std::uint64_t limit = record_bytes_max();
  std::uint64_t total = 0;
  for (const RecordRef& record : records) {
    // Checked one by one before they are added, so that the sum cannot wrap.
    if (record.bytes() > limit) {
      return with_context(Error(Errc::overflow, record.bytes(), limit), context);
    }
    total += wal::frame_bytes(record.bytes());
    if (total > wal::frame_bytes(limit)) {
      return with_context(
          Error(Errc::overflow, total, wal::frame_bytes(limit)),
          {.operation = "append_batch",
           .path = store_->dir,
           .note = "a batch is one commit: 16 bytes and padding to 8 count for each record"});
    }
  }
  return {};
}

bool JournalCore::fits_segment(std::uint64_t lsn, std::uint64_t bytes) const noexcept {
  const std::uint64_t footprint =
      align_up(wal::kCommitHeaderBytes + bytes, segment_->header.pad_unit);
  return footprint <= segment_->end() - lsn;
}

bool JournalCore::fits_open(std::uint64_t bytes) const noexcept {
  return open_ != nullptr && bytes <= open_->body_room() &&
         fits_segment(open_->header.lsn, open_->header.body_bytes + bytes);
}

bool JournalCore::fits_behind_open(std::uint64_t bytes) const noexcept {
  return fits_segment(open_ != nullptr ? open_->end_lsn() : next_commit_lsn_, bytes);
}

bool JournalCore::has_room_now(std::uint64_t bytes) const noexcept {
  return within_budget(bytes) && (fits_open(bytes) || fits_behind_open(bytes) || !spares_.empty());
}

void JournalCore::enqueue(JournalWaiter& waiter) noexcept {
  ++stats_.admission_waits;
  admission_.push_back(waiter);
  if (within_budget(waiter.bytes) && spares_.empty()) {
    ++stats_.spare_waits;
    ask_for_spare();
  }
  grant_next();
}

void JournalCore::ask_for_spare() noexcept {
  if (!spares_.empty()) return;
  prepare_wanted_ = true;
  kick(keeper_node_);
}

// One waiter at a time has room: the next one is looked at when it has copied. So what was found
// free for a waiter is still free when it resumes, although it does so through the ready queue.
// What may come in between is the sealing of the open commit, so its remaining room does not count
// here.
void JournalCore::grant_next() noexcept {
  if (granted_ != nullptr || admission_.empty()) return;
  JournalWaiter& waiter = *admission_.front();
  if (!within_budget(waiter.bytes)) return;
  if (!fits_behind_open(waiter.bytes) && spares_.empty()) {
    // Its budget may have kept it until now, long after the last attempt to make one failed.
    ask_for_spare();
    return;
  }
  waiter.unlink();
  waiter.granted = true;
  granted_ = &waiter;
  ReactorAccess::ready(reactor_).push(waiter);
}

void JournalCore::leave(JournalWaiter& waiter) noexcept {
  if (granted_ == &waiter) granted_ = nullptr;
  grant_next();
}

void JournalCore::fail_admissions(const Error& error) noexcept {
  if (granted_ != nullptr) std::exchange(granted_, nullptr)->error = error;
  while (JournalWaiter* waiter = admission_.pop_front()) {
    waiter->error = error;
    ReactorAccess::ready(reactor_).push(*waiter);
  }
}

// Called when no spare could be made: whoever needs one must hear of it, and may try again.
void JournalCore::fail_unplaced() noexcept {
  while (JournalWaiter* waiter = admission_.front()) {
    if (fits_behind_open(waiter->bytes) || !spares_.empty()) break;
    waiter->unlink();
    waiter->error = with_context(
        is_no_space(prepare_error_) ? Error(Errc::no_space) : prepare_error_,
        {.operation = "append",
         .path = store_->dir,
         .note = "the segment is full and no other could be prepared; free space and try again"});
    ReactorAccess::ready(reactor_).push(*waiter);
  }
  // Whoever stood behind them may need less room.
  grant_next();
}

Error JournalCore::open_commit(std::uint64_t bytes) noexcept {
  // Also from outside a turn, by try_append: the commit is sealed at the end of the next one.
  ReactorAccess::ready(reactor_).touch();
  DIORITE_ASSERT(open_ == nullptr, "two commits are open");
  Result<CommitBuffer*> buffer = take_buffer(wal::kCommitHeaderBytes + bytes);
  if (!buffer) return buffer.error();
  if (!fits_segment(next_commit_lsn_, bytes) && !rotate()) {
    give_back(**buffer);
    return Error(Errc::no_space);
  }
  open_ = *buffer;
  open_->begin(segment_, next_commit_lsn_, next_record_no_);
  return {};
}

Result<Ticket> JournalCore::copy_in(std::span<const RecordRef> records,
                                    std::uint64_t bytes) noexcept {
  if (open_ != nullptr && !fits_open(bytes)) seal_open(stats_.commits_full);
  if (open_ == nullptr) {
    if (const Error error = open_commit(bytes)) {
      return with_context(error, {.operation = "append", .path = store_->dir});
    }
  }
  CommitBuffer& commit = *open_;
  Ticket ticket;
  ticket.begin = Lsn{commit.tail_lsn()};
  ticket.record_no = next_record_no_;
  ticket.epoch = store_->epoch;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const RecordRef& record = records[i];
    wal::FrameSpec spec;
    spec.lsn = commit.tail_lsn();
    spec.commit_off = wal::kCommitHeaderBytes + commit.header.body_bytes;
    spec.tag = record.tag();
    spec.batch = position_of(i, records.size());
    const std::uint64_t written =
        wal::encode_frame(commit.memory().subspan(spec.commit_off), spec, record.head(),
                          record.body(), segment_->header.salt, commit.frames_state);
    commit.header.body_bytes += static_cast<std::uint32_t>(written);
    ++commit.header.record_count;
    commit.payload_bytes += record.bytes();
  }
  next_record_no_ += records.size();
  ticket.end = Lsn{commit.tail_lsn()};
  commit.buffered_bytes += bytes;
  buffered_bytes_ += bytes;
  stats_.records += records.size();
  DIORITE_ASSERT(durable_lsn_ < ticket.begin.value, "an LSN below the durable mark was given out");
  return ticket;
}

AppendCore::AppendCore(JournalCore& core, std::span<const RecordRef> records) noexcept
    : core_(&core), batch_(records), single_(std::span<const std::byte>()), is_batch_(true) {}

AppendCore::AppendCore(JournalCore& core, const RecordRef& record) noexcept
    : core_(&core), single_(record) {}

AppendCore::AppendCore(AppendCore&& other) noexcept
    : core_(other.core_), batch_(other.batch_), single_(other.single_), is_batch_(other.is_batch_) {
  DIORITE_ASSERT(!other.waiter_.has_target(), "an awaitable was moved after it had been started");
}

AppendCore::~AppendCore() {
  if (waiter_.linked()) waiter_.unlink();
  // With an error the journal has let go of this waiter, and may be gone itself.
  if (waiter_.has_target() && !waiter_.error) core_->leave(waiter_);
}

std::span<const RecordRef> AppendCore::records() const noexcept {
  return is_batch_ ? batch_ : std::span<const RecordRef>(&single_, 1);
}

bool AppendCore::admit() noexcept {
  waiter_.error = core_->refusal(records());
  if (waiter_.error) return true;
  waiter_.bytes = JournalCore::frames_bytes(records());
  return core_->nobody_waits() && core_->has_room_now(waiter_.bytes);
}

bool AppendCore::arm_stop(TaskContext& context) noexcept {
  if (context.stop == nullptr) return true;
  stop_state_ = context.stop;
  if (stop_state_->stop_requested()) {
    waiter_.error = stop_error(stop_state_->reason());
    return false;
  }
  stop_.arm(*stop_state_);
  return true;
}

bool AppendCore::wait(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  if (!arm_stop(context)) return false;
  waiter_.set_frame(frame);
  core_->enqueue(waiter_);
  return true;
}

Result<Ticket> AppendCore::copy() noexcept {
  stop_.disarm();
  Result<Ticket> ticket = copy_now();
  if (waiter_.has_target() && !waiter_.error) core_->leave(waiter_);
  waiter_.clear_target();
  return ticket;
}

Result<Ticket> AppendCore::copy_now() noexcept {
  if (waiter_.error) return waiter_.error;
  if (waiter_.granted) {
    // The journal may have failed or been closed since admission.
    if (const Error refused = core_->refusal(records())) return refused;
  }
  return core_->copy_in(records(), waiter_.bytes);
}

void AppendCore::stopped(StopCallback& callback) noexcept {
  AppendCore& self = static_cast<Stop&>(callback).append;
  if (self.waiter_.granted || self.waiter_.error) return;  // it has room, or a result
  DIORITE_ASSERT(self.waiter_.linked(), "a waiter that stands in no list");
  self.waiter_.unlink();
  self.waiter_.error = stop_error(self.stop_state_->reason());
  ReactorAccess::ready(self.core_->reactor()).push(self.waiter_);
  self.core_->grant_next();
}

}  // namespace diorite::detail

namespace diorite {

using detail::ReactorAccess;

DurableAwait::DurableAwait(DurableAwait&& other) noexcept : AppendCore(std::move(other)) {}

DurableAwait::~DurableAwait() {
  // The base leaves the list of either kind of wait; a node without a target asks for nothing more.
  if (copied_) {
    if (waiter_.linked()) waiter_.unlink();
    waiter_.clear_target();
  }
}

bool DurableAwait::begin(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  frame_ = frame;
  context_ready_ = context.ready;
  if (!arm_stop(context)) return false;
  if (admit()) return copy_and_wait();
  waiter_.set_call(turn_);
  core_->enqueue(waiter_);
  return true;
}

/// True when durability is now waited for; false when there is an error to tell.
bool DurableAwait::copy_and_wait() noexcept {
  Result<Ticket> ticket = copy_now();
  if (!ticket) {
    waiter_.error = ticket.error();
    return false;
  }
  ticket_ = *ticket;
  copied_ = true;
  waiter_.granted = false;
  waiter_.until = ticket_.end;
  waiter_.set_frame(frame_);
  core_->wait_durable(waiter_);
  return true;
}

void DurableAwait::room_granted(ReadyCall& call) noexcept {
  DurableAwait& self = static_cast<Turn&>(call).await;
  detail::JournalCore* const core = self.core_;
  if (self.waiter_.error) {
    // The wait for room ended otherwise; the coroutine hears of it in its turn.
    self.frame_ready();
    return;
  }
  if (self.stop_state_ != nullptr && self.stop_state_->stop_requested()) {
    // The callback is spent, and could not end the wait for durability any more.
    self.waiter_.error = stop_error(self.stop_state_->reason());
    core->leave(self.waiter_);
    self.frame_ready();
    return;
  }
  const bool waits = self.copy_and_wait();
  core->leave(self.waiter_);
  if (!waits) self.frame_ready();
}

void DurableAwait::frame_ready() noexcept {
  waiter_.set_frame(frame_);
  context_ready_->push(waiter_);
}

Result<Ticket> DurableAwait::await_resume() noexcept {
  stop_.disarm();
  waiter_.clear_target();
  if (waiter_.error) return waiter_.error;
  return ticket_;
}

}  // namespace diorite
