// Engines for planted bugs that random schedules meet too seldom: each steers the ends of its lives
// to where one of them shows. What is right and wrong is for the engines inside them to say.

#pragma once

#include <string_view>

#include <diorite/sim/run.hpp>

namespace diorite::mutants {

/// By name; false when there is none.
bool find_scenario(std::string_view name, sim::EngineFactory& factory) noexcept;

}  // namespace diorite::mutants
