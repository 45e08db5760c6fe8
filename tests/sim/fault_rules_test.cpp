// What a FaultDriver's rules can say beyond "the n-th fails": on a simulated machine, whose clock
// shows when what was reported.

#include <diorite/sim/faults.hpp>

#include "driver/op_model.hpp"
#include "sim/machine_rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;
using namespace std::chrono_literals;

using Effect = FaultDriver::Effect;
using Repeat = FaultDriver::Repeat;

/// A FaultDriver before the driver of a calm machine.
struct Bench {
  Bench() : rig(1), faults(rig.machine.make_driver()) {}
  std::int32_t write(DriverFile file, std::uint64_t offset, std::string_view text) {
    return write_at(faults, file, offset, text);
  }
  std::string text(std::string_view path) { return text_of(rig.machine, path); }

  Rig rig;
  FaultDriver faults;
};

std::vector<std::uint64_t> offsets_of(const std::vector<Op*>& ops) {
  std::vector<std::uint64_t> offsets;
  for (const Op* const op : ops) offsets.push_back(op->offset);
  return offsets;
}

}  // namespace

TEST_CASE("a pattern is of the name, or of the whole path", "[faults]") {
  Bench bench;
  const auto hits = [&](std::string_view pattern, const std::string& path) {
    bench.faults.clear_rules();
    bench.faults.fail(OpCode::remove, FaultDriver::kEvery, EXDEV, pattern);
    return run_path(bench.faults, OpCode::remove, path) == -EXDEV;
  };
  CHECK(hits("*.seg", "/wal/1.seg"));
  CHECK(hits("*.seg", "1.seg"));
  CHECK_FALSE(hits("*.seg", "/wal/1.seg.tmp"));
  CHECK_FALSE(hits("*.seg", "/wal.seg/1"));
  CHECK(hits("?.seg", "/wal/1.seg"));
  CHECK_FALSE(hits("?.seg", "/wal/12.seg"));
  CHECK(hits("*a*b*c", "aabbabc"));
  CHECK_FALSE(hits("*a*b*c", "aabbabcd"));
  CHECK(hits("/wal/*", "/wal/deep/1.seg"));
  CHECK_FALSE(hits("/wal/*", "/other/wal/1.seg"));
  CHECK(hits("*", "anything"));
  CHECK(hits("al/LOCK", "/wal/LOCK"));
  CHECK_FALSE(hits("LOCK", "/wal/LOCKED"));
}

TEST_CASE("a failed operation can have taken place", "[faults]") {
  Bench bench;
  const DriverFile file = open_file(bench.faults, "/data");
  bench.faults.fail(OpCode::write, 1, EIO, {}, Effect::full);
  CHECK(bench.write(file, 0, "done") == -EIO);
  CHECK(bench.text("data") == "done");
  bench.faults.fail(OpCode::rename, 1, EIO, {}, Effect::full);
  CHECK(run_path(bench.faults, OpCode::rename, "/data", "/moved") == -EIO);
  CHECK(bench.rig.machine.disk().exists("moved"));
  close_file(bench.faults, file);
}

TEST_CASE("a close that fails has closed the file, an open that fails leaves no handle",
          "[faults]") {
  TempDir dir;
  auto driver = make_driver({DriverChoice::pool});
  REQUIRE(driver);
  FaultDriver faults(std::move(*driver));
  const std::string path = dir.file("data");
  const int before = open_descriptors();
  const DriverFile file = open_file(faults, path);
  faults.fail(OpCode::close, 1, EIO);
  CHECK(run_file(faults, OpCode::close, file) == -EIO);
  CHECK(open_descriptors() == before);

  const std::string made = dir.file("made");
  faults.fail(OpCode::open, 1, EMFILE, {}, Effect::full);
  PathOp open = path_op(OpCode::open, made, kOpenWrite | kOpenCreate);
  CHECK(run(faults, open) == -EMFILE);
  CHECK(dir.exists("made"));
  CHECK(open_descriptors() == before);
  faults.fail(OpCode::open, 1, EMFILE);
  const std::string missing = dir.file("missing");
  open = path_op(OpCode::open, missing, kOpenWrite | kOpenCreate);
  CHECK(run(faults, open) == -EMFILE);
  CHECK_FALSE(dir.exists("missing"));
  // The operations that the driver added are nobody's.
  CHECK(faults.counters().submitted == 4);
  CHECK(faults.counters().completed == 4);
}

