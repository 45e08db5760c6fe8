// UringDriver: the pieces of the io_uring driver, put together.
//
// submit() and poll() are in uring_driver.cpp with everything that every page goes through. Apart
// from them stand how operations begin that are no plain transfer (uring_start.cpp), how they end
// on workers and on the polled ring (uring_end.cpp), and a host that sleeps for the driver
// (uring_host.cpp).
//
// Thread: see uring_driver.hpp.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <diorite/driver/driver.hpp>

#include "driver/linux/uring_backlog.hpp"
#include "driver/linux/uring_bell.hpp"
#include "driver/linux/uring_cancels.hpp"
#include "driver/linux/uring_door.hpp"
#include "driver/linux/uring_files.hpp"
#include "driver/linux/uring_jobs.hpp"
#include "driver/linux/uring_polled.hpp"
#include "driver/linux/uring_prep.hpp"
#include "driver/linux/uring_setup.hpp"
#include "driver/linux/uring_slot.hpp"
#include "driver/os.hpp"

// A processor that leaves the kernel has forgotten where calls return to, so every return on the
// way of a completion is mispredicted: submit() and poll() are made of one piece each, rare cases
// apart.
#define DIORITE_FAST_PATH [[gnu::flatten]]
#define DIORITE_SLOW_PATH [[gnu::noinline]]

namespace diorite::detail {

class UringDriver final : public Driver {
 public:
  UringDriver(const DriverOptions& options, std::string reason, UringRings rings,
              std::unique_ptr<OsWaker> waker);
  ~UringDriver() override;

  const DriverCaps& caps() const noexcept override { return caps_; }
  DriverCounters counters() const noexcept override;
  void submit(Op& op) noexcept override;
  Removal remove(Op& op) noexcept override;
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override;
  void run_here(Op& op) noexcept override;
  void poll(OpList& done, Instant until) noexcept override;
  void wake() noexcept override { bell_.ring(); }
  NativeHandle pollable() noexcept override;
  bool measure(OpMeter* meter) noexcept override {
    slots_.set_meter(meter);
    return true;
  }
  Instant now() const noexcept override { return os_now(); }
  WallTime wall_now() const noexcept override { return os_wall_now(); }
  std::uint64_t entropy() noexcept override { return os_entropy(); }

 private:
  void check_thread() const noexcept {
    DIORITE_DEBUG_ASSERT(std::this_thread::get_id() == owner_,
                         "a driver is used on another thread than the one that created it");
  }
  OpRoute route(OpCode code) const noexcept { return routes_[static_cast<std::size_t>(code)]; }
  void count(Fallback what) noexcept { ++counters_.fallbacks[static_cast<std::size_t>(what)]; }

  // Beginning.
  bool launch(Op& op) noexcept;
  DIORITE_SLOW_PATH bool launch_request(Op& op) noexcept;
  DIORITE_SLOW_PATH bool launch_polled(Op& op) noexcept;
  DIORITE_SLOW_PATH void copy_request(UringSlot& slot, const Op& op) noexcept;
  bool has_to_start() const noexcept {
    return !backlog_.empty() || !cancels_.empty() || !again_.empty() || bell_.wants_poll();
  }
  DIORITE_SLOW_PATH void start() noexcept;
  void start_backlog() noexcept;
  void start_again() noexcept;
  void send_cancels() noexcept;
  void poll_bell() noexcept;
  void cancel_poll_of_bell() noexcept;
  io_uring_sqe* take_sqe() noexcept;
  bool make_noop(UringSlot& slot) noexcept;

  // Ending.
  void reap() noexcept;
  DIORITE_SLOW_PATH void reap_reserved(std::uint64_t tag, std::int32_t result,
                                       std::uint32_t flags) noexcept;
  void complete(UringSlot& slot, std::int32_t result) noexcept;
  void end_removed(UringSlot& slot) noexcept;
  DIORITE_SLOW_PATH void complete_request(UringSlot& slot, std::int32_t& result) noexcept;
  void deliver_or_discard(UringSlot& slot, std::int32_t result) noexcept;
  DIORITE_SLOW_PATH bool goes_on_at_worker(const UringSlot& slot,
                                           std::int32_t result) const noexcept;
  DIORITE_SLOW_PATH void collect_jobs() noexcept;
  DIORITE_SLOW_PATH void drive_polled() noexcept;
  void reap_polled() noexcept;
  void try_again(UringSlot& slot, std::int32_t refusal) noexcept;
  void finish(UringSlot& slot, std::int32_t result) noexcept;

