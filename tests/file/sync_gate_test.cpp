// Syncs of one file follow each other, and those that wait share one.

#include <cerrno>
#include <optional>

#include "file/rig.hpp"

namespace diorite::test {
namespace {

using Kind = FaultDriver::Event::Kind;

/// A file whose first sync stays in flight until `release()`.
struct Rig {
  explicit Rig(Direct direct = Direct::preferred)
      : file(open_file(reactor, dir.file("data"), writable(direct))) {
    REQUIRE(wait(reactor, file.write_at(filled(kPage, 1), 0)));
    hold = faults.hold(OpCode::sync_data, 1);
  }
  Running<Result<void>> sync_data() { return begin(file.sync_data()); }
  Running<Result<void>> sync_all() { return begin(file.sync_all()); }
  template <class A>
  Running<ResultOf<A>> begin(A operation) {
    Running<ResultOf<A>> running = start(reactor, awaiting(std::move(operation)));
    settle(reactor, 1);
    return running;
  }
  std::uint64_t syncs() const {
    return faults.count(OpCode::sync_data) + faults.count(OpCode::sync_all);
  }
  void release() { faults.release(hold); }
  void end() { close_file(reactor, std::move(file)); }

  TempDir dir;
  FaultReactor on = make_fault_reactor();
  FaultDriver& faults = on.faults;
  Reactor& reactor = *on.reactor;
  DirectFile file;
  std::uint32_t hold = 0;
};

}  // namespace

TEST_CASE("syncs that wait share one, submitted after the sync in flight has ended") {
  Rig rig;
  auto first = rig.sync_data();
  auto second = rig.sync_data();
  auto third = rig.sync_data();
  REQUIRE(wait(rig.reactor, rig.file.write_at(filled(kPage, 2), kPage)));
  CHECK(rig.syncs() == 1);
  CHECK(rig.file.operations_in_flight() == 3);
  rig.release();
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, second));
  CHECK(finish(rig.reactor, third));
  CHECK(rig.syncs() == 2);
  // The second one was submitted after the write had completed.
  CHECK_FALSE(rig.file.is_dirty());
  CHECK(wait(rig.reactor, rig.file.sync_data()));
  CHECK(rig.syncs() == 3);
  rig.end();
}

TEST_CASE("a shared sync covers the metadata that any of its sharers asked for") {
  Rig rig;
  auto first = rig.sync_data();
  auto data = rig.sync_data();
  auto all = rig.sync_all();
  rig.release();
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, data));
  CHECK(finish(rig.reactor, all));
  CHECK(rig.faults.count(OpCode::sync_data) == 1);
  CHECK(rig.faults.count(OpCode::sync_all) == 1);
  rig.end();
}

TEST_CASE("syncs that wait for one that fails are refused and never submitted") {
  Rig rig;
  rig.faults.clear_rules();
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  auto first = start(rig.reactor, awaiting(rig.file.sync_data()));
  auto second = start(rig.reactor, awaiting(rig.file.sync_data()));
  auto third = start(rig.reactor, awaiting(rig.file.sync_all()));
  CHECK(finish(rig.reactor, first).error() == std::errc::io_error);
  const Result<void> refused = finish(rig.reactor, second);
  CHECK(refused.error() == Errc::poisoned);
  CHECK(refused.error().a() == EIO);
  CHECK(finish(rig.reactor, third).error() == Errc::poisoned);
  CHECK(rig.syncs() == 1);
  rig.end();
}

TEST_CASE("the failure of a shared sync reaches all of its sharers") {
  Rig rig;
  rig.faults.fail(OpCode::sync_data, 2, EIO);
  auto first = rig.sync_data();
  auto second = rig.sync_data();
  auto third = rig.sync_data();
  rig.release();
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, second).error() == std::errc::io_error);
  CHECK(finish(rig.reactor, third).error() == Errc::poisoned);
  CHECK(rig.syncs() == 2);
  rig.end();
}

TEST_CASE("a stop takes a sync out of those that wait") {
  Rig rig;
  StopSource stop;
  auto first = rig.sync_data();
  auto stopped = start(rig.reactor, awaiting(rig.file.sync_data()), stop.token());
  auto third = rig.sync_data();
  settle(rig.reactor, 1);
  stop.request_stop();
  settle(rig.reactor, 1);
  REQUIRE(stopped.done());
  CHECK(finish(rig.reactor, stopped).error() == Errc::cancelled);
  CHECK(rig.file.operations_in_flight() == 2);
  rig.release();
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, third));
  CHECK(rig.syncs() == 2);
  CHECK_FALSE(static_cast<bool>(rig.file.poison()));
  rig.end();
}

TEST_CASE("a coroutine that waits for its turn to sync can be destroyed") {
  Rig rig;
  auto first = rig.sync_data();
  std::optional<Running<Result<void>>> second = rig.sync_data();
  auto third = rig.sync_data();
  second.reset();
  CHECK(rig.file.operations_in_flight() == 2);
  rig.release();
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, third));
  CHECK(rig.syncs() == 2);
  rig.end();
}

TEST_CASE("all that wait may be gone when the turn comes") {
  Rig rig;
  auto first = rig.sync_data();
  std::optional<Running<Result<void>>> second = rig.sync_data();
  rig.release();
  CHECK(finish(rig.reactor, first));
  second.reset();
  CHECK(wait(rig.reactor, rig.file.sync_data()));
  rig.end();
}

