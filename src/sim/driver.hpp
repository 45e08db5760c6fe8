// SimDriver: the Driver of one process on a simulated machine.
//
// Keeps what every driver keeps (slots, backlog, counters, rules D1 to D10); what operations do and
// when they end is the Kernel's.
//
// Thread: the machine's; wake() from any. Lifetime: the machine outlives it.

#pragma once

#include <atomic>

#include <diorite/driver/driver.hpp>

#include "driver/slots.hpp"
#include "sim/kernel.hpp"

namespace diorite::sim::detail {

class SimDriver final : public Driver, private FileRegistrar {
 public:
  explicit SimDriver(Kernel& kernel);
  ~SimDriver() override;

  bool is_dead() const noexcept { return process_.dead; }

  const DriverCaps& caps() const noexcept override { return caps_; }
  DriverCounters counters() const noexcept override;
  void submit(Op& op) noexcept override;
  Removal remove(Op& op) noexcept override;
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override;
  void run_here(Op& op) noexcept override;
  void poll(OpList& done, Instant until) noexcept override;
  void wake() noexcept override { woken_.store(true, std::memory_order_release); }
  bool measure(OpMeter* meter) noexcept override {
    slots_.set_meter(meter);
    return true;
  }
  Instant now() const noexcept override { return kernel_.now(); }
  WallTime wall_now() const noexcept override;
  std::uint64_t entropy() noexcept override { return kernel_.choices().entropy(); }

 private:
  struct Extra {
    Flight* flight = nullptr;
  };
  using Slots = diorite::detail::SlotTable<Extra>;

  Result<DriverFile> register_file(DriverFile file) noexcept override {
    return kernel_.register_file(process_, file);
  }
  void release_file(DriverFile file) noexcept override { kernel_.release_file(process_, file); }

  void start(Op& op) noexcept;
  void promote() noexcept;
  void report(OpList& done) noexcept;
  void deliver(Flight& flight, Op* op) noexcept;
  void idle(Instant until) noexcept;

  Kernel& kernel_;
  Process& process_;
  std::atomic<bool> woken_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "wake() is called from signal handlers");
  DriverCaps caps_;
  DriverCounters counters_;
  Slots slots_;
  OpList backlog_;
  std::uint64_t backlog_count_ = 0;
};

}  // namespace diorite::sim::detail
