// The fault driver itself: that its rules hit what they name, and nothing else.

#include <cerrno>

#include "driver/rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

using Kind = FaultDriver::Event::Kind;

struct Bench {
  explicit Bench(bool is_inline) {
    DriverOptions options;
    options.choice = DriverChoice::pool;
    options.pool_inline = is_inline;
    auto driver = make_driver(options);
    REQUIRE(driver);
    faults = std::make_unique<FaultDriver>(std::move(*driver));
    data = open_file(*faults, dir.file("data"));
    other = open_file(*faults, dir.file("other"));
  }
  void close() {
    close_file(*faults, data);
    close_file(*faults, other);
  }
  Op write(DriverFile file, std::uint64_t offset, std::string& text) {
    return transfer(OpCode::write, file, offset, text.data(), text.size());
  }

  TempDir dir;
  std::unique_ptr<FaultDriver> faults;
  DriverFile data;
  DriverFile other;
};

}  // namespace

TEST_CASE("the n-th operation fails, once, and is not executed", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  faults.fail(OpCode::write, 2, EIO);
  std::string text = "x";
  for (std::uint64_t i = 0; i < 4; ++i) {
    Op op = bench.write(bench.data, i, text);
    CHECK(run(faults, op) == (i == 1 ? -EIO : 1));
  }
  bench.close();
  CHECK(bench.dir.read("data") == std::string("x\0xx", 4));
  CHECK(faults.count(OpCode::write) == 4);
  CHECK(faults.count(OpCode::open) == 2);
}

TEST_CASE("a rule with a path suffix hits that file only, as often as it says", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  faults.fail(OpCode::sync_data, FaultDriver::kEvery, ENOSPC, "other");
  for (int i = 0; i < 3; ++i) {
    Op hit = file_op(OpCode::sync_data, bench.other);
    Op missed = file_op(OpCode::sync_data, bench.data);
    CHECK(run(faults, hit) == -ENOSPC);
    CHECK(run(faults, missed) == 0);
  }
  faults.clear_rules();
  Op op = file_op(OpCode::sync_data, bench.other);
  CHECK(run(faults, op) == 0);
  faults.fail(OpCode::remove, 1, EACCES, "/data");
  const std::string path = bench.dir.file("data");
  PathOp remove = path_op(OpCode::remove, path);
  CHECK(run(faults, remove) == -EACCES);
  CHECK(bench.dir.exists("data"));
  bench.close();
}

TEST_CASE("a shortened transfer moves fewer bytes and keeps the op's length", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  faults.shorten(OpCode::write, 1, 3);
  std::string text = "abcdef";
  Op write = bench.write(bench.data, 0, text);
  CHECK(run(faults, write) == 3);
  CHECK(write.bytes == 6);
  CHECK(bench.dir.read("data") == "abc");
  CHECK(run(faults, write) == 6);
  faults.shorten(OpCode::read, 2, 2);
  std::string back(6, ' ');
  Op read = transfer(OpCode::read, bench.data, 0, back.data(), back.size());
  CHECK(run(faults, read) == 6);
  CHECK(run(faults, read) == 2);
  CHECK(read.bytes == 6);
  bench.close();
}

TEST_CASE("a held operation stays in flight and takes place at its release", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  const std::uint32_t hold = faults.hold(OpCode::write, 1);
  CHECK_FALSE(faults.is_held(hold));
  std::string text = "held";
  std::string quick = "quick";
  Op held = bench.write(bench.data, 0, text);
  Op free = bench.write(bench.other, 0, quick);
  faults.submit(held);
  faults.submit(free);
  CHECK(faults.is_held(hold));
  CHECK(collect(faults, 1) == std::vector<Op*>{&free});
  CHECK(held.state == OpState::in_flight);
  CHECK(faults.remove(held) == Removal::in_flight);
  CHECK(bench.dir.read("data").empty());
  faults.release(hold);
  CHECK_FALSE(faults.is_held(hold));
  CHECK(collect(faults, 1) == std::vector<Op*>{&held});
  CHECK(held.result == 4);
  CHECK(bench.dir.read("data") == "held");
  bench.close();
}

