#include <diorite/sim/machine.hpp>

#include <diorite/assert.hpp>

#include "sim/driver.hpp"
#include "sim/kernel.hpp"

namespace diorite::sim {

Machine::Machine(Choices& choices, const Profile& profile, MachineOptions options)
    : kernel_(std::make_unique<detail::Kernel>(choices, profile, options)) {}

Machine::~Machine() = default;

std::unique_ptr<Driver> Machine::make_driver() {
  return std::make_unique<detail::SimDriver>(*kernel_);
}

Choices& Machine::choices() noexcept { return kernel_->choices(); }
Disk& Machine::disk() noexcept { return kernel_->disk(); }
Instant Machine::now() const noexcept { return kernel_->now(); }
const Profile& Machine::profile() const noexcept { return kernel_->profile(); }

void Machine::power_cut() { kernel_->power_cut(); }
void Machine::kill() { kernel_->kill(); }
void Machine::plan_power_cut(std::uint64_t events) noexcept { kernel_->plan(true, events); }
void Machine::plan_kill(std::uint64_t events) noexcept { kernel_->plan(false, events); }
void Machine::plan(EndQuestion question, void* context) noexcept {
  kernel_->plan(question, context);
}
void Machine::cancel_plan() noexcept { kernel_->cancel_plan(); }
void Machine::heal() noexcept { kernel_->heal(); }

void Machine::set_log(MachineLog log, void* context) noexcept { kernel_->set_log(log, context); }
void Machine::set_quiet(bool quiet) noexcept { kernel_->set_quiet(quiet); }
std::uint64_t Machine::fingerprint() const { return kernel_->fingerprint(); }
std::uint64_t Machine::trace_hash() const noexcept { return kernel_->trace_hash(); }
const MachineCounters& Machine::counters() const noexcept { return kernel_->counters(); }
const std::string& Machine::violation() const noexcept { return kernel_->violation(); }
Instant Machine::next_event() const noexcept { return kernel_->next_event(); }
void Machine::advance(Instant to) noexcept { kernel_->advance(to); }

bool is_dead(const Driver& driver) noexcept {
  DIORITE_ASSERT(driver.caps().kind == DriverKind::simulated, "not a driver of a Machine");
  return static_cast<const detail::SimDriver&>(driver).is_dead();
}

}  // namespace diorite::sim
