// The processes of diorite-sim: each runs its share of the seeds, and tells its parent.
//
// A process for each job, since a violation may be an assertion that aborts: then the parent still
// knows which seed it was.

#pragma once

#include <cstdint>
#include <string>

#include "options.hpp"

#include <diorite/sim/run.hpp>

namespace diorite::sim {

struct WorkersResult {
  Report report;
  std::string trouble;  ///< a process could not be started, or said nothing sensible
};

/// Runs the settings' seeds with a process for each job, printing progress to standard error.
WorkersResult run_workers(const Settings& settings);

}  // namespace diorite::sim
