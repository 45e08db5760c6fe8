// A thread of the kernel takes the submissions (SQPOLL): it is woken when it sleeps, not disturbed
// when it does not, and what it may have seen is not taken back.

#include <poll.h>

#include <array>
#include <atomic>
#include <thread>

#include "driver/op_model.hpp"
#include "driver/uring_rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

DriverOptions with_thread(std::uint32_t idle_ms) {
  DriverOptions options;
  options.uring.sq_poll = true;
  options.uring.sq_poll_idle_ms = idle_ms;
  return options;
}

void wait_until_it_sleeps(const FakeKernel& kernel) {
  while (!kernel.thread_sleeps()) std::this_thread::yield();
}

}  // namespace

TEST_CASE("a kernel's thread that sleeps is woken", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(1));
  if (!thread_here(made)) return;
  Driver& driver = *made.driver;
  const TempDir dir;
  const DriverFile file = open_file(driver, dir.file("data"));
  for (int round = 0; round < 10; ++round) {
    wait_until_it_sleeps(kernel);
    const unsigned before = kernel.wakeups;
    char byte = static_cast<char>('a' + round);
    Op write = transfer(OpCode::write, file, static_cast<std::uint64_t>(round), &byte, 1);
    driver.submit(write);
    REQUIRE(ends(driver, write));
    CHECK(write.result == 1);
    CHECK(kernel.wakeups == before + 1);
  }
  CHECK(dir.read("data") == "abcdefghij");
  SECTION("also by a poll that does not wait") {
    wait_until_it_sleeps(kernel);
    Op nop;
    OpList done;
    driver.submit(nop);
    driver.poll(done, kAtOnce);
    while (done.empty()) driver.poll(done, kAtOnce);
    CHECK(done.pop_front() == &nop);
    nop.state = OpState::idle;
  }
  SECTION("and not for nothing") {
    wait_until_it_sleeps(kernel);
    const unsigned before = kernel.wakeups;
    OpList done;
    for (int i = 0; i < 10; ++i) driver.poll(done, kAtOnce);
    driver.wake();
    driver.poll(done, kNever);
    CHECK(kernel.wakeups <= before + 1);  // the poll of the bell may have had to be sent anew
  }
  close_file(driver, file);
}

TEST_CASE("a kernel's thread that is awake costs no system call", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(60'000));
  if (!thread_here(made)) return;
  Driver& driver = *made.driver;
  OpList done;
  driver.poll(done, kAtOnce);  // the poll of the bell
  const std::uint64_t before = driver.counters().enters;
  std::array<Op, 8> ops;
  for (int round = 0; round < 100; ++round) {
    for (Op& op : ops) driver.submit(op);
    std::size_t ended = 0;
    while (ended < ops.size()) {
      driver.poll(done, kAtOnce);
      while (Op* const op = done.pop_front()) {
        op->state = OpState::idle;
        ++ended;
      }
    }
  }
  CHECK(driver.counters().enters == before);
}

TEST_CASE("what a kernel's thread may have seen is not taken back", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(1));
  if (!thread_here(made)) return;
  Driver& driver = *made.driver;
  const TempDir dir;
  const DriverFile file = open_file(driver, dir.file("data"));
  OpList done;
  char first = 'a';
  char second = 'b';
  Op published = transfer(OpCode::write, file, 0, &first, 1);
  Op prepared = transfer(OpCode::write, file, 1, &second, 1);
  // It sleeps and is not woken: the entry stays where it was published, as it does for a moment
  // when the thread has copied it and has not moved its head yet.
  wait_until_it_sleeps(kernel);
  kernel.loses_wakeups = true;
  driver.submit(published);
  driver.poll(done, kAtOnce);
  REQUIRE(done.empty());
  REQUIRE(io_uring_sq_ready(kernel.ring) == 1);
  driver.submit(prepared);
  CHECK(driver.remove(published) == Removal::in_flight);
  CHECK(published.state == OpState::in_flight);
  CHECK(driver.remove(prepared) == Removal::removed);
  CHECK(prepared.state == OpState::idle);
  kernel.loses_wakeups = false;
  REQUIRE(ends(driver, published));
  CHECK(published.result == 1);
  close_file(driver, file);
  CHECK(dir.read("data") == "a");
}

TEST_CASE("a full ring waits for the kernel's thread", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  DriverOptions options = with_thread(60'000);
  options.uring.sq_entries = 2;
  Made made(options);
  if (!thread_here(made)) return;
  const TempDir dir;
  const DriverFile file = open_file(*made.driver, dir.file("data"));
  std::string bytes(2000, '-');
  std::vector<Op> ops(bytes.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    bytes[i] = static_cast<char>('a' + i % 26);
    ops[i] = transfer(OpCode::write, file, i, &bytes[i], 1);
    made.driver->submit(ops[i]);
  }
  for (const Op* const op : collect(*made.driver, ops.size())) CHECK(op->result == 1);
  CHECK(kernel.waits_for_room > 0);
  close_file(*made.driver, file);
  CHECK(dir.read("data") == bytes);
}

TEST_CASE("a close has let go of the file's lock when it is reported", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(60'000));
  if (!thread_here(made)) return;
  Driver& driver = *made.driver;
  CHECK(made.says("files are closed by worker threads"));
  const TempDir dir;
  DriverFile held = open_file(driver, dir.file("LOCK"));
  Op lock = file_op(OpCode::try_lock, held);
  REQUIRE(run(driver, lock) == 0);
  for (int round = 0; round < 300; ++round) {
    const DriverFile next = open_file(driver, dir.file("LOCK"));
    lock = file_op(OpCode::try_lock, next);
    REQUIRE(run(driver, lock) == -EAGAIN);
    close_file(driver, held);
    REQUIRE(run(driver, lock) == 0);
    held = next;
  }
  close_file(driver, held);
}

TEST_CASE("no wake is lost beside a kernel's thread", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(1));
  if (!thread_here(made)) return;
  check_wakes(*made.driver, 1000);
}

TEST_CASE("random operations agree with the model beside a kernel's thread", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  DriverOptions options = with_thread(1);
  options.in_flight_max = 16;
  options.uring.sq_entries = GENERATE(1U, 16U);
  Made made(options);
  if (!thread_here(made)) return;
  const TempDir dir;
  const DriverFile file = open_file(*made.driver, dir.file("data"));
  // Many short runs: each one waits for all that it started, however busy the processors are.
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    set_length(*made.driver, file, 0);
    run_model(*made.driver, file, seed, 400);
  }
  CHECK_FALSE(kernel.overflowed());
  close_file(*made.driver, file);
}

TEST_CASE("a host sleeps over a kernel's thread", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(1));
  if (!thread_here(made)) return;
  Driver& driver = *made.driver;
  const TempDir dir;
  const DriverFile file = open_file(driver, dir.file("data"));
  const NativeHandle handle = driver.pollable();
  REQUIRE(handle != kNoHandle);
  OpList done;
  driver.poll(done, kAtOnce);
  for (int round = 0; round < 200; ++round) {
    char byte = 'x';
    Op write = transfer(OpCode::write, file, 0, &byte, 1);
    driver.submit(write);
    driver.poll(done, kAtOnce);
    while (done.empty()) {
      pollfd host{handle, POLLIN, 0};
      REQUIRE(::poll(&host, 1, 20'000) == 1);  // a completion that nobody told of
      driver.poll(done, kAtOnce);
    }
    CHECK(done.pop_front() == &write);
    CHECK(write.result == 1);
  }
  close_file(driver, file);
}
