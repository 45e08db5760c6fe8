// Small workloads: so small that explore() comes to their end.
//
// Each is an engine that decides nothing by itself, a machine to run on, and the number of its
// lives. What is enumerated of it is said at explore(), in sim/run.hpp. Most begin with files that
// an earlier, healthy life has made; making them is a workload of its own.
//
//   const SmallWorkload* workload = find_small("journal-dsync");
//   RunOptions options;
//   workload->shape(options);
//   Report report = explore(options, workload->factory());

#pragma once

#include <span>
#include <string_view>

#include <diorite/sim/run.hpp>

namespace diorite::sim {

struct SmallWorkload {
  std::string_view name;
  std::string_view text;  ///< what happens in it
  /// Sets the profile, the machine, what is on its disk, and the number of lives.
  void (*shape)(RunOptions& options);
  EngineFactory (*factory)() noexcept;
};

std::span<const SmallWorkload> small_workloads() noexcept;
/// Null when there is none of that name.
const SmallWorkload* find_small(std::string_view name) noexcept;

}  // namespace diorite::sim
