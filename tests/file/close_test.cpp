// The end of a file: close() waits for what is in flight, dropping defers it, nothing hits another
// file.

#include <cerrno>

#include "file/forms.hpp"
#include "file/memory_driver.hpp"

namespace diorite::test {
namespace {

struct Rig {
  TempDir dir;
  FaultReactor on = make_fault_reactor();
  FaultDriver& faults = on.faults;
  Reactor& reactor = *on.reactor;
  std::string path = dir.file("data");
  DirectFile file = open_file(reactor, path, writable());
};

}  // namespace

TEST_CASE("close waits for the operations in flight") {
  Rig rig;
  const std::uint32_t hold = rig.faults.hold(OpCode::write, FaultDriver::kEvery);
  Running<BufIoResult> first = start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 3), 0)));
  Running<BufIoResult> second =
      start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 3), kPage)));
  rig.reactor.turn(kAtOnce);
  Running<Result<void>> closing = start(rig.reactor, std::move(rig.file).close());
  for (int i = 0; i < 5; ++i) rig.reactor.turn(kAtOnce);
  CHECK_FALSE(closing.done());
  CHECK(rig.faults.count(OpCode::close) == 0);
  CHECK(descriptors_of(rig.path) == 1);
  rig.faults.release(hold);
  CHECK(finish(rig.reactor, closing));
  CHECK(first.done());
  CHECK(second.done());
  CHECK(finish(rig.reactor, first));
  CHECK(descriptors_of(rig.path) == 0);
  CHECK(rig.dir.read("data").size() == 2 * kPage);
}

TEST_CASE("close waits for a task of several operations") {
  Rig rig;
  const std::uint32_t hold = rig.faults.hold(OpCode::info, 1);
  Running<Result<void>> growing = start(rig.reactor, rig.file.preallocate(4 * kPage));
  rig.reactor.turn(kAtOnce);
  Running<Result<void>> closing = start(rig.reactor, std::move(rig.file).close());
  rig.reactor.turn(kAtOnce);
  rig.faults.release(hold);
  CHECK(finish(rig.reactor, closing));
  CHECK(finish(rig.reactor, growing));
  CHECK(rig.dir.read("data").size() == 4 * kPage);
  CHECK(descriptors_of(rig.path) == 0);
}

TEST_CASE("what is awaited after close is refused, and reaches no other file") {
  Rig rig;
  auto write = rig.file.write_at(filled(kPage, 3), 0);
  auto read = rig.file.read_at(buffer(kPage), 0);
  auto sync = rig.file.sync_data();
  auto size = rig.file.size();
  const std::uint32_t hold = rig.faults.hold(OpCode::close, 1);
  Running<Result<void>> closing = start(rig.reactor, std::move(rig.file).close());
  rig.reactor.turn(kAtOnce);
  REQUIRE(rig.faults.is_held(hold));
  // While the close is on its way, and when it is over and the number is another file's.
  const BufIoResult written = wait(rig.reactor, std::move(write));
  CHECK(written.error() == Errc::closed);
  CHECK(says(written.error(), "write_at " + rig.path + " offset 0 length 4096: closed"));
  CHECK(written.buf().size() == kPage);
  rig.faults.release(hold);
  CHECK(finish(rig.reactor, closing));
  DirectFile other = open_file(rig.reactor, rig.dir.file("other"), writable());
  CHECK(wait(rig.reactor, std::move(read)).error() == Errc::closed);
  CHECK(wait(rig.reactor, std::move(sync)).error() == Errc::closed);
  CHECK(wait(rig.reactor, std::move(size)).error() == Errc::closed);
  close_file(rig.reactor, std::move(other));
  CHECK(rig.faults.count(OpCode::write) == 0);
  CHECK(rig.faults.count(OpCode::sync_data) == 0);
}

TEST_CASE("close reports the system's error, and the descriptor is gone all the same") {
  auto owned = std::make_unique<MemoryDriver>();
  MemoryDriver& driver = *owned;
  const auto reactor = make_reactor_on(std::move(owned));
  DirectFile file = open_file(*reactor, "data", writable());
  driver.close_result = -EIO;
  const Result<void> closed = run(*reactor, std::move(file).close());
  CHECK(closed.error() == std::errc::io_error);
  CHECK(says(closed.error(), "close data: "));
  settle(*reactor);
  CHECK(driver.open_files == 0);
  CHECK(reactor->stats().deferred_close_errors == 0);
}

TEST_CASE(
    "a file that is dropped closes behind its last operation, and its close error is counted") {
  auto owned = std::make_unique<MemoryDriver>();
  MemoryDriver& driver = *owned;
  const auto reactor = make_reactor_on(std::move(owned));
  DirectFile file = open_file(*reactor, "data", writable());
  driver.close_result = -EDQUOT;
  file = DirectFile();
  settle(*reactor);
  CHECK(driver.open_files == 0);
  CHECK(reactor->stats().deferred_close_errors == 1);
}

