// What happens to unsynced changes when a handle goes.

#include <algorithm>
#include <cerrno>

#include "lru/rig.hpp"
#include "support/death.hpp"

#include <diorite/timer.hpp>

namespace diorite::test {
namespace {

using Kind = FaultDriver::Event::Kind;

/// The operations on one file, in the order in which they ended; close when it was submitted.
std::vector<OpCode> ended_ops(const Rig& rig, std::uint64_t id) {
  std::vector<OpCode> ops;
  for (const FaultDriver::Event& event : rig.faults.log()) {
    const Kind wanted = event.code == OpCode::close ? Kind::submitted : Kind::completed;
    if (event.kind == wanted && event.path == rig.dir.file(name_of(id))) ops.push_back(event.code);
  }
  return ops;
}

std::uint64_t closes(const Rig& rig) { return rig.faults.count(OpCode::close); }

Task<Result<void>> write_and_leave(FileLease lease) {
  AlignedBuf page = new_page();
  const BufIoResult written = co_await lease->write_at(std::move(page), 0);
  co_return written ? Result<void>() : Result<void>(written.error());
}

}  // namespace

TEST_CASE("a handle with unsynced changes is synced before it is closed") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), writable());
  REQUIRE(run(rig.reactor, touch(lru, 1)));
  REQUIRE(run(rig.reactor, write_page(lru, 0)));
  rig.faults.clear_log();

  SECTION("by evict") { CHECK(lru.evict(0)); }
  SECTION("by close_all") { CHECK(run(rig.reactor, lru.close_all())); }
  SECTION("by remove") { lru.remove(0); }
  SECTION("by the last lease of an evicted one") {
    FileLease lease = lru.try_acquire(0);
    CHECK(lru.evict(0));
    rig.let_run();
    CHECK(closes(rig) == 0);
    lease = FileLease();
  }
  rig.until([&] { return closes(rig) > 0 && lru.stats().open_now <= 1; });
  const std::vector<OpCode> ops = ended_ops(rig, 0);
  REQUIRE(ops.size() >= 2);
  CHECK(ops[0] == OpCode::sync_data);
  CHECK(ops[1] == OpCode::close);
  CHECK(rig.faults.count(OpCode::sync_data) == 1);
  CHECK(lru.stats().syncs_before_close == 1);
  CHECK(lru.stats().background_errors == 0);
}

TEST_CASE("the destructor syncs and closes in the background") {
  Rig rig(20);
  {
    FileLru lru(rig.reactor, rig.dir.path(), writable());
    for (std::uint64_t id = 0; id < 3; ++id) REQUIRE(run(rig.reactor, write_page(lru, id)));
    rig.faults.clear_log();
  }
  rig.until([&] { return rig.descriptors() == 0; });
  for (std::uint64_t id = 0; id < 3; ++id) {
    CHECK(ended_ops(rig, id) == std::vector<OpCode>{OpCode::sync_data, OpCode::close});
  }
  CHECK(rig.reactor.stats().deferred_close_errors == 0);
  rig.until([&] { return rig.reactor.stats().in_flight == 0; });
  CHECK(rig.reactor.stats().abandoned_tasks == 0);
}

TEST_CASE("failures after the destructor are counted by the reactor, and the hook is silent") {
  Rig rig(20);
  ErrorLog log;
  FileLruOptions options = writable();
  log.watch(options);
  {
    FileLru lru(rig.reactor, rig.dir.path(), options);
    REQUIRE(run(rig.reactor, write_page(lru, 0)));
    rig.faults.fail(OpCode::sync_data, 1, EIO);
  }
  rig.until([&] { return rig.descriptors() == 0; });
  CHECK(rig.reactor.stats().deferred_close_errors == 1);
  CHECK(log.entries.empty());
}

