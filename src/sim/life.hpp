// What run() knows of a schedule and of the life that is being lived in it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <diorite/driver/driver.hpp>
#include <diorite/reactor.hpp>
#include <diorite/root_task.hpp>
#include <diorite/scope.hpp>
#include <diorite/sim/choices.hpp>
#include <diorite/sim/disk.hpp>
#include <diorite/sim/machine.hpp>
#include <diorite/sim/run.hpp>

namespace diorite::sim::detail {

struct LifeState {
  Machine& machine;
  Choices& choices;
  std::uint32_t number = 0;
  bool healed = false;
  bool after_power_cut = false;
  std::uint32_t steps_left = 0;
  bool quiet = false;
  std::uint64_t acknowledged = 0;
  const Damage* damage = nullptr;
  const Driver* driver = nullptr;
  /// The first is the life's own.
  std::vector<std::unique_ptr<Reactor>> reactors;
  std::string violation;
};

class Exploration;

void add_counters(MachineCounters& to, const MachineCounters& from) noexcept;

/// How one schedule ended.
struct Outcome {
  std::string violation;  ///< empty: it passed
  std::uint64_t trace_hash = 0;
};

/// Lives one schedule and counts it in `report`. `exploration`: null for random schedules.
Outcome run_schedule(const RunOptions& options, const EngineFactory& factory, Choices& choices,
                     Exploration* exploration, Report& report);

/// The schedule of `failure` made smaller; counts its runs in `report`.
void shrink(const RunOptions& options, const EngineFactory& factory, Failure& failure,
            Report& report);

enum class DriveEnd : std::uint8_t {
  done,
  nothing_left,  ///< everybody waits, and for nothing
  endless,       ///< a million turns were not enough
};
/// Turns the reactors until `until` is done; `reactors` may grow meanwhile.
DriveEnd drive(Machine& machine, const std::vector<std::unique_ptr<Reactor>>& reactors,
               diorite::detail::RootTask& until);

}  // namespace diorite::sim::detail
