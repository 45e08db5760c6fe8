#include "file/file_core.hpp"

#include <cerrno>
#include <utility>

#include <diorite/assert.hpp>

namespace diorite::detail {
namespace {

// Of a sync that was given up nobody knows what it has done: those that relied on it ask again.
SyncGate::Outcome outcome_of(const Error& error) noexcept {
  if (!error) return SyncGate::Outcome::success;
  return is_cancelled(error) ? SyncGate::Outcome::not_begun : SyncGate::Outcome::failure;
}

}  // namespace

FileRef::FileRef(const FileRef& other) noexcept : core_(other.core_) {
  if (core_ != nullptr) core_->add_ref();
}

void FileRef::release(FileCore* core) noexcept { core->release(); }

Pin FileRef::pin() && noexcept {
  FileCore* const core = std::exchange(core_, nullptr);
  DIORITE_ASSERT(core != nullptr, "a pin of no file");
  return Pin(core, [](void* object) noexcept { static_cast<FileCore*>(object)->release(); });
}

FileRef FileCore::make(Reactor& reactor, DriverFile handle, std::string path) {
  return FileRef(new FileCore(reactor, handle, std::move(path)));
}

FileCore::FileCore(Reactor& owner, DriverFile open_handle, std::string open_path) noexcept
    : reactor(owner), handle(open_handle), path(std::move(open_path)) {
  ReactorAccess::file_opened(reactor);
}

FileCore::~FileCore() {
  DIORITE_ASSERT(!handle && in_flight == 0, "a file's record died before the file");
  ReactorAccess::file_closed(reactor);
}

void FileCore::release() noexcept {
  DIORITE_ASSERT(refs_ > 0, "a file was released more often than it was held");
  if (--refs_ > 0) return;
  if (shared_from_) let_go_of_shared();
  if (!handle) {
    delete this;
    return;
  }
  // This may run inside the driver's poll, where nothing must be submitted, or in a destructor,
  // which must not wait for close(2): so through the ready queue, and then through the driver.
  ReactorAccess::ready(reactor).push(closer_);
}

void FileCore::finish_close(ReadyCall& call) noexcept {
  FileCore& core = static_cast<Closer&>(call).core;
  if (core.close_op_.state == OpState::idle) {
    core.close_op_.code = OpCode::close;
    core.close_op_.file = core.handle;
    core.close_op_.set_call(core.closer_);
    ReactorAccess::submit(core.reactor, core.close_op_);
    return;
  }
  // One that was cancelled before the system began with it has closed nothing.
  if (core.close_op_.result == -ECANCELED && !core.close_repeated_) {
    core.close_repeated_ = true;
    core.close_op_.state = OpState::idle;
    core.close_op_.set_call(core.closer_);
    ReactorAccess::submit(core.reactor, core.close_op_);
    return;
  }
  if (core.close_op_.result < 0) ++ReactorAccess::stats(core.reactor).deferred_close_errors;
  core.handle_closed();
  delete &core;
}

bool FileCore::is_durable_write(const Op& op) const noexcept {
  return op.code == OpCode::write && (opened_dsync || (op.flags & kOpDsync) != 0);
}

bool FileCore::passes_gate(const Op& op) const noexcept {
  return syncs_file(op.code) || (!direct && is_durable_write(op));
}

bool FileCore::op_started(Op& op) noexcept {
  ++in_flight;
  if (changes_file(op.code)) ++changes_in_flight_;
  if (!passes_gate(op)) return true;
  if (!gate_.enter(op)) return false;
  if (syncs_file(op.code)) sync_submitted(op);
  return true;
}

void FileCore::op_is_over(OpCode code) noexcept {
  DIORITE_ASSERT(in_flight > 0, "the end of an operation that never started");
  if (changes_file(code)) {
    DIORITE_ASSERT(changes_in_flight_ > 0, "the end of a change that never started");
    --changes_in_flight_;
  }
  if (--in_flight == 0 && idle_waiter != nullptr) {
    ReactorAccess::ready(reactor).push(*std::exchange(idle_waiter, nullptr));
  }
}

void FileCore::op_removed(const Op& op) noexcept {
  if (gate_.holds(op)) gate_.leave(SyncGate::Outcome::not_begun);
  op_is_over(op.code);
}

void FileCore::op_ended(const Op& op, const Error& error) noexcept {
  const bool durable_write = is_durable_write(op);
  if (changes_file(op.code)) {
    // A failed change may have happened in part.
    if (!durable_write || error) ++changed_;
    // A later sync would succeed and say nothing of this write (ext4, XFS), so it is kept here. A
    // durable write through the page cache may have been told of the failure of an earlier one.
    const bool syncs_others = !direct && durable_write && changed_ - 1 != synced_;
    if (is_device(error) || (error && !is_cancelled(error) && syncs_others)) poison_with(error);
  } else if (syncs_file(op.code)) {
    const std::uint64_t covered = static_cast<const InfoOp&>(op).length;
    if (!error) {
      if (covered > synced_) synced_ = covered;
    } else if (!is_cancelled(error) || error == std::errc::operation_canceled) {
      poison_with(error);
    }
  }
  if (gate_.holds(op)) gate_.leave(outcome_of(error));
  op_is_over(op.code);
}

void FileCore::unheard_op_ended(const Op& op, const Error& error) noexcept {
  change_lost(op.code, error);
  if (gate_.holds(op)) gate_.leave(outcome_of(error));
  op_is_over(op.code);
}

void FileCore::change_lost(OpCode code, const Error& error) noexcept {
  if (changes_file(code)) ++changed_;
  // An allocation that found no room has lost nothing, and a write that was given up was promised
  // to nobody.
  const bool given_up = code == OpCode::write && is_cancelled(error);
  // Reads lose nothing, whatever the device says.
  const bool loses_data =
      code == OpCode::write || syncs_file(code) || (changes_file(code) && is_device(error));
  if (error && loses_data && !given_up) {
    poison_with(with_context(error, {.operation = to_string(code),
                                     .path = path,
                                     .note = "its coroutine was gone before it failed"}));
  }
}

Error FileCore::refusal(OpCode code, ErrorContext about) const noexcept {
  about.path = path;
  // An awaitable may have been made before close() and awaited after it. The number of a closed
  // descriptor may be another file's by then.
  if (closing) return with_context(Error(Errc::closed), about);
  if (changes_file(code) && !writable) {
    about.note = "the file was opened for reading only";
    return with_context(Error(std::make_error_code(std::errc::bad_file_descriptor)), about);
  }
  if (shared_from_ && syncs_file(code)) {
    about.note = "a shared file is synced by the reactor that opened it";
    return with_context(Error(std::make_error_code(std::errc::bad_file_descriptor)), about);
  }
  if (poison && (changes_file(code) || syncs_file(code))) return poisoned(about);
  return {};
}

void FileCore::poison_with(const Error& cause) noexcept {
  if (!poison) poison = cause;
}

Error FileCore::poisoned(ErrorContext about) const noexcept {
  DIORITE_ASSERT(static_cast<bool>(poison), "a healthy file answers that it is poisoned");
  about.path = path;
  about.note = "reopen the file and read back what had been synced";
  return with_context(Error(Errc::poisoned, static_cast<std::uint64_t>(poison.code().value())),
                      about);
}

OrphanHook FileCore::orphan_hook(const Op& op) noexcept {
  if (!gate_.holds(op)) return OrphanHook{&FileCore::orphan_ended, this};
  gate_.holder_orphaned();
  return OrphanHook{&FileCore::gate_orphan_ended, this};
}

void FileCore::orphan_ended(void* context, OpCode code, std::int64_t result) noexcept {
  auto& core = *static_cast<FileCore*>(context);
  ReactorAccess::orphan_ended(core.reactor, code, result);
  // A coroutine that dies asks for a cancel. A sync that was given up for it never began: nothing
  // is lost, and nothing is durable.
  const bool given_up = syncs_file(code) && result == -ECANCELED;
  if (!given_up) core.change_lost(code, result < 0 ? Error::from_driver(result) : Error());
  core.op_is_over(code);
}

void FileCore::gate_orphan_ended(void* context, OpCode code, std::int64_t result) noexcept {
  auto& core = *static_cast<FileCore*>(context);
  orphan_ended(context, code, result);
  core.gate_.leave(outcome_of(result < 0 ? Error::from_driver(result) : Error()));
}

}  // namespace diorite::detail
