// Rule D11 of driver.hpp, and functions of the program's own on a driver's threads, on every
// driver.

#include <poll.h>

#include <array>
#include <atomic>
#include <thread>

#include "driver/rig.hpp"
#include "support/gate.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

DriverOptions with_in_flight(std::uint32_t in_flight_max) {
  DriverOptions options;
  options.in_flight_max = in_flight_max;
  return options;
}

/// Sleeps over the handle as a host does, and polls only when it is told to.
class Sleeper {
 public:
  explicit Sleeper(Driver& driver) : driver_(driver), handle_(driver.pollable()) {
    REQUIRE(handle_ != kNoHandle);
    REQUIRE(driver.pollable() == handle_);
  }
  bool is_readable(int limit_ms = 0) const {
    pollfd wanted{handle_, POLLIN, 0};
    return ::poll(&wanted, 1, limit_ms) > 0;
  }
  /// False when nothing came for so long that only a bug explains it.
  bool sleep() const { return is_readable(30'000); }
  /// The ops that one poll finds.
  std::size_t poll() {
    OpList done;
    driver_.poll(done, kAtOnce);
    std::size_t count = 0;
    while (Op* const op = done.pop_front()) {
      op->state = OpState::idle;
      ++count;
    }
    return count;
  }
  /// Polls until the handle is quiet. Nothing may be reported.
  void calm_down() {
    for (int rounds = 0; is_readable(); ++rounds) {
      REQUIRE(rounds < 1000);
      REQUIRE(poll() == 0);
    }
  }

 private:
  Driver& driver_;
  NativeHandle handle_;
};

template <class F>
void on_every_host(DriverOptions options, F body) {
  for (const Candidate& candidate : candidates()) {
    DYNAMIC_SECTION(candidate.name) {
      const int before = open_descriptors();
      {
        const std::unique_ptr<Driver> driver = make_candidate(candidate, options);
        if (candidate.faulty) {
          // It keeps things to itself of which no handle could tell, and says that it has none.
          CHECK(driver->pollable() == kNoHandle);
        } else {
          body(*driver, candidate.is_inline);
        }
      }
      CHECK(open_descriptors() == before);
    }
  }
}

/// Calls a function that counts.
CallOp counting(std::atomic<int>& count) {
  CallOp op;
  op.code = OpCode::call;
  op.function = [](void* counter) noexcept { ++*static_cast<std::atomic<int>*>(counter); };
  op.context = &count;
  return op;
}

/// Keeps a thread until the gate is opened.
CallOp passing(Gate& gate) {
  CallOp op;
  op.code = OpCode::call;
  op.function = [](void* at) noexcept { static_cast<Gate*>(at)->pass(); };
  op.context = &gate;
  return op;
}

}  // namespace

TEST_CASE("D11 the handle is readable at first, and quiet when there is nothing to be found",
          "[driver]") {
  on_every_host({}, [](Driver& driver, bool) {
    Sleeper host(driver);
    CHECK(host.is_readable());
    host.calm_down();
    CHECK_FALSE(host.is_readable());
    // A poll that waited, and found one, leaves it quiet as well.
    Op nop;
    CHECK(run(driver, nop) == 0);
    host.calm_down();
    CHECK_FALSE(host.is_readable());
  });
}

TEST_CASE("D11 the handle tells of all that was submitted, also of what had to wait", "[driver]") {
  const std::uint32_t in_flight_max = GENERATE(1U, 2U, 1024U);
  const bool is_late = GENERATE(false, true);
  on_every_host(with_in_flight(in_flight_max), [&](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    if (!is_late) Sleeper(driver).calm_down();
    std::array<Op, 24> ops;
    std::array<char, 24> bytes{};
    for (std::size_t i = 0; i < ops.size(); ++i) {
      bytes[i] = static_cast<char>('a' + i);
      ops[i] = transfer(OpCode::write, file, i, &bytes[i], 1);
      if (i % 3 == 1) ops[i] = Op();
      if (i % 3 == 2) ops[i] = file_op(OpCode::sync_data, file);
      driver.submit(ops[i]);
    }
    Sleeper host(driver);
    // One poll hands over what was submitted; from there on the handle has to tell of each.
    std::size_t reported = host.poll();
    while (reported < ops.size()) {
      REQUIRE(host.sleep());
      reported += host.poll();
    }
    for (std::size_t i = 0; i < ops.size(); ++i) CHECK(ops[i].result == (i % 3 == 0 ? 1 : 0));
    host.calm_down();
    close_file(driver, file);
  });
}

TEST_CASE("D11 the handle tells of what ends while the host sleeps", "[driver]") {
  on_every_host({}, [](Driver& driver, bool is_inline) {
    if (is_inline) return;
    Sleeper host(driver);
    const TempDir dir;
    for (int round = 0; round < 20; ++round) {
      // The kernel's own end, and that of a worker thread.
      Blocker blocker(dir, "fifo" + std::to_string(round));
      Gate gate;
      CallOp call = passing(gate);
      driver.submit(*blocker.op);
      driver.submit(call);
      REQUIRE(host.poll() == 0);
      gate.wait_for(1);
      host.calm_down();
      std::thread other([&] {
        gate.open();
        blocker.release();
      });
      std::size_t reported = 0;
      bool told = true;
      while (told && reported < 2) {
        told = host.sleep();
        reported += host.poll();
      }
      other.join();
      REQUIRE(told);
      CHECK(blocker.op->result == 0);
      CHECK(call.result == 0);
      close_file(driver, blocker.op->file);
    }
  });
}

TEST_CASE("D11 the handle tells of an orphan's end", "[driver]") {
  on_every_host({}, [](Driver& driver, bool is_inline) {
    if (is_inline) return;
    Sleeper host(driver);
    const TempDir dir;
    Blocker blocker(dir, "fifo");
    driver.submit(*blocker.op);
    REQUIRE(host.poll() == 0);
    bool has_ended = false;
    driver.orphan(*blocker.op,
                  Pin(&has_ended, [](void* flag) noexcept { *static_cast<bool*>(flag) = true; }),
                  Pin(), {});
    host.calm_down();
    REQUIRE_FALSE(has_ended);
    std::thread other([&] { blocker.release(); });
    bool told = true;
    while (told && !has_ended) {
      told = host.sleep();
      CHECK(host.poll() == 0);
    }
    other.join();
    REQUIRE(told);
  });
}

TEST_CASE("D11 the handle tells of a wake", "[driver]") {
  on_every_host({}, [](Driver& driver, bool) {
    Sleeper host(driver);
    for (int round = 0; round < 50; ++round) {
      host.calm_down();
      std::thread other([&] { driver.wake(); });
      const bool told = host.sleep();
      other.join();
      REQUIRE(told);
      CHECK(host.poll() == 0);
    }
  });
}

TEST_CASE("a call runs once, on a thread of the driver's, and its end is reported", "[driver]") {
  on_every_driver(with_in_flight(4), [](Driver& driver, bool is_inline) {
    struct Seen {
      std::atomic<int> runs{0};
      std::thread::id thread;
    } seen;
    CallOp call;
    call.code = OpCode::call;
    call.function = [](void* context) noexcept {
      Seen& self = *static_cast<Seen*>(context);
      self.thread = std::this_thread::get_id();
      ++self.runs;
    };
    call.context = &seen;
    driver.submit(call);
    OpList done;
    while (call.state != OpState::done) driver.poll(done, kNever);
    REQUIRE(done.pop_front() == &call);
    CHECK(done.empty());
    CHECK(call.result == 0);
    CHECK(seen.runs == 1);
    CHECK((seen.thread == std::this_thread::get_id()) == is_inline);
    call.state = OpState::idle;
    // It may be submitted again, and runs once more.
    CHECK(run(driver, call) == 0);
    CHECK(seen.runs == 2);

    // More than the driver takes at once.
    std::array<std::atomic<int>, 100> counts{};
    std::vector<CallOp> calls;
    for (std::atomic<int>& count : counts) calls.push_back(counting(count));
    for (CallOp& each : calls) driver.submit(each);
    for (const Op* const op : collect(driver, calls.size())) CHECK(op->result == 0);
    for (const std::atomic<int>& count : counts) CHECK(count == 1);
    OpList more;
    driver.poll(more, kAtOnce);
    CHECK(more.empty());
  });
}

TEST_CASE("a call that was removed before a thread took it never runs", "[driver]") {
  const bool in_backlog = GENERATE(false, true);
  DriverOptions options = with_in_flight(in_backlog ? 1 : 8);
  options.pool_threads = 1;
  on_every_driver(options, [&](Driver& driver, bool is_inline) {
    Gate gate;
    CallOp blocking = passing(gate);
    std::atomic<int> first{0};
    CallOp ahead = counting(first);
    // The only thread is taken. Where there is none, nothing runs before the next poll.
    driver.submit(is_inline ? ahead : blocking);
    OpList none;
    if (!is_inline) {
      driver.poll(none, kAtOnce);
      REQUIRE(none.empty());
      gate.wait_for(1);
    }
    std::atomic<int> runs{0};
    CallOp call = counting(runs);
    driver.submit(call);
    REQUIRE(call.state == (in_backlog ? OpState::backlog : OpState::in_flight));
    CHECK(driver.remove(call) == Removal::removed);
    CHECK(call.state == OpState::idle);
    gate.open();
    CHECK(collect(driver, 1) == std::vector<Op*>{is_inline ? &ahead : &blocking});
    // What was behind it in the queue has run by now, and it would have been before that.
    std::atomic<int> last{0};
    CallOp behind = counting(last);
    CHECK(run(driver, behind) == 0);
    CHECK(last == 1);
    CHECK(runs == 0);
    CHECK(run(driver, call) == 0);
    CHECK(runs == 1);
  });
}

TEST_CASE("a call that a thread has taken cannot be removed, and completes", "[driver]") {
  on_every_driver([](Driver& driver, bool is_inline) {
    if (is_inline) return;
    Gate gate;
    CallOp call = passing(gate);
    driver.submit(call);
    OpList none;
    driver.poll(none, kAtOnce);
    REQUIRE(none.empty());
    gate.wait_for(1);
    CHECK(driver.remove(call) == Removal::in_flight);
    CHECK(call.state == OpState::in_flight);
    driver.poll(none, kAtOnce);
    CHECK(none.empty());
    gate.open();
    CHECK(collect(driver, 1) == std::vector<Op*>{&call});
    CHECK(call.result == 0);
  });
}