  // Entering the kernel, and waiting there.
  void submit_only() noexcept {
    slots_.entering();
    door_.submit();
  }
  void submit_for_room() noexcept {
    slots_.entering();
    door_.submit_for_room();
  }
  /// Jobs wait, and only the next round of poll() does them.
  bool runs_inline() const noexcept { return jobs_.is_inline() && jobs_.count() != 0; }
  bool is_past(Instant until) const noexcept {
    return until != kNever && (until == kAtOnce || os_now() >= until);
  }
  DIORITE_SLOW_PATH bool wait_until(Instant until) noexcept {
    slots_.entering();
    return door_.wait_until(until, slots_.in_flight() != jobs_.count());
  }
  DIORITE_SLOW_PATH bool wait_for_bell(Instant until) noexcept;
  DIORITE_SLOW_PATH void leave_to_host() noexcept;

  const std::string reason_;
  const bool forbid_fallback_;
  const std::thread::id owner_ = std::this_thread::get_id();
  std::unique_ptr<Uring> ring_;
  UringPolled polled_;
  UringDoor door_;
  std::array<OpRoute, kOpCodeCount> routes_;
  UringFiles files_;
  DriverCaps caps_;
  DriverCounters counters_;
  PathBlocks path_blocks_;
  UringSlots slots_;
  UringBacklog backlog_;
  UringCancels cancels_;
  IntrusiveList<UringExtra> again_;  ///< refused by the polled ring, and without an entry yet
  OpList* done_ = nullptr;           ///< of the running poll
  std::uint32_t removed_ = 0;        ///< slots whose stage is removed
  std::uint32_t events_ = 0;         ///< what ends the running poll: completions and wakes
  OpList early_;                     ///< completed outside of a poll
  UringBell bell_;
  UringJobs jobs_;  // the last member: its threads end before what they use
};

/// Gives `op` a slot and prepares its entry, or hands it to a worker. False when there is no room.
inline bool UringDriver::launch(Op& op) noexcept {
  if (slots_.full()) return false;
  if (!uring_is_transfer(op.code) || route(op.code) != OpRoute::ring || uring_refusal(op) != 0) {
    return launch_request(op);
  }
  if (polled_.takes(op)) return launch_polled(op);
  const unsigned position = ring_->sq_position();
  io_uring_sqe* const sqe = ring_->next_sqe();
  if (sqe == nullptr) return false;
  UringSlot& slot = slots_.acquire(op);
  slots_.wait_for_entry(slot);
  slot.extra.stage = UringStage::ring;
  slot.extra.sq_position = position;
  uring_prepare_transfer(*sqe, op);
  sqe->user_data = slots_.tag(slot);
  // For the worker that takes over where the file system does not know durable writes.
  if ((op.flags & kOpDsync) != 0) copy_request(slot, op);
  return true;
}

inline void UringDriver::finish(UringSlot& slot, std::int32_t result) noexcept {
  UringExtra& extra = slot.extra;
  if (extra.linked()) extra.unlink();
  if (slot.code == OpCode::close && uring_file_place(extra.job.request.file) != 0) {
    files_.release_file(extra.job.request.file);
  }
  if (extra.paths != nullptr) path_blocks_.give_back(std::exchange(extra.paths, nullptr));
  if (slot.op == nullptr && result < 0) ++counters_.orphan_errors;
  ++counters_.completed;
  ++events_;
  slots_.finish(slot, result, *done_);
}

inline void UringDriver::end_removed(UringSlot& slot) noexcept {
  DIORITE_ASSERT(slot.extra.stage == UringStage::removed,
                 "the ring completes what it was not given");
  --removed_;
  slots_.finish(slot, 0, *done_);
}

}  // namespace diorite::detail
