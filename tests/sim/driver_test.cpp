// The rules D1 to D10 of driver.hpp on the driver of a simulated machine. Raw ops, no reactor.

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "driver/op_model.hpp"
#include "sim/machine_rig.hpp"
#include "support/death.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

MachineOptions with_in_flight(std::uint32_t in_flight_max) {
  MachineOptions options;
  options.in_flight_max = in_flight_max;
  return options;
}

struct Ending {
  std::string order;
  OpCode code = OpCode::nop;
  std::int64_t result = 1;

  Pin pin(char what) {
    return what == 'b'
               ? Pin(this, [](void* self) noexcept { static_cast<Ending*>(self)->order += 'b'; })
               : Pin(this, [](void* self) noexcept { static_cast<Ending*>(self)->order += 'f'; });
  }
  OrphanHook hook() {
    OrphanHook hook;
    hook.context = this;
    hook.ended = [](void* self, OpCode op_code, std::int64_t op_result) noexcept {
      auto* const ending = static_cast<Ending*>(self);
      ending->code = op_code;
      ending->result = op_result;
      ending->order += 'h';
    };
    return hook;
  }
};

}  // namespace

TEST_CASE("sim D1 every op comes back exactly once", "[sim][driver]") {
  for (const CompletionOrder order : {CompletionOrder::by_latency, CompletionOrder::by_choice}) {
    Profile profile = Profile::calm();
    profile.order = order;
    Rig rig(1, profile, with_in_flight(8));
    Driver& driver = *rig.driver;
    const DriverFile file = open_file(driver, "data");
    constexpr std::size_t kOps = 1000;
    std::vector<Op> ops(kOps);
    std::vector<int> reported(kOps, 0);
    std::vector<std::uint64_t> words(kOps);
    for (std::size_t i = 0; i < kOps; ++i) {
      words[i] = i * 0x9e3779b97f4a7c15U;
      ops[i] = transfer(OpCode::write, file, i * 8, &words[i], 8);
      if (i % 5 == 0) ops[i].code = OpCode::nop;
      driver.submit(ops[i]);
    }
    for (Op* const op : collect(driver, kOps)) {
      CHECK(op->result == (op->code == OpCode::nop ? 0 : 8));
      ++reported[static_cast<std::size_t>(op - ops.data())];
    }
    CHECK(std::vector<int>(kOps, 1) == reported);
    OpList more;
    driver.poll(more, kAtOnce);
    CHECK(more.empty());
    const DriverCounters counters = driver.counters();
    CHECK(counters.submitted == kOps + 1);
    CHECK(counters.completed == kOps + 1);
    CHECK(counters.backlog_max >= kOps - 8);
    std::uint64_t word = 0;
    Op read = transfer(OpCode::read, file, 8, &word, 8);
    REQUIRE(run(driver, read) == 8);
    CHECK(word == words[1]);
    close_file(driver, file);
    CHECK(rig.machine.violation().empty());
    CHECK(rig.machine.counters().events == 2 * driver.counters().completed);
  }
}

TEST_CASE("sim D1 the backlog is first in, first out, and gives ops back", "[sim][driver]") {
  Rig rig(2, Profile::calm(), with_in_flight(1));
  Driver& driver = *rig.driver;
  std::array<PathOp, 4> ops;
  const std::array<std::string, 4> paths = {"d0", "d1", "d2", "d3"};
  for (std::size_t i = 0; i < ops.size(); ++i) {
    ops[i] = path_op(OpCode::make_dir, paths[i], 0, 0700);
    driver.submit(ops[i]);
    CHECK(ops[i].state == (i == 0 ? OpState::in_flight : OpState::backlog));
  }
  CHECK(driver.remove(ops[2]) == Removal::removed);
  CHECK(ops[2].state == OpState::idle);
  CHECK_FALSE(ops[2].linked());
  CHECK(collect(driver, 3) == std::vector<Op*>{&ops[0], &ops[1], &ops[3]});
  CHECK(rig.machine.disk().exists("d3"));
  CHECK_FALSE(rig.machine.disk().exists("d2"));
  CHECK(run(driver, ops[2]) == 0);
}

