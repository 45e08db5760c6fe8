// UringJobs: the operations that worker threads carry out for the ring, and their paths.
//
// Thread: the reactor's. Lifetime: destroyed before what its threads use.

#pragma once

#include <cstdint>

#include "driver/linux/uring_slot.hpp"
#include "driver/pool/worker_pool.hpp"
#include "driver/request.hpp"

namespace diorite::detail {

class UringJobs {
 public:
  UringJobs(std::uint32_t threads_max, OsWaker& waker) : pool_(threads_max, waker) {}

  /// Slots that a worker has.
  std::uint32_t count() const noexcept { return count_; }
  bool is_inline() const noexcept { return pool_.is_inline(); }

  void give(UringExtra& extra) noexcept {
    extra.stage = UringStage::worker;
    ++count_;
    pool_.push(extra.job);
  }
  /// It ends with `result` and is not executed.
  void refuse(UringExtra& extra, std::int32_t result) noexcept {
    extra.stage = UringStage::worker;
    ++count_;
    pool_.push_refused(extra.job, result);
  }
  /// Takes one back that no worker has begun. False when it is too late.
  bool withdraw(UringExtra& extra) noexcept {
    if (!pool_.withdraw(extra.job)) return false;
    --count_;
    return true;
  }
  /// Appends what has ended.
  void take_finished(PoolJobList& finished) noexcept { pool_.take_finished(finished); }
  /// One of those is no worker's any more.
  void taken() noexcept { --count_; }

 private:
  std::uint32_t count_ = 0;
  alignas(64) WorkerPool pool_;
};

}  // namespace diorite::detail