TEST_CASE("a cache may be destroyed with an open in flight, and its reactor right after it") {
  Rig rig(20);
  const auto hold = rig.faults.hold(OpCode::open, 1);
  bool release_first = GENERATE(true, false);
  {
    FileLru lru(rig.reactor, rig.dir.path());
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 0));
    rig.until([&] { return rig.faults.is_held(hold); });
    reader = Running<Result<void>>();
  }
  rig.let_run();
  rig.faults.release(hold);
  if (release_first) rig.until([&] { return closes(rig) == 1 && rig.descriptors() == 0; });
}

TEST_CASE("a cache may die in a task that its reactor abandons") {
  Rig rig(4);
  const auto work = [](Rig& mine) -> Task<> {
    FileLru lru(mine.reactor, mine.dir.path(), writable());
    const Result<void> written = co_await write_page(lru, 0);
    const Result<void> touched = co_await touch(lru, 1);
    CHECK((written && touched));
    lru.remove(2);
    [[maybe_unused]] const Result<void> slept = co_await sleep_for(std::chrono::hours(1));
  };
  rig.reactor.spawn(work(rig));
  rig.until([&] { return rig.opens() == 2 && rig.reactor.next_deadline() != kNever; });
  rig.fault.reactor.reset();
  CHECK(rig.descriptors() == 0);
}

TEST_CASE("a sync before the close that fails sticks to the id") {
  Rig rig(20);
  ErrorLog log;
  FileLruOptions options = writable();
  log.watch(options);
  FileLru lru(rig.reactor, rig.dir.path(), options);
  REQUIRE(run(rig.reactor, write_page(lru, 0)));
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  CHECK(lru.evict(0));

  SECTION("for those who come when the handle is gone") {
    rig.until([&] { return lru.stats().open_now == 0; });
  }
  SECTION("for one who comes while it is closing") {
    const auto hold = rig.faults.hold(OpCode::close, 1);
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 0));
    rig.until([&] { return rig.faults.is_held(hold); });
    rig.let_run();
    rig.faults.release(hold);
    rig.until([&] { return reader.done(); });
    CHECK(rig.opens() == 1);
    const Result<void> refused =
        run(rig.reactor, [&]() -> Task<Result<void>> { co_return co_await std::move(reader); }());
    CHECK(refused.error() == Errc::poisoned);
  }
  CHECK(rig.descriptors() == 0);
  REQUIRE(log.entries.size() == 1);
  CHECK(log.entries[0].id == 0);
  CHECK(log.entries[0].error == std::errc::io_error);
  CHECK(lru.stats().background_errors == 1);

  BufIoResult read = run(rig.reactor, lru.read_into(0, new_page(), 0));
  CHECK(read.error() == Errc::poisoned);
  CHECK(read.error().a() == EIO);
  CHECK(read.error().text().find(rig.dir.file("0")) != std::string::npos);
  CHECK(read.buf().capacity() == kPage);
  CHECK_FALSE(lru.try_acquire(0));
  CHECK(rig.opens() == 1);
  CHECK_FALSE(lru.evict(0));
  CHECK(run(rig.reactor, lru.close_all()));
  CHECK(run(rig.reactor, touch(lru, 0)).error() == Errc::poisoned);
  CHECK(run(rig.reactor, check_page(lru, 1)));

  lru.forget(0);
  CHECK(run(rig.reactor, check_page(lru, 0)));
}

TEST_CASE("a removed file takes its sticky error along") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path(), writable());
  REQUIRE(run(rig.reactor, write_page(lru, 0)));
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  SECTION("of before") {
    lru.evict(0);
    rig.until([&] { return lru.stats().open_now == 0; });
    CHECK(run(rig.reactor, touch(lru, 0)).error() == Errc::poisoned);
  }
  SECTION("of the close for the removal") {}
  CHECK(run(rig.reactor, await_removal(lru.remove(0))));
  CHECK(lru.stats().background_errors == 1);
  CHECK(run(rig.reactor, touch(lru, 0)).error() == std::errc::no_such_file_or_directory);
  rig.add_files(0, 1);
  CHECK(run(rig.reactor, check_page(lru, 0)));
}

