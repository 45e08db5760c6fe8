// One run of a workload on a simulated machine, with one fault, and what came of it.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <diorite/driver/decorator.hpp>
#include <diorite/sim/faults.hpp>

#include "sim/workload.hpp"

namespace diorite::test {

/// What a driver saw: outlives it.
struct Watch {
  std::int64_t open_handles = 0;
  std::uint64_t operations = 0;
};

/// Counts open handles, ends a workload that goes on for ever, and keeps failing allocations to the
/// library: those of the simulated machine succeed.
class WatchDriver final : public DriverDecorator, private FileRegistrar {
 public:
  WatchDriver(std::unique_ptr<Driver> inner, Watch& watch);
  ~WatchDriver() override;

  const DriverCaps& caps() const noexcept override { return caps_; }
  void submit(Op& op) noexcept override;
  Removal remove(Op& op) noexcept override;
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override;
  void run_here(Op& op) noexcept override;
  void poll(OpList& done, Instant until) noexcept override;

 private:
  Result<DriverFile> register_file(DriverFile file) noexcept override;
  void release_file(DriverFile file) noexcept override;

  DriverCaps caps_;
  Watch& watch_;
};

/// How the life that met the fault ends.
enum class Ending : std::uint8_t { new_process, power_cut };

/// Sets a fault up; called before work().
struct FaultSetup {
  enum class Kind : std::uint8_t { none, operation, transfer, allocation } kind = Kind::none;
  std::uint32_t nth = 0;
  int error = 0;                   ///< operation
  std::uint32_t bytes = 0;         ///< transfer
  void (*on_failure)() = nullptr;  ///< allocation: called before it fails
  sim::FaultDriver::Repeat repeat = sim::FaultDriver::Repeat::once;
  sim::FaultDriver::Effect effect = sim::FaultDriver::Effect::none;
};

struct SweepRun {
  bool fault_happened = false;
  bool threw = false;  ///< std::bad_alloc
  Error error;         ///< of work()
  std::uint64_t operations = 0;
  std::vector<std::string> complaints;  ///< what must not be
};

SweepRun run_with_fault(const Workload& workload, const FaultSetup& fault, Ending ending);

}  // namespace diorite::test