TEST_CASE("an orphan whose result is changed tells so, and closes what it opened", "[faults]") {
  Bench bench;
  const DriverFile file = open_file(bench.faults, "/data");
  static std::vector<std::int64_t> told;
  told.clear();
  OrphanHook hook;
  hook.ended = [](void*, OpCode, std::int64_t result) noexcept { told.push_back(result); };
  const auto orphaned = [&](auto op) {
    auto owned = std::make_unique<decltype(op)>(op);
    bench.faults.submit(*owned);
    bench.faults.orphan(*owned, Pin(), Pin(), hook);
    owned.reset();
    OpList done;
    for (int i = 0; i < 4; ++i) bench.faults.poll(done, bench.faults.now() + 1s);
    CHECK(done.empty());
  };
  std::string text = "123456";
  const Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
  bench.faults.fail(OpCode::write, 1, ENOSPC, {}, Effect::full);
  orphaned(write);
  bench.faults.shorten(OpCode::write, 1, 2);
  orphaned(write);
  bench.faults.fail(OpCode::open, 1, EIO, {}, Effect::full);
  orphaned(path_op(OpCode::open, "/data"));
  CHECK(told == std::vector<std::int64_t>{-ENOSPC, -EIO, -EIO});
  CHECK(bench.faults.counters().orphans == 3);
  CHECK(bench.faults.counters().orphan_errors == 3);
  close_file(bench.faults, file);
}

TEST_CASE("a delayed operation is reported at its time, and takes place at once", "[faults]") {
  Bench bench;
  const DriverFile file = open_file(bench.faults, "/data");
  bench.faults.delay(OpCode::write, 1, 2s);
  const Instant begun = bench.faults.now();
  std::string late = "late";
  std::string soon = "soon";
  Op slow = transfer(OpCode::write, file, 0, late.data(), late.size());
  Op fast = transfer(OpCode::write, file, 8, soon.data(), soon.size());
  bench.faults.submit(slow);
  bench.faults.submit(fast);
  CHECK(collect(bench.faults, 1) == std::vector<Op*>{&fast});
  CHECK(bench.faults.now() < begun + 1s);
  OpList done;
  bench.faults.poll(done, begun + 1s);
  CHECK(done.empty());
  CHECK(bench.faults.now() == begun + 1s);
  CHECK(bench.text("data").substr(0, 4) == "late");
  CHECK(bench.faults.remove(slow) == Removal::in_flight);
  CHECK(collect(bench.faults, 1) == std::vector<Op*>{&slow});
  CHECK(slow.result == 4);
  CHECK(bench.faults.now() == begun + 2s);
  // What wakes a poll is not lost while something is withheld.
  bench.faults.delay(OpCode::write, 1, 2s);
  bench.faults.submit(slow);
  bench.faults.wake();
  bench.faults.poll(done, kNever);
  CHECK(done.empty());
  CHECK(bench.faults.now() < begun + 4s);
  collect(bench.faults, 1);
  close_file(bench.faults, file);
}

TEST_CASE("a delayed open that is orphaned is closed", "[faults]") {
  Bench bench;
  static int ended;
  ended = 0;
  OrphanHook hook;
  hook.ended = [](void*, OpCode code, std::int64_t result) noexcept {
    ended += code == OpCode::open && result == 0 ? 1 : 100;
  };
  bench.faults.delay(OpCode::open, 1, 1s);
  const DriverFile first = open_file(bench.faults, "/data");
  close_file(bench.faults, first);
  bench.faults.delay(OpCode::open, 1, 1s);
  auto open = std::make_unique<PathOp>(path_op(OpCode::open, "/data"));
  bench.faults.submit(*open);
  OpList done;
  bench.faults.poll(done, bench.faults.now() + 500ms);
  bench.faults.orphan(*open, Pin(), Pin(), hook);
  open.reset();
  bench.faults.poll(done, kNever);
  CHECK(ended == 1);
  CHECK(done.empty());
  // Two opens, two closes: one of them the driver's own.
  CHECK(bench.faults.inner().counters().submitted == 4);
}

