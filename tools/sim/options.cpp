#include "options.hpp"

#include <charconv>
#include <system_error>

#include "engines/engines.hpp"
#include "engines/small.hpp"

#include <fmt/format.h>

namespace diorite::sim {
namespace {

constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};
constexpr std::string_view kAllSmall = "all-small";

/// One argument after the other, as "--name value" or "--name=value".
class Arguments {
 public:
  Arguments(int count, char** arguments) noexcept : count_(count), arguments_(arguments) {}

  bool next() {
    if (++at_ >= count_) return false;
    name_ = arguments_[at_];
    value_.reset();
    const std::size_t equals = name_.find('=');
    if (equals != std::string_view::npos) {
      value_ = name_.substr(equals + 1);
      name_ = name_.substr(0, equals);
    }
    return true;
  }
  std::string_view name() const noexcept { return name_; }
  std::string text() {
    if (value_) return std::string(*value_);
    if (at_ + 1 < count_) return arguments_[++at_];
    fail("needs a value");
    return {};
  }
  template <class T>
  void number(T& to) {
    const std::string given = text();
    T parsed{};
    const auto result = std::from_chars(given.data(), given.data() + given.size(), parsed);
    if (result.ec != std::errc() || result.ptr != given.data() + given.size()) {
      fail("needs a number, not \"" + given + "\"");
    } else {
      to = parsed;
    }
  }
  void fail(const std::string& what) {
    if (error_.empty()) error_ = std::string(name_) + " " + what;
  }
  const std::string& error() const noexcept { return error_; }

 private:
  int count_;
  char** arguments_;
  int at_ = 0;
  std::string_view name_;
  std::optional<std::string_view> value_;
  std::string error_;
};

/// Of the schedules: which, how many, how long. False when the name is another.
bool take_amount(Arguments& arguments, Settings& settings) {
  const std::string_view name = arguments.name();
  if (name == "--schedules") {
    arguments.number(settings.run.schedules);
    settings.limited = true;
  } else if (name == "--crashes") {
    arguments.number(settings.run.crashes_max);
    settings.limited = true;
  } else if (name == "--time") {
    arguments.number(settings.seconds);
  } else if (name == "--seed") {
    arguments.number(settings.run.first_seed);
  } else if (name == "--jobs") {
    arguments.number(settings.jobs);
    if (settings.jobs == 0 || settings.jobs > 256) arguments.fail("is 1 to 256");
  } else if (name == "--failures") {
    arguments.number(settings.run.failures_max);
  } else {
    return false;
  }
  return true;
}

/// Of the machine and of one schedule.
bool take_shape(Arguments& arguments, Settings& settings) {
  const std::string_view name = arguments.name();
  DiskOptions& disk = settings.run.machine.disk;
  if (name == "--lives") {
    arguments.number(settings.run.lives_max);
  } else if (name == "--events") {
    arguments.number(settings.run.events_max);
  } else if (name == "--steps") {
    arguments.number(settings.run.steps_max);
  } else if (name == "--block") {
    arguments.number(disk.physical_block_bytes);
    if (disk.physical_block_bytes != 512 && disk.physical_block_bytes != 4096) {
      arguments.fail("is 512 or 4096");
    }
  } else if (name == "--capacity") {
    arguments.number(disk.capacity_bytes);
  } else if (name == "--no-short-transfers") {
    settings.no_short_transfers = true;
  } else if (name == "--no-errors") {
    settings.no_errors = true;
  } else if (name == "--no-direct") {
    disk.direct_possible = false;
  } else if (name == "--no-registered-files") {
    settings.run.machine.registers_files = false;
  } else {
    return false;
  }
  return true;
}

bool take_task(Arguments& arguments, Settings& settings) {
  const std::string_view name = arguments.name();
  if (name == "--engine") {
    settings.engine = arguments.text();
  } else if (name == "--profile") {
    settings.profile = arguments.text();
  } else if (name == "--explore") {
    settings.explores = true;
  } else if (name == "--replay") {
    arguments.number(settings.replays.emplace());
  } else if (name == "--seeds-file") {
    settings.seeds_file = arguments.text();
  } else if (name == "--json") {
    settings.json_file = arguments.text();
  } else if (name == "--no-shrink") {
    settings.run.shrinks = false;
  } else if (name == "--log") {
    settings.logs = true;
  } else if (name == "--check-determinism") {
    settings.run.checks_determinism = true;
  } else {
    return false;
  }
  return true;
}

std::string small_names() {
  std::string names;
  for (const SmallWorkload& workload : small_workloads()) {
    names += names.empty() ? "" : ",\n                        ";
    names += workload.name;
  }
  return names;
}

}  // namespace

