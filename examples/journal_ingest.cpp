// journal_ingest: appends every line of every file below a folder to a journal, durably, from 64
// coroutines; is killed on the way; recovers; and proves that nothing was lost.
//
//   journal_ingest [folder] [--dir JOURNAL] [--appenders N] [--driver auto|uring|pool] [--keep]
//
// It runs itself once as a child process, which reports each acknowledged record through a pipe and
// is killed with SIGKILL at a random moment. Then it opens the journal, checks every record that
// was acknowledged, byte for byte and in order, and that nothing is there that was never appended;
// appends the rest; closes; opens once more and checks everything.

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ingest/appenders.hpp"
#include "ingest/check.hpp"
#include "ingest/child.hpp"
#include "ingest/input.hpp"
#include "ingest/progress.hpp"

#include <diorite/file_lru.hpp>
#include <diorite/fs.hpp>
#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/try.hpp>

namespace {

using diorite::Journal;
using diorite::Reactor;
using diorite::Result;
using diorite::Task;
using ingest::Findings;

struct Arguments {
  std::string folder = "/usr/include";
  std::string dir = "journal_ingest.wal";
  std::string driver = "auto";
  std::uint32_t appenders = 64;
  int acks = -1;  ///< in the child: the pipe
  bool keep = false;
};

[[noreturn]] void usage(const std::string& fault) {
  fmt::print(stderr,
             "journal_ingest: {}\nusage: journal_ingest [folder] [--dir JOURNAL] [--appenders N] "
             "[--driver auto|uring|pool] [--keep]\n",
             fault);
  std::exit(2);
}

template <class T>
T number(const std::string& text, T least, T most) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end || value < least || value > most) {
    usage(fmt::format("{} is not a number from {} to {}", text, least, most));
  }
  return value;
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= argc) usage(word + " needs a value");
      return argv[++i];
    };
    if (word == "--dir") {
      arguments.dir = value();
    } else if (word == "--appenders") {
      arguments.appenders = number<std::uint32_t>(value(), 1, 65536);
    } else if (word == "--driver") {
      arguments.driver = value();
    } else if (word == "--acks") {
      arguments.acks = number<int>(value(), 0, 1 << 20);
    } else if (word == "--keep") {
      arguments.keep = true;
    } else if (word.rfind("--", 0) == 0) {
      usage("unknown option " + word);
    } else {
      arguments.folder = word;
    }
  }
  return arguments;
}

std::unique_ptr<Reactor> make_reactor(const Arguments& arguments) {
  diorite::ReactorOptions options;
  if (arguments.driver == "uring") {
    options.driver.choice = diorite::DriverChoice::uring;
    options.driver.forbid_fallback = true;
  } else if (arguments.driver == "pool") {
    options.driver.choice = diorite::DriverChoice::pool;
  } else if (arguments.driver != "auto") {
    usage("unknown driver " + arguments.driver);
  }
  auto reactor = Reactor::create(options);
  if (!reactor) {
    fmt::print(stderr, "journal_ingest: {}\n", reactor.error().text());
    std::exit(1);
  }
  return std::move(*reactor);
}

/// A row of the table at the end.
struct Phase {
  std::string name;
  std::uint64_t records = 0;
  double seconds = 0;
  std::string note;
};

struct Report {
  std::vector<Phase> phases;
  std::uint64_t acknowledged = 0;
  Findings after_kill;
  Findings at_end;
  diorite::JournalRecovery recovery;
  std::string backend;
};

double seconds_since(Reactor& reactor, diorite::Instant begin) {
  return std::chrono::duration<double>(reactor.now() - begin).count();
}

Task<Result<void>> remove_journal(Reactor& reactor, std::string dir) {
  Result<std::vector<diorite::DirEntry>> entries = co_await diorite::list(reactor, dir);
  if (!entries) {
    if (diorite::is_not_found(entries.error())) co_return Result<void>();
    co_return entries.error();
  }
  for (const diorite::DirEntry& entry : *entries) {
    DIORITE_CO_CHECK(co_await diorite::remove(reactor, diorite::join_path(dir, entry.name)));
  }
  co_return co_await diorite::remove_dir(reactor, dir);
}

