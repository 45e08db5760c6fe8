// The engines under test, by name.

#pragma once

#include <string_view>

#include <diorite/sim/run.hpp>

namespace diorite::sim {

/// False when there is none of that name. The names: engine_names().
bool find_engine(std::string_view name, EngineFactory& factory) noexcept;
/// Separated by ", ".
std::string_view engine_names() noexcept;

}  // namespace diorite::sim
