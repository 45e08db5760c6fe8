// diorite_bench: diorite against the tightest loops that can be written by hand.

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "cases.hpp"
#include "machine.hpp"

#include <diorite/version.hpp>

namespace diorite::bench {
namespace {

struct Case {
  std::string_view name;
  std::string_view what;
  void (*run)(Bench&);
};

constexpr std::array kCases = {
    Case{"P1", "no-op round trip through the reactor against a raw ring", run_p1},
    Case{"P2", "4 KiB random reads at depth 1, 4, 32, 128 against a raw ring and fio", run_p2},
    Case{"P5", "a lone durable append against pwritev2(RWF_DSYNC) of one block", run_p5},
    Case{"P6", "durable appends from 16, 64, 512, 4096 coroutines against the ideal loop", run_p6},
    Case{"P16", "a timer among 100,000 and 1,000,000 against one among 1,000", run_p16},
    Case{"P18", "making and awaiting a ready task against a plain call", run_p18},
    Case{"P19", "durable appends and cached reads by blocking threads, against LevelDB and RocksDB",
         run_p19},
    Case{"P20", "durable appends by call_on from other reactors against local ones", run_p20},
};

// The largest case of the full run: files for the raw loop, and segments of the journal.
constexpr std::uint64_t kQuickBytes = std::uint64_t{4} << 30;
constexpr std::uint64_t kFullBytes = std::uint64_t{12} << 30;

struct Arguments {
  bool quick = false;
  std::string out = ".";
  std::string dir;
  std::vector<std::string> cases;
};

void print_usage(std::FILE* to) {
  fmt::print(
      to,
      "usage: diorite_bench [--quick] [--out DIR] [--dir DIR] [--case NAME]...\n"
      "  --quick      shorter runs, within 3 minutes\n"
      "  --out DIR    where report.md and report.json go (here)\n"
      "  --dir DIR    where the files lie that are read and written (the --out folder); its\n"
      "               file system and device are what is measured\n"
      "  --case NAME  only this case; may be given more than once\n"
      "cases:\n");
  for (const Case& c : kCases) fmt::print(to, "  {}  {}\n", c.name, c.what);
}

bool is_case(std::string_view name) {
  return std::any_of(kCases.begin(), kCases.end(),
                     [name](const Case& c) { return c.name == name; });
}

Arguments parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = values[i];
    if (name == "--quick") {
      arguments.quick = true;
      continue;
    }
    if (name != "--out" && name != "--dir" && name != "--case") {
      throw std::invalid_argument(fmt::format("unknown argument {}", name));
    }
    if (++i == count) throw std::invalid_argument(fmt::format("{} needs a value", name));
    const std::string value = values[i];
    if (name == "--out") {
      arguments.out = value;
    } else if (name == "--dir") {
      arguments.dir = value;
    } else if (is_case(value)) {
      arguments.cases.push_back(value);
    } else {
      throw std::invalid_argument(fmt::format("no case {}", value));
    }
  }
  if (arguments.dir.empty()) arguments.dir = arguments.out;
  return arguments;
}

void run(const Arguments& arguments) {
  const Clock::time_point begin = Clock::now();
  std::error_code error;
  std::filesystem::create_directories(arguments.out, error);
  if (error) throw Failure(fmt::format("cannot create {}: {}", arguments.out, error.message()));
  Workspace workspace(arguments.dir, arguments.quick ? kQuickBytes : kFullBytes);
  auto facts = machine_facts(workspace.path());
  facts.emplace_back("diorite", fmt::format("{}.{}.{}", DIORITE_VERSION_MAJOR,
                                            DIORITE_VERSION_MINOR, DIORITE_VERSION_PATCH));
  {
    const std::unique_ptr<Reactor> reactor = make_reactor();
    facts.emplace_back("driver",
                       fmt::format("{}: {}", reactor->driver().name, reactor->driver().reason));
  }
  const double others = foreign_share_now();
  facts.emplace_back("others' CPU at the start", fmt::format("{:.0f} % of one core", others * 100));
  if (others > 0.05) {
    fmt::print(stderr, "the machine is busy: others use {:.0f} % of a core\n", others * 100);
  }
  Report report(std::move(facts), arguments.quick);
  Plan plan;
  if (arguments.quick) {
    plan = {.quick = true,
            .pairs = kPairsMin,
            .extra_pairs = 4,
            .seconds = 0.4,
            .no_extras_after = begin + std::chrono::seconds(90)};
  }
  Bench bench{plan, workspace, report};
  for (const Case& c : kCases) {
    const auto& wanted = arguments.cases;
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), c.name) != wanted.end()) {
      c.run(bench);
    }
  }
  report.write(arguments.out, std::chrono::duration<double>(Clock::now() - begin).count());
}

}  // namespace

std::unique_ptr<Reactor> make_reactor() {
  ReactorOptions options;
  options.driver.choice = DriverChoice::uring;
  options.driver.forbid_fallback = true;
  return require(Reactor::create(options));
}

void require_zero(int result, const char* what) {
  if (result != 0) throw Failure(fmt::format("{}: {}", what, std::strerror(std::abs(result))));
}

std::uint64_t operations_for(const Plan& plan, double per_second) {
  return std::max<std::uint64_t>(100, static_cast<std::uint64_t>(per_second * plan.seconds));
}

}  // namespace diorite::bench

int main(int count, char** values) {
  namespace bench = diorite::bench;
  // The workspace holds gigabytes: it must go also when the run is broken off.
  std::signal(SIGINT, [](int) { bench::interrupt(); });
  std::signal(SIGTERM, [](int) { bench::interrupt(); });
  try {
    if (count == 2 && std::string_view(values[1]) == "--help") {
      bench::print_usage(stdout);
      return 0;
    }
    bench::run(bench::parse(count, values));
    return 0;
  } catch (const std::invalid_argument& problem) {
    fmt::print(stderr, "diorite_bench: {}\n", problem.what());
    bench::print_usage(stderr);
    return 2;
  } catch (const std::exception& problem) {
    fmt::print(stderr, "\ndiorite_bench: {}\n", problem.what());
    return 1;
  }
}
