// The leaf awaitables: starting, ending, stopping and dying. See io.hpp for the rules.

#include <cerrno>

#include "file/file_core.hpp"

#include <diorite/assert.hpp>
#include <diorite/io.hpp>

namespace diorite {
namespace detail {
namespace {

bool writes_or_syncs(OpCode code) noexcept { return code == OpCode::write || syncs_file(code); }

// An exact write that is taken back between two steps has changed the file all the same.
bool has_progress(const Op& op) noexcept {
  return op.code == OpCode::write && static_cast<const TransferOp&>(op).done > 0;
}

}  // namespace

bool LeafCore::start(Op& op, std::coroutine_handle<> frame, TaskContext& context) noexcept {
  if (!prepare(op, frame, context)) return false;
  ReactorAccess::submit(*reactor_, op);
  return true;
}

bool LeafCore::prepare(Op& op, std::coroutine_handle<> frame, TaskContext& context) noexcept {
  DIORITE_ASSERT(op_ == nullptr, "an awaitable is awaited once");
  DIORITE_ASSERT(context.reactor == reactor_, "an operation belongs to another reactor");
  op_ = &op;
  if (context.stop != nullptr) {
    stop_state_ = context.stop;
    if (stop_state_->stop_requested()) return false;
    stop_.arm(*stop_state_);
  }
  op.set_frame(frame);
  return true;
}

Error LeafCore::end() noexcept {
  stop_.disarm();
  if (op_->state == OpState::idle) {
    return stop_error(stop_state_->reason());  // stopped before it started
  }
  DIORITE_ASSERT(op_->state == OpState::done && !op_->linked(), "resumed before the completion");
  if (op_->result >= 0) return {};
  if (was_stopped()) return stop_error(stop_state_->reason());
  return Error::from_driver(op_->result);
}

bool LeafCore::was_stopped() const noexcept {
  return op_ != nullptr && op_->state == OpState::done && op_->result == -ECANCELED &&
         stop_state_ != nullptr && stop_state_->stop_requested();
}

void LeafCore::stopped(StopCallback& callback) noexcept {
  LeafCore& leaf = static_cast<Stop&>(callback).leaf;
  Op& op = *leaf.op_;
  if (leaf.waits_at_gate()) {
    op.unlink();
  } else {
    if (!leaf.with_driver()) return;  // completed: its own result stands
    if (!ReactorAccess::remove(*leaf.reactor_, op)) {
      op.flags |= kOpLastStep;  // what the device has, completes; the rest is not begun
      return;
    }
  }
  op.result = -ECANCELED;
  op.state = OpState::done;
  ReactorAccess::ready(*leaf.reactor_).push(op);
}

bool LeafCore::abandon() noexcept {
  stop_.disarm();
  if (op_ == nullptr) return false;
  if (!with_driver() && op_->linked()) op_->unlink();
  return with_driver() && !ReactorAccess::remove(*reactor_, *op_);
}

void LeafCore::orphan(Pin buffer, Pin file, OrphanHook hook) noexcept {
  ReactorAccess::orphan(*reactor_, *op_, std::move(buffer), std::move(file), hook);
  op_ = nullptr;
}

void LeafCore::reap() noexcept { ReactorAccess::reap(*reactor_, *op_); }

FileLeaf::FileLeaf(FileRef file, const char* operation, Error refusal) noexcept
    : LeafCore(file->reactor), file_(std::move(file)), operation_(operation), refusal_(refusal) {}

bool FileLeaf::start_on_file(Op& op, std::coroutine_handle<> frame, TaskContext& context) noexcept {
  // Looked at here and not when the awaitable was made: things may have happened in between.
  ErrorContext about{.operation = operation_};
  if (op.code == OpCode::read || op.code == OpCode::write) {
    about.offset = op.offset;
    about.length = static_cast<TransferOp&>(op).total;
  }
  refusal_ = file_->refusal(op.code, about);
  if (refusal_) return false;
  op.file = file_->handle;
  if (!prepare(op, frame, context)) return false;
  if (file_->op_started(op)) ReactorAccess::submit(reactor(), op);
  return true;
}

Error FileLeaf::end_on_file(Op& op, std::uint64_t offset, std::uint64_t length) noexcept {
  if (refusal_) return refusal_;
  if (refused_at_gate()) {
    leave_stop();
    file_->op_removed(op);
    return file_->poisoned({.operation = operation_, .offset = offset, .length = length});
  }
  const bool submitted = op.state != OpState::idle;
  const bool taken_back = was_stopped() && !has_progress(op);
  Error error = end();
  // What failed meanwhile may have been told of the loss that this one was to ask about.
  if (syncs_file(op.code) && submitted && !taken_back && file_->poison) {
    error = file_->poisoned({.operation = operation_});
  }
  if (error) {
    error = with_context(
        error, {.operation = operation_, .path = file_->path, .offset = offset, .length = length});
  }
  if (taken_back) {
    file_->op_removed(op);
  } else if (submitted) {
    file_->op_ended(op, error);
  }
  return error;
}

void FileLeaf::die_on_file(Op& op, Pin buffer, bool borrowed) noexcept {
  if (!started()) return;
  // Linked and done: it ended, but its coroutine was destroyed before it could hear of it.
  const bool unheard = op.state == OpState::done && op.linked();
  const bool taken_back = unheard && was_stopped();
  const bool not_begun = with_driver() || waits_at_gate();
  if (abandon()) {
    if (!borrowed) {
      const OrphanHook hook = file_->orphan_hook(op);
      orphan(std::move(buffer), std::move(file_).pin(), hook);
      return;
    }
    reap();
    // Nobody is left to send the rest: as for an orphan, it has failed.
    const bool is_cut = op.result >= 0 && static_cast<std::uint32_t>(op.result) < op.bytes;
    if (op.code == OpCode::write && is_cut) op.result = -EIO;
  } else if (not_begun || taken_back) {
    if (has_progress(op)) {
      file_->unheard_op_ended(op, Error());
    } else {
      file_->op_removed(op);
    }
    return;
  } else if (!unheard) {
    return;
  }
  const Error error = op.result < 0 ? Error::from_driver(op.result) : Error();
  // A write that was given up because its coroutine dies did not take place.
  const bool given_up = op.code == OpCode::write && is_cancelled(error);
  // The driver counts those that it was left with.
  if (error && writes_or_syncs(op.code) && !given_up) {
    ++ReactorAccess::stats(file_->reactor).orphan_errors;
  }
  file_->unheard_op_ended(op, error);
}

TransferLeaf::TransferLeaf(FileRef file, const char* operation, Error refusal, OpCode code,
                           std::uint8_t flags, std::byte* data, std::uint64_t bytes,
                           std::uint64_t offset) noexcept
    : FileLeaf(std::move(file), operation, refusal), offset_(offset) {
  op_.code = code;
  op_.flags = flags;
  op_.data = data;
  op_.offset = offset;
  op_.bytes = static_cast<std::uint32_t>(bytes < kIoBytesMax ? bytes : kIoBytesMax);
  op_.total = bytes;
  // A transfer that was cut short goes on where it was cut; only direct I/O has to go back to the
  // beginning of the block.
  const DioAlign& align = file_->align;
  const std::uint32_t unit = code == OpCode::read ? align.read_offset : align.offset;
  op_.align_log2 = file_->direct ? log2_of(unit) : std::uint8_t{0};
}

IoResult TransferLeaf::finish() noexcept {
  Error error = end_on_file(op_, offset_, op_.total);
  if ((op_.flags & kOpExact) == 0) {
    return IoResult(error, error ? 0 : static_cast<std::uint64_t>(op_.result));
  }
  if (!error && op_.done < op_.total) {
    error = with_context(Error(Errc::short_io, op_.total, op_.done),
                         {.operation = operation_,
                          .path = file_->path,
                          .offset = offset_,
                          .length = op_.total,
                          .note = op_.code == OpCode::read ? "the file ends here"
                                                           : "the system took no more bytes"});
  }
  return IoResult(error, op_.done);
}

}  // namespace detail

VoidAwait::VoidAwait(detail::FileRef file, const char* operation, Error refusal, OpCode code,
                     std::uint8_t flags, std::uint64_t length, bool done) noexcept
    : FileLeaf(std::move(file), operation, refusal), done_(done) {
  op_.code = code;
  op_.flags = flags;
  op_.length = length;
}

Result<void> VoidAwait::await_resume() noexcept {
  if (done_) return {};
  const std::uint64_t length = detail::changes_file(op_.code) ? op_.length : ErrorContext::kNone;
  if (const Error error = end_on_file(op_, ErrorContext::kNone, length)) return error;
  return {};
}

Result<FileInfo> InfoAwait::await_resume() noexcept {
  if (const Error error = end_on_file(op_, ErrorContext::kNone, ErrorContext::kNone)) return error;
  return op_.info;
}

Result<std::uint64_t> SizeAwait::await_resume() noexcept {
  if (const Error error = end_on_file(op_, ErrorContext::kNone, ErrorContext::kNone)) return error;
  return op_.info.bytes;
}

NopAwait::~NopAwait() {
  if (!abandon()) return;
  const OrphanHook hook{[](void* context, OpCode code, std::int64_t result) noexcept {
                          detail::ReactorAccess::orphan_ended(*static_cast<Reactor*>(context), code,
                                                              result);
                        },
                        &reactor()};
  orphan(Pin(), Pin(), hook);
}

Result<void> NopAwait::await_resume() noexcept {
  if (const Error error = end()) return error;
  return {};
}

}  // namespace diorite
