// The simulated machine, asked for everything that it can do in a scenario.

#pragma once

#include <set>
#include <string>

#include <diorite/sim/profile.hpp>

#include "powercut/failing_scenarios.hpp"

namespace diorite::powercut {

/// The keys of what is seen over `seeds` seeds of `profile`: of which only what follows a failure
/// counts, not its own ways to bring one about.
std::set<std::string> simulate(const Scenario& scenario, const sim::Profile& profile,
                               std::uint64_t seeds);

}  // namespace diorite::powercut
