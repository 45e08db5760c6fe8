// Runs every mutant in the simulator until it is caught, and prints how long that took.
//
//   diorite_mutants [--list] [--budget-scale PER_CENT] [--explore WORKLOAD] [name...]
//
// With --explore, not by random schedules of the engine that is made for it, but by exploring a
// small workload until it is caught.
//
// Ends with status 1 when a mutant survives its budget, or when the library without any mutant is
// found guilty. Each mutant runs in a process of its own: an assertion that ends it has caught it,
// and so has the limit of its processor time, since a journal that hangs is caught too.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/sim/run.hpp>

#include "engines/engines.hpp"
#include "engines/small.hpp"
#include "scenarios.hpp"

namespace diorite::mutants {
int active = 0;
}

namespace {

using namespace diorite;

struct Mutant {
  const char* name;
  const char* engine;
  const char* profile;
  std::uint64_t budget;
};

constexpr Mutant kMutants[] = {
#include "table.inc"
};
constexpr rlim_t kProcessorSeconds = 600;
/// Schedules of an exploration.
constexpr std::uint64_t kExploredMax = 1'000'000;

/// What a child writes to its pipe: the last schedule that it began, and at the end what it found.
struct Progress {
  std::uint64_t schedules = 0;
  bool ended = false;
  bool caught = false;
  char text[160] = {};
};

void tell(int pipe, const Progress& progress) {
  if (::write(pipe, &progress, sizeof(progress)) != sizeof(progress)) ::_exit(EXIT_FAILURE);
}

struct Teller {
  int pipe;
};

[[noreturn]] void run_child(int number, const Mutant& mutant, std::uint64_t budget, int pipe) {
  // What a mutant prints before it dies is of no interest.
  if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(EXIT_FAILURE);
  const rlimit no_core{0, 0};
  const rlimit time{kProcessorSeconds, kProcessorSeconds};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_CPU, &time);
  sim::RunOptions options;
  sim::EngineFactory factory;
  const sim::SmallWorkload* const small = sim::find_small(mutant.engine);
  if (small != nullptr) {
    // What it begins with is made by the library as it is.
    small->shape(options);
    factory = small->factory();
  } else if (!sim::Profile::find(mutant.profile, options.profile) ||
             (!mutants::find_scenario(mutant.engine, factory) &&
              !sim::find_engine(mutant.engine, factory))) {
    ::_exit(EXIT_FAILURE);
  }
  mutants::active = number;
  Teller teller{pipe};
  options.schedules = budget;
  options.shrinks = false;
  options.context = &teller;
  options.keep_going = [](void* context, const sim::Report& so_far) {
    Progress progress;
    progress.schedules = so_far.schedules;
    tell(static_cast<Teller*>(context)->pipe, progress);
    return true;
  };
  const sim::Report report =
      small != nullptr ? sim::explore(options, factory) : sim::run(options, factory);
  Progress progress;
  progress.schedules = report.schedules;
  progress.ended = true;
  progress.caught = !report.passed();
  if (progress.caught) {
    progress.schedules = report.failures.front().schedule;
    std::snprintf(progress.text, sizeof(progress.text), "%s", report.failures.front().text.c_str());
  }
  tell(pipe, progress);
  ::_exit(EXIT_SUCCESS);
}

struct Verdict {
  bool caught = false;
  std::uint64_t schedule = 0;
  std::string text;
};

struct Child {
  pid_t process = -1;
  int pipe = -1;
};

Child begin(int number, const Mutant& mutant, std::uint64_t budget) {
  int ends[2];
  if (::pipe(ends) != 0) std::perror("pipe"), std::exit(2);
  std::fflush(stdout);
  Child child;
  child.process = ::fork();
  if (child.process < 0) std::perror("fork"), std::exit(2);
  if (child.process == 0) {
    ::close(ends[0]);
    run_child(number, mutant, budget, ends[1]);
  }
  ::close(ends[1]);
  child.pipe = ends[0];
  return child;
}

