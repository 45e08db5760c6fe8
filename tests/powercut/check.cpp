#include "powercut/check.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include <diorite/journal_reader.hpp>
#include <diorite/reactor.hpp>

#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

constexpr Millis kCheckLimit = std::chrono::seconds(150);

void say(Verdict& verdict, Outcome outcome, const std::string& text) {
  verdict.outcome = outcome;
  std::snprintf(verdict.text, sizeof verdict.text, "%s", text.c_str());
}

Task<Error> read_into(Journal& journal, std::vector<Recovered>& all) {
  Result<JournalReader> reader = co_await JournalReader::open(journal, journal.head_lsn());
  if (!reader) co_return reader.error();
  for (;;) {
    Result<const Record*> record = co_await reader->next();
    if (!record) co_return record.error();
    if (*record == nullptr) co_return Error();
    const Record& at = **record;
    if (at.record_no != all.size()) co_return Error(Errc::corrupt);
    all.push_back({at.begin.value, std::string(reinterpret_cast<const char*>(at.payload.data()),
                                               at.payload.size())});
  }
}

// On the pool without threads: opening is all that is done here, one operation after the other.
Error open_and_read(const CheckOptions& options, std::vector<Recovered>& records,
                    Verdict& verdict) {
  ReactorOptions reactor_options;
  reactor_options.driver.choice = DriverChoice::pool;
  reactor_options.driver.pool_inline = true;
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(reactor_options);
  if (!reactor) return reactor.error();
  JournalOptions journal_options = powercut::journal_options(options.writer, 0);
  journal_options.spares = 1;
  Result<std::unique_ptr<Journal>> journal = (*reactor)->block_on(
      Journal::open(**reactor, options.where + '/' + kJournalName, journal_options));
  if (!journal) return journal.error();
  verdict.zombies = (*journal)->recovery().zombies;
  return (*reactor)->block_on(read_into(**journal, records));
}

void check_journal(const CheckOptions& options, const Promises& promises, Verdict& verdict) {
  std::vector<Recovered> records;
  const Error error = open_and_read(options, records, verdict);
  verdict.records = records.size();
  if (error) {
    say(verdict, Outcome::refused, error.text());
    return;
  }
  std::string why;
  const Outcome outcome = judge(records, promises, why);
  say(verdict, outcome, why);
  if (outcome != Outcome::good || !options.twice) return;

  std::vector<Recovered> again;
  Verdict second;
  const Error later = open_and_read(options, again, second);
  bool same = !later && again.size() == records.size();
  for (std::size_t i = 0; same && i < again.size(); ++i) {
    same = again[i].begin == records[i].begin && again[i].payload == records[i].payload;
  }
  if (!same) {
    say(verdict, Outcome::changed,
        fmt::format("{} records at the first open, {} at the second: {}", records.size(),
                    again.size(), later ? later.text() : std::string()));
  }
}

[[noreturn]] void run_check(int disk, const CheckOptions& options, const Promises& promises,
                            Verdict& shared) {
  die_with_parent();
  try {
    LoopDevice device = attach_loop(disk, false);
    const int mounted =
        mount_at(device.path, options.where, options.fs->name, options.fs->state_options);
    if (mounted != 0) {
      say(shared, Outcome::unmountable,
          fmt::format("mount: {}; {}", std::strerror(mounted),
                      ask_checker(*options.fs, device.path)));
      forget_device(*options.fs, device.path);
      ::_exit(0);
    }
    // Told only when all is done: a process that dies before leaves no verdict.
    Verdict verdict;
    check_journal(options, promises, verdict);
    const int unmounted = unmount(options.where, std::chrono::seconds(20));
    forget_device(*options.fs, device.path);
    if (unmounted != 0) {
      say(verdict, Outcome::stuck, fmt::format("umount: {}", std::strerror(unmounted)));
    }
    shared = verdict;
    ::_exit(0);
  } catch (const std::exception& failure) {
    say(shared, Outcome::stuck, failure.what());
    ::_exit(0);
  }
}

}  // namespace

Verdict check_state(int disk, const CheckOptions& options, const Promises& promises) {
  void* const memory =
      ::mmap(nullptr, sizeof(Verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw_errno("mmap of a verdict");
  auto* const shared = new (memory) Verdict;
  const pid_t child = ::fork();
  if (child < 0) throw_errno("fork");
  if (child == 0) run_check(disk, options, promises, *shared);
  int status = 0;
  const bool in_time = wait_for(child, kCheckLimit, &status);
  Verdict verdict = *shared;
  ::munmap(memory, sizeof(Verdict));
  if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0) return verdict;
  unmount_lazily(options.where);
  if (in_time) {
    say(verdict, Outcome::crashed, fmt::format("it ended with wait status {}", status));
  } else {
    say(verdict, Outcome::stuck, "no verdict in time");
  }
  return verdict;
}

}  // namespace diorite::powercut
