// Deleting files that are cached, in use, or not there.

#include <algorithm>
#include <cerrno>

#include "lru/rig.hpp"

namespace diorite::test {
namespace {

Task<Result<void>> remove_and_wait(FileLru& lru, std::uint64_t id) {
  co_return co_await lru.remove(id);
}

Error outcome_of(Rig& rig, Running<Result<void>>& task) {
  rig.until([&] { return task.done(); });
  return run(rig.reactor, [&]() -> Task<Result<void>> { co_return co_await std::move(task); }())
      .error();
}

}  // namespace

TEST_CASE(
    "L7: evict and remove during a read in flight: the read completes, then the file closes") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  const auto hold = rig.faults.hold(OpCode::read, 1);
  Running<Result<void>> reader = start(rig.reactor, check_page(lru, 2));
  rig.until([&] { return rig.faults.is_held(hold); });
  const bool removed = GENERATE(false, true);
  if (removed) {
    lru.remove(2);
  } else {
    CHECK(lru.evict(2));
  }
  rig.let_run();
  CHECK(rig.faults.count(OpCode::close) == 0);
  CHECK(rig.faults.count(OpCode::remove) == 0);
  CHECK(rig.descriptors() == 1);
  rig.faults.release(hold);
  CHECK_FALSE(outcome_of(rig, reader));
  rig.until([&] { return lru.stats().open_now == 0; });
  CHECK(rig.descriptors() == 0);
  rig.until([&] { return lru.stats().removals == (removed ? 1U : 0U); });
  CHECK(rig.dir.exists(name_of(2)) == !removed);
}

TEST_CASE("L9: a removed file is not found, and does not rise again") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  REQUIRE(run(rig.reactor, check_page(lru, 2)));
  FileLease lease = lru.try_acquire(2);
  lru.remove(2);
  CHECK_FALSE(lru.try_acquire(2));
  const auto refused = [&] {
    return run(rig.reactor, check_page(lru, 2)).error() == std::errc::no_such_file_or_directory;
  };
  CHECK(refused());
  CHECK(rig.opens() == 1);
  CHECK(rig.dir.exists(name_of(2)));
  CHECK(lease->path() == rig.dir.file(name_of(2)));

  const auto hold = rig.faults.hold(OpCode::remove, 1);
  lease = FileLease();
  rig.until([&] { return rig.faults.is_held(hold); });
  CHECK(rig.descriptors() == 0);
  CHECK(refused());
  CHECK(rig.opens() == 1);
  rig.faults.release(hold);
  rig.until([&] { return lru.stats().removals == 1; });

  // From here on the file system knows better.
  CHECK(refused());
  CHECK(rig.opens() == 2);
  rig.add_files(2, 3);
  CHECK(run(rig.reactor, check_page(lru, 2)));
}

TEST_CASE("a removal can be awaited, or ignored") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  REQUIRE(run(rig.reactor, touch(lru, 1)));
  SECTION("awaited at once") { CHECK(run(rig.reactor, remove_and_wait(lru, 1))); }
  SECTION("awaited later") {
    RemoveAwait removal = lru.remove(1);
    rig.until([&] { return lru.stats().removals == 1; });
    CHECK(removal.await_ready());
    CHECK(run(rig.reactor, await_removal(std::move(removal))));
  }
  SECTION("ignored") { lru.remove(1); }
  SECTION("its waiter is destroyed") {
    const auto hold = rig.faults.hold(OpCode::remove, 1);
    Running<Result<void>> waiter = start(rig.reactor, remove_and_wait(lru, 1));
    rig.until([&] { return rig.faults.is_held(hold); });
    waiter = Running<Result<void>>();
    rig.faults.release(hold);
  }
  rig.until([&] { return lru.stats().removals == 1; });
  CHECK_FALSE(rig.dir.exists(name_of(1)));
  CHECK(lru.stats().background_errors == 0);
}

TEST_CASE("a second remove joins the first") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  Running<Result<void>> first = start(rig.reactor, remove_and_wait(lru, 1));
  Running<Result<void>> second = start(rig.reactor, remove_and_wait(lru, 1));
  CHECK_FALSE(outcome_of(rig, first));
  CHECK_FALSE(outcome_of(rig, second));
  CHECK(rig.faults.count(OpCode::remove) == 1);
  CHECK(lru.stats().removals == 1);

  Running<Result<void>> third = start(rig.reactor, remove_and_wait(lru, 1));
  CHECK(outcome_of(rig, third) == std::errc::no_such_file_or_directory);
}

