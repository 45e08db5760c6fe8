// Campaign: records workloads on a file system and checks the states that power cuts could leave.

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "powercut/check.hpp"
#include "powercut/filesystem.hpp"
#include "powercut/plan.hpp"
#include "powercut/supervisor.hpp"
#include "powercut/trace.hpp"

namespace diorite::powercut {

struct CampaignOptions {
  const FileSystem* fs = nullptr;
  Writer writer = Writer::dsync;
  bool control = false;  ///< the writer that acknowledges without syncing
  std::uint64_t states = 0;
  std::uint64_t seed = 1;
  std::string keep;  ///< folder for the images of states that failed; none when empty
  bool verbose = false;
};

struct Tally {
  std::uint64_t recordings = 0;
  std::uint64_t acked = 0;  ///< records, over all recordings
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t states = 0;   ///< no two of a recording are the same
  std::uint64_t pending = 0;  ///< writes that were not durable, over all states
  std::uint64_t torn_writes = 0;
  std::uint64_t torn_blocks = 0;  ///< of files, torn at a sector
  std::uint64_t promised = 0;     ///< acknowledged records looked for, over all states
  std::array<std::uint64_t, kOutcomes> outcomes{};
  std::array<std::array<std::uint64_t, kOutcomes>, kChoices> by_choice{};
  std::vector<std::string> examples;
  double record_seconds = 0;
  double check_seconds = 0;

  std::uint64_t count(Outcome outcome) const noexcept {
    return outcomes[static_cast<std::size_t>(outcome)];
  }
  std::uint64_t failures() const noexcept;
};

/// Throws Trouble and Missing.
Tally run_campaign(const CampaignOptions& options, const Workspace& workspace);

}  // namespace diorite::powercut