TEST_CASE("sim D2 the order of reports is the order in which ops took effect", "[sim][driver]") {
  std::set<char> winners;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rig rig(seed);
    Driver& driver = *rig.driver;
    const DriverFile file = open_file(driver, "data");
    std::array<std::string, 5> texts;
    std::array<Op, 5> ops;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      texts[i] = std::string(512, static_cast<char>('a' + i));
      ops[i] = transfer(OpCode::write, file, 0, texts[i].data(), texts[i].size());
      driver.submit(ops[i]);
    }
    const std::vector<Op*> order = collect(driver, ops.size());
    const auto last = static_cast<std::size_t>(static_cast<Op*>(order.back()) - ops.data());
    CHECK(text_of(rig.machine, "data") == texts[last]);
    winners.insert(texts[last][0]);
    close_file(driver, file);
  }
  // Any of them may be the last.
  CHECK(winners.size() == 5);
}

TEST_CASE("sim D3 a removed op in flight ends with its own result or is cancelled",
          "[sim][driver]") {
  Profile profile = Profile::calm();
  profile.half_done = never();
  std::set<std::int32_t> results;
  bool was_removed = false;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Rig rig(seed, profile);
    Driver& driver = *rig.driver;
    const DriverFile file = open_file(driver, "data");
    std::array<Op, 16> ops;
    std::array<char, 16> bytes;
    bytes.fill('x');
    std::array<bool, 16> removed{};
    std::size_t in_flight = 0;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      ops[i] = transfer(OpCode::write, file, i, &bytes[i], 1);
      driver.submit(ops[i]);
      removed[i] = driver.remove(ops[i]) == Removal::removed;
      CHECK(ops[i].state == (removed[i] ? OpState::idle : OpState::in_flight));
      if (!removed[i]) ++in_flight;
      was_removed |= removed[i];
    }
    collect(driver, in_flight);
    const std::string content = text_of(rig.machine, "data");
    for (std::size_t i = 0; i < ops.size(); ++i) {
      if (!removed[i]) results.insert(ops[i].result);
      const bool written = i < content.size() && content[i] == 'x';
      CHECK(written == (!removed[i] && ops[i].result == 1));
    }
    close_file(driver, file);
  }
  CHECK(was_removed);
  CHECK(results == std::set<std::int32_t>{-ECANCELED, 1});
}

TEST_CASE("sim D3 a cancelled write may have landed in part; a close is never cancelled",
          "[sim][driver]") {
  Profile profile = Profile::calm();
  profile.cancel_wins = always();
  profile.half_done = always();
  bool partial = false;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rig rig(seed, profile);
    Driver& driver = *rig.driver;
    const DriverFile file = open_file(driver, "data");
    std::string text(2048, 'x');
    Op op = transfer(OpCode::write, file, 0, text.data(), text.size());
    driver.submit(op);
    if (driver.remove(op) == Removal::in_flight) {
      collect(driver, 1);
      CHECK(op.result == -ECANCELED);
      const std::string content = text_of(rig.machine, "data");
      const auto landed = std::count(content.begin(), content.end(), 'x');
      partial |= landed > 0 && landed < 2048;
    }
    Op close = file_op(OpCode::close, file);
    driver.submit(close);
    OpList none;
    driver.poll(none, driver.now() + Duration(1));
    if (close.state == OpState::in_flight && driver.remove(close) == Removal::in_flight) {
      collect(driver, 1);
      CHECK(close.result == 0);
    }
  }
  CHECK(partial);
}

TEST_CASE("sim D4 an orphan's hook, buffer and file end inside poll, in this order",
          "[sim][driver]") {
  Rig rig(4);
  Driver& driver = *rig.driver;
  auto op = std::make_unique<PathOp>(path_op(OpCode::open, "data", kOpenWrite | kOpenCreate));
  driver.submit(*op);
  Ending ending;
  driver.orphan(*op, ending.pin('b'), ending.pin('f'), ending.hook());
  std::memset(static_cast<void*>(static_cast<Op*>(op.get())), 0xdb, sizeof(Op));
  ::operator delete(op.release());
  CHECK(ending.order.empty());
  while (ending.order.size() < 3) {
    OpList done;
    driver.poll(done, kNever);
    CHECK(done.empty());
  }
  CHECK(ending.order == "hbf");
  CHECK(ending.code == OpCode::open);
  CHECK(ending.result == 0);
  CHECK(driver.counters().orphans == 1);
  CHECK(driver.counters().orphan_errors == 0);
  // The handle that nobody waited for was closed: its place is given to the next file.
  const DriverFile first = open_file(driver, "data");
  const DriverFile second = open_file(driver, "data");
  CHECK((first.value & 0xffff) == 0);
  CHECK((second.value & 0xffff) == 1);
  close_file(driver, first);
  close_file(driver, second);
}

