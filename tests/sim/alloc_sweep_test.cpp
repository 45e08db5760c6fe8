// Every allocation of every workload fails once.
//
// The library throws std::bad_alloc or answers not_enough_memory, keeps its promises, and leaves no
// handle open. Each run has a process of its own: pools of frames are as empty as at the program's
// start, and an exception that meets a noexcept function, or the end of a task that nobody awaits,
// ends that process only.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define DIORITE_TEST_BACKTRACE 1
#endif

#include "sim/sweep.hpp"
#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

constexpr std::string_view kNoFault = "no fault";

bool tells() { return std::getenv("DIORITE_SWEEP_VERBOSE") != nullptr; }

void print_stack() {
#ifdef DIORITE_TEST_BACKTRACE
  constexpr int kFrames = 40;
  void* frames[kFrames];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, kFrames), STDERR_FILENO);
#endif
}

// Which function it was that the exception must not leave, or whose assertion failed.
void aborting(int number) {
  print_stack();
  ::signal(number, SIG_DFL);
  ::raise(number);
}

/// In the child: what the parent reads is its error output.
void run_once(const Workload& workload, std::uint32_t n) {
  if (tells()) ::signal(SIGABRT, &aborting);
  FaultSetup fault;
  fault.kind = FaultSetup::Kind::allocation;
  fault.nth = n;
  if (tells()) fault.on_failure = &print_stack;
  const SweepRun run = run_with_fault(workload, fault, Ending::power_cut);
  for (const std::string& complaint : run.complaints) {
    std::fprintf(stderr, "%s\n", complaint.c_str());
  }
  if (!run.fault_happened) std::fprintf(stderr, "%s\n", std::string(kNoFault).c_str());
}

struct Tally {
  std::uint32_t runs = 0;
  std::uint32_t terminated = 0;
};

Tally sweep(const Workload& workload) {
  Tally tally;
  for (std::uint32_t n = 1;; ++n) {
    const Death death = run_in_child([&] { run_once(workload, n); });
    ++tally.runs;
    INFO(workload.name << ": allocation " << n);
    if (tells()) std::printf("%s: allocation %u\n%s", workload.name, n, death.error_output.c_str());
    if (death.aborted() && death.error_output.find("assertion failed") == std::string::npos) {
      ++tally.terminated;
      continue;
    }
    if (!death.survived()) FAIL_CHECK("a crash: " << death.error_output);
    const bool ended = death.said(kNoFault);
    if (death.survived() && !ended && !death.error_output.empty() && !tells())
      FAIL_CHECK(death.error_output);
    if (ended) return tally;
  }
}

void sweep_all(std::span<const Workload> workloads) {
  if (!can_fail_allocs()) return;
  for (const Workload& workload : workloads) {
    const Tally tally = sweep(workload);
    CHECK(tally.runs > 4);
    std::printf("%-40s %5u allocations, %4u terminated\n", workload.name, tally.runs - 1,
                tally.terminated);
    CHECK(tally.terminated == 0);
  }
}

}  // namespace

TEST_CASE("every allocation for a file fails once", "[sweep][alloc]") {
  sweep_all(file_workloads());
}

TEST_CASE("every allocation of a cache of files fails once", "[sweep][alloc]") {
  sweep_all(lru_workloads());
}

TEST_CASE("every allocation of a journal fails once", "[sweep][alloc]") {
  sweep_all(journal_workloads());
}
