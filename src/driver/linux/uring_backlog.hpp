// UringBacklog: the operations for which there is no slot or no entry yet, in the order in which
// they came.
//
// It is why nothing overflows: what the kernel could not report yet is not given to it.
//
// Thread: the reactor's.

#pragma once

#include <algorithm>
#include <cstdint>

#include <diorite/driver/op.hpp>

namespace diorite::detail {

class UringBacklog {
 public:
  bool empty() const noexcept { return ops_.empty(); }
  void push_back(Op& op) noexcept {
    op.state = OpState::backlog;
    ops_.push_back(op);
    ++count_;
  }
  void remove(Op& op) noexcept {
    op.unlink();
    op.state = OpState::idle;
    --count_;
  }
  /// Null when there is none.
  Op* front() noexcept { return ops_.front(); }
  /// Takes the first one out to be started; put_back, with its state unchanged, or started follows.
  void take_front(Op& op) noexcept { op.unlink(); }
  void put_back(Op& op) noexcept { ops_.push_front(op); }
  void started() noexcept { --count_; }

  /// Notes how many wait now.
  void measure() noexcept { max_ = std::max(max_, count_); }
  std::uint64_t max() const noexcept { return max_; }

 private:
  OpList ops_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace diorite::detail