TEST_CASE("sim D4 an orphaned write keeps its buffer until the end, and tells its error",
          "[sim][driver]") {
  for (const bool fails : {false, true}) {
    Rig rig(5);
    Driver& driver = *rig.driver;
    const DriverFile file = open_file(driver, "data");
    auto buffer = std::make_unique<std::array<char, 4096>>();
    buffer->fill('w');
    auto op =
        std::make_unique<Op>(transfer(OpCode::write, file, 0, buffer->data(), buffer->size()));
    driver.submit(*op);
    Ending ending;
    // Freed by the pin alone; AddressSanitizer hears of every later access.
    Pin memory(buffer.release(),
               [](void* p) noexcept { delete static_cast<std::array<char, 4096>*>(p); });
    driver.orphan(*op, std::move(memory), ending.pin('f'), ending.hook());
    op.reset();
    if (fails) rig.machine.power_cut();
    while (ending.order.size() < 2) {
      OpList done;
      driver.poll(done, kNever);
    }
    CHECK(ending.order == "hf");
    CHECK(ending.result == (fails ? -EIO : 4096));
    CHECK(driver.counters().orphan_errors == (fails ? 1 : 0));
    if (!fails) CHECK(text_of(rig.machine, "data") == std::string(4096, 'w'));
    run_file(driver, OpCode::close, file);
  }
}

TEST_CASE("sim D5 submit reports nothing itself; the next poll does", "[sim][driver]") {
  Rig rig(6);
  Driver& driver = *rig.driver;
  Op nop;
  const std::string bad("a\0b", 3);
  PathOp impossible = path_op(OpCode::open, bad);
  driver.submit(nop);
  driver.submit(impossible);
  CHECK(nop.state == OpState::in_flight);
  CHECK(impossible.state == OpState::in_flight);
  OpList done;
  driver.poll(done, kAtOnce);
  CHECK(done.pop_front() == &nop);
  CHECK(done.pop_front() == &impossible);
  CHECK(done.empty());
  CHECK(nop.result == 0);
  CHECK(impossible.result == -EINVAL);
}

TEST_CASE("sim D6 what is submitted after a report sees what was reported", "[sim][driver]") {
  Rig rig(7);
  Driver& driver = *rig.driver;
  const DriverFile file = open_file(driver, "data");
  for (std::uint64_t i = 1; i <= 200; ++i) {
    Op write = transfer(OpCode::write, file, 0, &i, sizeof(i));
    REQUIRE(run(driver, write) == 8);
    std::uint64_t seen = 0;
    Op read = transfer(OpCode::read, file, 0, &seen, sizeof(seen));
    REQUIRE(run(driver, read) == 8);
    REQUIRE(seen == i);
  }
  close_file(driver, file);
}

TEST_CASE("sim D7 poll returns at its deadline, on a wake, or with a completion", "[sim][driver]") {
  Rig rig(8);
  Driver& driver = *rig.driver;
  OpList done;
  const Instant born = driver.now();
  CHECK(born > Instant{});
  driver.poll(done, kAtOnce);
  driver.poll(done, born);
  CHECK(driver.now() == born);
  driver.poll(done, born + std::chrono::milliseconds(2));
  CHECK(driver.now() == born + std::chrono::milliseconds(2));

  for (int i = 0; i < 3; ++i) driver.wake();
  driver.poll(done, kNever);
  CHECK(driver.now() == born + std::chrono::milliseconds(2));
  const Instant until = driver.now() + std::chrono::milliseconds(2);
  driver.poll(done, until);
  CHECK(driver.now() == until);
  CHECK(done.empty());

  std::thread other([&] { driver.wake(); });
  other.join();
  driver.poll(done, kNever);
  CHECK(driver.now() == until);

  PathOp make = path_op(OpCode::make_dir, "d");
  driver.submit(make);
  driver.poll(done, kAtOnce);
  CHECK(done.empty());
  CHECK(driver.now() == until);
  driver.poll(done, kNever);
  CHECK(done.pop_front() == &make);
  CHECK(driver.now() > until);
  CHECK(driver.now() <= until + std::chrono::milliseconds(1));
  CHECK(rig.machine.violation().empty());
}

