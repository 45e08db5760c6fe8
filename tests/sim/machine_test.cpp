// The simulated machine: power cuts, plans, time, determinism, watched buffers.

#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/try.hpp>

#include <algorithm>
#include <set>

#include "sim/machine_rig.hpp"
#include "support/death.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

/// A little of everything, decided by the machine's own choices. Ends when the process does. The
/// buffers begin `shift` bytes later, as in another execution.
std::uint64_t work(Rig& rig, int rounds, std::size_t shift = 0) {
  Driver& driver = *rig.driver;
  OpList done;
  PathOp open = path_op(OpCode::open, "data", kOpenWrite | kOpenCreate);
  driver.submit(open);
  while (open.state != OpState::done) driver.poll(done, kNever);
  done.pop_front();
  open.state = OpState::idle;
  if (open.result < 0) return rig.machine.trace_hash();
  constexpr std::size_t kBytes = 2048;
  std::vector<char> memory(shift + 8 * kBytes);
  std::array<Op, 8> ops;
  for (int i = 0; i < rounds && !is_dead(driver); ++i) {
    for (std::size_t k = 0; k < ops.size(); ++k) {
      char* const buffer = memory.data() + shift + k * kBytes;
      std::fill_n(buffer, kBytes, static_cast<char>('a' + k));
      const std::uint64_t offset = rig.choices.draw(64) * std::uint64_t{512};
      const std::uint32_t kind = rig.choices.pick(4);
      ops[k] =
          transfer(kind == 0 ? OpCode::read : OpCode::write, open.file, offset, buffer, kBytes);
      if (kind == 1) ops[k] = file_op(OpCode::sync_data, open.file);
      driver.submit(ops[k]);
    }
    collect(driver, ops.size());
  }
  Op close = file_op(OpCode::close, open.file);
  run(driver, close);
  return rig.machine.trace_hash();
}

}  // namespace

TEST_CASE("equal seeds have equal traces, others have others", "[sim][machine]") {
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::uint64_t first = 0;
    for (int twice = 0; twice < 2; ++twice) {
      Rig rig(seed, Profile::hostile());
      rig.machine.plan_power_cut(60 + rig.choices.draw(200));
      const std::size_t shift = twice == 0 ? 0 : 64;
      work(rig, 20, shift);
      rig.drain();
      if (!is_dead(*rig.driver)) rig.machine.power_cut();
      rig.restart();
      const std::uint64_t hash = work(rig, 5, shift) ^ rig.machine.disk().hash();
      if (twice == 0) first = hash;
      CHECK(hash == first);
      rig.drain();
    }
    hashes.insert(first);
  }
  CHECK(hashes.size() == 20);
}

TEST_CASE("a run replayed from its decisions has its trace", "[sim][machine]") {
  Rig first(77, Profile::hostile());
  first.machine.plan_power_cut(150);
  const std::uint64_t hash = work(first, 20);
  Rig second(Choices::replay(77, first.choices.made()), Profile::hostile());
  second.machine.plan_power_cut(150);
  CHECK(work(second, 20) == hash);
  CHECK(second.machine.disk().hash() == first.machine.disk().hash());
  // With its decisions taken back it is another run.
  std::vector<std::uint32_t> tamer = first.choices.made();
  for (std::uint32_t& decision : tamer) decision = 0;
  Rig third(Choices::replay(77, tamer), Profile::hostile());
  third.machine.plan_power_cut(150);
  CHECK(work(third, 20) != hash);
}

TEST_CASE("a power cut loses what was not synced, and keeps what was", "[sim][machine]") {
  bool lost = false;
  bool kept = false;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Rig rig(seed, Profile::standard());
    make_durable(*rig.driver, "data", std::string(1024, 'o'));
    const DriverFile file = open_file(*rig.driver, "data");
    REQUIRE(write_at(*rig.driver, file, 512, std::string(512, 'n')) == 512);
    rig.machine.power_cut();
    CHECK(is_dead(*rig.driver));
    const std::string text = text_of(rig.machine, "data");
    REQUIRE(text.size() == 1024);
    CHECK(text.substr(0, 512) == std::string(512, 'o'));
    lost |= text[512] == 'o';
    kept |= text[512] == 'n';
    CHECK(rig.machine.counters().power_cuts == 1);
    CHECK(rig.machine.disk().all_durable());
  }
  CHECK(lost);
  CHECK(kept);
}

