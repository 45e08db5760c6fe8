// Every operation of every workload fails once, in every way; and every allocation.
//
// After each: nothing hangs, every error has a code and a text, no handle is left open, and what
// was promised is there after a power cut, and for the next process.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sim/sweep.hpp"
#include "support/catch.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

using Kind = FaultSetup::Kind;
using Repeat = sim::FaultDriver::Repeat;

/// The ways in which one operation goes wrong.
std::vector<FaultSetup> faults_of_operations() {
  std::vector<FaultSetup> faults;
  for (const int error : {EIO, ENOSPC, EINTR, EAGAIN, ECANCELED, EMFILE, EROFS}) {
    for (const Repeat repeat : {Repeat::once, Repeat::sticky}) {
      FaultSetup fault;
      fault.kind = Kind::operation;
      fault.error = error;
      fault.repeat = repeat;
      faults.push_back(fault);
    }
  }
  FaultSetup fault;
  fault.kind = Kind::operation;
  fault.error = EIO;
  fault.effect = sim::FaultDriver::Effect::full;
  faults.push_back(fault);
  return faults;
}

std::vector<FaultSetup> faults_of_transfers() {
  std::vector<FaultSetup> faults;
  for (const Repeat repeat : {Repeat::once, Repeat::sticky}) {
    FaultSetup fault;
    fault.kind = Kind::transfer;
    fault.bytes = 512;
    fault.repeat = repeat;
    faults.push_back(fault);
  }
  return faults;
}

std::string describe(const Workload& workload, const FaultSetup& fault, Ending ending) {
  std::string text = std::string(workload.name) + ": ";
  text += fault.kind == Kind::operation ? "operation " : "transfer ";
  text += std::to_string(fault.nth) + " error " + std::to_string(fault.error);
  if (fault.repeat == Repeat::sticky) text += ", sticky";
  if (fault.effect == sim::FaultDriver::Effect::full) text += ", executed";
  return text + (ending == Ending::power_cut ? ", power cut" : ", new process");
}

struct Totals {
  std::uint64_t runs = 0;
  std::uint32_t indices = 0;
};

/// Until a run does not meet the fault.
void sweep(const Workload& workload, FaultSetup fault, Ending ending, Totals& totals) {
  for (fault.nth = 1;; ++fault.nth) {
    // A library that aborts shall say where.
    INFO(describe(workload, fault, ending));
    const SweepRun run = run_with_fault(workload, fault, ending);
    ++totals.runs;
    for (const std::string& complaint : run.complaints) FAIL_CHECK(complaint);
    if (!run.fault_happened) {
      if (run.error) FAIL_CHECK("a workload without a fault failed: " << run.error.text());
      totals.indices = std::max(totals.indices, fault.nth - 1);
      return;
    }
  }
}

void sweep_all(std::span<const Workload> workloads) {
  for (const Workload& workload : workloads) {
    Totals operations;
    Totals transfers;
    for (const Ending ending : {Ending::new_process, Ending::power_cut}) {
      for (const FaultSetup& fault : faults_of_operations()) {
        sweep(workload, fault, ending, operations);
      }
      for (const FaultSetup& fault : faults_of_transfers()) {
        sweep(workload, fault, ending, transfers);
      }
    }
    // A sweep that covers next to nothing proves nothing.
    CHECK(operations.indices >= 5);
    std::printf("%-40s %4u operations, %4u transfers, %6llu runs\n", workload.name,
                operations.indices, transfers.indices,
                static_cast<unsigned long long>(operations.runs + transfers.runs));
  }
}

}  // namespace

TEST_CASE("every operation on a file fails once", "[sweep]") { sweep_all(file_workloads()); }

TEST_CASE("every operation of a cache of files fails once", "[sweep]") {
  sweep_all(lru_workloads());
}

TEST_CASE("every operation of a journal fails once", "[sweep]") { sweep_all(journal_workloads()); }