/// A folder that an earlier run left is emptied; one that holds anything else is none of ours.
Task<Result<void>> clear_journal(Reactor& reactor, std::string dir) {
  Result<std::vector<diorite::DirEntry>> entries = co_await diorite::list(reactor, dir);
  if (entries) {
    for (const diorite::DirEntry& entry : *entries) {
      const bool ours = entry.name == "LOCK" || entry.name.rfind("MANIFEST", 0) == 0 ||
                        entry.name.find(".seg") != std::string::npos ||
                        entry.name.find(".tmp") != std::string::npos;
      if (!ours) usage(dir + " holds other files; name a folder of its own with --dir");
    }
  }
  co_return co_await remove_journal(reactor, dir);
}

Task<Result<void>> run_child(Reactor& reactor, const Arguments& arguments) {
  DIORITE_CO_TRY(const std::vector<std::string> paths,
                 co_await ingest::find_files(reactor, arguments.folder));
  ingest::Input input(reactor, paths);
  DIORITE_CO_TRY(const std::unique_ptr<Journal> journal,
                 co_await Journal::open(reactor, arguments.dir));
  ingest::Progress progress;
  ingest::PipeAcks acks(arguments.acks);
  const std::vector<std::uint32_t> nothing_done(paths.size(), 0);
  const ingest::Appending work{reactor, *journal, input, progress, nothing_done, &acks};
  DIORITE_CO_CHECK(co_await ingest::append_all(work, arguments.appenders));
  DIORITE_CO_CHECK(co_await input.close());
  co_return co_await journal->close();
}

Task<Result<Findings>> check_journal(Reactor& reactor, Journal& journal, ingest::Input& input,
                                     std::vector<ingest::Ack> acks, Report& report,
                                     std::string name) {
  const diorite::Instant begin = reactor.now();
  DIORITE_CO_TRY(Findings findings, co_await ingest::check(journal, input, std::move(acks)));
  report.phases.push_back(
      {std::move(name), findings.records, seconds_since(reactor, begin),
       fmt::format("{:.1f} MB of lines compared", static_cast<double>(findings.bytes) / 1e6)});
  co_return std::move(findings);
}

/// Opens what the child left, checks it, and appends the rest.
Task<Result<void>> recover_and_finish(Reactor& reactor, const Arguments& arguments,
                                      ingest::Input& input, std::vector<ingest::Ack> acks,
                                      Report& report) {
  DIORITE_CO_TRY(const std::unique_ptr<Journal> journal,
                 co_await Journal::open(reactor, arguments.dir));
  report.recovery = journal->recovery();
  report.phases.push_back({"recovered", report.recovery.records,
                           std::chrono::duration<double>(report.recovery.duration).count(),
                           fmt::format("verdict: {}, {} torn bytes and {} unpromised commits cut",
                                       diorite::to_string(report.recovery.verdict),
                                       report.recovery.torn_bytes, report.recovery.zombies)});
  const diorite::JournalBackend backend = journal->backend();
  report.backend = fmt::format(
      "{}, {}, {}", backend.driver,
      backend.sync == diorite::JournalSync::dsync ? "durable writes" : "writes and syncs",
      backend.direct_reason);
  DIORITE_CO_TRY(report.after_kill, co_await check_journal(reactor, *journal, input,
                                                           std::move(acks), report, "checked"));
  if (!report.after_kill.ok()) co_return Result<void>();

  ingest::Progress progress;
  const diorite::Instant begin = reactor.now();
  const ingest::Appending work{reactor, *journal, input, progress, report.after_kill.lines_done,
                               nullptr};
  DIORITE_CO_CHECK(co_await ingest::append_all(work, arguments.appenders));
  const double seconds = seconds_since(reactor, begin);
  const diorite::JournalStats stats = journal->stats();
  report.phases.push_back(
      {"finished", progress.records, seconds,
       fmt::format("{:.0f} records/s in {:.0f} commits/s, p50 {:.0f} us, p99 {:.0f} us",
                   static_cast<double>(progress.records) / seconds,
                   static_cast<double>(stats.commits) / seconds,
                   progress.latencies.percentile_us(0.5), progress.latencies.percentile_us(0.99))});
  co_return co_await journal->close();
}

Task<Result<void>> check_all(Reactor& reactor, const Arguments& arguments, ingest::Input& input,
                             Report& report) {
  DIORITE_CO_TRY(const std::unique_ptr<Journal> journal,
                 co_await Journal::open(reactor, arguments.dir));
  DIORITE_CO_TRY(report.at_end,
                 co_await check_journal(reactor, *journal, input, {}, report, "checked again"));
  // Every line must be there now: the next one of each file would be its end.
  for (std::size_t file = 0; file < report.at_end.lines_done.size(); ++file) {
    DIORITE_CO_TRY(const std::string text, co_await input.read(static_cast<std::uint32_t>(file)));
    std::string_view rest = text;
    std::string_view line;
    std::uint32_t lines = 0;
    while (ingest::next_line(rest, line)) ++lines;
    if (lines == report.at_end.lines_done[file]) continue;
    report.at_end.lost += lines - report.at_end.lines_done[file];
    if (report.at_end.first_fault.empty()) {
      report.at_end.first_fault = fmt::format("{}: {} of {} lines", input.paths()[file],
                                              report.at_end.lines_done[file], lines);
    }
  }
  co_return co_await journal->close();
}

