// Stop tokens: before the start, in the backlog, with the device, after the completion.

#include <cerrno>

#include "file/forms.hpp"

namespace diorite::test {
namespace {

ReactorOptions one_slot() {
  ReactorOptions options;
  options.driver.in_flight_max = 1;
  return options;
}

}  // namespace

TEST_CASE("stopped before it starts, a transfer does not take place") {
  for (const Form form : kForms) {
    for (const Way way : kWays) {
      DYNAMIC_SECTION(name_of(form) << ' ' << name_of(way)) {
        const TempDir dir;
        const auto reactor = make_test_reactor();
        DirectFile file = open_file(*reactor, dir.file("data"), writable());
        const auto reason = GENERATE(StopReason::cancelled, StopReason::deadline);
        Memory memory(form, kPage);
        fill(memory.bytes(), 5);
        StopSource stop;
        stop.request_stop(reason);
        const std::uint64_t before = reactor->stats().submitted;
        Running<IoResult> running =
            start(*reactor, memory.transfer(file, way, 0, kPage), stop.token());
        const IoResult result = finish(*reactor, running);
        CHECK(result.error() ==
              (reason == StopReason::cancelled ? Errc::cancelled : Errc::deadline));
        CHECK(is_cancelled(result.error()));
        CHECK(result.bytes() == 0);
        CHECK(says(result.error(), std::string(name_of(way)) + ' ' + dir.file("data")));
        CHECK(reactor->stats().submitted == before);
        CHECK_FALSE(file.is_dirty());
        CHECK(file.operations_in_flight() == 0);
        close_file(*reactor, std::move(file));
        CHECK(dir.read("data").empty());
      }
    }
  }
}

TEST_CASE("stopped in the backlog, a transfer is taken back") {
  for (const Form form : kForms) {
    for (const Way way : kWays) {
      DYNAMIC_SECTION(name_of(form) << ' ' << name_of(way)) {
        const TempDir dir;
        FaultReactor rig = make_fault_reactor(one_slot());
        DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
        BlockedOpen blocker(*rig.reactor, dir);
        Memory memory(form, kPage);
        StopSource stop;
        Running<IoResult> running =
            start(*rig.reactor, memory.transfer(file, way, 0, kPage), stop.token());
        rig.reactor->turn(kAtOnce);
        CHECK(file.operations_in_flight() == 1);
        stop.request_stop();
        const IoResult result = finish(*rig.reactor, running);
        CHECK(result.error() == Errc::cancelled);
        CHECK(result.bytes() == 0);
        CHECK(rig.reactor->stats().removed == 1);
        CHECK_FALSE(file.is_dirty());
        CHECK_FALSE(static_cast<bool>(file.poison()));
        running = {};
        CHECK(memory.frame().pins == 0);
        blocker.finish(*rig.reactor);
        close_file(*rig.reactor, std::move(file));
        CHECK(dir.read("data").empty());
      }
    }
  }
}

TEST_CASE("stopped in the backlog and dropped at once: nothing is poisoned, nothing leaks") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor(one_slot());
  DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
  DirectFile closed = open_file(*rig.reactor, dir.file("closed"), writable());
  BlockedOpen blocker(*rig.reactor, dir);
  Frame frame(kPage);
  StopSource stop;
  Running<BufIoResult> owning =
      start(*rig.reactor, awaiting(file.write_at(filled(kPage, 1), 0)), stop.token());
  Running<PinIoResult> pinning =
      start(*rig.reactor, awaiting(file.write_at(frame.pinned(), 0)), stop.token());
  Running<IoResult> borrowing =
      start(*rig.reactor, awaiting(file.write_at(ConstIoBuf(frame.raw()), 0)), stop.token());
  Running<Result<void>> syncing = start(*rig.reactor, awaiting(file.sync_data()), stop.token());
  Running<Result<void>> closing = start(*rig.reactor, std::move(closed).close(), stop.token());
  rig.reactor->turn(kAtOnce);
  stop.request_stop();
  owning = {};
  pinning = {};
  borrowing = {};
  syncing = {};
  closing = {};
  CHECK(frame.releases == 1);
  CHECK_FALSE(static_cast<bool>(file.poison()));
  CHECK_FALSE(file.is_dirty());
  CHECK(file.operations_in_flight() == 0);
  CHECK(rig.reactor->stats().orphan_errors == 0);
  blocker.finish(*rig.reactor);
  settle(*rig.reactor);
  CHECK(descriptors_of(dir.file("closed")) == 0);
  CHECK(wait(*rig.reactor, file.sync_data()));
  close_file(*rig.reactor, std::move(file));
  CHECK(dir.read("data").empty());
}

