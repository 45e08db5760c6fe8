// What diorite-sim was asked to do.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <diorite/sim/run.hpp>

namespace diorite::sim {

struct Settings {
  std::string engine = "journal";
  std::string profile = "standard";
  RunOptions run;
  EngineFactory factory;
  bool limited = false;       ///< by schedules or crashes
  std::uint64_t seconds = 0;  ///< 0 = no limit
  std::uint32_t jobs = 1;
  bool explores = false;
  bool all_small = false;  ///< explores every small workload, one after the other
  std::optional<std::uint64_t> replays;
  bool no_short_transfers = false;  ///< whatever the profile says
  bool no_errors = false;
  bool logs = false;       ///< prints what the machine does
  std::string seeds_file;  ///< empty: none
  std::string json_file;   ///< empty: none
};

/// What --help prints.
std::string help_text();
/// Empty, or what is wrong with the arguments. `wants_help` is set for --help.
std::string parse(int count, char** arguments, Settings& settings, bool& wants_help);
/// Sets engine and profile by their names; a small workload also sets the machine and the lives.
/// Empty, or what is wrong.
std::string choose(std::string_view engine, std::string_view profile, Settings& settings);
/// The arguments that repeat one seed under these settings.
std::string again(const Settings& settings, std::uint64_t seed);

}  // namespace diorite::sim
