// failing_disk: what file systems do when their disk fails for a moment, and whether the simulator
// can do it, too.
//
//   failing_disk [--disk NAME] [--scenario TEXT] [--seeds N] [--verbose]
//
// Runs every scenario (failing_scenarios.hpp) on every real disk of the list, with a disk that
// refuses some writes or flushes and then works again, and prints what was seen. Each of these
// sights must be among those that the simulated machine shows under Profile::hostile() for some
// seed (with Profile::disk_lies where the disk is a file in a page cache): else the simulator is
// kinder than reality.
//
// Exit status: 0 when it can; 1 otherwise; 77 when something that it needs is not on this machine,
// root among it; 64 for arguments that it does not know.

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "powercut/failing_real.hpp"
#include "powercut/failing_sim.hpp"
#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

constexpr int kUsage = 64;

struct Arguments {
  std::string disk;
  std::string scenario;
  std::uint64_t seeds = 30'000;
  bool verbose = false;
};

FileSystem ext4_with(const std::vector<std::string>& words, const char* options) {
  FileSystem fs = *find_file_system("ext4");
  fs.make.insert(fs.make.end(), words.begin(), words.end());
  fs.options = options;
  return fs;
}

std::vector<RealDisk> real_disks() {
  const FileSystem ext4 = *find_file_system("ext4");
  return {
      {"ext4", ext4},
      {"ext4, data=journal", ext4_with({}, "data=journal")},
      {"ext4, no journal", ext4_with({"-O", "^has_journal"}, "")},
      {"xfs", *find_file_system("xfs")},
      {"btrfs", *find_file_system("btrfs")},
      {"ext4 in a cached file", ext4, true},
  };
}

// A file system that this machine lacks is left out; Missing for all of them skips the test.
struct Report {
  std::uint32_t seen = 0;
  std::uint32_t unknown = 0;
  std::vector<std::string> left_out;
};

void look(const RealDisk& disk, const Arguments& arguments, const Workspace& workspace,
          std::map<std::string, std::set<std::string>>& simulated, Report& report) {
  for (const auto& scenario : all_scenarios()) {
    const std::string_view name = scenario->name();
    if (name.find(arguments.scenario) == std::string_view::npos) continue;
    const std::unique_ptr<Computer> computer = make_real_computer(disk, workspace);
    scenario->prepare(*computer);
    const auto sights = scenario->run(*computer);
    ++*workspace.beats;
    // A disk below which there is a page cache is more than an engine can be asked to survive.
    sim::Profile profile = sim::Profile::hostile();
    if (disk.stacked) profile.disk_lies = sim::per_cent(50);
    auto& possible = simulated[std::string(name) + (disk.stacked ? ", stacked" : "")];
    if (possible.empty()) possible = simulate(*scenario, profile, arguments.seeds);
    std::string last;
    for (const auto& [state, sight] : sights) {
      const bool known = possible.count(sight.key()) != 0;
      ++report.seen;
      if (!known) ++report.unknown;
      if (sight.text() == last) continue;
      last = sight.text();
      fmt::print("{:<22} {:<27} {:<5} {} {}\n", disk.name, name, state, known ? " " : "!", last);
    }
    if (arguments.verbose) {
      for (const std::string& key : possible) fmt::print("{:>50} {}\n", "simulated", key);
    }
    std::fflush(stdout);
  }
}

int run(const Workspace& workspace, void* context) {
  const auto& arguments = *static_cast<const Arguments*>(context);
  std::map<std::string, std::set<std::string>> simulated;
  Report report;
  for (const RealDisk& disk : real_disks()) {
    if (!arguments.disk.empty() && arguments.disk != disk.name) continue;
    try {
      look(disk, arguments, workspace, simulated, report);
    } catch (const Missing& missing) {
      report.left_out.push_back(std::string(disk.name) + ": " + missing.what());
    }
  }
  for (const std::string& text : report.left_out) fmt::print("left out: {}\n", text);
  if (report.seen == 0) {
    throw Missing(report.left_out.empty() ? "there is no such disk" : report.left_out.front());
  }
  fmt::print("failing_disk: {} sights, {} of them beyond the simulator: {}\n", report.seen,
             report.unknown, report.unknown == 0 ? "passed" : "FAILED");
  return report.unknown == 0 ? 0 : 1;
}

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--verbose") {
      arguments.verbose = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const char* const value = argv[++i];
    if (name == "--disk") {
      arguments.disk = value;
    } else if (name == "--scenario") {
      arguments.scenario = value;
    } else if (name == "--seeds") {
      arguments.seeds = std::strtoull(value, nullptr, 10);
    } else {
      return false;
    }
  }
  return arguments.seeds > 0;
}

}  // namespace
}  // namespace diorite::powercut

int main(int argc, char** argv) {
  using namespace diorite::powercut;
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    std::fprintf(stderr, "failing_disk [--disk NAME] [--scenario TEXT] [--seeds N] [--verbose]\n");
    return kUsage;
  }
  return run_isolated(parent_folder(), &run, &arguments);
}
