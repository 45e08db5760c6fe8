#include "powercut/failing_sim.hpp"

#include <memory>
#include <utility>

#include <diorite/sim/machine.hpp>

namespace diorite::powercut {
namespace {

using sim::Choices;
using sim::Machine;
using sim::Profile;

/// A profile is a machine's for life: the one that fails takes over the other one's disk.
class SimComputer final : public Computer {
 public:
  SimComputer(std::uint64_t seed, const Profile& profile)
      : profile_(profile),
        choices_(Choices::random(seed)),
        machine_(std::make_unique<Machine>(choices_, Profile::calm())),
        driver_(machine_->make_driver()) {}

  Driver& driver() override { return *driver_; }
  std::string path(std::string_view name) const override { return '/' + std::string(name); }

  void start_with(const sim::Disk& disk, OpCode first) {
    Profile profile = profile_;
    profile.errors.fill(sim::never());
    // Whether the disk has recovered when the next sync comes, or a read finds what a checksum
    // says is not what was written, is another matter each time.
    profile.error(OpCode::sync_data) = sim::per_cent(30);
    profile.error(OpCode::sync_dir) = sim::per_cent(30);
    profile.error(OpCode::read) = sim::per_cent(30);
    profile.error(OpCode::open) = sim::per_cent(5);
    profile.error(first) = sim::per_cent(70);
    profile.budget.fill(6);
    profile.evicted = sim::never();
    profile.short_transfer = sim::never();
    profile.interrupted = sim::never();
    profile.garbage_block = sim::never();
    profile.unreadable_block = sim::never();
    profile.stuck = sim::never();
    profile.tears = false;
    driver_.reset();
    machine_ = std::make_unique<Machine>(choices_, profile);
    machine_->disk() = disk;
    driver_ = machine_->make_driver();
  }
  const sim::Disk& disk() { return machine_->disk(); }

  void fail(std::uint32_t) override {}
  void heal() override {}

  void cut_power(Look& look) override {
    machine_->power_cut();
    driver_ = machine_->make_driver();
    look.see(*this, "");
  }

 private:
  const Profile& profile_;
  Choices choices_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<Driver> driver_;
};

}  // namespace

std::set<std::string> simulate(const Scenario& scenario, const Profile& profile,
                               std::uint64_t seeds) {
  SimComputer beginning(1, profile);
  scenario.prepare(beginning);
  std::set<std::string> keys;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SimComputer computer(seed, profile);
    computer.start_with(beginning.disk(), scenario.suffers());
    for (const auto& [state, sight] : scenario.run(computer)) keys.insert(sight.key());
  }
  return keys;
}

}  // namespace diorite::powercut