TEST_CASE("durable writes and syncs outlast every power cut", "[sim][machine]") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    for (const bool by_sync : {false, true}) {
      Rig rig(seed, Profile::standard());
      make_durable(*rig.driver, "data", std::string(4096, 'o'));
      const DriverFile file = open_file(*rig.driver, "data");
      REQUIRE(write_at(*rig.driver, file, 0, std::string(4096, 'n'), by_sync ? 0 : kOpDsync) ==
              4096);
      if (by_sync) REQUIRE(run_file(*rig.driver, OpCode::sync_data, file) == 0);
      rig.machine.power_cut();
      CHECK(text_of(rig.machine, "data") == std::string(4096, 'n'));
    }
  }
}

TEST_CASE("a sync does not cover what completed after it was submitted", "[sim][machine]") {
  int lost = 0;
  int completed_before = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rig rig(seed, Profile::standard());
    make_durable(*rig.driver, "data", std::string(512, 'o'));
    const DriverFile file = open_file(*rig.driver, "data");
    std::string text(512, 'n');
    Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
    Op sync = file_op(OpCode::sync_data, file);
    rig.driver->submit(write);
    rig.driver->submit(sync);
    const std::vector<Op*> order = collect(*rig.driver, 2);
    CHECK(write.result == 512);
    CHECK(sync.result == 0);
    rig.machine.power_cut();
    if (order.front() != &write) continue;
    // The write had completed when the sync did, but not when it was submitted.
    ++completed_before;
    if (text_of(rig.machine, "data") == std::string(512, 'o')) ++lost;
  }
  CHECK(completed_before > 20);
  CHECK(lost > 5);
  CHECK(lost < completed_before);
}

