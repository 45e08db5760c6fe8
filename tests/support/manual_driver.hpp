// ManualDriver: stands before another driver and replaces its clock by one that the test moves, so
// that timers are tested without waiting for them.
//
//   ManualReactor rig = make_manual_reactor();
//   run(*rig.reactor, sleeps_an_hour());              // returns at once; an hour has passed
//   rig.clock.advance(std::chrono::seconds(1));
//
// When nothing has completed, nobody called wake() and poll() has a limit, time jumps to that limit
// instead of passing. Below stands the pool without threads, whose operations complete in the next
// poll, so that a run is the same every time. Operations that a FaultDriver holds below take no
// time.
//
// Thread: the reactor's; wake() from any.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <diorite/driver/decorator.hpp>
#include <diorite/reactor.hpp>

#include "support/catch.hpp"
#include "support/fault_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {

class ManualDriver final : public DriverDecorator {
 public:
  using DriverDecorator::DriverDecorator;

  void advance(Duration by) noexcept { now_ += by; }
  void set_now(Instant now) noexcept { now_ = now; }
  /// How often poll() was called, and how often it jumped.
  std::uint64_t polls() const noexcept { return polls_; }
  std::uint64_t jumps() const noexcept { return jumps_; }

  void poll(OpList& done, Instant until) noexcept override {
    ++polls_;
    const std::uint64_t completed = inner().counters().completed;
    inner().poll(done, kAtOnce);
    const bool woken = woken_.exchange(false, std::memory_order_acquire);
    if (woken || inner().counters().completed != completed || until <= now_) return;
    if (until == kNever) {
      inner().poll(done, kNever);
      return;
    }
    ++jumps_;
    now_ = until;
  }
  void wake() noexcept override {
    woken_.store(true, std::memory_order_release);
    inner().wake();
  }
  /// Nobody outside could tell when this clock moves.
  NativeHandle pollable() noexcept override { return kNoHandle; }
  Instant now() const noexcept override { return now_; }
  WallTime wall_now() const noexcept override { return WallTime(now_.time_since_epoch()); }
  std::uint64_t entropy() noexcept override { return ++entropy_; }

 private:
  Instant now_{std::chrono::hours(1)};
  std::uint64_t polls_ = 0;
  std::uint64_t jumps_ = 0;
  std::uint64_t entropy_ = 0;
  std::atomic<bool> woken_{false};
};

/// A reactor on a ManualDriver, before a FaultDriver, before the pool without threads.
struct ManualReactor {
  ManualDriver& clock;  ///< both owned by the reactor
  FaultDriver& faults;
  std::unique_ptr<Reactor> reactor;
};

inline ManualReactor make_manual_reactor(ReactorOptions options = {}) {
  options.driver.choice = DriverChoice::pool;
  options.driver.pool_inline = true;
  auto faults = std::make_unique<FaultDriver>(make_test_driver(options.driver));
  FaultDriver& fault_ref = *faults;
  auto manual = std::make_unique<ManualDriver>(std::move(faults));
  ManualDriver& clock = *manual;
  return ManualReactor{clock, fault_ref, make_reactor_on(std::move(manual), options)};
}

}  // namespace diorite::test