TEST_CASE("held and failed operations can be orphaned", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  static std::string order;
  order.clear();
  const auto pin = [](void* what) noexcept { order += *static_cast<const char*>(what); };
  static char buffer_name = 'b';
  static char file_name = 'f';
  OrphanHook hook;
  hook.ended = [](void*, OpCode, std::int64_t result) noexcept {
    order += "h" + std::to_string(result);
  };
  const std::uint32_t hold = faults.hold(OpCode::write, 1);
  auto text = std::make_unique<std::string>("orphan");
  auto op = std::make_unique<Op>(bench.write(bench.data, 0, *text));
  faults.submit(*op);
  faults.orphan(*op, Pin(&buffer_name, pin), Pin(&file_name, pin), hook);
  op.reset();
  OpList done;
  faults.poll(done, kAtOnce);
  CHECK(order.empty());
  faults.release(hold);
  while (order.size() < 4) faults.poll(done, kNever);
  CHECK(order == "h6bf");
  CHECK(bench.dir.read("data") == "orphan");

  order.clear();
  faults.fail(OpCode::write, 1, EIO);
  op = std::make_unique<Op>(bench.write(bench.data, 0, *text));
  faults.submit(*op);
  faults.orphan(*op, Pin(&buffer_name, pin), Pin(&file_name, pin), hook);
  op.reset();
  faults.poll(done, kNever);
  CHECK(order == "h" + std::to_string(-EIO) + "bf");
  CHECK(done.empty());
  CHECK(faults.counters().orphans == 2);
  CHECK(faults.counters().orphan_errors == 1);

  // The handle of a held open that nobody waits for is closed.
  const int before = open_descriptors();
  order.clear();
  const std::uint32_t hold_open = faults.hold(OpCode::open, 1);
  const std::string path = bench.dir.file("data");
  auto open = std::make_unique<PathOp>(path_op(OpCode::open, path));
  faults.submit(*open);
  faults.orphan(*open, Pin(), Pin(&file_name, pin), hook);
  open.reset();
  faults.release(hold_open);
  while (order.size() < 3) faults.poll(done, kNever);
  CHECK(order == "h0f");
  CHECK(open_descriptors() == before);
  bench.close();
}

TEST_CASE("operations with results of their own pass through a hold", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  const std::uint32_t hold_info = faults.hold(OpCode::info, 1);
  const std::uint32_t hold_list = faults.hold(OpCode::list_dir, 1);
  const std::uint32_t hold_size = faults.hold(OpCode::truncate, 1);
  const std::uint32_t hold_open = faults.hold(OpCode::open, 1);
  InfoOp size;
  size.code = OpCode::truncate;
  size.file = bench.data;
  size.length = 1234;
  faults.submit(size);
  faults.release(hold_size);
  CHECK(collect(faults, 1).front()->result == 0);
  InfoOp info;
  info.code = OpCode::info;
  info.file = bench.data;
  ListOp list;
  list.code = OpCode::list_dir;
  list.path = bench.dir.path();
  const std::string path = bench.dir.file("data");
  PathOp open = path_op(OpCode::open, path);
  faults.submit(info);
  faults.submit(list);
  faults.submit(open);
  for (const std::uint32_t hold : {hold_info, hold_list, hold_open}) faults.release(hold);
  collect(faults, 3);
  CHECK(info.info.bytes == 1234);
  REQUIRE(list.entries != nullptr);
  CHECK(list.entries->size() == 2);
  REQUIRE(static_cast<bool>(open.file));
  close_file(faults, open.file);
  bench.close();
}

TEST_CASE("the log tells what was asked and what was answered, in order", "[faults]") {
  Bench bench(GENERATE(false, true));
  FaultDriver& faults = *bench.faults;
  faults.clear_log();
  faults.fail(OpCode::sync_data, 1, EIO);
  std::string text = "12345";
  Op write = bench.write(bench.data, 7, text);
  write.flags = kOpDsync;
  run(faults, write);
  Op sync = file_op(OpCode::sync_data, bench.other);
  run(faults, sync);
  REQUIRE(faults.log().size() == 4);
  const FaultDriver::Event& asked = faults.log()[0];
  CHECK(asked.kind == Kind::submitted);
  CHECK(asked.code == OpCode::write);
  CHECK(asked.path == bench.dir.file("data"));
  CHECK(asked.offset == 7);
  CHECK(asked.length == 5);
  CHECK(asked.flags == kOpDsync);
  CHECK(faults.log()[1].kind == Kind::completed);
  CHECK(faults.log()[1].result == 5);
  CHECK(faults.log()[2].path == bench.dir.file("other"));
  CHECK(faults.log()[3].result == -EIO);
  bench.close();
}
