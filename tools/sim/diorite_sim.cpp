// diorite-sim: see --help.

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "engines/small.hpp"
#include "options.hpp"
#include "workers.hpp"

#include <fmt/format.h>

namespace diorite::sim {
namespace {

enum Status : int { kPassed = 0, kFailed = 1, kUsage = 2, kIncomplete = 3 };

int refuse(const std::string& what) {
  fmt::print(stderr, "diorite-sim: {}\n", what);
  return kUsage;
}

void print_failures(const Settings& settings, const Report& report) {
  for (const Failure& failure : report.failures) {
    // The same tree is walked in the same order by one job.
    fmt::print("again: {}\n", again(settings, failure.seed));
    if (failure.decisions.empty()) continue;
    fmt::print("       {} decisions make it fail\n", failure.decisions.size());
  }
}

bool write_json(const Settings& settings, const Report& report, double seconds) {
  if (settings.json_file.empty()) return true;
  const std::string text =
      fmt::format("{{\"engine\":\"{}\",\"profile\":\"{}\",\"seconds\":{:.3f},\"report\":{}}}\n",
                  settings.engine, settings.profile, seconds, report.json());
  if (settings.json_file == "-") {
    fmt::print("{}", text);
    return true;
  }
  std::ofstream file(settings.json_file);
  file << text;
  return static_cast<bool>(file.flush());
}

/// In a process of its own, as every run: an abort must not take the report with it.
int run_once(const Settings& settings) {
  const auto begun = std::chrono::steady_clock::now();
  const WorkersResult result = run_workers(settings);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  const Report& report = result.report;
  const double seconds = took.count() > 0.001 ? took.count() : 0.001;
  fmt::print("{} {}: {:.1f} s, {:.0f} schedules/s, {:.0f} crashes/s\n{}", settings.engine,
             settings.profile, seconds, static_cast<double>(report.schedules) / seconds,
             static_cast<double>(report.crashes()) / seconds, report.text());
  print_failures(settings, report);
  if (!write_json(settings, report, seconds)) return refuse("the JSON file cannot be written");
  if (!result.trouble.empty()) return refuse(result.trouble);
  if (!report.passed()) return kFailed;
  return settings.explores && !report.complete ? kIncomplete : kPassed;
}

/// A line for each, and one for all of them.
int explore_all(const Settings& from) {
  const auto begun = std::chrono::steady_clock::now();
  const auto seconds_since = [](std::chrono::steady_clock::time_point then) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - then;
    return took.count();
  };
  Report all;
  all.complete = true;
  fmt::print("{:<18} {:>10} {:>10} {:>10} {:>8}\n", "workload", "schedules", "merged", "states",
             "seconds");
  for (const SmallWorkload& workload : small_workloads()) {
    Settings settings = from;
    settings.all_small = false;
    if (const std::string wrong = choose(workload.name, "bounded", settings); !wrong.empty()) {
      return refuse(wrong);
    }
    const auto since = std::chrono::steady_clock::now();
    const WorkersResult result = run_workers(settings);
    const Report& report = result.report;
    fmt::print("{:<18} {:>10} {:>10} {:>10} {:>8.1f}  {}\n", workload.name, report.schedules,
               report.merged, report.states, seconds_since(since),
               !report.passed()   ? "FAILED"
               : !report.complete ? "incomplete"
                                  : "complete");
    std::fflush(stdout);
    all.add(report);
    print_failures(settings, report);
    for (const Failure& failure : report.failures) fmt::print("{}\n", failure.text);
    if (!result.trouble.empty()) return refuse(result.trouble);
    if (!report.passed()) break;
  }
  fmt::print("{:<18} {:>10} {:>10} {:>10} {:>8.1f}  {}\n", "all-small", all.schedules, all.merged,
             all.states, seconds_since(begun), all.complete ? "complete" : "incomplete");
  if (!write_json(from, all, seconds_since(begun))) {
    return refuse("the JSON file cannot be written");
  }
  if (!all.passed()) return kFailed;
  return all.complete ? kPassed : kIncomplete;
}

Settings settings_of_seed(const Settings& from, std::uint64_t seed) {
  Settings settings = from;
  settings.run.first_seed = seed;
  settings.run.schedules = 1;
  settings.run.checks_determinism = true;
  settings.jobs = 1;
  settings.seconds = 0;
  if (from.logs) {
    settings.run.checks_determinism = false;
    settings.run.shrinks = false;
    // The worker that replays leaves without flushing what it has inherited.
    settings.run.log = [](void*, std::string_view line) {
      fmt::print("{}\n", line);
      std::fflush(stdout);
    };
  }
  return settings;
}

int replay_file(const Settings& from) {
  std::ifstream file(from.seeds_file);
  if (!file) return refuse("cannot read " + from.seeds_file);
  int status = kPassed;
  std::uint64_t replayed = 0;
  for (std::string line; std::getline(file, line);) {
    line.resize(std::min(line.size(), line.find('#')));
    std::istringstream words(line);
    std::string engine;
    std::string profile;
    std::uint64_t seed = 0;
    if (!(words >> engine)) continue;
    if (!(words >> profile >> seed)) return refuse("no \"engine profile seed\": " + line);
    Settings settings = settings_of_seed(from, seed);
    if (const std::string wrong = choose(engine, profile, settings); !wrong.empty()) {
      return refuse(wrong);
    }
    const WorkersResult result = run_workers(settings);
    if (!result.trouble.empty()) return refuse(result.trouble);
    ++replayed;
    if (result.report.passed()) continue;
    status = kFailed;
    fmt::print("{}", result.report.text());
    print_failures(settings, result.report);
  }
  fmt::print("{} seeds replayed, {}\n", replayed, status == kPassed ? "no violation" : "FAILED");
  return status;
}

int main_of(int count, char** arguments) {
  Settings settings;
  bool wants_help = false;
  const std::string wrong = parse(count, arguments, settings, wants_help);
  if (!wrong.empty()) return refuse(wrong);
  if (wants_help) {
    fmt::print("{}", help_text());
    return kPassed;
  }
  if (settings.all_small) return explore_all(settings);
  if (!settings.seeds_file.empty()) return replay_file(settings);
  if (settings.replays) return run_once(settings_of_seed(settings, *settings.replays));
  return run_once(settings);
}

}  // namespace
}  // namespace diorite::sim

int main(int argc, char** argv) { return diorite::sim::main_of(argc, argv); }