TEST_CASE("a handle that was poisoned in use makes its id poisoned at once") {
  Rig rig(2);
  ErrorLog log;
  FileLruOptions options = writable();
  log.watch(options);
  FileLru lru(rig.reactor, rig.dir.path(), options);
  REQUIRE(run(rig.reactor, write_page(lru, 0)));
  FileLease lease = lru.try_acquire(0);
  rig.faults.fail(OpCode::sync_data, 1, EIO);
  const Result<void> synced = run(rig.reactor, [&]() -> Task<Result<void>> {
    SyncAwait syncing = lease->sync_data();
    co_return co_await std::move(syncing);
  }());
  REQUIRE(synced.error() == std::errc::io_error);
  const bool noticed = GENERATE(true, false);
  if (noticed) {
    CHECK_FALSE(lru.try_acquire(0));
    CHECK(run(rig.reactor, touch(lru, 0)).error() == Errc::poisoned);
  }

  // What is forgotten does not come back with the close of the handle.
  lru.forget(0);
  CHECK(run(rig.reactor, check_page(lru, 0)));
  CHECK(rig.opens() == 2);
  lease = FileLease();
  rig.until([&] { return lru.stats().open_now == 1; });
  CHECK(run(rig.reactor, check_page(lru, 0)));
  CHECK(log.entries.size() == (noticed ? 1U : 0U));
  CHECK(rig.faults.count(OpCode::sync_data) == 1);
}

TEST_CASE("a write whose coroutine is gone is waited for, and synced") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path(), writable());
  REQUIRE(run(rig.reactor, touch(lru, 0)));
  const auto hold = rig.faults.hold(OpCode::write, 1);
  Running<Result<void>> writer = start(rig.reactor, write_and_leave(lru.try_acquire(0)));
  rig.until([&] { return rig.faults.is_held(hold); });
  writer = Running<Result<void>>();
  CHECK(lru.stats().pinned_now == 0);
  rig.faults.clear_log();
  CHECK(lru.evict(0));
  rig.let_run();
  CHECK(rig.faults.count(OpCode::sync_data) == 0);
  CHECK(closes(rig) == 0);
  rig.faults.release(hold);
  rig.until([&] { return rig.descriptors() == 0; });
  CHECK(rig.faults.count(OpCode::sync_data) == 1);
  CHECK(lru.stats().background_errors == 0);
}

TEST_CASE("a close that fails is told, and sticks to nothing") {
  Rig rig(2);
  ErrorLog log;
  FileLruOptions options;
  log.watch(options);
  FileLru lru(rig.reactor, rig.dir.path(), options);
  REQUIRE(run(rig.reactor, touch(lru, 0)));
  REQUIRE(run(rig.reactor, touch(lru, 1)));
  rig.faults.fail(OpCode::close, 1, EIO);
  const Result<void> closed = run(rig.reactor, lru.close_all());
  CHECK(closed.error() == std::errc::io_error);
  CHECK(log.entries.size() == 1);
  CHECK(lru.stats().open_now == 0);
  CHECK(run(rig.reactor, check_page(lru, 0)));
}

TEST_CASE("close_all closes everything, tells the first failure, and leaves a usable cache") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), writable());
  for (std::uint64_t id = 0; id < 8; ++id) REQUIRE(run(rig.reactor, touch(lru, id)));
  REQUIRE(run(rig.reactor, write_page(lru, 3)));
  REQUIRE(run(rig.reactor, write_page(lru, 4)));

  SECTION("well") {
    lru.remove(5);
    CHECK(run(rig.reactor, lru.close_all()));
    CHECK_FALSE(rig.dir.exists(name_of(5)));
    CHECK(rig.faults.count(OpCode::sync_data) == 2);
    CHECK(run(rig.reactor, lru.close_all()));
  }
  SECTION("with a sync that fails") {
    rig.faults.fail(OpCode::sync_data, 2, ENOSPC);
    const Result<void> closed = run(rig.reactor, lru.close_all());
    CHECK(closed.error() == std::errc::no_space_on_device);
    CHECK(lru.stats().background_errors == 1);
  }
  CHECK(rig.descriptors() == 0);
  CHECK(lru.stats().open_now == 0);
  CHECK(run(rig.reactor, check_page(lru, 1)));
}