TEST_CASE("a sharer whose coroutine dies does not end the shared sync") {
  Rig rig;
  const auto shared = rig.faults.hold(OpCode::sync_data, 2);
  auto first = rig.sync_data();
  std::optional<Running<Result<void>>> leader = rig.sync_data();
  std::optional<Running<Result<void>>> follower = rig.sync_data();
  auto other = rig.sync_data();
  rig.release();
  CHECK(finish(rig.reactor, first));
  settle(rig.reactor, 1);
  REQUIRE(rig.faults.is_held(shared));
  SECTION("the one whose operation it is") { leader.reset(); }
  SECTION("one that was to be answered with it") { follower.reset(); }
  settle(rig.reactor, 1);
  CHECK_FALSE(other.done());
  rig.faults.release(shared);
  CHECK(finish(rig.reactor, other));
  CHECK(rig.syncs() == 2);
  leader.reset();
  follower.reset();
  rig.end();
}

TEST_CASE("an orphaned sync that fails poisons the file for those that wait") {
  Rig rig;
  rig.faults.clear_rules();
  const auto hold = rig.faults.hold(OpCode::sync_data, 1);
  std::optional<Running<Result<void>>> first = rig.sync_data();
  auto second = rig.sync_data();
  REQUIRE(rig.faults.is_held(hold));
  first.reset();
  settle(rig.reactor, 1);
  CHECK_FALSE(second.done());
  rig.faults.release(hold);
  CHECK(finish(rig.reactor, second));
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  first = start(rig.reactor, awaiting(rig.file.sync_data()));
  auto third = start(rig.reactor, awaiting(rig.file.sync_data()));
  while (rig.faults.count(OpCode::sync_data) < 3) rig.reactor.turn(kAtOnce);
  first.reset();
  CHECK(finish(rig.reactor, third).error() == Errc::poisoned);
  CHECK(rig.syncs() == 3);
  rig.end();
}

TEST_CASE("closing waits for the syncs that wait") {
  Rig rig;
  auto first = rig.sync_data();
  auto second = rig.sync_data();
  auto closing = start(rig.reactor, std::move(rig.file).close());
  settle(rig.reactor, 1);
  CHECK_FALSE(closing.done());
  rig.release();
  CHECK(finish(rig.reactor, closing));
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, second));
  CHECK(rig.syncs() == 2);
}

TEST_CASE("a durable write through the page cache takes its turn among the syncs") {
  Rig rig(Direct::off);
  rig.faults.clear_rules();
  const auto hold = rig.faults.hold(OpCode::write, 1);
  const WriteFlags durable{.dsync = true};
  auto first = rig.begin(rig.file.write_at(filled(kPage, 1), 0, durable));
  auto second = rig.begin(rig.file.write_at(filled(kPage, 2), kPage, durable));
  auto sync = rig.sync_data();
  auto plain = rig.begin(rig.file.write_at(filled(kPage, 3), 2 * kPage));
  settle(rig.reactor, 1);
  CHECK(rig.faults.count(OpCode::sync_data) == 0);
  CHECK(plain.done());
  CHECK_FALSE(second.done());
  SECTION("and they go on when it has succeeded") {
    rig.faults.release(hold);
    CHECK(finish(rig.reactor, first));
    CHECK(finish(rig.reactor, second));
    CHECK(finish(rig.reactor, sync));
    CHECK_FALSE(rig.file.is_dirty());
  }
  SECTION("and a coroutine that dies meanwhile takes nothing with it") {
    first = {};
    settle(rig.reactor, 1);
    CHECK_FALSE(second.done());
    rig.faults.release(hold);
    CHECK(finish(rig.reactor, second));
    CHECK(finish(rig.reactor, sync));
  }
  first = {};
  second = {};
  CHECK(finish(rig.reactor, plain));
  rig.end();
}

TEST_CASE("a durable write that was refused its turn gives its buffer back") {
  Rig rig(Direct::off);
  rig.faults.clear_rules();
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  auto sync = start(rig.reactor, awaiting(rig.file.sync_data()));
  auto write =
      start(rig.reactor, awaiting(rig.file.write_at(filled(kPage, 2), kPage, {.dsync = true})));
  CHECK(finish(rig.reactor, sync).error() == std::errc::io_error);
  BufIoResult refused = finish(rig.reactor, write);
  CHECK(refused.error() == Errc::poisoned);
  CHECK(says(refused.error(), "offset 4096 length 4096"));
  CHECK(refused.bytes() == 0);
  CHECK(holds(refused.buf().bytes(), 2));
  CHECK(rig.faults.count(OpCode::write) == 1);
  rig.end();
}

TEST_CASE("durable direct writes do not wait for each other") {
  Rig rig;
  if (!rig.file.is_direct()) return rig.end();
  const auto hold = rig.faults.hold(OpCode::write, 1);
  const WriteFlags durable{.dsync = true};
  auto first = rig.begin(rig.file.write_at(filled(kPage, 1), 0, durable));
  auto second = rig.begin(rig.file.write_at(filled(kPage, 2), kPage, durable));
  auto sync = start(rig.reactor, awaiting(rig.file.sync_data()));
  settle(rig.reactor, 2);
  CHECK(second.done());
  CHECK(rig.faults.count(OpCode::sync_data) == 1);
  rig.faults.release(hold);
  rig.release();
  CHECK(finish(rig.reactor, first));
  CHECK(finish(rig.reactor, second));
  CHECK(finish(rig.reactor, sync));
  rig.end();
}

}  // namespace diorite::test
