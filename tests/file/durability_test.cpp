// What is durable when, and what a failed write or sync does to a file.

#include <cerrno>

#include "file/forms.hpp"
#include "file/memory_driver.hpp"

namespace diorite::test {
namespace {

using Kind = FaultDriver::Event::Kind;

/// The codes of the operations that were submitted, in order.
std::vector<OpCode> submitted(const FaultDriver& faults) {
  std::vector<OpCode> codes;
  for (const FaultDriver::Event& event : faults.log()) {
    if (event.kind == Kind::submitted) codes.push_back(event.code);
  }
  return codes;
}

struct Rig {
  TempDir dir;
  FaultReactor on = make_fault_reactor();
  FaultDriver& faults = on.faults;
  Reactor& reactor = *on.reactor;
  DirectFile file = open_file(reactor, dir.file("data"), writable());

  IoResult write(std::uint64_t offset = 0, WriteFlags flags = {}) {
    return wait(reactor, file.write_at(filled(kPage, 1), offset, flags));
  }
};

}  // namespace

TEST_CASE("a write that fails with a device error poisons the file") {
  const int cause = GENERATE(EIO, ENXIO, ENODATA, EREMOTEIO);
  Rig rig;
  REQUIRE(rig.write());
  REQUIRE(wait(rig.reactor, rig.file.sync_data()));
  rig.faults.fail(OpCode::write, 1, cause);
  BufIoResult failed = wait(rig.reactor, rig.file.write_at(filled(kPage, 9), kPage));
  CHECK(failed.error().code() == std::error_code(cause, std::generic_category()));
  CHECK(failed.buf().size() == kPage);
  CHECK(holds(failed.buf().bytes(), 9));
  CHECK(rig.file.poison().code().value() == cause);
  CHECK(says(rig.file.poison(), "write_at " + rig.dir.file("data") + " offset 4096 length 4096"));
  CHECK(rig.file.is_dirty());

  rig.faults.clear_log();
  const auto expect_poisoned = [&](const Error& error, const char* operation) {
    CHECK(error == Errc::poisoned);
    CHECK(error.a() == static_cast<std::uint64_t>(cause));
    CHECK(says(error, std::string(operation) + ' ' + rig.dir.file("data")));
    CHECK(says(error, "poisoned by an earlier failure"));
    CHECK(says(error, "reopen the file"));
  };
  BufIoResult next = wait(rig.reactor, rig.file.write_at(std::move(failed).buf(), 0));
  expect_poisoned(next.error(), "write_at");
  CHECK(says(next.error(), "offset 0 length 4096"));
  CHECK(next.bytes() == 0);
  CHECK(holds(next.buf().bytes(), 9));
  Frame frame(kPage);
  expect_poisoned(wait(rig.reactor, rig.file.write_at(frame.pinned(), 0)).error(), "write_at");
  expect_poisoned(wait(rig.reactor, rig.file.write_at(frame.raw(), 0)).error(), "write_at");
  expect_poisoned(wait(rig.reactor, rig.file.sync_data()).error(), "sync_data");
  expect_poisoned(wait(rig.reactor, rig.file.sync_all()).error(), "sync_all");
  expect_poisoned(wait(rig.reactor, rig.file.truncate(0)).error(), "truncate");
  expect_poisoned(run(rig.reactor, rig.file.preallocate(4 * kPage)).error(), "preallocate");
  // Nothing of that reached the system but the question for the size.
  CHECK(submitted(rig.faults) == std::vector<OpCode>{OpCode::info});
  // Reading goes on.
  CHECK(wait(rig.reactor, rig.file.read_at(buffer(kPage), 0)));
  CHECK(wait(rig.reactor, rig.file.size()));
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("errors that leave the device trustworthy poison nothing") {
  const int cause = GENERATE(ENOSPC, EDQUOT, EFBIG, EPERM, EROFS, EINVAL);
  Rig rig;
  rig.faults.fail(OpCode::write, 1, cause);
  CHECK(rig.write().error().code().value() == cause);
  CHECK_FALSE(static_cast<bool>(rig.file.poison()));
  rig.faults.fail(OpCode::allocate, 1, ENOSPC);
  const Result<void> allocated = run(rig.reactor, rig.file.preallocate(8 * kPage));
  CHECK(is_no_space(allocated.error()));
  CHECK(says(allocated.error(), "preallocate " + rig.dir.file("data") + " length 32768"));
  CHECK(rig.write());
  CHECK(wait(rig.reactor, rig.file.sync_data()));
  CHECK_FALSE(rig.file.is_dirty());
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("the first cause of a poison stays") {
  Rig rig;
  rig.faults.fail(OpCode::write, 1, EIO);
  rig.faults.fail(OpCode::write, 2, ENXIO);
  Running<BufIoResult> first = start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 1), 0)));
  Running<BufIoResult> second =
      start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 1), kPage)));
  CHECK(finish(rig.reactor, first).error() == std::errc::io_error);
  CHECK(finish(rig.reactor, second).error() == std::errc::no_such_device_or_address);
  CHECK(rig.file.poison() == std::errc::io_error);
  CHECK(rig.write().error().a() == EIO);
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("a sync that failed poisons the file and is never tried again") {
  const OpCode code = GENERATE(OpCode::sync_data, OpCode::sync_all);
  const int cause = GENERATE(EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, ECANCELED);
  Rig rig;
  REQUIRE(rig.write());
  rig.faults.fail(code, 1, cause);
  const auto sync = [&] {
    return code == OpCode::sync_all ? wait(rig.reactor, rig.file.sync_all())
                                    : wait(rig.reactor, rig.file.sync_data());
  };
  const Result<void> failed = sync();
  CHECK(failed.error().code() == std::error_code(cause, std::generic_category()));
  CHECK(says(failed.error(),
             (code == OpCode::sync_all ? "sync_all " : "sync_data ") + rig.dir.file("data")));
  CHECK(rig.faults.count(code) == 1);
  CHECK(rig.file.is_dirty());
  CHECK(rig.file.poison().code().value() == cause);
  for (int i = 0; i < 3; ++i) CHECK(sync().error() == Errc::poisoned);
  CHECK(sync().error().a() == static_cast<std::uint64_t>(cause));
  CHECK(rig.write().error() == Errc::poisoned);
  CHECK(rig.faults.count(code) == 1);
  CHECK(rig.faults.count(OpCode::write) == 1);
  close_file(rig.reactor, std::move(rig.file));
  CHECK(rig.faults.count(OpCode::sync_data) + rig.faults.count(OpCode::sync_all) == 1);
}