TEST_CASE("writes in flight may reach the medium when power is cut", "[sim][machine]") {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rig rig(seed, Profile::standard());
    make_durable(*rig.driver, "data", std::string(1024, 'o'));
    const DriverFile file = open_file(*rig.driver, "data");
    std::string text(1024, 'n');
    Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
    rig.driver->submit(write);
    OpList none;
    rig.driver->poll(none, rig.driver->now() + Duration(rig.choices.draw(100'000)));
    rig.machine.power_cut();
    rig.drain();
    const std::string after = text_of(rig.machine, "data");
    outcomes.insert({after[0], after[512]});
  }
  CHECK(outcomes == std::set<std::string>{"nn", "no", "on", "oo"});
}

TEST_CASE("a name that was not synced may be lost, and an operation in flight may count",
          "[sim][machine]") {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rig rig(seed, Profile::standard());
    make_durable(*rig.driver, "a", "content");
    PathOp rename = path_op(OpCode::rename, "a");
    rename.path2 = "b";
    rig.driver->submit(rename);
    rig.machine.power_cut();
    rig.drain();
    CHECK(rename.result == -EIO);
    const std::vector<std::string> files = rig.machine.disk().files();
    REQUIRE(files.size() == 1);
    CHECK(text_of(rig.machine, files[0]) == "content");
    outcomes.insert(files[0]);
  }
  CHECK(outcomes == std::set<std::string>{"a", "b"});
}

TEST_CASE("a dead driver answers EIO at once and touches nothing", "[sim][machine]") {
  Rig rig(3);
  Driver& driver = *rig.driver;
  const DriverFile file = open_file(driver, "data");
  REQUIRE(write_at(driver, file, 0, "before", kOpDsync) == 6);
  REQUIRE(run_path(driver, OpCode::sync_dir, "/") == 0);
  std::string text = "in flight";
  Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
  PathOp finished = path_op(OpCode::open, "data");
  driver.submit(finished);
  driver.submit(write);
  rig.machine.power_cut();
  const std::uint64_t disk = rig.machine.disk().hash();
  const std::uint64_t trace = rig.machine.trace_hash();
  const std::uint64_t events = rig.machine.counters().events;
  const Instant now = driver.now();

  OpList done;
  driver.poll(done, kNever);
  for (Op* const op : {static_cast<Op*>(&finished), &write}) {
    CHECK(done.pop_front() == op);
    CHECK(op->result == -EIO);
    op->state = OpState::idle;
  }
  CHECK(done.empty());
  CHECK(run(driver, write) == -EIO);
  Op read = transfer(OpCode::read, file, 0, text.data(), text.size());
  CHECK(run(driver, read) == -EIO);
  driver.run_here(read);
  CHECK(read.result == -EIO);
  CHECK(text == "in flight");
  CHECK(run_path(driver, OpCode::make_dir, "folder") == -EIO);
  CHECK(run_path(driver, OpCode::remove, "data") == -EIO);
  CHECK(run_file(driver, OpCode::try_lock, file) == -EIO);
  CHECK_FALSE(driver.caps().files->register_file(file));
  Op nop;
  CHECK(run(driver, nop) == 0);
  CHECK(run_file(driver, OpCode::close, file) == 0);
  CHECK(driver.now() == now);
  OpList none;
  driver.poll(none, now + std::chrono::seconds(1));
  CHECK(driver.now() == now + std::chrono::seconds(1));

  CHECK(rig.machine.disk().hash() == disk);
  CHECK(rig.machine.trace_hash() == trace);
  CHECK(rig.machine.counters().events == events);
  CHECK(rig.machine.violation().empty());
}

TEST_CASE("a planned end comes after so many events, from inside submit or poll",
          "[sim][machine]") {
  for (const bool power : {true, false}) {
    for (std::uint64_t events = 1; events <= 12; ++events) {
      Rig rig(events);
      if (power) {
        rig.machine.plan_power_cut(events);
      } else {
        rig.machine.plan_kill(events);
      }
      std::array<PathOp, 6> ops;
      std::array<std::string, 6> paths;
      for (std::size_t i = 0; i < ops.size(); ++i) {
        paths[i] = "d" + std::to_string(i);
        ops[i] = path_op(OpCode::make_dir, paths[i]);
        rig.driver->submit(ops[i]);
      }
      collect(*rig.driver, ops.size());
      CHECK(is_dead(*rig.driver));
      CHECK(rig.machine.counters().events == events);
      CHECK(rig.machine.counters().power_cuts == (power ? 1 : 0));
      CHECK(rig.machine.counters().kills == (power ? 0 : 1));
      std::uint64_t succeeded = 0;
      for (const PathOp& op : ops) succeeded += op.result == 0 ? 1 : 0;
      // The completion that is the last event is not heard of any more.
      CHECK(succeeded <= (events <= 6 ? 0 : events - 7));
      rig.restart();
      CHECK(run_path(*rig.driver, OpCode::make_dir, "later") == 0);
    }
  }
  Rig rig(1);
  rig.machine.plan_power_cut(2);
  rig.machine.cancel_plan();
  CHECK(run_path(*rig.driver, OpCode::make_dir, "d") == 0);
  CHECK_FALSE(is_dead(*rig.driver));
}

TEST_CASE("the boot changes with the power, not with the process", "[sim][machine]") {
  Rig rig(1);
  const auto first = rig.driver->caps().boot_id;
  rig.machine.kill();
  rig.restart();
  CHECK(rig.driver->caps().boot_id == first);
  rig.machine.power_cut();
  rig.restart();
  CHECK(rig.driver->caps().boot_id != first);
}

TEST_CASE("a buffer changed while it is written is a violation", "[sim][machine]") {
  int seen = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rig rig(seed);
    const DriverFile file = open_file(*rig.driver, "data");
    std::string text(512, 'a');
    Op write = transfer(OpCode::write, file, 4096, text.data(), text.size());
    rig.driver->submit(write);
    OpList none;
    // Until after the capture, however late that is.
    rig.driver->poll(none, rig.driver->now() + Duration(1));
    if (!none.empty()) continue;
    const Instant until = rig.machine.next_event();
    rig.driver->poll(none, until);
    if (write.state != OpState::in_flight) {
      none.pop_front();
      close_file(*rig.driver, file);
      continue;
    }
    text[17] = 'b';
    collect(*rig.driver, 1);
    ++seen;
    CHECK(rig.machine.violation() ==
          "a buffer was changed while a write of it was in flight: data offset 4096");
    close_file(*rig.driver, file);
  }
  CHECK(seen > 0);
}

