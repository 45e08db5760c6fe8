// Reactors for tests: on the driver that the environment asks for, plain or behind a FaultDriver.
//
// ctest runs every test that is declared with REACTOR several times and says in DIORITE_TEST_DRIVER
// which driver it shall have: auto (the default) or pool.
//
//   auto reactor = make_test_reactor();
//   CHECK(run(*reactor, work(*reactor)));
//
//   FaultReactor rig = make_fault_reactor();
//   rig.faults.fail(OpCode::write, 1, EIO);
//   run(*rig.reactor, work(*rig.reactor));

#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include <diorite/driver/driver.hpp>
#include <diorite/reactor.hpp>
#include <diorite/task.hpp>

#include "support/catch.hpp"
#include "support/fault_driver.hpp"

namespace diorite::test {

/// `options` as the environment has them.
inline DriverOptions test_driver_options(DriverOptions options = {}) {
  const char* const choice = std::getenv("DIORITE_TEST_DRIVER");
  const bool wants_pool = choice != nullptr && std::string_view(choice) == "pool";
  if (wants_pool && options.choice == DriverChoice::automatic) options.choice = DriverChoice::pool;
  return options;
}

inline std::unique_ptr<Driver> make_test_driver(DriverOptions options = {}) {
  Result<std::unique_ptr<Driver>> driver = make_driver(test_driver_options(options));
  if (!driver) FAIL(driver.error().text());
  return std::move(*driver);
}

inline std::unique_ptr<Reactor> make_test_reactor(ReactorOptions options = {}) {
  options.driver = test_driver_options(options.driver);
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(options);
  if (!reactor) FAIL(reactor.error().text());
  return std::move(*reactor);
}

/// On a driver of the test's own.
inline std::unique_ptr<Reactor> make_reactor_on(std::unique_ptr<Driver> driver,
                                                ReactorOptions options = {}) {
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(std::move(driver), options);
  if (!reactor) FAIL(reactor.error().text());
  return std::move(*reactor);
}

/// A reactor whose real driver stands behind a FaultDriver.
struct FaultReactor {
  FaultDriver& faults;  ///< owned by the reactor
  std::unique_ptr<Reactor> reactor;
};

inline FaultReactor make_fault_reactor(ReactorOptions options = {}) {
  auto owned = std::make_unique<FaultDriver>(make_test_driver(options.driver));
  FaultDriver& faults = *owned;
  return FaultReactor{faults, make_reactor_on(std::move(owned), options)};
}

/// Runs one task to its end.
template <class T>
T run(Reactor& reactor, Task<T> task) {
  return reactor.block_on(std::move(task));
}

/// Everything that is ready, and what becomes ready by it.
inline void run_ready(Reactor& reactor) {
  while (reactor.turn(kAtOnce)) {
  }
}

/// One turn that sleeps until the next timer, if there is one.
inline void step(Reactor& reactor) {
  const Instant due = reactor.next_deadline();
  reactor.turn(due == kNever ? kAtOnce : due);
}

}  // namespace diorite::test