TEST_CASE("a poison found between making an awaitable and awaiting it counts") {
  Rig rig;
  auto write = rig.file.write_at(filled(kPage, 2), 0);
  auto sync = rig.file.sync_data();
  rig.faults.fail(OpCode::sync_all, 1, EIO);
  CHECK(wait(rig.reactor, rig.file.sync_all()).error() == std::errc::io_error);
  CHECK(wait(rig.reactor, std::move(write)).error() == Errc::poisoned);
  CHECK(wait(rig.reactor, std::move(sync)).error() == Errc::poisoned);
  CHECK(rig.faults.count(OpCode::write) == 0);
  CHECK(rig.faults.count(OpCode::sync_data) == 0);
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("a sync that succeeds on a file that was poisoned meanwhile promises nothing") {
  // The write-back error may have been told to the write that failed: the sync's success is worth
  // nothing.
  Rig rig;
  REQUIRE(rig.write());
  const std::uint32_t hold = rig.faults.hold(OpCode::sync_data, 1);
  rig.faults.fail(OpCode::write, 1, EIO);
  Running<Result<void>> slow = start(rig.reactor, awaiting(rig.file.sync_data()));
  CHECK(rig.write().error() == std::errc::io_error);
  rig.faults.release(hold);
  CHECK(finish(rig.reactor, slow).error() == Errc::poisoned);
  CHECK(rig.file.is_dirty());
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("is_dirty: from the start of a change to the end of a sync that covers it") {
  Rig rig;
  CHECK_FALSE(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.read_some_at(buffer(kPage), 0)));
  CHECK_FALSE(rig.file.is_dirty());
  {
    const auto unstarted = rig.file.write_at(filled(kPage, 1), 0);
    CHECK_FALSE(rig.file.is_dirty());
  }
  const std::uint32_t hold = rig.faults.hold(OpCode::write, 1);
  Running<BufIoResult> writing =
      start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 1), 0)));
  rig.reactor.turn(kAtOnce);
  CHECK(rig.file.is_dirty());
  CHECK(rig.file.operations_in_flight() == 1);
  rig.faults.release(hold);
  CHECK(finish(rig.reactor, writing));
  CHECK(rig.file.operations_in_flight() == 0);
  CHECK(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.sync_data()));
  CHECK_FALSE(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.truncate(2 * kPage)));
  CHECK(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.sync_all()));
  CHECK_FALSE(rig.file.is_dirty());
  REQUIRE(run(rig.reactor, rig.file.preallocate(4 * kPage)));
  CHECK(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.sync_data()));
  REQUIRE(run(rig.reactor, rig.file.preallocate(4 * kPage)));
  CHECK_FALSE(rig.file.is_dirty());
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("a sync covers only what had completed before it started") {
  Rig rig;
  REQUIRE(rig.write());
  const std::uint32_t write_hold = rig.faults.hold(OpCode::write, 1);
  const std::uint32_t sync_hold = rig.faults.hold(OpCode::sync_data, 1);
  Running<BufIoResult> writing =
      start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 1), 0)));
  rig.reactor.turn(kAtOnce);
  Running<Result<void>> syncing = start(rig.reactor, awaiting(rig.file.sync_data()));
  rig.reactor.turn(kAtOnce);
  REQUIRE(rig.faults.is_held(sync_hold));
  SECTION("the write ends first") {
    rig.faults.release(write_hold);
    REQUIRE(finish(rig.reactor, writing));
    rig.faults.release(sync_hold);
    REQUIRE(finish(rig.reactor, syncing));
  }
  SECTION("the sync ends first") {
    rig.faults.release(sync_hold);
    REQUIRE(finish(rig.reactor, syncing));
    CHECK(rig.file.is_dirty());
    rig.faults.release(write_hold);
    REQUIRE(finish(rig.reactor, writing));
  }
  CHECK(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.sync_data()));
  CHECK_FALSE(rig.file.is_dirty());
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("durable writes leave nothing to sync") {
  Rig rig;
  REQUIRE(rig.write(0, {.dsync = true}));
  CHECK_FALSE(rig.file.is_dirty());
  REQUIRE((rig.faults.log().back().flags & kOpDsync) != 0);
  REQUIRE(rig.write(kPage));
  CHECK((rig.faults.log().back().flags & kOpDsync) == 0);
  CHECK(rig.file.is_dirty());
  // It is durable itself, and says nothing of the one before.
  REQUIRE(rig.write(2 * kPage, {.dsync = true}));
  CHECK(rig.file.is_dirty());
  REQUIRE(wait(rig.reactor, rig.file.sync_data()));
  rig.faults.fail(OpCode::write, 1, ENOSPC);
  CHECK_FALSE(rig.write(0, {.dsync = true}));
  CHECK(rig.file.is_dirty());
  close_file(rig.reactor, std::move(rig.file));
}

