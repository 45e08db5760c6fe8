// Journal: the public face of JournalCore.

#include <diorite/journal.hpp>

#include <algorithm>
#include <utility>

#include "journal/core.hpp"

#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite {

const char* to_string(JournalVerdict verdict) noexcept {
  switch (verdict) {
    case JournalVerdict::created:
      return "created";
    case JournalVerdict::clean:
      return "clean";
    case JournalVerdict::torn:
      return "torn";
    case JournalVerdict::torn_unreadable:
      return "torn, unreadable";
  }
  return "unknown";
}

Task<Result<std::unique_ptr<Journal>>> Journal::open(Reactor& reactor, std::string dir,
                                                     JournalOptions options) {
  DIORITE_CO_TRY(detail::OpenedJournal opened,
                 co_await detail::open_journal(reactor, std::move(dir), options));
  auto core = std::make_unique<detail::JournalCore>(reactor, std::move(opened));
  DIORITE_CO_CHECK(core->start());
  co_return std::unique_ptr<Journal>(new Journal(std::move(core)));
}

Journal::Journal(std::unique_ptr<detail::JournalCore> core) noexcept : core_(std::move(core)) {}
Journal::~Journal() = default;

AppendAwait Journal::append(RecordRef record) noexcept { return AppendAwait(*core_, record); }

AppendAwait Journal::append_batch(std::span<const RecordRef> records) noexcept {
  return AppendAwait(*core_, records);
}

Result<Ticket> Journal::try_append(RecordRef record) noexcept {
  const std::span<const RecordRef> records(&record, 1);
  if (const Error refused = core_->refusal(records)) return refused;
  const std::uint64_t bytes = detail::JournalCore::frames_bytes(records);
  if (!core_->nobody_waits() || !core_->has_room_now(bytes)) {
    core_->ask_for_spare();
    return with_context(Error(Errc::busy), {.operation = "try_append", .path = dir()});
  }
  return core_->copy_in(records, bytes);
}

DurableAwait Journal::append_durable(RecordRef record) noexcept {
  return DurableAwait(*core_, record);
}

SyncThroughAwait Journal::sync_through(const Ticket& ticket) noexcept {
  const detail::JournalStore& store = core_->store();
  if (ticket.epoch == store.epoch) return sync_through(ticket.end);
  const bool cut_away =
      std::any_of(store.cuts.begin(), store.cuts.end(), [&](const detail::CutMark& cut) {
        return cut.epoch > ticket.epoch && ticket.end.value > cut.cut_lsn;
      });
  Error refusal;
  if (cut_away || ticket.epoch > store.epoch) {
    refusal =
        with_context(Error(Errc::lost, ticket.record_no),
                     {.operation = "sync_through",
                      .path = store.dir,
                      .offset = ticket.begin.value,
                      .note = "the record was appended before a crash and did not survive it"});
  }
  // What an earlier open appended and recovery kept is durable.
  return SyncThroughAwait(*core_, Lsn{0}, refusal);
}

SyncThroughAwait Journal::sync_through(Lsn end) noexcept {
  Error refusal;
  if (end > next_lsn()) {
    refusal = with_context(Error(Errc::out_of_range, end.value, next_lsn().value),
                           {.operation = "sync_through",
                            .path = dir(),
                            .offset = end.value,
                            .note = "nothing has been appended there"});
  }
  return SyncThroughAwait(*core_, end, refusal);
}

SyncThroughAwait Journal::sync_all() noexcept { return sync_through(next_lsn()); }

Lsn Journal::head_lsn() const noexcept { return Lsn{core_->store().head_lsn}; }
Lsn Journal::durable_lsn() const noexcept { return Lsn{core_->durable_lsn()}; }
Lsn Journal::next_lsn() const noexcept { return Lsn{core_->next_lsn()}; }
std::uint64_t Journal::record_bytes_max() const noexcept { return core_->record_bytes_max(); }
const JournalRecovery& Journal::recovery() const noexcept { return core_->recovery(); }
JournalStats Journal::stats() const noexcept { return core_->stats(); }
Error Journal::poison() const noexcept { return core_->poison(); }
std::string_view Journal::dir() const noexcept { return core_->store().dir; }

JournalBackend Journal::backend() const noexcept {
  const detail::JournalStore& store = core_->store();
  JournalBackend backend;
  backend.sync = store.options.sync;
  backend.direct = store.direct;
  backend.direct_reason = store.direct_reason;
  backend.driver = core_->reactor().driver().name;
  backend.pad_unit = store.pad_unit;
  backend.lock_registered = store.lock_registered;
  backend.read_only = store.read_only;
  return backend;
}

Task<Result<void>> Journal::close() { return core_->close(); }

SyncThroughAwait::SyncThroughAwait(detail::JournalCore& core, Lsn until, Error refusal) noexcept
    : core_(&core) {
  waiter_.until = until;
  waiter_.error = refusal;
}

SyncThroughAwait::SyncThroughAwait(SyncThroughAwait&& other) noexcept : core_(other.core_) {
  DIORITE_ASSERT(!other.waiter_.has_target(), "an awaitable was moved after it had been started");
  waiter_.until = other.waiter_.until;
  waiter_.error = other.waiter_.error;
}

SyncThroughAwait::~SyncThroughAwait() {
  if (waiter_.linked()) waiter_.unlink();
}

bool SyncThroughAwait::await_ready() noexcept {
  if (waiter_.error || waiter_.until.value <= core_->durable_lsn()) return true;
  if (core_->poison()) waiter_.error = core_->indeterminate("sync_through");
  return static_cast<bool>(waiter_.error);
}

bool SyncThroughAwait::wait(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  if (context.stop != nullptr) {
    stop_state_ = context.stop;
    if (stop_state_->stop_requested()) {
      waiter_.error = stop_error(stop_state_->reason());
      return false;
    }
    stop_.arm(*stop_state_);
  }
  waiter_.set_frame(frame);
  core_->wait_durable(waiter_);
  return true;
}

Result<void> SyncThroughAwait::await_resume() noexcept {
  stop_.disarm();
  if (waiter_.error) return waiter_.error;
  return {};
}

void SyncThroughAwait::stopped(StopCallback& callback) noexcept {
  SyncThroughAwait& self = static_cast<Stop&>(callback).sync;
  if (self.waiter_.granted || self.waiter_.error) return;  // it has a result
  self.waiter_.unlink();
  self.waiter_.error = stop_error(self.stop_state_->reason());
  detail::ReactorAccess::ready(self.core_->reactor()).push(self.waiter_);
}

}  // namespace diorite
