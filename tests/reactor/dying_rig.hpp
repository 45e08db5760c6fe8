// What the matrix of dying coroutines stands on: every driver, seen through a Watch that knows
// where each operation is, with a world of files below it.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <diorite/driver/decorator.hpp>
#include <diorite/sim/machine.hpp>

#include "driver/rig.hpp"
#include "file/rig.hpp"

namespace diorite::test {

/// Knows the operations that the driver has, and opens gates at the moment when a destructor begins
/// to wait.
class Watch final : public DriverDecorator {
 public:
  using DriverDecorator::DriverDecorator;

  /// The state of the operation of this kind that the driver has; none without one.
  std::optional<OpState> state_of(OpCode code) const noexcept {
    for (const Op* const op : ops_) {
      if (op->code == code) return op->state;
    }
    return ended_ == code ? std::optional(OpState::done) : std::nullopt;
  }
  void forget_ended() noexcept { ended_.reset(); }

  /// Called once, by the next poll.
  void at_next_poll(void (*function)(void* context), void* context) noexcept {
    function_ = function;
    context_ = context;
  }
  bool gate_is_armed() const noexcept { return function_ != nullptr; }
  void disarm_gate() noexcept { function_ = nullptr; }

  void submit(Op& op) noexcept override {
    ops_.push_back(&op);
    DriverDecorator::submit(op);
  }
  Removal remove(Op& op) noexcept override {
    const Removal removal = DriverDecorator::remove(op);
    if (removal == Removal::removed) std::erase(ops_, &op);
    return removal;
  }
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override {
    std::erase(ops_, &op);
    DriverDecorator::orphan(op, std::move(buffer), std::move(file), hook);
  }
  void poll(OpList& done, Instant until) noexcept override {
    if (function_ != nullptr) std::exchange(function_, nullptr)(context_);
    OpList fresh;
    DriverDecorator::poll(fresh, until);
    while (Op* const op = fresh.pop_front()) {
      std::erase(ops_, op);
      ended_ = op->code;
      done.push_back(*op);
    }
  }

 private:
  std::vector<const Op*> ops_;
  std::optional<OpCode> ended_;  ///< the last that was reported
  void (*function_)(void* context) = nullptr;
  void* context_ = nullptr;
};

enum class Base : std::uint8_t { uring, pool, pool_inline, sim };
/// A driver of the matrix. With `faults`, a FaultDriver that fails stands on it, and one that holds
/// on that: there an operation is in flight for as long as the test wants.
struct Lane {
  const char* name;
  Base base;
  bool faults;
  RingKind ring = RingKind::plain;
};
inline constexpr Lane kLanes[] = {
    {"uring", Base::uring, false},
    {"uring with a thread of the kernel", Base::uring, false, RingKind::sq_poll},
    {"pool", Base::pool, false},
    {"pool inline", Base::pool_inline, false},
    {"sim", Base::sim, false},
    {"faults before uring", Base::uring, true},
    {"faults before uring with a thread of the kernel", Base::uring, true, RingKind::sq_poll},
    {"faults before pool", Base::pool, true},
    {"faults before pool inline", Base::pool_inline, true},
    {"faults before sim", Base::sim, true},
};

/// False for the rings where the kernel, or the environment, gives none.
inline bool is_here(const Lane& lane) {
  return lane.base != Base::uring || (ring_is_wanted() && ring_is_here(lane.ring));
}

/// Alive as long as the frame that holds it.
class Inhabitant {
 public:
  explicit Inhabitant(int& count) noexcept : count_(count) { ++count_; }
  Inhabitant(const Inhabitant&) = delete;
  Inhabitant& operator=(const Inhabitant&) = delete;
  ~Inhabitant() { --count_; }

 private:
  int& count_;
};

/// One driver, its reactor, and a directory with three files.
class DyingRig {
 public:
  explicit DyingRig(const Lane& lane, std::uint32_t in_flight_max = 64,
                    sim::Chance cancel_wins = sim::never())
      : lane_(lane),
        choices_(sim::Choices::random(4)),
        root_(lane.base == Base::sim ? "" : dir_.path()) {
    std::unique_ptr<Driver> driver = make_base(in_flight_max, cancel_wins);
    if (lane.faults) {
      auto failing = std::make_unique<FaultDriver>(std::move(driver));
      fails = failing.get();
      auto holding = std::make_unique<FaultDriver>(std::move(failing));
      holds = holding.get();
      driver = std::move(holding);
    }
    auto watching = std::make_unique<Watch>(std::move(driver));
    watch = watching.get();
    reactor_ = make_reactor_on(std::move(watching));
  }
  DyingRig(const DyingRig&) = delete;
  DyingRig& operator=(const DyingRig&) = delete;

  Reactor& reactor() noexcept { return *reactor_; }
  const Lane& lane() const noexcept { return lane_; }
  std::string path(std::string_view name) const { return root_ + '/' + std::string(name); }
  std::string root() const { return root_.empty() ? "/" : root_; }
  bool has(std::string_view name) {
    Result<std::vector<DirEntry>> entries = run(reactor(), list(reactor(), root()));
    if (!entries) FAIL(entries.error().text());
    return std::any_of(entries->begin(), entries->end(),
                       [name](const DirEntry& entry) { return entry.name == name; });
  }
  /// Lets a moment pass, in which what the driver has been given begins.
  void pass(Duration by) {
    const Instant until = reactor().now() + by;
    reactor().turn(until);
  }

  Watch* watch = nullptr;
  FaultDriver* fails = nullptr;  ///< null on a plain lane
  FaultDriver* holds = nullptr;

 private:
  std::unique_ptr<Driver> make_base(std::uint32_t in_flight_max, sim::Chance cancel_wins) {
    if (lane_.base == Base::sim) {
      sim::Profile profile = sim::Profile::calm();
      profile.cancel_wins = cancel_wins;  // never: what is in flight takes place
      profile.half_done = sim::never();
      sim::MachineOptions options;
      options.in_flight_max = in_flight_max;
      machine_ = std::make_unique<sim::Machine>(choices_, profile, options);
      return machine_->make_driver();
    }
    DriverOptions options;
    options.choice = DriverChoice::pool;
    if (lane_.base == Base::uring) options = ring_options(lane_.ring);
    options.pool_inline = lane_.base == Base::pool_inline;
    options.in_flight_max = in_flight_max;
    Result<std::unique_ptr<Driver>> driver = make_driver(options);
    if (!driver) FAIL(driver.error().text());
    return std::move(*driver);
  }

  const Lane& lane_;
  TempDir dir_;
  sim::Choices choices_;
  std::unique_ptr<sim::Machine> machine_;
  std::string root_;
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace diorite::test