TEST_CASE("operations change places", "[faults]") {
  Rig rig(1);
  TempDir dir;
  DriverOptions options;
  options.choice = DriverChoice::pool;
  options.pool_inline = true;
  auto pool = make_driver(options);
  REQUIRE(pool);
  FaultDriver faults(std::move(*pool));
  const DriverFile file = open_file(faults, dir.file("data"));
  const std::uint32_t rule = faults.reorder(OpCode::write, 3);
  std::string text = "abcd";
  std::vector<Op> ops(4);
  for (std::uint64_t i = 0; i < 4; ++i) ops[i] = transfer(OpCode::write, file, i, &text[i], 1);
  faults.submit(ops[0]);
  faults.submit(ops[1]);
  CHECK(faults.is_held(rule));
  CHECK(faults.remove(ops[0]) == Removal::in_flight);
  faults.submit(ops[2]);
  CHECK_FALSE(faults.is_held(rule));
  faults.submit(ops[3]);
  CHECK(offsets_of(collect(faults, 4)) == std::vector<std::uint64_t>{2, 1, 0, 3});
  CHECK(dir.read("data") == "abcd");
  CHECK(faults.faults_done() == 3);
  close_file(faults, file);
}

TEST_CASE("operations that wait for others do not wait for ever", "[faults]") {
  Bench bench;
  const DriverFile file = open_file(bench.faults, "/data");
  bench.faults.reorder(OpCode::write, 3);
  std::string text = "ab";
  Op first = transfer(OpCode::write, file, 0, &text[0], 1);
  Op second = transfer(OpCode::write, file, 1, &text[1], 1);
  bench.faults.submit(first);
  bench.faults.submit(second);
  OpList done;
  bench.faults.poll(done, kAtOnce);
  CHECK(done.empty());
  collect(bench.faults, 2);
  CHECK(bench.text("data") == "ab");
  close_file(bench.faults, file);
}

TEST_CASE("the n-th operation of all fails, once or with its area from then on", "[faults]") {
  const Repeat repeat = GENERATE(Repeat::once, Repeat::sticky);
  Bench bench;
  bench.faults.fail_nth(3, EROFS, repeat);
  const DriverFile file = open_file(bench.faults, "/data");
  CHECK(run_file(bench.faults, OpCode::sync_data, file) == 0);
  CHECK(bench.faults.faults_done() == 0);
  CHECK(bench.write(file, 0, "x") == -EROFS);
  CHECK(bench.faults.faults_done() == 1);
  CHECK(bench.write(file, 0, "x") == (repeat == Repeat::sticky ? -EROFS : 1));
  CHECK(run_file(bench.faults, OpCode::sync_data, file) == 0);
  CHECK(bench.faults.faults_done() == (repeat == Repeat::sticky ? 2 : 1));
  CHECK(bench.faults.operations() == 5);
  CHECK(bench.faults.counts()[static_cast<std::size_t>(OpCode::write)] == 2);
  close_file(bench.faults, file);
}

TEST_CASE("the n-th transfer is cut short", "[faults]") {
  Bench bench;
  bench.faults.shorten_nth(2, 2);
  const DriverFile file = open_file(bench.faults, "/data");
  CHECK(bench.write(file, 0, "abcd") == 4);
  std::string back(4, ' ');
  Op read = transfer(OpCode::read, file, 0, back.data(), back.size());
  CHECK(run(bench.faults, read) == 2);
  CHECK(run(bench.faults, read) == 4);
  CHECK(bench.faults.faults_done() == 1);
  close_file(bench.faults, file);
}

TEST_CASE("random operations with delays and changed places end as the model says", "[faults]") {
  // The model wants a write that was cancelled not to have landed.
  Profile profile = Profile::calm();
  profile.half_done = never();
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    Rig rig(seed, profile);
    FaultDriver faults(rig.machine.make_driver());
    const DriverFile file = open_file(faults, "/data");
    for (std::uint32_t n = 1; n < 60; n += 7) {
      faults.delay(OpCode::write, n, std::chrono::microseconds(50 * n));
      faults.delay(OpCode::read, n + 2, std::chrono::microseconds(30 * n));
    }
    run_model(faults, file, seed, 400);
    CHECK(faults.faults_done() >= 5);
    faults.clear_rules();
    close_file(faults, file);
  }
}