Verdict wait_for(const Child& child) {
  Progress last;
  for (;;) {
    Progress next;
    const ssize_t bytes = ::read(child.pipe, &next, sizeof(next));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes != sizeof(next)) break;
    last = next;
  }
  ::close(child.pipe);
  int status = 0;
  while (::waitpid(child.process, &status, 0) < 0 && errno == EINTR) {
  }
  Verdict verdict;
  if (last.ended) {
    verdict = {last.caught, last.schedules, last.text};
  } else if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    verdict = {true, last.schedules + 1,
               signal == SIGABRT                        ? "an assertion failed"
               : signal == SIGXCPU || signal == SIGKILL ? "it never came to an end"
                                                        : ::strsignal(signal)};
  } else {
    std::fprintf(stderr, "a child ended with status %d and told nothing\n", status);
    std::exit(2);
  }
  return verdict;
}

struct Options {
  bool list = false;
  unsigned scale = 100;
  const char* workload = nullptr;  ///< null: each mutant's own engine
  std::vector<std::string_view> names;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--list") {
      options.list = true;
    } else if (argument == "--budget-scale" && i + 1 < argc) {
      options.scale = static_cast<unsigned>(std::atoi(argv[++i]));
    } else if (argument == "--explore" && i + 1 < argc) {
      options.workload = argv[++i];
      if (sim::find_small(options.workload) == nullptr) {
        std::fprintf(stderr, "there is no workload %s\n", options.workload);
        std::exit(2);
      }
    } else if (argument.substr(0, 1) != "-") {
      options.names.push_back(argument);
    } else {
      std::fprintf(stderr, "what is %s?\n", argv[i]);
      std::exit(2);
    }
  }
  return options;
}

bool is_wanted(const Options& options, std::string_view name) {
  if (options.names.empty()) return true;
  for (const std::string_view wanted : options.names) {
    if (wanted == name) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  std::printf("%-44s %-15s %-9s %10s %10s  %s\n", "mutant", "engine", "profile", "caught at",
              "budget", "by");
  int survivors = 0;
  int number = 0;
  // The library as it is must pass what its mutants are judged by.
  std::map<std::pair<std::string_view, std::string_view>, std::uint64_t> innocent;
  for (Mutant mutant : kMutants) {
    ++number;
    if (!is_wanted(options, mutant.name)) continue;
    if (options.workload != nullptr) {
      mutant = {mutant.name, options.workload, "explored", kExploredMax};
    }
    const std::uint64_t budget = mutant.budget * options.scale / 100;
    if (options.list) {
      std::printf("%-44s %-15s %-9s %10s %10llu\n", mutant.name, mutant.engine, mutant.profile, "",
                  static_cast<unsigned long long>(budget));
      continue;
    }
    const Verdict verdict = wait_for(begin(number, mutant, budget));
    if (!verdict.caught) ++survivors;
    std::printf("%-44s %-15s %-9s %10s %10llu  %.80s\n", mutant.name, mutant.engine, mutant.profile,
                verdict.caught ? std::to_string(verdict.schedule).c_str() : "SURVIVED",
                static_cast<unsigned long long>(budget), verdict.text.c_str());
    std::fflush(stdout);
    std::uint64_t& needed = innocent[{mutant.engine, mutant.profile}];
    if (verdict.caught && verdict.schedule > needed) needed = verdict.schedule;
  }
  for (const auto& [kind, schedules] : innocent) {
    const std::string engine(kind.first);
    const std::string profile(kind.second);
    const Mutant nobody{"(none)", engine.c_str(), profile.c_str(), schedules};
    const Verdict verdict = wait_for(begin(0, nobody, schedules));
    if (verdict.caught) ++survivors;
    std::printf("%-44s %-15s %-9s %10s %10llu  %.80s\n", nobody.name, nobody.engine, nobody.profile,
                verdict.caught ? "GUILTY" : "innocent", static_cast<unsigned long long>(schedules),
                verdict.text.c_str());
  }
  if (survivors != 0) std::printf("%d wrong\n", survivors);
  return survivors == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