TEST_CASE("dropping a file with operations in flight closes it after the last completion only") {
  Rig rig;
  const std::uint32_t first_hold = rig.faults.hold(OpCode::write, 1);
  const std::uint32_t second_hold = rig.faults.hold(OpCode::write, 2);
  Running<BufIoResult> first = start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 3), 0)));
  Running<BufIoResult> second =
      start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 3), kPage)));
  rig.reactor.turn(kAtOnce);
  rig.file = DirectFile();
  settle(rig.reactor, 2);
  CHECK(descriptors_of(rig.path) == 1);
  // A number that were free would be taken now.
  DirectFile other = open_file(rig.reactor, rig.dir.file("other"), writable());
  rig.faults.release(first_hold);
  CHECK(finish(rig.reactor, first));
  first = {};
  settle(rig.reactor, 1);
  CHECK(descriptors_of(rig.path) == 1);
  rig.faults.release(second_hold);
  CHECK(finish(rig.reactor, second));
  // The frame of a task that has ended keeps its parameters, and these the file.
  second = {};
  settle(rig.reactor);
  CHECK(descriptors_of(rig.path) == 0);
  close_file(rig.reactor, std::move(other));
  CHECK(rig.dir.read("data").size() == 2 * kPage);
  CHECK(rig.dir.read("other").empty());
  CHECK(rig.faults.count(OpCode::close) == 2);
}

TEST_CASE("no descriptor is reused under an operation whose coroutine and file are gone") {
  for (const Form form : {Form::owned, Form::pinned}) {
    DYNAMIC_SECTION(name_of(form)) {
      Rig rig;
      Memory memory(form, kPage);
      fill(memory.bytes(), 3);
      const std::uint32_t hold = rig.faults.hold(OpCode::write, 1, "data");
      Running<IoResult> writing =
          start(rig.reactor, memory.transfer(rig.file, Way::write_at, 0, kPage));
      rig.reactor.turn(kAtOnce);
      REQUIRE(rig.faults.is_held(hold));
      writing = {};
      rig.file = DirectFile();
      std::vector<DirectFile> others;
      for (int i = 0; i < 100; ++i) {
        others.push_back(
            open_file(rig.reactor, rig.dir.file("other" + std::to_string(i)), writable()));
      }
      CHECK(descriptors_of(rig.path) == 1);
      rig.faults.release(hold);
      settle(rig.reactor);
      CHECK(descriptors_of(rig.path) == 0);
      CHECK(holds(as_bytes(rig.dir.read("data")), 3));
      others.clear();
      settle(rig.reactor);
      for (int i = 0; i < 100; ++i) CHECK(rig.dir.read("other" + std::to_string(i)).empty());
    }
  }
}

TEST_CASE("a close that is never awaited, or stopped before it starts, still closes") {
  Rig rig;
  SECTION("never awaited") {
    {
      const auto unused = std::move(rig.file).close();
    }
    settle(rig.reactor);
  }
  SECTION("stopped before it starts") {
    StopSource stop;
    stop.request_stop();
    Running<Result<void>> closing = start(rig.reactor, std::move(rig.file).close(), stop.token());
    CHECK(finish(rig.reactor, closing).error() == Errc::cancelled);
    closing = {};
    settle(rig.reactor);
  }
  SECTION("dropped while it waits") {
    const std::uint32_t hold = rig.faults.hold(OpCode::sync_data, 1);
    Running<Result<void>> syncing = start(rig.reactor, awaiting(rig.file.sync_data()));
    Running<Result<void>> closing = start(rig.reactor, std::move(rig.file).close());
    rig.reactor.turn(kAtOnce);
    closing = {};
    rig.faults.release(hold);
    CHECK(finish(rig.reactor, syncing));
    syncing = {};
    settle(rig.reactor);
  }
  SECTION("dropped when the close has just been submitted") {
    const std::uint32_t hold = rig.faults.hold(OpCode::sync_data, 1);
    Running<Result<void>> syncing = start(rig.reactor, awaiting(rig.file.sync_data()));
    Running<Result<void>> closing = start(rig.reactor, std::move(rig.file).close());
    rig.reactor.turn(kAtOnce);
    rig.faults.release(hold);
    const auto until_synced = [](Running<Result<void>>& sync,
                                 Running<Result<void>>& close) -> Task<Result<void>> {
      const Result<void> result = co_await std::move(sync);
      close = {};
      co_return result;
    };
    CHECK(run(rig.reactor, until_synced(syncing, closing)));
    syncing = {};
    settle(rig.reactor);
  }
  CHECK(descriptors_of(rig.path) == 0);
  // A close that was taken back is submitted once more, by the last count.
  CHECK(rig.faults.count(OpCode::close) >= 1);
}

TEST_CASE("a close that was cancelled before it began has closed nothing, and is repeated") {
  Rig rig;
  rig.faults.fail(OpCode::close, 1, ECANCELED);
  SECTION("of a file that was dropped") { rig.file = DirectFile(); }
  SECTION("by close()") {
    const Result<void> closed = run(rig.reactor, std::move(rig.file).close());
    REQUIRE_FALSE(closed);
    CHECK(closed.error() == std::errc::operation_canceled);
  }
  settle(rig.reactor);
  CHECK(descriptors_of(rig.path) == 0);
  CHECK(rig.faults.count(OpCode::close) == 2);
  CHECK(rig.reactor.stats().deferred_close_errors == 0);
}

TEST_CASE("files may outlive their tasks, and a reactor closes what is left at its end") {
  const TempDir dir;
  {
    const auto reactor = make_test_reactor();
    DirectFile file = open_file(*reactor, dir.file("data"), writable());
    Running<BufIoResult> writing = start(*reactor, awaiting(file.write_at(filled(kPage, 3), 0)));
    reactor->turn(kAtOnce);
    writing = {};
    file = DirectFile();
    // Neither the write nor the close has been waited for.
  }
  CHECK(descriptors_of(dir.file("data")) == 0);
}

}  // namespace diorite::test
