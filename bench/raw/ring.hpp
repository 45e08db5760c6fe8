// A bare ring with what makes it fast: one issuer, deferred task work, a registered descriptor.
//
// The loops in this folder are the yardstick: no coroutines, no checks, nothing between the loop
// and liburing.

#pragma once

#include <cstdint>

#include <liburing.h>

namespace diorite::bench::raw {

class Ring {
 public:
  /// Errors: throws Failure.
  explicit Ring(unsigned entries);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  io_uring& get() noexcept { return ring_; }
  /// One system call: submits what is prepared and sleeps until something completes.
  void submit_and_wait() noexcept {
    ++enters_;
    io_uring_submit_and_wait(&ring_, 1);
  }
  std::uint64_t enters() const noexcept { return enters_; }

 private:
  io_uring ring_{};
  std::uint64_t enters_ = 0;
};

}  // namespace diorite::bench::raw