TEST_CASE("sim D7 time passes for a loop that never waits", "[sim][driver]") {
  Rig rig(9);
  PathOp make = path_op(OpCode::make_dir, "d");
  rig.driver->submit(make);
  OpList done;
  for (int i = 0; i < 10'000 && make.state != OpState::done; ++i) rig.driver->poll(done, kAtOnce);
  CHECK(done.pop_front() == &make);
}

TEST_CASE("sim D8 misuse aborts", "[sim][driver]") {
  const Death twice = run_in_child([] {
    Rig rig(1);
    Op op;
    rig.driver->submit(op);
    rig.driver->submit(op);
  });
  CHECK(twice.aborted());
  CHECK(twice.said("an op was submitted while the driver owns it"));

  const Death idle = run_in_child([] {
    Rig rig(1);
    Op op;
    rig.driver->remove(op);
  });
  CHECK(idle.aborted());
  CHECK(idle.said("an op without a slot"));

  const Death early = run_in_child([] {
    Op op;
    Rig rig(1);
    rig.driver->submit(op);
    rig.driver.reset();
  });
  CHECK(early.aborted());
  CHECK(early.said("a driver is destroyed with operations in flight"));

  const Death backwards = run_in_child([] {
    Choices choices = Choices::random(1);
    auto machine = std::make_unique<Machine>(choices, Profile::calm());
    const std::unique_ptr<Driver> driver = machine->make_driver();
    machine.reset();
  });
  CHECK(backwards.aborted());
  CHECK(backwards.said("a machine is destroyed before its drivers"));
}

TEST_CASE("sim D9 a short transfer is reported as it is", "[sim][driver]") {
  Profile profile = Profile::calm();
  profile.short_transfer = always();
  Rig rig(10, profile);
  Driver& driver = *rig.driver;
  const DriverFile file = open_file(driver, "data", kOpenWrite | kOpenCreate | kOpenDirect);
  alignas(4096) static std::array<char, 16384> buffer;
  buffer.fill('s');
  std::set<std::int32_t> counts;
  for (int i = 0; i < 100; ++i) {
    Op write = transfer(OpCode::write, file, 0, buffer.data(), buffer.size());
    const std::int32_t written = run(driver, write);
    CHECK(written > 0);
    CHECK(written < static_cast<std::int32_t>(buffer.size()));
    CHECK(written % 512 == 0);
    counts.insert(written);
  }
  CHECK(counts.size() > 10);
  CHECK(text_of(rig.machine, "data").size() == static_cast<std::size_t>(*counts.rbegin()));
  // What cannot be shortened is not.
  Op small = transfer(OpCode::write, file, 0, buffer.data(), 512);
  CHECK(run(driver, small) == 512);
  close_file(driver, file);
  CHECK(rig.machine.counters().short_transfers == 100);

  Rig calm(11);
  make_durable(*calm.driver, "data", std::string(6000, 'z'));
  const DriverFile reading = open_file(*calm.driver, "data", 0);
  std::array<char, 8192> into{};
  Op read = transfer(OpCode::read, reading, 0, into.data(), into.size());
  CHECK(run(*calm.driver, read) == 6000);
  read.offset = 4096;
  CHECK(run(*calm.driver, read) == 6000 - 4096);
  read.offset = 6000;
  CHECK(run(*calm.driver, read) == 0);
  read.offset = 0;
  calm.driver->run_here(read);
  CHECK(read.result == 6000);
  CHECK(read.state == OpState::idle);
  CHECK(into[5999] == 'z');
  close_file(*calm.driver, reading);
}

TEST_CASE("sim D10 the driver says what it is", "[sim][driver]") {
  MachineOptions options;
  options.in_flight_max = 5;
  Rig rig(12, Profile::calm(), options);
  const DriverCaps& caps = rig.driver->caps();
  CHECK(caps.kind == DriverKind::simulated);
  CHECK(caps.name == "sim");
  CHECK_FALSE(caps.reason.empty());
  CHECK(caps.in_flight_max == 5);
  CHECK(caps.threads == 0);
  CHECK(caps.files != nullptr);
  CHECK(caps.boot_id != std::array<std::uint8_t, 16>{});
  CHECK(rig.driver->wall_now() > WallTime(std::chrono::hours(24) * 365 * 50));
  CHECK(rig.driver->entropy() != rig.driver->entropy());
  options.registers_files = false;
  CHECK(Rig(12, Profile::calm(), options).driver->caps().files == nullptr);
}

TEST_CASE("random operations on the simulated driver do what a model says", "[sim][driver]") {
  Profile profile = Profile::calm();
  profile.half_done = never();
  for (const std::uint32_t in_flight_max : {3U, 64U}) {
    for (const CompletionOrder order : {CompletionOrder::by_latency, CompletionOrder::by_choice}) {
      profile.order = order;
      Rig rig(in_flight_max, profile, with_in_flight(in_flight_max));
      const DriverFile file = open_file(*rig.driver, "data");
      run_model(*rig.driver, file, 77 + in_flight_max, 10'000);
      close_file(*rig.driver, file);
      CHECK(rig.machine.violation().empty());
    }
  }
}

TEST_CASE("bad requests get the answers of a real kernel", "[sim][driver]") {
  Rig rig(13);
  Driver& driver = *rig.driver;
  make_durable(driver, "data", "content");
  const DriverFile reading = open_file(driver, "data", 0);
  char byte = 'x';
  Op write = transfer(OpCode::write, reading, 0, &byte, 1);
  CHECK(run(driver, write) == -EBADF);
  CHECK(run_file(driver, OpCode::try_lock, reading) == -EBADF);
  InfoOp truncate;
  truncate.code = OpCode::truncate;
  truncate.file = reading;
  CHECK(run(driver, truncate) == -EINVAL);
  truncate.code = OpCode::allocate;
  truncate.length = 1;
  CHECK(run(driver, truncate) == -EBADF);
  close_file(driver, reading);
  for (const OpCode code : {OpCode::sync_data, OpCode::sync_all, OpCode::close, OpCode::info}) {
    InfoOp op;
    op.code = code;
    CHECK(run(driver, op) == -EBADF);
    op.file = reading;  // closed
    CHECK(run(driver, op) == -EBADF);
  }
  // Its place belongs to another file now, and the old handle still names nothing.
  const DriverFile next = open_file(driver, "other");
  CHECK(run_file(driver, OpCode::sync_data, reading) == -EBADF);
  CHECK(run_file(driver, OpCode::close, reading) == -EBADF);
  close_file(driver, next);

  const DriverFile file = open_file(driver, "data", kOpenWrite | kOpenDirect);
  alignas(4096) static std::array<char, 8192> page;
  page.fill('p');
  Op direct = transfer(OpCode::write, file, 0, page.data(), 4096);
  CHECK(run(driver, direct) == 4096);
  direct.offset = 100;
  CHECK(run(driver, direct) == -EINVAL);
  direct = transfer(OpCode::write, file, 0, page.data() + 8, 4096);
  CHECK(run(driver, direct) == -EINVAL);
  direct = transfer(OpCode::read, file, 0, page.data(), 100);
  CHECK(run(driver, direct) == -EINVAL);
  direct = transfer(OpCode::write, file, ~std::uint64_t{0} - 100, page.data(), 4096);
  CHECK(run(driver, direct) == -EINVAL);
  InfoOp huge;
  huge.file = file;
  huge.length = ~std::uint64_t{0};
  huge.code = OpCode::truncate;
  CHECK(run(driver, huge) == -EFBIG);
  huge.code = OpCode::allocate;
  CHECK(run(driver, huge) == -EFBIG);
  huge.length = 0;
  CHECK(run(driver, huge) == -EINVAL);
  InfoOp info;
  info.code = OpCode::info;
  info.file = file;
  REQUIRE(run(driver, info) == 0);
  CHECK(info.info.bytes == 4096);
  CHECK(info.info.kind == FileKind::regular);
  CHECK(info.info.direct_possible);
  CHECK(info.info.align.source == AlignSource::kernel);
  CHECK(info.info.align.offset == 512);
  CHECK(info.info.physical_block_bytes == 4096);
  close_file(driver, file);

  CHECK(run_path(driver, OpCode::open, "") == -ENOENT);
  CHECK(run_path(driver, OpCode::open, std::string(5000, '/')) == -ENAMETOOLONG);
  CHECK(run_path(driver, OpCode::open, std::string(300, 'n')) == -ENAMETOOLONG);
  CHECK(run_path(driver, OpCode::sync_dir, "none") == -ENOENT);
  CHECK(run_path(driver, OpCode::sync_dir, "data") == -ENOTDIR);
}

TEST_CASE("a disk without direct I/O refuses it as tmpfs does", "[sim][driver]") {
  MachineOptions options;
  options.disk.direct_possible = false;
  Rig rig(14, Profile::calm(), options);
  PathOp open =
      path_op(OpCode::open, "data", kOpenWrite | kOpenCreate | kOpenExclusive | kOpenDirect);
  CHECK(run(*rig.driver, open) == -EINVAL);
  CHECK_FALSE(rig.machine.disk().exists("data"));
  const DriverFile file = open_file(*rig.driver, "data");
  InfoOp info;
  info.code = OpCode::info;
  info.file = file;
  REQUIRE(run(*rig.driver, info) == 0);
  CHECK_FALSE(info.info.direct_possible);
  CHECK(info.info.align.source == AlignSource::none);
  close_file(*rig.driver, file);
}
