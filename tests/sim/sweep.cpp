#include "sim/sweep.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <optional>
#include <thread>

#include <diorite/sim/machine.hpp>

#include "support/alloc_counter.hpp"

namespace diorite::test {
namespace {

constexpr std::uint64_t kOperationsMax = 200'000;
constexpr int kTurnsMax = 10'000;

using sim::Choices;
using sim::FaultDriver;
using sim::Machine;
using sim::Profile;

std::unique_ptr<Reactor> reactor_on(std::unique_ptr<Driver> driver) {
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(std::move(driver));
  DIORITE_ASSERT(static_cast<bool>(reactor), "no reactor on a simulated machine");
  return std::move(*reactor);
}

/// Until nothing is under way and nobody is ready.
void settle(Reactor& reactor, Notes& notes) {
  for (int i = 0; i < kTurnsMax; ++i) {
    while (reactor.turn(kAtOnce)) {
    }
    if (reactor.stats().in_flight == 0) return;
    reactor.turn(kNever);
  }
  notes.wrong("operations are in flight for ever");
}

/// A step without faults: it succeeds. On a thread of its own, whose pool of frames goes with it:
/// the work finds as little memory at hand as a program that begins with it.
void run_calmly(Machine& machine, Step step, Notes& notes, const char* what) {
  if (step == nullptr) return;
  std::thread([&] {
    const std::unique_ptr<Reactor> reactor = reactor_on(machine.make_driver());
    const Result<void> done = reactor->block_on(step(*reactor, notes));
    if (!done) notes.wrong(std::string(what) + " failed: " + done.error().text());
    settle(*reactor, notes);
  }).join();
}

void add_rule(FaultDriver& faults, const FaultSetup& fault) {
  using Kind = FaultSetup::Kind;
  if (fault.kind == Kind::operation) {
    faults.fail_nth(fault.nth, fault.error, fault.repeat, fault.effect);
  }
  if (fault.kind == Kind::transfer) faults.shorten_nth(fault.nth, fault.bytes, fault.repeat);
}

void check_error(const Error& error, Notes& notes) {
  if (!error) return;
  const std::string text = error.text();
  if (!error.code()) notes.wrong("an error without a code");
  if (text.empty() || text.find(error.code().message()) == std::string::npos) {
    notes.wrong("an error without a text: " + text);
  }
}

/// Closes that never took place.
std::int64_t count_cancelled_closes(const FaultDriver& faults) {
  return std::count_if(faults.log().begin(), faults.log().end(), [](const auto& event) {
    return event.kind == FaultDriver::Event::Kind::completed && event.code == OpCode::close &&
           event.result == -ECANCELED;
  });
}

void work(const Workload& workload, const FaultSetup& fault, Machine& machine, Notes& notes,
          SweepRun& run) {
  Watch watch;
  std::int64_t cancelled_closes = 0;
  {
    auto watched = std::make_unique<WatchDriver>(machine.make_driver(), watch);
    FaultDriver* faults = nullptr;
    std::unique_ptr<Driver> driver = std::move(watched);
    const bool allocates = fault.kind == FaultSetup::Kind::allocation;
    if (!allocates) {
      auto owned = std::make_unique<FaultDriver>(std::move(driver));
      faults = owned.get();
      add_rule(*faults, fault);
      driver = std::move(owned);
    }
    const std::unique_ptr<Reactor> reactor = reactor_on(std::move(driver));
    std::optional<AllocFault> failing;
    if (allocates) failing.emplace(fault.nth, fault.on_failure);
    try {
      Result<void> done = reactor->block_on(workload.work(*reactor, notes));
      run.error = done.error();
    } catch (const std::bad_alloc&) {
      run.threw = true;
    }
    settle(*reactor, notes);
    if (allocates) run.fault_happened = failing->happened();
    failing.reset();
    if (faults != nullptr) {
      run.fault_happened = faults->faults_done() > 0;
      cancelled_closes = count_cancelled_closes(*faults);
    }
    run.operations = faults != nullptr ? faults->operations() : watch.operations;
  }
  if (run.threw && fault.kind != FaultSetup::Kind::allocation) notes.wrong("bad_alloc");
  if (watch.open_handles < 0 || watch.open_handles > cancelled_closes) {
    notes.wrong(std::to_string(watch.open_handles) + " handles were left open");
  }
  check_error(run.error, notes);
}

}  // namespace

WatchDriver::WatchDriver(std::unique_ptr<Driver> inner, Watch& watch)
    : DriverDecorator(std::move(inner)), caps_(DriverDecorator::inner().caps()), watch_(watch) {
  caps_.kind = DriverKind::other;
  if (caps_.files != nullptr) caps_.files = this;
}

WatchDriver::~WatchDriver() = default;

void WatchDriver::submit(Op& op) noexcept {
  const AllocShield shield;
  DIORITE_ASSERT(++watch_.operations < kOperationsMax, "a workload does not come to its end");
  if (op.code == OpCode::close) --watch_.open_handles;
  inner().submit(op);
}

Removal WatchDriver::remove(Op& op) noexcept {
  const AllocShield shield;
  const Removal removal = inner().remove(op);
  if (removal == Removal::removed && op.code == OpCode::close) ++watch_.open_handles;
  return removal;
}

void WatchDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  const AllocShield shield;
  inner().orphan(op, std::move(buffer), std::move(file), hook);
}

void WatchDriver::run_here(Op& op) noexcept {
  const AllocShield shield;
  inner().run_here(op);
}

void WatchDriver::poll(OpList& done, Instant until) noexcept {
  const AllocShield shield;
  OpList fresh;
  inner().poll(fresh, until);
  while (Op* const op = fresh.pop_front()) {
    if (op->code == OpCode::open && op->result >= 0) ++watch_.open_handles;
    done.push_back(*op);
  }
}

Result<DriverFile> WatchDriver::register_file(DriverFile file) noexcept {
  const AllocShield shield;
  return inner().caps().files->register_file(file);
}

void WatchDriver::release_file(DriverFile file) noexcept {
  const AllocShield shield;
  inner().caps().files->release_file(file);
}

SweepRun run_with_fault(const Workload& workload, const FaultSetup& fault, Ending ending) {
  SweepRun run;
  Notes notes;
  // What is not synced may be lost at a power cut, sector by sector; nothing else goes wrong.
  Choices choices = Choices::random(fault.nth);
  Machine machine(choices, Profile::standard());
  run_calmly(machine, workload.prepare, notes, "prepare");
  if (notes.complaints().empty()) work(workload, fault, machine, notes, run);
  if (ending == Ending::power_cut) machine.power_cut();
  run_calmly(machine, workload.check, notes, "check");
  if (!machine.violation().empty()) notes.wrong(machine.violation());
  run.complaints = notes.complaints();
  return run;
}

}  // namespace diorite::test
