// IoResult, BufResult, and the awaitables of single operations.
//
// A transfer answers with an error, a byte count and, where it owned one, the buffer: all three,
// always. The awaitables have no coroutine frame and allocate nothing; the operation's record lives
// in the frame of the coroutine that awaits. Users get them from DirectFile and name them rarely.
//
// Thread: the reactor's.
// Lifetime: an awaitable starts at co_await, may be moved before that and never after (asserted).
// If its coroutine is destroyed while the operation is
//   - waiting in user space: it is taken back and never reaches the file;
//   - with the device, its buffer owned or pinned: the driver keeps the buffer until the operation
//     ends, and the destructor does not wait. A write may still reach the disk;
//   - with the device, its buffer borrowed (RawIoBuf, ConstIoBuf): the destructor waits for the
//     device, and ReactorStats::blocking_reaps counts it.
// A write or sync that fails after its coroutine is gone poisons its file and is counted.
// Cancel: a stop takes the operation back while it waits in user space; what the device has,
// completes, and the operation's own result is the answer. The coroutine is always resumed. An
// exact transfer whose step was cut short then ends as stopped, with the bytes that were moved.
//
//   BufIoResult r = co_await file.read_at(std::move(page), 0);
//   if (!r) log(r.error().text(), r.bytes());
//   AlignedBuf again = std::move(r).buf();      // error or not

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <diorite/buffer.hpp>
#include <diorite/driver/op.hpp>
#include <diorite/pin.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

/// How a transfer ended. False when it failed; bytes() counts also then.
class [[nodiscard]] IoResult {
 public:
  IoResult(Error error, std::uint64_t bytes) noexcept : error_(error), bytes_(bytes) {}
  explicit operator bool() const noexcept { return !error_; }
  Error error() const noexcept { return error_; }
  /// Bytes that are known to have been transferred, from the beginning of the buffer on.
  std::uint64_t bytes() const noexcept { return bytes_; }
  std::uint64_t operator*() const noexcept { return bytes_; }

 private:
  Error error_;
  std::uint64_t bytes_;
};

/// An IoResult that brings the buffer back.
template <class B>
class [[nodiscard]] BufResult : public IoResult {
 public:
  BufResult(Error error, std::uint64_t bytes, B buffer) noexcept
      : IoResult(error, bytes), buffer_(std::move(buffer)) {}
  B& buf() & noexcept { return buffer_; }
  const B& buf() const& noexcept { return buffer_; }
  B buf() && noexcept { return std::move(buffer_); }
  B operator*() && noexcept { return std::move(buffer_); }

 private:
  B buffer_;
};
using BufIoResult = BufResult<AlignedBuf>;
using PinIoResult = BufResult<PinnedBuf>;