void print(const Report& report) {
  fmt::print("\n  {:<16}{:>12}{:>10}   {}\n", "", "records", "seconds", "");
  for (const Phase& phase : report.phases) {
    fmt::print("  {:<16}{:>12}{:>10.2f}   {}\n", phase.name, phase.records, phase.seconds,
               phase.note);
  }
  fmt::print("\n  acknowledged before the kill  {:>10}\n", report.acknowledged);
  fmt::print("  of these lost or changed      {:>10}\n", report.after_kill.lost);
  fmt::print("  survived without being heard  {:>10}\n", report.after_kill.unheard);
  fmt::print("  never appended, but there     {:>10}\n",
             report.after_kill.unasked + report.at_end.unasked);
  fmt::print("  lines missing at the end      {:>10}\n", report.at_end.lost);
  fmt::print("  journal: {}\n", report.backend);
  for (const Findings* findings : {&report.after_kill, &report.at_end}) {
    if (!findings->ok()) fmt::print("  FAULT: {}\n", findings->first_fault);
  }
}

Task<Result<void>> run_parent(Reactor& reactor, const Arguments& arguments, Report& report) {
  DIORITE_CO_CHECK(co_await clear_journal(reactor, arguments.dir));
  DIORITE_CO_TRY(const std::vector<std::string> paths,
                 co_await ingest::find_files(reactor, arguments.folder));
  if (paths.empty()) usage("there is no file below " + arguments.folder);
  fmt::print("journal_ingest: {} files below {}, {} appenders, journal in {}\n", paths.size(),
             arguments.folder, arguments.appenders, arguments.dir);
  fmt::print("  driver: {} ({})\n", reactor.driver().name, reactor.driver().reason);

  const diorite::Instant begin = reactor.now();
  ingest::Child child({"journal_ingest", arguments.folder, "--dir", arguments.dir, "--appenders",
                       std::to_string(arguments.appenders), "--driver", arguments.driver});
  // Anywhere between the first records and some tens of thousands per thousand files.
  const std::uint64_t wanted = 1 + reactor.entropy() % (20 * paths.size() + 200);
  const auto delay_us = static_cast<std::uint32_t>(reactor.entropy() % 5000);
  const bool killed = child.kill_after(wanted, delay_us);
  report.acknowledged = child.acks().size();
  if (!killed && child.status() != 0) {
    fmt::print(stderr, "journal_ingest: the child failed before it could be killed\n");
    std::exit(1);
  }
  report.phases.push_back({killed ? "killed" : "finished early", report.acknowledged,
                           seconds_since(reactor, begin),
                           killed ? "SIGKILL; records acknowledged until then"
                                  : "the child was done before its time had come"});

  ingest::Input input(reactor, paths);
  DIORITE_CO_CHECK(co_await recover_and_finish(reactor, arguments, input, child.acks(), report));
  if (report.after_kill.ok()) {
    DIORITE_CO_CHECK(co_await check_all(reactor, arguments, input, report));
  }
  DIORITE_CO_CHECK(co_await input.close());
  if (!arguments.keep && report.after_kill.ok() && report.at_end.ok()) {
    DIORITE_CO_CHECK(co_await remove_journal(reactor, arguments.dir));
  }
  co_return Result<void>();
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  const std::unique_ptr<Reactor> reactor = make_reactor(arguments);
  Report report;
  Result<void> outcome = arguments.acks >= 0
                             ? reactor->block_on(run_child(*reactor, arguments))
                             : reactor->block_on(run_parent(*reactor, arguments, report));
  if (!outcome) {
    fmt::print(stderr, "journal_ingest: {}\n", outcome.error().text());
    return 1;
  }
  if (arguments.acks >= 0) return 0;
  print(report);
  const bool ok = report.after_kill.ok() && report.at_end.ok();
  fmt::print("\n{}: {} records lost\n", ok ? "journal_ingest: passed" : "journal_ingest: FAILED",
             report.after_kill.lost + report.at_end.lost);
  return ok ? 0 : 1;
}
