// powercut: cuts the power under a journal on a real file system, some hundred times a minute.
//
//   powercut [--fs ext4|xfs|btrfs] [--states N] [--seed S] [--sync dsync|flush|both]
//            [--control | --no-control] [--keep FOLDER] [--verbose]
//
// Records what a disk sees while a journal is written on a file system on it, rebuilds the states
// that a power cut could have left, mounts each, opens the journal and holds what it returns
// against what had been acknowledged. Then does the same, with fewer states, to a writer that
// acknowledges without syncing, and wants it to be caught (--control: only that; --no-control: not
// at all).
//
// Exit status: 0 nothing was lost, and the control was caught; 1 otherwise; 77 when something that
// it needs is not on this machine, root among it; 64 for arguments that it does not know.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "powercut/campaign.hpp"
#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

constexpr int kUsage = 64;

struct Arguments {
  const FileSystem* fs = find_file_system("ext4");
  std::uint64_t states = 300;
  std::uint64_t seed = 1;
  std::vector<Writer> writers = {Writer::dsync, Writer::flush};
  bool writer = true;
  bool control = true;
  std::string keep;
  bool verbose = false;
};

bool parse_number(const std::string& text, std::uint64_t& number) {
  char* end = nullptr;
  number = std::strtoull(text.c_str(), &end, 10);
  return !text.empty() && *end == '\0';
}

bool parse_value(Arguments& arguments, std::string_view name, const std::string& value) {
  if (name == "--fs") return (arguments.fs = find_file_system(value)) != nullptr;
  if (name == "--states") return parse_number(value, arguments.states) && arguments.states > 0;
  if (name == "--seed") return parse_number(value, arguments.seed);
  if (name == "--keep") {
    arguments.keep = value;
    return true;
  }
  if (name != "--sync") return false;
  if (value == "dsync") arguments.writers = {Writer::dsync};
  if (value == "flush") arguments.writers = {Writer::flush};
  return value == "dsync" || value == "flush" || value == "both";
}

std::optional<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--control") {
      arguments.writer = false;
    } else if (name == "--no-control") {
      arguments.control = false;
    } else if (name == "--verbose") {
      arguments.verbose = true;
    } else if (i + 1 == argc || !parse_value(arguments, name, argv[++i])) {
      std::fprintf(stderr, "powercut: what is %s?\n", argv[i]);
      return std::nullopt;
    }
  }
  if (!arguments.writer && !arguments.control) return std::nullopt;
  return arguments;
}

const char* name_of(Writer writer) { return writer == Writer::dsync ? "dsync" : "flush"; }

void print_head() {
  fmt::print("{:<6} {:<14} {:>5} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} {:>7} {:>8} {:>8}\n",
             "fs", "writer", "recs", "acked", "writes", "flushes", "states", "good", "failed",
             "unmnt", "stuck", "torn blk", "states/s");
}

void print_row(const FileSystem& fs, const std::string& writer, const Tally& tally) {
  const double rate = static_cast<double>(tally.states) /
                      std::max(0.001, tally.record_seconds + tally.check_seconds);
  fmt::print("{:<6} {:<14} {:>5} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} {:>7} {:>8} {:>8.1f}\n",
             fs.name, writer, tally.recordings, tally.acked, tally.writes, tally.flushes,
             tally.states, tally.count(Outcome::good), tally.failures(),
             tally.count(Outcome::unmountable), tally.count(Outcome::stuck), tally.torn_blocks,
             rate);
  fmt::print(
      "       {:.1f} s recording, {:.1f} s checking; {:.1f} writes pending and {:.0f} "
      "acknowledged records looked for in a state\n",
      tally.record_seconds, tally.check_seconds,
      static_cast<double>(tally.pending) / static_cast<double>(tally.states),
      static_cast<double>(tally.promised) / static_cast<double>(tally.states));
  for (std::size_t choice = 0; choice < kChoices; ++choice) {
    fmt::print("       {:<12}", to_string(static_cast<Choice>(choice)));
    for (std::size_t outcome = 0; outcome < kOutcomes; ++outcome) {
      if (tally.by_choice[choice][outcome] == 0) continue;
      fmt::print(" {} {}", tally.by_choice[choice][outcome],
                 to_string(static_cast<Outcome>(outcome)));
    }
    fmt::print("\n");
  }
  for (const std::string& example : tally.examples) fmt::print("       - {}\n", example);
  std::fflush(stdout);
}

// A file system that does not mount says nothing about the journal; too many, and nothing was
// tested.
bool is_convincing(const Tally& tally) {
  return tally.count(Outcome::stuck) == 0 && tally.count(Outcome::good) * 100 >= tally.states * 95;
}

int run(const Workspace& workspace, void* context) {
  const auto& arguments = *static_cast<const Arguments*>(context);
  bool passed = true;
  print_head();
  CampaignOptions options;
  options.fs = arguments.fs;
  options.keep = arguments.keep;
  options.verbose = arguments.verbose;
  if (arguments.writer) {
    for (const Writer writer : arguments.writers) {
      options.writer = writer;
      options.seed = arguments.seed + static_cast<std::uint64_t>(writer) * 1'000'000;
      options.states = std::max<std::uint64_t>(1, arguments.states / arguments.writers.size());
      const Tally tally = run_campaign(options, workspace);
      print_row(*options.fs, name_of(writer), tally);
      passed = passed && tally.failures() == 0 && is_convincing(tally);
    }
  }
  if (arguments.control) {
    options.control = true;
    options.keep.clear();
    for (const Writer writer : arguments.writers) {
      options.writer = writer;
      options.seed = arguments.seed + 500'000 + static_cast<std::uint64_t>(writer) * 1'000'000;
      options.states = std::clamp<std::uint64_t>(arguments.states / 10, 30, 500);
      const Tally tally = run_campaign(options, workspace);
      print_row(*options.fs, fmt::format("{}, unsynced", name_of(writer)), tally);
      if (tally.count(Outcome::lost) == 0) {
        fmt::print("powercut: the control lost nothing: this run shows nothing\n");
        passed = false;
      }
    }
  }
  fmt::print("powercut: {}\n", passed ? "passed" : "FAILED");
  return passed ? 0 : 1;
}

}  // namespace
}  // namespace diorite::powercut

int main(int argc, char** argv) {
  using namespace diorite::powercut;
  std::optional<Arguments> arguments = parse(argc, argv);
  if (!arguments) return kUsage;
  return run_isolated(parent_folder(), &run, &*arguments);
}
