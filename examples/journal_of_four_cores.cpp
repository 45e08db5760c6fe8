// journal_of_four_cores: four reactors, each on a thread, append to one journal by call_on.
//
//   journal_of_four_cores [directory]
//
// The journal belongs to one reactor. The records of all that arrive in a turn become one commit,
// so four cores share one sync.

#include <atomic>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <diorite/call_on.hpp>
#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/sync.hpp>

using namespace diorite;

namespace {

constexpr int kCores = 4;
constexpr int kRecords = 500;
constexpr int kAtATime = 16;

/// Runs where the journal is. The text is a value: it lives until the append has ended.
Task<Result<Ticket>> append(Journal& journal, std::string text) {
  co_return co_await journal.append_durable(RecordRef(std::as_bytes(std::span(text))));
}

Task<> append_one(Reactor& home, Journal& journal, std::string text, Permit permit, int& failed) {
  const Result<Ticket> ticket = co_await call_on(home, &append, journal, std::move(text));
  if (!ticket) ++failed;
  permit.release();
}

/// -> how many of its records failed.
Task<int> append_many(Reactor& mine, Reactor& home, Journal& journal, int core) {
  Semaphore at_a_time(kAtATime);
  TaskScope scope(mine);
  int failed = 0;
  for (int i = 0; i < kRecords; ++i) {
    Result<Permit> permit = co_await at_a_time.acquire();
    if (!permit) break;
    std::string text = "core " + std::to_string(core) + ", record " + std::to_string(i);
    scope.spawn(append_one(home, journal, std::move(text), std::move(*permit), failed));
  }
  const Result<void> joined = co_await scope.join();
  co_return joined ? failed : kRecords;
}

void run_core(Reactor& home, Journal& journal, int core, std::atomic<int>& left, int& failed) {
  auto reactor = Reactor::create();
  failed = reactor ? (*reactor)->block_on(append_many(**reactor, home, journal, core)) : kRecords;
  if (--left == 0) home.request_shutdown();
}

}  // namespace

int main(int argc, char** argv) {
  auto made = Reactor::create();
  if (!made) return 1;
  Reactor& home = **made;
  const std::string dir = argc > 1 ? argv[1] : "four_cores.wal";
  Result<std::unique_ptr<Journal>> opened = home.block_on(Journal::open(home, dir));
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().text().c_str());
    return 1;
  }
  Journal& journal = **opened;
  int failed[kCores] = {};
  std::atomic<int> left{kCores};
  std::vector<std::thread> cores;
  for (int core = 0; core < kCores; ++core) {
    cores.emplace_back([&, core] { run_core(home, journal, core, left, failed[core]); });
  }
  home.run();  // until the last core has ended
  for (std::thread& core : cores) core.join();
  const JournalStats stats = journal.stats();
  const Result<void> closed = home.block_on(journal.close());
  int lost = 0;
  for (const int count : failed) lost += count;
  std::printf("%d records of %d cores in %llu commits, %d failed\n", kCores * kRecords - lost,
              kCores, static_cast<unsigned long long>(stats.commits), lost);
  return closed && lost == 0 ? 0 : 1;
}