TEST_CASE("close_all refuses while a file is in use") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path());
  REQUIRE(run(rig.reactor, touch(lru, 0)));
  SECTION("by a lease") {
    const FileLease lease = lru.try_acquire(0);
    CHECK(run(rig.reactor, lru.close_all()).error() == Errc::busy);
  }
  SECTION("by somebody who waits for it") {
    const auto hold = rig.faults.hold(OpCode::open, 1);
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 1));
    rig.until([&] { return rig.faults.is_held(hold); });
    CHECK(run(rig.reactor, lru.close_all()).error() == Errc::busy);
    rig.faults.release(hold);
    rig.until([&] { return reader.done(); });
  }
  CHECK(closes(rig) == 0);
  CHECK(run(rig.reactor, lru.close_all()));
}

TEST_CASE("evict closes an idle handle, the file stays") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path());
  REQUIRE(run(rig.reactor, check_page(lru, 1)));
  CHECK(lru.evict(1));
  CHECK_FALSE(lru.evict(1));
  rig.until([&] { return lru.stats().open_now == 0; });
  CHECK(rig.descriptors() == 0);
  CHECK(lru.stats().evictions == 1);
  CHECK(rig.dir.exists(name_of(1)));
  CHECK(run(rig.reactor, check_page(lru, 1)));
  CHECK(rig.opens() == 2);
}

TEST_CASE("the next acquire after an evict opens the file anew") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path());
  SECTION("beside a pinned handle") {
    REQUIRE(run(rig.reactor, touch(lru, 1)));
    FileLease old = lru.try_acquire(1);
    CHECK(lru.evict(1));
    CHECK(run(rig.reactor, check_page(lru, 1)));
    const FileLease now = lru.try_acquire(1);
    CHECK(&*now != &*old);
    CHECK(lru.stats().open_now == 2);
    old = FileLease();
    rig.until([&] { return lru.stats().open_now == 1; });
  }
  SECTION("after the close that is under way, which a second evict does not change") {
    REQUIRE(run(rig.reactor, touch(lru, 1)));
    const auto hold = rig.faults.hold(OpCode::close, 1);
    CHECK(lru.evict(1));
    rig.until([&] { return rig.faults.is_held(hold); });
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 1));
    rig.let_run();
    CHECK_FALSE(lru.evict(1));
    CHECK(rig.opens() == 1);
    rig.faults.release(hold);
    rig.until([&] { return reader.done(); });
    CHECK(lru.try_acquire(1));
  }
  SECTION("also while the old one is being opened") {
    const auto hold = rig.faults.hold(OpCode::open, 1);
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 1));
    rig.until([&] { return rig.faults.is_held(hold); });
    CHECK(lru.evict(1));
    CHECK(run(rig.reactor, check_page(lru, 1)));
    rig.faults.release(hold);
    rig.until([&] { return reader.done(); });
    rig.until([&] { return lru.stats().open_now == 1; });
  }
  CHECK(rig.opens() == 2);
  CHECK(rig.descriptors() == 1);
}

TEST_CASE("a cache must outlive its leases") {
  const TempDir dir;
  dir.write(name_of(0), page_of(0));
  const Death death = run_in_child([&dir] {
    const std::unique_ptr<Reactor> reactor = make_test_reactor();
    FileLease lease;
    FileLru lru(*reactor, dir.path());
    lease = *run(*reactor, lru.acquire(0));
  });
  CHECK(death.aborted());
  CHECK(death.said("a file cache was destroyed before its leases"));
}

}  // namespace diorite::test
