// What the io_uring driver remembers of an operation in flight.
//
// Thread: the reactor's; a worker owns `job` while it runs it.

#pragma once

#include <errno.h>

#include <cstdint>

#include <diorite/intrusive_list.hpp>

#include "driver/pool/worker_pool.hpp"
#include "driver/request.hpp"
#include "driver/slots.hpp"

namespace diorite::detail {

/// Where an operation in flight is.
enum class UringStage : std::uint8_t {
  ring,
  polled,  ///< in the ring that polls the device
  again,   ///< that ring refused it: it waits for an entry of the main ring, or has one
  worker,
  removed,  ///< its entry became a no-op before the kernel saw it; the slot waits for that one
};

/// The node links slots that wait for an entry: for their cancel, or for their second attempt.
struct UringExtra : ListNode {
  UringStage stage = UringStage::ring;
  bool cancelled = false;  ///< a cancel was sent, or waits in the list
  std::uint32_t sq_position = 0;
  PathBlock* paths = nullptr;
  PoolJob job;
};

using UringSlots = SlotTable<UringExtra>;
using UringSlot = UringSlots::Slot;

/// The low half of a slot's tag is its index; these two are above every index.
inline constexpr std::uint64_t kUringBellTag = 0xffff'ffff;
inline constexpr std::uint64_t kUringCancelTag = 0xffff'fffe;
inline constexpr std::uint32_t kUringReservedTags = 0xffff'fffe;

/// What a cancel interrupts may answer with a code that is the kernel's own, ERESTARTSYS and its
/// kin; a system call would never show it.
inline std::int32_t uring_result(std::int32_t result) noexcept {
  constexpr std::int32_t kErestartsys = 512;
  return result <= -kErestartsys ? -EINTR : result;
}

}  // namespace diorite::detail
