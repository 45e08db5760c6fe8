// Another event loop, for tests of hosted reactors.
//
// The host waits for the handle with poll() and a generous limit that only a bug reaches: a host
// that runs into it has slept through something, and the test fails.

#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <diorite/reactor.hpp>

#include "support/catch.hpp"

namespace diorite::test {

class Host {
 public:
  explicit Host(Reactor& reactor) : reactor_(reactor), handle_(reactor.pollable()) {
    REQUIRE(handle_ != kNoHandle);
    REQUIRE(reactor.pollable() == handle_);
  }

  /// True if the handle was readable, or a timer is due; false when nothing came for ever so long.
  bool sleep() {
    const Instant due = reactor_.next_deadline();
    int limit_ms = kForEverMs;
    if (due != kNever) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - reactor_.now()).count();
      limit_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, kForEverMs));
    }
    pollfd wanted{handle_, POLLIN, 0};
    ++sleeps_;
    return ::poll(&wanted, 1, limit_ms) > 0 || limit_ms < kForEverMs;
  }
  bool is_readable() const {
    pollfd wanted{handle_, POLLIN, 0};
    return ::poll(&wanted, 1, 0) > 0;
  }
  /// Turns until there is nothing left to do now.
  void turn() {
    while (reactor_.turn(kAtOnce)) {
    }
  }
  /// The loop of a host. False when it has slept through something.
  template <class Done>
  bool run_until(Done done) {
    for (;;) {
      turn();
      if (done()) return true;
      if (!sleep()) return false;
    }
  }
  std::uint64_t sleeps() const { return sleeps_; }

 private:
  static constexpr int kForEverMs = 30'000;
  Reactor& reactor_;
  NativeHandle handle_;
  std::uint64_t sleeps_ = 0;
};

}  // namespace diorite::test
