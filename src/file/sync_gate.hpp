// SyncGate: lets one operation of a file at a time ask the kernel about write-back errors.
//
// Linux keeps such an error in a counter for each open file and tells it to the first call that
// looks (errseq_t, since 4.13). Of two syncs that overlap, one fails, and the other one succeeds
// although the data that was lost may be what it was asked for; its success may be reported first.
// So syncs of one file follow each other. Those that wait are answered together, by one sync that
// is submitted after all of them were asked for.
//
// Through the page cache a durable write is a sync, too, and takes its turn alone. A direct one
// asks the device about nothing but itself and does not pass here.
//
// Thread: the reactor's. Lifetime: the file's record. Allocates: nothing.

#pragma once

#include <cstdint>

#include <diorite/driver/op.hpp>

namespace diorite::detail {

class FileCore;

class SyncGate {
 public:
  explicit SyncGate(FileCore& file) noexcept : file_(file), turn_(*this) {}
  SyncGate(const SyncGate&) = delete;
  SyncGate& operator=(const SyncGate&) = delete;

  /// True: submit it now. False: it waits here, idle and linked, until it is submitted or completed
  /// from the ready queue; it may be unlinked at any time before.
  bool enter(Op& op) noexcept;

  /// True for the operation that was let in, until it leaves.
  bool holds(const Op& op) const noexcept { return holder_ == &op; }
  /// Its coroutine dies, and with it the Op; leave() will come all the same.
  void holder_orphaned() noexcept { holder_ = nullptr; }
  enum class Outcome : std::uint8_t { success, failure, not_begun };
  /// The operation that was let in has ended. May run inside a driver's poll.
  void leave(Outcome outcome) noexcept;

 private:
  struct Turn : ReadyCall {
    explicit Turn(SyncGate& owner) noexcept : ReadyCall(&SyncGate::take_turn), gate(owner) {}
    SyncGate& gate;
  };
  static void take_turn(ReadyCall& call) noexcept;
  void let_next_in() noexcept;
  void refuse_all() noexcept;
  void complete(Op& op, std::int32_t result) noexcept;

  FileCore& file_;
  bool busy_ = false;
  const Op* holder_ = nullptr;  ///< compared, never followed
  OpList waiting_;
  OpList followers_;  ///< answered with the sync that is in flight
  Turn turn_;
};

}  // namespace diorite::detail
