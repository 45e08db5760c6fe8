// FileCore: an open file as its handle and its operations share it.
//
// One count for the DirectFile, one for each operation, on one thread. The last count to go closes
// the file: through the driver and without waiting, since it may go inside a driver's poll.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "file/sync_gate.hpp"

#include <diorite/driver/op.hpp>
#include <diorite/file.hpp>
#include <diorite/file_info.hpp>
#include <diorite/reactor.hpp>

namespace diorite::detail {

class FileCore {
 public:
  static FileRef make(Reactor& reactor, DriverFile handle, std::string path);
  /// For the layers above that wait for a file's orphans. Requires: not empty.
  static FileCore& of(const DirectFile& file) noexcept { return *file.core_; }
  FileCore(const FileCore&) = delete;
  FileCore& operator=(const FileCore&) = delete;

  void add_ref() noexcept { ++refs_; }
  void release() noexcept;

  // Facts, constant after open.
  Reactor& reactor;
  DriverFile handle;
  const std::string path;
  DioAlign align;
  std::string_view direct_reason;
  std::uint32_t physical_block_bytes = 0;
  bool direct = false;
  bool opened_dsync = false;
  bool writable = false;

  // State.
  bool registered = false;  ///< with the driver
  bool closing = false;     ///< close() has begun to close the handle
  Error poison;
  std::uint32_t in_flight = 0;

  /// Bookkeeping around every operation. A change is whatever a sync makes durable.
  /// False: the operation waits at the gate, which submits or completes it; else submit it now.
  bool op_started(Op& op) noexcept;
  /// It was taken back before the system saw it.
  void op_removed(const Op& op) noexcept;
  /// `error` is the outcome.
  void op_ended(const Op& op, const Error& error) noexcept;
  /// The outcome of an operation whose coroutine is gone: nobody else hears of its failure.
  void unheard_op_ended(const Op& op, const Error& error) noexcept;
  bool is_dirty() const noexcept { return changes_in_flight_ > 0 || changed_ != synced_; }
  /// Notes in a sync what it will cover: every change that has completed by now.
  void sync_submitted(Op& sync) noexcept { static_cast<InfoOp&>(sync).length = changed_; }

  /// Why such an operation cannot start now, if it cannot. `about` is what the user asked for.
  Error refusal(OpCode code, ErrorContext about) const noexcept;
  void poison_with(const Error& cause) noexcept;
  /// What a refused write or sync answers.
  Error poisoned(ErrorContext about) const noexcept;

  /// Told of the end of `op`, whose coroutine dies now.
  OrphanHook orphan_hook(const Op& op) noexcept;

  /// `other` stays open, and locked, until this file is closed: also for an operation that goes on
  /// after everybody has let go of both.
  void keep_open(FileRef other) noexcept { kept_open_ = std::move(other); }
  const FileRef& kept_open() const noexcept { return kept_open_; }

  /// This one reads from the handle of a file of another reactor, and closes nothing.
  void read_from(SharedRef shared) noexcept { shared_from_ = std::move(shared); }
  const SharedRef& shared_from() const noexcept { return shared_from_; }
  void let_go_of_shared() noexcept {
    handle_closed();
    shared_from_ = SharedRef();
  }
  /// SharedFiles of this file exist: they count as an operation in flight.
  void shares_begun() noexcept { ++in_flight; }
  void shares_ended() noexcept { op_is_over(OpCode::nop); }

  /// Resumed through the ready queue when the last operation ends; see DirectFile::close.
  ReadyNode* idle_waiter = nullptr;
  /// close() took the handle: nothing is left to close when the last count goes.
  void handle_closed() noexcept { handle = DriverFile{}; }

 private:
  FileCore(Reactor& owner, DriverFile open_handle, std::string open_path) noexcept;
  ~FileCore();
  bool passes_gate(const Op& op) const noexcept;
  bool is_durable_write(const Op& op) const noexcept;
  void change_lost(OpCode code, const Error& error) noexcept;
  void op_is_over(OpCode code) noexcept;
  static void finish_close(ReadyCall& call) noexcept;
  static void orphan_ended(void* context, OpCode code, std::int64_t result) noexcept;
  static void gate_orphan_ended(void* context, OpCode code, std::int64_t result) noexcept;

  struct Closer : ReadyCall {
    explicit Closer(FileCore& owner) noexcept : ReadyCall(&FileCore::finish_close), core(owner) {}
    FileCore& core;
  };

  FileRef kept_open_;
  SharedRef shared_from_;
  std::uint32_t refs_ = 1;
  std::uint32_t changes_in_flight_ = 0;
  std::uint64_t changed_ = 0;
  std::uint64_t synced_ = 0;
  SyncGate gate_{*this};
  Closer closer_{*this};
  Op close_op_;
  bool close_repeated_ = false;
};

inline bool changes_file(OpCode code) noexcept {
  return code == OpCode::write || code == OpCode::truncate || code == OpCode::allocate;
}
inline bool syncs_file(OpCode code) noexcept {
  return code == OpCode::sync_data || code == OpCode::sync_all;
}

}  // namespace diorite::detail