TEST_CASE("a read's buffer is scribbled over until it completes", "[sim][machine]") {
  Rig rig(2);
  make_durable(*rig.driver, "data", "content");
  const DriverFile file = open_file(*rig.driver, "data", 0);
  std::string into(64, '-');
  Op read = transfer(OpCode::read, file, 0, into.data(), into.size());
  rig.driver->submit(read);
  CHECK(into == std::string(64, '\xdb'));
  collect(*rig.driver, 1);
  CHECK(into == "content" + std::string(57, '\xdb'));
  CHECK(rig.machine.violation().empty());

  rig.driver->submit(read);
  into[63] = '!';
  collect(*rig.driver, 1);
  CHECK(rig.machine.violation() ==
        "a buffer was changed while a read into it was in flight: data offset 0");
  close_file(*rig.driver, file);
}

TEST_CASE("waiting for ever with nothing in flight is a violation, then an abort",
          "[sim][machine]") {
  Rig rig(1);
  OpList none;
  rig.driver->poll(none, kNever);
  CHECK(rig.machine.violation() == "deadlock: process 1 waits for ever with nothing in flight");
  CHECK(is_dead(*rig.driver));
  CHECK(run_path(*rig.driver, OpCode::make_dir, "d") == -EIO);

  const Death hung = run_in_child([] {
    Rig other(1);
    OpList done;
    for (;;) other.driver->poll(done, kNever);
  });
  CHECK(hung.aborted());
  CHECK(hung.said("deadlock"));
}

TEST_CASE("two drivers share one machine's disk and time", "[sim][machine]") {
  Rig rig(5);
  const std::unique_ptr<Driver> other = rig.machine.make_driver();
  const DriverFile mine = open_file(*rig.driver, "data");
  const DriverFile theirs = open_file(*other, "data");
  CHECK(rig.driver->now() == other->now());
  // A handle belongs to its process.
  Op foreign = file_op(OpCode::sync_data, mine);
  if (mine.value != theirs.value) CHECK(run(*other, foreign) == -EBADF);

  std::string text = "shared";
  Op write = transfer(OpCode::write, mine, 0, text.data(), text.size());
  rig.driver->submit(write);
  CHECK(rig.machine.next_event() > rig.machine.now());
  CHECK(rig.machine.next_event() < kNever);
  OpList none;
  // The other one's wait lets the write end; its report waits for its own driver.
  other->poll(none, rig.machine.now() + std::chrono::seconds(1));
  CHECK(none.empty());
  CHECK(rig.machine.next_event() == rig.machine.now());
  CHECK(text_of(rig.machine, "data") == "shared");
  const Instant now = rig.machine.now();
  rig.driver->poll(none, kNever);
  CHECK(none.pop_front() == &write);
  CHECK(rig.machine.now() == now);
  CHECK(rig.machine.next_event() == kNever);

  rig.driver->submit(write);
  rig.machine.advance(now + std::chrono::seconds(1));
  CHECK(rig.machine.now() == now + std::chrono::seconds(1));
  rig.driver->poll(none, kAtOnce);
  CHECK(none.pop_front() == &write);
  rig.machine.kill();
  CHECK(is_dead(*rig.driver));
  CHECK(is_dead(*other));
}