TEST_CASE("a removal that fails is told to whoever listens, once") {
  Rig rig(4);
  ErrorLog log;
  FileLruOptions options;
  log.watch(options);
  FileLru lru(rig.reactor, rig.dir.path(), options);
  rig.faults.fail(OpCode::remove, 1, EACCES);
  SECTION("nobody: on_error") {
    lru.remove(1);
    rig.until([&] { return !log.entries.empty(); });
  }
  SECTION("one who never asks: on_error, when it goes") {
    {
      const RemoveAwait removal = lru.remove(1);
      rig.until([&] { return removal.await_ready(); });
      CHECK(log.entries.empty());
    }
  }
  SECTION("one who is destroyed while he waits: on_error") {
    const auto hold = rig.faults.hold(OpCode::info, 1);
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 1));
    rig.until([&] { return rig.faults.is_held(hold); });
    Running<Result<void>> waiter = start(rig.reactor, remove_and_wait(lru, 1));
    rig.let_run();
    waiter = Running<Result<void>>();
    rig.faults.release(hold);
    rig.until([&] { return !log.entries.empty(); });
    CHECK(outcome_of(rig, reader) == std::errc::no_such_file_or_directory);
  }
  SECTION("who awaits it") {
    Running<Result<void>> waiter = start(rig.reactor, remove_and_wait(lru, 1));
    const Error error = outcome_of(rig, waiter);
    CHECK(error == std::errc::permission_denied);
    CHECK(error.text().find(rig.dir.file("1")) != std::string::npos);
    CHECK(log.entries.empty());
    CHECK(lru.stats().background_errors == 0);
    // The file is still there, and found.
    CHECK(run(rig.reactor, check_page(lru, 1)));
    return;
  }
  REQUIRE(log.entries.size() == 1);
  CHECK(log.entries[0].id == 1);
  CHECK(log.entries[0].error == std::errc::permission_denied);
  CHECK(lru.stats().background_errors == 1);
  CHECK(lru.stats().removals == 0);
  CHECK(run(rig.reactor, check_page(lru, 1)));
}

TEST_CASE("a removal finds those who wait for the file") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  SECTION("for its open") {
    const auto hold = rig.faults.hold(OpCode::open, 1);
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 2));
    rig.until([&] { return rig.faults.is_held(hold); });
    Running<Result<void>> removal = start(rig.reactor, remove_and_wait(lru, 2));
    CHECK(outcome_of(rig, reader) == std::errc::no_such_file_or_directory);
    rig.let_run();
    // An open with create could make the file again.
    CHECK(rig.faults.count(OpCode::remove) == 0);
    rig.faults.release(hold);
    CHECK_FALSE(outcome_of(rig, removal));
  }
  SECTION("for a slot") {
    std::vector<FileLease> leases;
    for (std::uint64_t id = 3; id < 19; ++id) {
      leases.push_back(*run(rig.reactor, lru.acquire(id)));
    }
    Running<Result<void>> reader = start(rig.reactor, check_page(lru, 2));
    rig.let_run();
    Running<Result<void>> removal = start(rig.reactor, remove_and_wait(lru, 2));
    CHECK(outcome_of(rig, reader) == std::errc::no_such_file_or_directory);
    CHECK_FALSE(outcome_of(rig, removal));
    CHECK(rig.opens() == 16);
    leases.clear();
    rig.let_run();
    CHECK(lru.stats().evictions == 0);
  }
  CHECK_FALSE(rig.dir.exists(name_of(2)));
  CHECK(lru.stats().removals == 1);
}

TEST_CASE("a stop ends the waiting for a removal, not the removal") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  FileLease lease = *run(rig.reactor, lru.acquire(1));
  StopSource stop;
  Running<Result<void>> waiter = start(rig.reactor, remove_and_wait(lru, 1), stop.token());
  rig.let_run();
  REQUIRE_FALSE(waiter.done());
  stop.request_stop();
  CHECK(outcome_of(rig, waiter) == Errc::cancelled);
  CHECK(rig.dir.exists(name_of(1)));
  lease = FileLease();
  rig.until([&] { return lru.stats().removals == 1; });
  CHECK_FALSE(rig.dir.exists(name_of(1)));
}

TEST_CASE("a removal goes on after the cache's end") {
  Rig rig(4);
  const bool awaited = GENERATE(true, false);
  const auto hold = rig.faults.hold(OpCode::remove, 1);
  Running<Result<void>> waiter;
  {
    FileLru lru(rig.reactor, rig.dir.path());
    REQUIRE(run(rig.reactor, touch(lru, 1)));
    if (awaited) {
      waiter = start(rig.reactor, await_removal(lru.remove(1)));
      rig.let_run();
    } else {
      lru.remove(1);
    }
  }
  rig.until([&] { return rig.faults.is_held(hold); });
  rig.faults.release(hold);
  if (awaited) CHECK_FALSE(outcome_of(rig, waiter));
  rig.until([&] { return !rig.dir.exists(name_of(1)); });
}

TEST_CASE("remove and remake, many times over") {
  Rig rig(1);
  FileLru lru(rig.reactor, rig.dir.path());
  for (int round = 0; round < 50; ++round) {
    rig.add_files(0, 1);
    REQUIRE(run(rig.reactor, check_page(lru, 0)));
    REQUIRE(run(rig.reactor, remove_and_wait(lru, 0)));
    REQUIRE(run(rig.reactor, check_page(lru, 0)).error() == std::errc::no_such_file_or_directory);
  }
  CHECK(lru.stats().removals == 50);
  CHECK(lru.stats().open_now == 0);
}

}  // namespace diorite::test