namespace detail {

class FileCore;
class LockedDir;

/// A counted reference to an open file: keeps its descriptor open under every operation.
class FileRef {
 public:
  FileRef() noexcept = default;
  /// Takes over one count.
  explicit FileRef(FileCore* core) noexcept : core_(core) {}
  FileRef(const FileRef& other) noexcept;
  FileRef(FileRef&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  FileRef& operator=(FileRef other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~FileRef() {
    if (core_ != nullptr) release(core_);
  }
  FileCore* get() const noexcept { return core_; }
  FileCore* operator->() const noexcept { return core_; }
  FileCore& operator*() const noexcept { return *core_; }
  explicit operator bool() const noexcept { return core_ != nullptr; }
  /// The same count as a Pin, for the driver to hold.
  Pin pin() && noexcept;

 private:
  static void release(FileCore* core) noexcept;
  FileCore* core_ = nullptr;
};

class SharedCore;

/// A counted reference to a file that is read from several threads; copied on any of them.
class SharedRef {
 public:
  SharedRef() noexcept = default;
  /// Takes over one count.
  explicit SharedRef(SharedCore* core) noexcept : core_(core) {}
  SharedRef(const SharedRef& other) noexcept;
  SharedRef(SharedRef&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  SharedRef& operator=(SharedRef other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~SharedRef() {
    if (core_ != nullptr) release(core_);
  }
  SharedCore* operator->() const noexcept { return core_; }
  SharedCore& operator*() const noexcept { return *core_; }
  explicit operator bool() const noexcept { return core_ != nullptr; }

 private:
  static void release(SharedCore* core) noexcept;
  SharedCore* core_ = nullptr;
};

/// What every leaf awaitable does: start once, hear a stop, end once, die at any moment. The Op
/// itself is the derived class'.
class LeafCore {
 public:
  LeafCore(const LeafCore&) = delete;
  LeafCore& operator=(const LeafCore&) = delete;

 protected:
  explicit LeafCore(Reactor& reactor) noexcept : reactor_(&reactor) {}
  LeafCore(LeafCore&& other) noexcept : reactor_(other.reactor_) {
    DIORITE_ASSERT(other.op_ == nullptr, "an awaitable was moved after it had been started");
  }
  ~LeafCore() { DIORITE_ASSERT(!with_driver(), "an awaitable died without giving its op away"); }

  /// Gets ready to be submitted. False when a stop had been requested before: the operation does
  /// not take place.
  bool prepare(Op& op, std::coroutine_handle<> frame, TaskContext& context) noexcept;
  /// prepare(), and submits.
  bool start(Op& op, std::coroutine_handle<> frame, TaskContext& context) noexcept;
  /// Leaves the stop source; the operation's error, if it has one. Requires: completed.
  Error end() noexcept;

  bool started() const noexcept { return op_ != nullptr; }
  /// True when a stop took it back, or the system gave it up for one: it is done and did not take
  /// place.
  bool was_stopped() const noexcept;
  bool with_driver() const noexcept {
    return op_ != nullptr && (op_->state == OpState::backlog || op_->state == OpState::in_flight);
  }
  /// Started, and not submitted before its file lets it: see DirectFile::sync_data.
  bool waits_at_gate() const noexcept {
    return op_ != nullptr && op_->state == OpState::idle && op_->linked();
  }
  /// Resumed, and never submitted: its file was poisoned while it waited.
  bool refused_at_gate() const noexcept {
    return op_->state == OpState::idle &&
           (stop_state_ == nullptr || !stop_state_->stop_requested());
  }
  void leave_stop() noexcept { stop_.disarm(); }
  /// For destructors: leaves the ready queue and the stop source, and takes the operation back if
  /// the system has not seen it. True when it is in flight: then orphan() or reap() it.
  bool abandon() noexcept;
  void orphan(Pin buffer, Pin file, OrphanHook hook) noexcept;
  void reap() noexcept;

  Reactor& reactor() const noexcept { return *reactor_; }

 private:
  struct Stop : StopCallback {
    explicit Stop(LeafCore& owner) noexcept : StopCallback(&LeafCore::stopped), leaf(owner) {}
    LeafCore& leaf;
  };
  static void stopped(StopCallback& callback) noexcept;

  Reactor* reactor_;
  Op* op_ = nullptr;
  StopState* stop_state_ = nullptr;
  Stop stop_{*this};
};

/// What an operation on an open file adds: the file's count, its poison, its alignment.
class FileLeaf : public LeafCore {
 protected:
  /// `refusal`: an error found before the start; the awaitable is then ready at once.
  FileLeaf(FileRef file, const char* operation, Error refusal) noexcept;
  FileLeaf(FileLeaf&& other) noexcept = default;
  ~FileLeaf() = default;

  bool start_on_file(Op& op, std::coroutine_handle<> frame, TaskContext& context) noexcept;
  /// The outcome, told to the file. `offset` and `length` are what the user asked for.
  Error end_on_file(Op& op, std::uint64_t offset, std::uint64_t length) noexcept;
  /// For destructors; `buffer` is what the device may still touch, empty when it is borrowed.
  void die_on_file(Op& op, Pin buffer, bool borrowed) noexcept;

  FileRef file_;
  const char* operation_;
  Error refusal_;
};

/// Reads and writes.
class TransferLeaf : public FileLeaf {
 public:
  bool await_ready() const noexcept { return static_cast<bool>(refusal_); }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start_on_file(op_, frame, *frame.promise().context);
  }

 protected:
  TransferLeaf(FileRef file, const char* operation, Error refusal, OpCode code, std::uint8_t flags,
               std::byte* data, std::uint64_t bytes, std::uint64_t offset) noexcept;
  TransferLeaf(TransferLeaf&& other) noexcept = default;
  ~TransferLeaf() = default;
  IoResult finish() noexcept;

  TransferOp op_;
  std::uint64_t offset_;
};

}  // namespace detail

/// A transfer on borrowed memory. -> IoResult
class [[nodiscard]] TransferAwait : public detail::TransferLeaf {
 public:
  TransferAwait(TransferAwait&&) noexcept = default;
  ~TransferAwait() { die_on_file(op_, Pin(), true); }
  IoResult await_resume() noexcept { return finish(); }

 private:
  friend class DirectFile;
  using TransferLeaf::TransferLeaf;
};
using ReadAwait = TransferAwait;
using WriteAwait = TransferAwait;

/// A transfer on memory that it owns or holds a pin of. -> BufResult<B>
template <class B>
class [[nodiscard]] BufTransferAwait : public detail::TransferLeaf {
 public:
  BufTransferAwait(BufTransferAwait&&) noexcept = default;
  ~BufTransferAwait() {
    if (!with_driver()) {
      die_on_file(op_, Pin(), true);
      return;
    }
    Pin pin = take_pin(std::move(buffer_));
    const bool borrowed = !pin;
    die_on_file(op_, std::move(pin), borrowed);
  }
  BufResult<B> await_resume() noexcept {
    const bool is_read = op_.code == OpCode::read;
    IoResult result = finish();
    // A read fills from the beginning, so what is valid now is what was read.
    if (is_read && started()) {
      [[maybe_unused]] const Result<void> set =
          buffer_.set_len(static_cast<std::size_t>(result.bytes()));
    }
    return BufResult<B>(result.error(), result.bytes(), std::move(buffer_));
  }

 private:
  friend class DirectFile;
  BufTransferAwait(detail::FileRef file, const char* operation, Error refusal, OpCode code,
                   std::uint8_t flags, std::byte* data, std::uint64_t bytes, std::uint64_t offset,
                   B buffer) noexcept
      : TransferLeaf(std::move(file), operation, refusal, code, flags, data, bytes, offset),
        buffer_(std::move(buffer)) {}
  static Pin take_pin(AlignedBuf&& buffer) noexcept { return pin_memory(std::move(buffer)); }
  static Pin take_pin(PinnedBuf&& buffer) noexcept { return std::move(buffer).take_pin(); }

  B buffer_;
};
template <class B>
using ReadBufAwait = BufTransferAwait<B>;
template <class B>
using WriteBufAwait = BufTransferAwait<B>;

/// An operation on a file that moves no data of the caller. -> Result<void>
class [[nodiscard]] VoidAwait : public detail::FileLeaf {
 public:
  VoidAwait(VoidAwait&&) noexcept = default;
  ~VoidAwait() { die_on_file(op_, Pin(), false); }
  bool await_ready() const noexcept { return done_ || static_cast<bool>(refusal_); }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start_on_file(op_, frame, *frame.promise().context);
  }
  Result<void> await_resume() noexcept;

 protected:
  friend class DirectFile;
  VoidAwait(detail::FileRef file, const char* operation, Error refusal, OpCode code,
            std::uint8_t flags = 0, std::uint64_t length = 0, bool done = false) noexcept;

  InfoOp op_;
  bool done_;  ///< nothing to do: ready at once, without an error
};
using SyncAwait = VoidAwait;

/// -> Result<FileInfo>, as the system tells it now.
class [[nodiscard]] InfoAwait : public VoidAwait {
 public:
  Result<FileInfo> await_resume() noexcept;

 private:
  friend class DirectFile;
  using VoidAwait::VoidAwait;
};

/// -> Result<std::uint64_t>, bytes.
class [[nodiscard]] SizeAwait : public VoidAwait {
 public:
  Result<std::uint64_t> await_resume() noexcept;

 private:
  friend class DirectFile;
  using VoidAwait::VoidAwait;
};

/// What nop() returns. -> Result<void>
class [[nodiscard]] NopAwait : public detail::LeafCore {
 public:
  explicit NopAwait(Reactor& reactor) noexcept : LeafCore(reactor) {}
  NopAwait(NopAwait&&) noexcept = default;
  ~NopAwait();
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return start(op_, frame, *frame.promise().context);
  }
  Result<void> await_resume() noexcept;

 private:
  Op op_;
};

/// A round trip through the driver that does nothing else: for measuring.
inline NopAwait nop(Reactor& reactor) noexcept { return NopAwait(reactor); }

}  // namespace diorite