TEST_CASE("stopped with the device, an operation's own result stands") {
  for (const Form form : kForms) {
    DYNAMIC_SECTION(name_of(form)) {
      const TempDir dir;
      FaultReactor rig = make_fault_reactor();
      DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
      Memory memory(form, kPage);
      fill(memory.bytes(), 5);
      StopSource stop;
      const std::uint32_t hold = rig.faults.hold(OpCode::write, 1);
      Running<IoResult> running =
          start(*rig.reactor, memory.transfer(file, Way::write_at, 0, kPage), stop.token());
      rig.reactor->turn(kAtOnce);
      REQUIRE(rig.faults.is_held(hold));
      stop.request_stop();
      rig.reactor->turn(kAtOnce);
      CHECK_FALSE(running.done());
      rig.faults.release(hold);
      const IoResult result = finish(*rig.reactor, running);
      CHECK(result);
      CHECK(result.bytes() == kPage);
      CHECK(file.is_dirty());
      close_file(*rig.reactor, std::move(file));
      CHECK(holds(as_bytes(dir.read("data")), 5));
    }
  }
}

TEST_CASE("stopped with the device, a sync's failure still poisons") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
  StopSource stop;
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  const auto sync_and_stop = [](DirectFile& target, StopSource& source) -> Task<Result<void>> {
    auto syncing = target.sync_data();
    source.request_stop();
    co_return co_await std::move(syncing);
  };
  // The stop is there before the sync starts: no sync, no poison.
  Running<Result<void>> running = start(*rig.reactor, sync_and_stop(file, stop), stop.token());
  CHECK(finish(*rig.reactor, running).error() == Errc::cancelled);
  CHECK_FALSE(static_cast<bool>(file.poison()));
  CHECK(rig.faults.count(OpCode::sync_data) == 0);
  // And here after it: the sync's own result is the answer.
  StopSource late;
  running = start(*rig.reactor, awaiting(file.sync_data()), late.token());
  Running<Result<void>> stopper = start(*rig.reactor, sync_and_stop(file, late), late.token());
  CHECK(finish(*rig.reactor, running).error() == std::errc::io_error);
  CHECK(static_cast<bool>(file.poison()));
  stopper = {};
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("stopped after the completion, nothing changes") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  StopSource stop;
  Running<BufIoResult> running =
      start(*reactor, awaiting(file.write_at(filled(kPage, 5), 0)), stop.token());
  const std::uint64_t completed = reactor->stats().completed;
  reactor->turn(kAtOnce);
  while (reactor->stats().completed == completed) reactor->turn(kNever);
  CHECK_FALSE(running.done());
  stop.request_stop();
  const BufIoResult result = finish(*reactor, running);
  CHECK(result);
  CHECK(result.bytes() == kPage);
  close_file(*reactor, std::move(file));
  CHECK(holds(as_bytes(dir.read("data")), 5));
}

TEST_CASE("an open that is stopped in the backlog makes no file") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor(one_slot());
  BlockedOpen blocker(*rig.reactor, dir);
  StopSource stop;
  Running<Result<DirectFile>> opening =
      start(*rig.reactor, DirectFile::create(*rig.reactor, dir.file("data")), stop.token());
  rig.reactor->turn(kAtOnce);
  stop.request_stop(StopReason::deadline);
  const Result<DirectFile> opened = finish(*rig.reactor, opening);
  CHECK(opened.error() == Errc::deadline);
  CHECK(says(opened.error(), "open " + dir.file("data")));
  blocker.finish(*rig.reactor);
  settle(*rig.reactor);
  CHECK_FALSE(dir.exists("data"));
}

}  // namespace diorite::test
