// UringCancels: the cancels that wait for an entry, and how many are under way.
//
// Their own completions take room that the ring keeps free, so only a few are sent at a time; none
// is lost.
//
// Thread: the reactor's.

#pragma once

#include <cstdint>
#include <utility>

#include "driver/linux/uring_ring.hpp"
#include "driver/linux/uring_slot.hpp"

namespace diorite::detail {

class UringCancels {
 public:
  /// Asking twice for one operation sends one cancel.
  void ask(UringExtra& extra) noexcept {
    if (!std::exchange(extra.cancelled, true)) waiting_.push_back(extra);
  }
  bool empty() const noexcept { return waiting_.empty(); }
  /// One waits, and may be sent now.
  bool can_send() const noexcept { return !empty() && sent_ < Uring::kCancelsMax; }
  /// The tag of what is to be cancelled next. Requires: can_send.
  std::uint64_t take_first() noexcept { return waiting_.pop_front()->job.tag; }
  void send(io_uring_sqe& sqe, std::uint64_t tag) noexcept {
    io_uring_prep_cancel64(&sqe, tag, 0);
    sqe.user_data = kUringCancelTag;
    ++sent_;
  }
  /// A cancel's own completion came. The operation tells by its own whether it was stopped.
  void ended() noexcept {
    DIORITE_ASSERT(sent_ != 0, "a completion for a cancel that was not sent");
    --sent_;
  }
  bool under_way() const noexcept { return sent_ != 0; }

 private:
  IntrusiveList<UringExtra> waiting_;
  std::uint32_t sent_ = 0;
};

}  // namespace diorite::detail