TEST_CASE("the rest of a durable write that was cut short is durable too") {
  MemoryDriver* const driver = new MemoryDriver;
  const auto reactor = make_reactor_on(std::unique_ptr<Driver>(driver));
  DirectFile file = open_file(*reactor, "data", writable());
  driver->steps.clear();
  driver->script = {512, -EINTR, 1024};
  REQUIRE(wait(*reactor, file.write_at(filled(2 * kPage, 1), 0, {.dsync = true})));
  CHECK(driver->steps.size() == 4);
  for (const MemoryDriver::Step& step : driver->steps) CHECK((step.flags & kOpDsync) != 0);
  CHECK_FALSE(file.is_dirty());
  close_file(*reactor, std::move(file));
}

TEST_CASE("open_wal makes the name durable before it returns, and every write by itself") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  Result<DirectFile> opened =
      run(*rig.reactor, DirectFile::open_wal(*rig.reactor, dir.file("wal")));
  REQUIRE(opened);
  const std::vector<OpCode> codes = submitted(rig.faults);
  REQUIRE(codes.size() >= 2);
  CHECK(codes.front() == OpCode::open);
  CHECK(codes.back() == OpCode::sync_dir);
  CHECK(rig.faults.log().back().kind == Kind::completed);
  CHECK(rig.faults.log().back().path == dir.path());
  int flags = 0;
  CHECK(descriptors_of(dir.file("wal"), &flags) == 1);
  CHECK((flags & O_DSYNC) != 0);
  REQUIRE(wait(*rig.reactor, opened->write_at(filled(kPage, 1), 0)));
  CHECK_FALSE(opened->is_dirty());
  close_file(*rig.reactor, std::move(*opened));
  CHECK(rig.faults.count(OpCode::sync_data) + rig.faults.count(OpCode::sync_all) == 0);
}

TEST_CASE("open_wal fails when the directory cannot be synced, and leaves no descriptor") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  rig.faults.fail(OpCode::sync_dir, 1, EIO);
  const Result<DirectFile> opened =
      run(*rig.reactor, DirectFile::open_wal(*rig.reactor, dir.file("wal")));
  CHECK(opened.error() == std::errc::io_error);
  CHECK(says(opened.error(), "sync_dir " + dir.path()));
  CHECK(rig.faults.count(OpCode::sync_dir) == 1);
  settle(*rig.reactor);
  CHECK(descriptors_of(dir.file("wal")) == 0);
}

}  // namespace diorite::test