TEST_CASE("completions come one by one and in batches", "[sim][machine]") {
  std::set<std::size_t> sizes;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rig rig(seed);
    std::array<PathOp, 8> ops;
    std::array<std::string, 8> paths;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      paths[i] = "d" + std::to_string(i);
      ops[i] = path_op(OpCode::make_dir, paths[i]);
      rig.driver->submit(ops[i]);
    }
    for (std::size_t reported = 0; reported < ops.size();) {
      rig.machine.advance(rig.machine.next_event());
      OpList done;
      rig.driver->poll(done, kAtOnce);
      std::size_t size = 0;
      while (done.pop_front() != nullptr) ++size;
      sizes.insert(size);
      reported += size;
    }
  }
  CHECK(sizes.count(1) == 1);
  CHECK(*sizes.rbegin() >= 3);
}

TEST_CASE("an operation can be stuck, and the machine healed", "[sim][machine]") {
  Profile profile = Profile::calm();
  profile.stuck = always();
  Rig rig(6, profile);
  Instant before = rig.driver->now();
  Duration longest{};
  for (int i = 0; i < 200; ++i) {
    CHECK(run_path(*rig.driver, OpCode::sync_dir, "/") == 0);
    longest = std::max(longest, rig.driver->now() - before);
    before = rig.driver->now();
  }
  CHECK(longest > std::chrono::seconds(5));
  CHECK(longest <= std::chrono::seconds(21));
  rig.machine.heal();
  CHECK(run_path(*rig.driver, OpCode::sync_dir, "/") == 0);
  CHECK(rig.driver->now() - before < std::chrono::milliseconds(1));
}

TEST_CASE("every order of completions, and the timer, is enumerated", "[sim][machine]") {
  Choices choices = Choices::exhaustive();
  std::set<std::string> orders;
  std::uint64_t paths = 0;
  do {
    Machine machine(choices, Profile::bounded());
    const std::unique_ptr<Driver> driver = machine.make_driver();
    std::array<PathOp, 3> ops;
    const std::array<std::string, 3> names = {"a", "b", "c"};
    for (std::size_t i = 0; i < 3; ++i) {
      ops[i] = path_op(OpCode::make_dir, names[i]);
      driver->submit(ops[i]);
    }
    const Instant until = driver->now() + std::chrono::seconds(1);
    std::string order;
    OpList done;
    while (order.size() < 4) {
      const bool waits_for_timer = order.find('t') == std::string::npos;
      driver->poll(done, waits_for_timer ? until : kNever);
      if (done.empty()) order += 't';
      while (Op* const op = done.pop_front()) {
        op->state = OpState::idle;
        order += static_cast<PathOp*>(op)->path;
      }
    }
    ++paths;
    orders.insert(order);
  } while (choices.next_path());
  CHECK(orders.size() == 24);
  CHECK(paths == 24);
}

namespace {

Task<Result<std::string>> use_file(Reactor& reactor) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data"));
  DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
  std::memset(page.data(), 'q', page.size());
  BufIoResult written = co_await file.write_at(std::move(page), 4096);
  if (!written) co_return written.error();
  const Result<void> synced = co_await file.sync_data();
  if (!synced) co_return synced.error();
  BufIoResult read = co_await file.read_at(std::move(written.buf()), 4096);
  if (!read) co_return read.error();
  std::string text(reinterpret_cast<const char*>(read.buf().data()), 8);
  const Result<void> closed = co_await std::move(file).close();
  if (!closed) co_return closed.error();
  co_return text;
}

}  // namespace

TEST_CASE("a reactor and its files work on a simulated machine", "[sim][machine]") {
  Choices choices = Choices::random(1);
  Profile profile = Profile::standard();
  profile.short_transfer = per_cent(50);
  profile.interrupted = per_cent(20);
  Machine machine(choices, profile);
  auto reactor = Reactor::create(machine.make_driver());
  REQUIRE(reactor);
  const Instant before = machine.now();
  Result<std::string> text = (*reactor)->block_on(use_file(**reactor));
  if (!text) FAIL(text.error().text());
  CHECK(*text == "qqqqqqqq");
  CHECK(machine.now() > before);
  CHECK(machine.disk().bytes_of("data") == 8192);

  machine.plan_power_cut(5);
  text = (*reactor)->block_on(use_file(**reactor));
  CHECK_FALSE(text);
  CHECK(machine.violation().empty());
}
