// What the tests of the simulated machine share: a machine with a driver, and raw operations.

#pragma once

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <diorite/sim/machine.hpp>

#include "driver/rig.hpp"

namespace diorite::test {

using sim::always;
using sim::Chance;
using sim::Choices;
using sim::CompletionOrder;
using sim::is_dead;
using sim::Machine;
using sim::MachineOptions;
using sim::never;
using sim::per_cent;
using sim::Profile;

/// One machine with one process.
struct Rig {
  explicit Rig(std::uint64_t seed, const Profile& profile = Profile::calm(),
               MachineOptions options = {})
      : Rig(Choices::random(seed), profile, options) {}
  Rig(Choices decisions, const Profile& profile, MachineOptions options = {})
      : choices(std::move(decisions)), machine(choices, profile, options) {
    driver = machine.make_driver();
  }
  /// A new process after a crash; the old driver has nothing in flight any more.
  void restart() { driver = machine.make_driver(); }
  /// Reports what is in flight, of a driver that is dead.
  void drain() {
    OpList done;
    driver->poll(done, kAtOnce);
    while (Op* const op = done.pop_front()) op->state = OpState::idle;
  }

  Choices choices;
  Machine machine;
  std::unique_ptr<Driver> driver;
};

inline std::int32_t write_at(Driver& driver, DriverFile file, std::uint64_t offset,
                             std::string_view text, std::uint8_t flags = 0) {
  std::string buffer(text);
  Op op = transfer(OpCode::write, file, offset, buffer.data(), buffer.size());
  op.flags = flags;
  return run(driver, op);
}

inline std::int32_t run_file(Driver& driver, OpCode code, DriverFile file) {
  Op op = file_op(code, file);
  return run(driver, op);
}

inline std::int32_t run_path(Driver& driver, OpCode code, const std::string& path,
                             const std::string& path2 = {}) {
  PathOp op = path_op(code, path);
  op.path2 = path2;
  return run(driver, op);
}

/// What reads see of a file.
inline std::string text_of(Machine& machine, std::string_view path) {
  const std::vector<std::byte> bytes = machine.disk().contents(path);
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// A file that is durable, name and all.
inline void make_durable(Driver& driver, const std::string& path, std::string_view text) {
  const DriverFile file = open_file(driver, path);
  REQUIRE(write_at(driver, file, 0, text) == static_cast<std::int32_t>(text.size()));
  REQUIRE(run_file(driver, OpCode::sync_all, file) == 0);
  close_file(driver, file);
  REQUIRE(run_path(driver, OpCode::sync_dir, "/") == 0);
}

}  // namespace diorite::test
