// UringPolled: the second ring, whose reads and writes the kernel finds ended by asking the device
// (IOPOLL).
//
// Only what ends by the device's word alone goes there: reads and writes, not durable ones, of
// files that this driver opened for direct I/O. Nothing tells that one has ended: no interrupt
// comes, no eventfd is signalled, and the kernel asks the device only when the ring is entered.
//
// Which files these are is remembered by descriptor. A descriptor that was closed behind the
// driver's back and used again costs a detour only: such a ring refuses what is not direct
// (EOPNOTSUPP) before anything has happened to the file.
//
// Thread: the reactor's. Allocates: at construction.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include <diorite/driver/op.hpp>

#include "driver/linux/uring_door.hpp"
#include "driver/linux/uring_ring.hpp"

namespace diorite::detail {

class UringPolled {
 public:
  /// `ring` may be null: then there is no such ring, and takes() is false.
  explicit UringPolled(std::unique_ptr<Uring> ring);

  /// True when `op` belongs here.
  bool takes(const Op& op) const noexcept {
    return active_ && (op.code == OpCode::read || op.code == OpCode::write) &&
           (op.flags & kOpDsync) == 0 && files_->holds(op.file);
  }
  bool is_active() const noexcept { return active_; }
  /// From now on it takes nothing; what it has goes on.
  void retire() noexcept { active_ = false; }

  /// An open by this driver succeeded.
  void file_opened(DriverFile file, std::uint32_t open_flags) noexcept;
  /// It is closed, or cannot be polled. True if its transfers went here until now.
  bool forget_file(DriverFile file) noexcept { return active_ && files_->drop(file); }

  /// Operations that were given to it and have not been reaped.
  bool busy() const noexcept { return in_flight_ != 0; }
  void began() noexcept { ++in_flight_; }
  void ended() noexcept {
    DIORITE_ASSERT(in_flight_ != 0, "the polled ring completes what it was not given");
    --in_flight_;
  }

  /// Requires: takes() was true once, or busy().
  Uring& ring() noexcept { return *ring_; }
  /// Hands prepared entries over and has the kernel ask the device once.
  void look() noexcept {
    door_->forget_stall();
    door_->submit();
  }
  /// The kernel refused a submission for want of memory.
  bool is_stalled() const noexcept { return door_->is_stalled(); }
  std::uint64_t enters() const noexcept { return ring_ != nullptr ? ring_->enters() : 0; }

 private:
  /// One bit for each descriptor; those beyond are never polled.
  class Files {
   public:
    // A file in the main ring's table has more bits in its handle, and is none of these.
    bool holds(DriverFile file) const noexcept {
      return file.value < kCount && ((bits_[file.value / 64] >> (file.value % 64)) & 1) != 0;
    }
    void add(DriverFile file) noexcept {
      if (file.value < kCount) bits_[file.value / 64] |= std::uint64_t{1} << (file.value % 64);
    }
    bool drop(DriverFile file) noexcept {
      if (!holds(file)) return false;
      bits_[file.value / 64] &= ~(std::uint64_t{1} << (file.value % 64));
      return true;
    }

   private:
    static constexpr std::uint64_t kCount = 65536;
    std::array<std::uint64_t, kCount / 64> bits_{};
  };

  std::unique_ptr<Uring> ring_;
  std::optional<UringDoor> door_;
  std::unique_ptr<Files> files_;
  bool active_;
  std::uint32_t in_flight_ = 0;
};

/// True for answers that only say that this ring is the wrong one. EINVAL may be the caller's
/// mistake: then the main ring says so again. EAGAIN is a device whose queue is full, which older
/// kernels leave to the caller of such a ring.
bool uring_polled_refuses(std::int32_t result) noexcept;

}  // namespace diorite::detail