std::string help_text() {
  return fmt::format(
      R"(diorite-sim: power-cuts diorite's own engines on a simulated machine, from seeds.

  diorite-sim [--engine NAME] [--profile NAME] [--schedules N | --crashes N | --time SECONDS] ...

Each schedule is a few lives of one engine on one machine: it works, the power goes, it opens its
files again, and what had been promised must be there. A schedule follows from its seed alone.

What runs
  --engine NAME         {}
  --profile NAME        how the machine misbehaves: {}
  --schedules N         so many schedules; 1000 if nothing else limits the run
  --crashes N           until so many power cuts and kills have happened
  --time SECONDS        for so long
  --seed S              the first seed; 1
  --jobs N              processes side by side, which share the seeds between them; 1
  --failures N          go on until so many schedules have failed; 1

Other ways to run
  --replay S            the schedule of seed S alone, twice, and whether both runs were the same
  --explore             every decision of a small run, instead of seeds. --engine is one of the
                        workloads made for that, which bring all else with them, or all-small, or
                        an engine from above, with few --lives, --events and --steps and a profile
                        like bounded. The jobs share one tree. --schedules and --time cut it off
                        workloads: {}
  --log                 with --replay: every operation, once, and nothing is made smaller
  --seeds-file FILE     replays each line "engine profile seed" of FILE; # begins a comment
  --check-determinism   runs every schedule twice and compares the traces

The schedule and the machine
  --lives N             lives of a schedule, with the last one, which is healthy; 4
  --events N            operations begun or ended before the power goes, at most; 600
  --steps N             actions of a life, at most; 200
  --block N             what a torn write may damage: 512 or 4096; 4096
  --capacity N          bytes on the disk; 67108864
  --no-short-transfers  the profile without them
  --no-errors           the profile without failing operations
  --no-direct           a file system without direct I/O
  --no-registered-files a driver that cannot register files

Reports
  --no-shrink           do not make failing schedules smaller
  --json FILE           the report as JSON, - for standard output

The exit status is 0 when all went well, 1 after a violation, 2 when the arguments are wrong or a
process could not be started, 3 when an exploration was cut off before its end.
)",
      engine_names(), profile_names(), small_names());
}

std::string choose(std::string_view engine, std::string_view profile, Settings& settings) {
  if (settings.explores && engine == kAllSmall) {
    settings.engine = engine;
    settings.profile = "bounded";
    settings.all_small = true;
    return {};
  }
  if (const SmallWorkload* small = settings.explores ? find_small(engine) : nullptr) {
    small->shape(settings.run);
    settings.factory = small->factory();
    settings.engine = engine;
    settings.profile = "bounded";
    return {};
  }
  if (!find_engine(engine, settings.factory)) {
    return fmt::format("there is no engine \"{}\"; there are {}", engine, engine_names());
  }
  if (!Profile::find(profile, settings.run.profile)) {
    return fmt::format("there is no profile \"{}\"; there are {}", profile, profile_names());
  }
  if (settings.no_short_transfers) settings.run.profile.short_transfer = never();
  if (settings.no_errors) settings.run.profile.errors.fill(never());
  settings.engine = engine;
  settings.profile = profile;
  return {};
}

std::string parse(int count, char** arguments, Settings& settings, bool& wants_help) {
  Arguments list(count, arguments);
  while (list.next()) {
    if (list.name() == "--help" || list.name() == "-h") {
      wants_help = true;
      return {};
    }
    if (!take_amount(list, settings) && !take_shape(list, settings) && !take_task(list, settings)) {
      list.fail("is no option; see --help");
    }
    if (!list.error().empty()) return list.error();
  }
  if (settings.explores && !settings.limited) {
    settings.run.schedules = kNoLimit;
  } else if (settings.run.crashes_max != kNoLimit || settings.seconds != 0) {
    // Limited otherwise, unless schedules were asked for as well.
    if (settings.run.schedules == RunOptions().schedules) settings.run.schedules = kNoLimit;
  }
  return choose(settings.engine, settings.profile, settings);
}

std::string again(const Settings& settings, std::uint64_t seed) {
  const RunOptions usual;
  const RunOptions& run = settings.run;
  std::string line =
      fmt::format("diorite-sim --engine {} --profile {}", settings.engine, settings.profile);
  if (run.lives_max != usual.lives_max) line += fmt::format(" --lives {}", run.lives_max);
  if (run.events_max != usual.events_max) line += fmt::format(" --events {}", run.events_max);
  if (run.steps_max != usual.steps_max) line += fmt::format(" --steps {}", run.steps_max);
  const DiskOptions& disk = run.machine.disk;
  if (disk.physical_block_bytes != usual.machine.disk.physical_block_bytes) {
    line += fmt::format(" --block {}", disk.physical_block_bytes);
  }
  if (disk.capacity_bytes != usual.machine.disk.capacity_bytes) {
    line += fmt::format(" --capacity {}", disk.capacity_bytes);
  }
  if (settings.no_short_transfers) line += " --no-short-transfers";
  if (settings.no_errors) line += " --no-errors";
  if (!disk.direct_possible) line += " --no-direct";
  if (!run.machine.registers_files) line += " --no-registered-files";
  if (settings.explores) return line + " --explore";
  return line + fmt::format(" --replay {}", seed);
}

}  // namespace diorite::sim
