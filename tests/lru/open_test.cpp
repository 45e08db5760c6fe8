// One open for all that ask, and who waits for it.

#include <cerrno>

#include "lru/rig.hpp"

namespace diorite::test {
namespace {

/// Keeps its lease until `*go`.
Task<Result<void>> keep_until(FileLru& lru, std::uint64_t id, const bool& go) {
  const Result<FileLease> lease = co_await lru.acquire(id);
  if (!lease) co_return lease.error();
  while (!go) {
    NopAwait passing = nop((*lease)->reactor());
    [[maybe_unused]] const Result<void> passed = co_await std::move(passing);
  }
  co_return Result<void>();
}

Task<Result<void>> note_order(FileLru& lru, std::uint64_t id, std::vector<int>& order, int mark) {
  const Result<FileLease> lease = co_await lru.acquire(id);
  order.push_back(mark);
  co_return lease ? Result<void>() : Result<void>(lease.error());
}

std::vector<FileLease> pin_all(Rig& rig, FileLru& lru, std::uint64_t count) {
  std::vector<FileLease> leases;
  for (std::uint64_t id = 0; id < count; ++id) {
    Result<FileLease> lease = run(rig.reactor, lru.acquire(id));
    REQUIRE(lease);
    leases.push_back(*std::move(lease));
  }
  return leases;
}

}  // namespace

TEST_CASE("L8: two concurrent reads of a cold id are one open") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  Running<Result<void>> first = start(rig.reactor, check_page(lru, 3));
  Running<Result<void>> second = start(rig.reactor, check_page(lru, 3));
  rig.until([&] { return first.done() && second.done(); });
  CHECK(rig.opens() == 1);
  CHECK(lru.stats().misses == 1);
  CHECK(lru.stats().joined == 1);
  CHECK(lru.stats().open_now == 1);
}

TEST_CASE("those who wait for one open are served in their order") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  std::vector<int> order;
  std::vector<Running<Result<void>>> all;
  for (int mark = 0; mark < 5; ++mark) {
    all.push_back(start(rig.reactor, note_order(lru, 2, order, mark)));
  }
  rig.until([&] { return order.size() == 5; });
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(rig.opens() == 1);
}

TEST_CASE("an open goes on when its first asker is destroyed") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  const auto hold = rig.faults.hold(OpCode::open, 1);
  Running<Result<void>> first = start(rig.reactor, check_page(lru, 3));
  rig.until([&] { return rig.faults.is_held(hold); });

  SECTION("another one waits") {
    Running<Result<void>> second = start(rig.reactor, check_page(lru, 3));
    rig.let_run();
    first = Running<Result<void>>();
    rig.faults.release(hold);
    rig.until([&] { return second.done(); });
  }
  SECTION("nobody waits any more: the file is cached for the next one") {
    first = Running<Result<void>>();
    rig.faults.release(hold);
    rig.until([&] { return static_cast<bool>(lru.try_acquire(3)); });
  }
  SECTION("it is destroyed between its wake-up and its resumption") {
    rig.faults.release(hold);
    rig.until([&] { return lru.stats().pinned_now == 1; });
    first = Running<Result<void>>();
  }
  CHECK(run(rig.reactor, check_page(lru, 3)));
  CHECK(rig.opens() == 1);
  CHECK(lru.stats().open_now == 1);
  CHECK(lru.stats().pinned_now == 0);
}

TEST_CASE("L11: an open that fails is reported to all that wait, and not cached") {
  Rig rig(4);
  FileLru lru(rig.reactor, rig.dir.path());
  rig.faults.fail(OpCode::open, 1, EACCES);
  Running<Result<void>> first = start(rig.reactor, check_page(lru, 3));
  Running<Result<void>> second = start(rig.reactor, check_page(lru, 3));
  rig.until([&] { return first.done() && second.done(); });
  const Result<void> one =
      run(rig.reactor, [&]() -> Task<Result<void>> { co_return co_await std::move(first); }());
  const Result<void> two =
      run(rig.reactor, [&]() -> Task<Result<void>> { co_return co_await std::move(second); }());
  CHECK(one.error() == std::errc::permission_denied);
  CHECK(two.error() == std::errc::permission_denied);
  CHECK(rig.opens() == 1);
  CHECK(lru.stats().open_failures == 1);
  CHECK(lru.stats().open_now == 0);

  CHECK(run(rig.reactor, check_page(lru, 3)));
  CHECK(rig.opens() == 2);
}

TEST_CASE("a missing file is found once it is there") {
  Rig rig;
  FileLru lru(rig.reactor, rig.dir.path());
  BufIoResult read = run(rig.reactor, lru.read_into(9, new_page(), 0));
  CHECK(read.error() == std::errc::no_such_file_or_directory);
  CHECK(read.buf().capacity() == kPage);
  rig.add_files(9, 10);
  CHECK(run(rig.reactor, check_page(lru, 9)));
}

TEST_CASE("L10: a read past the end is an error with its buffer") {
  Rig rig(1);
  FileLru lru(rig.reactor, rig.dir.path());
  Result<AlignedBuf> two_pages = AlignedBuf::with_cap(2 * kPage);
  REQUIRE(two_pages);
  const std::byte* const memory = two_pages->data();
  BufIoResult read = run(rig.reactor, lru.read_into(0, *std::move(two_pages), 0));
  CHECK(read.error() == Errc::short_io);
  CHECK(read.bytes() == kPage);
  CHECK(read.buf().data() == memory);
  CHECK(text_of(read.buf()) == page_of(0));

  BufIoResult again = run(rig.reactor, lru.read_into(0, std::move(read).buf(), 0, kPage));
  CHECK(again);
  CHECK(again.buf().data() == memory);
  BufIoResult odd = run(rig.reactor, lru.read_into(0, std::move(again).buf(), 100));
  CHECK(odd.error() == Errc::misaligned);
  CHECK(odd.buf().data() == memory);
}

TEST_CASE("without a descriptor an idle file is closed and the open repeated") {
  Rig rig(8);
  FileLru lru(rig.reactor, rig.dir.path());
  for (std::uint64_t id = 0; id < 3; ++id) REQUIRE(run(rig.reactor, touch(lru, id)));
  const int failure = GENERATE(EMFILE, ENFILE);

  SECTION("the least recently used one goes") {
    rig.faults.fail(OpCode::open, 1, failure);
    CHECK(run(rig.reactor, check_page(lru, 3)));
    CHECK(lru.stats().open_now == 3);
    CHECK(lru.stats().evictions == 1);
    CHECK(lru.stats().open_failures == 0);
    CHECK_FALSE(lru.try_acquire(0));
    CHECK(lru.try_acquire(1));
  }
  SECTION("one after the other") {
    rig.faults.fail(OpCode::open, 1, failure);
    rig.faults.fail(OpCode::open, 2, failure);
    CHECK(run(rig.reactor, check_page(lru, 3)));
    CHECK(lru.stats().open_now == 2);
  }
  SECTION("several opens at once") {
    rig.faults.fail(OpCode::open, 1, failure);
    rig.faults.fail(OpCode::open, 2, failure);
    Running<Result<void>> one = start(rig.reactor, check_page(lru, 3));
    Running<Result<void>> two = start(rig.reactor, check_page(lru, 4));
    rig.until([&] { return one.done() && two.done(); });
    CHECK(lru.try_acquire(3));
    CHECK(lru.try_acquire(4));
    CHECK(lru.stats().open_failures == 0);
  }
  SECTION("nothing is left to close: the error is the caller's") {
    const FileLease pinned = lru.try_acquire(1);
    rig.faults.fail(OpCode::open, FaultDriver::kEvery, failure);
    const Result<void> refused = run(rig.reactor, check_page(lru, 3));
    CHECK(is_transient(refused.error()));
    CHECK(lru.stats().open_now == 1);
    CHECK(lru.stats().open_failures == 1);
    CHECK(rig.descriptors() == 1);
    rig.faults.clear_rules();
    CHECK(run(rig.reactor, check_page(lru, 3)));
  }
}

TEST_CASE("when every handle is pinned, acquire waits its turn") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  std::vector<FileLease> leases = pin_all(rig, lru, 16);
  CHECK(lru.stats().pinned_now == 16);

  std::vector<int> order;
  Running<Result<void>> first = start(rig.reactor, note_order(lru, 16, order, 1));
  Running<Result<void>> second = start(rig.reactor, note_order(lru, 17, order, 2));
  rig.let_run();
  CHECK(order.empty());
  CHECK(rig.opens() == 16);
  // What is cached is served meanwhile.
  CHECK(run(rig.reactor, check_page(lru, 5)));

  SECTION("one lease makes room for both, one after the other") {
    leases.erase(leases.begin());
    rig.until([&] { return order.size() == 2; });
    CHECK(order == std::vector<int>{1, 2});
    CHECK(lru.stats().evictions == 2);
  }
  SECTION("a waiter that is destroyed leaves the queue, and evicts nothing") {
    first = Running<Result<void>>();
    second = Running<Result<void>>();
    leases.clear();
    rig.let_run();
    CHECK(rig.opens() == 16);
    CHECK(lru.stats().evictions == 0);
    CHECK(lru.stats().open_now == 16);
  }
  SECTION("the one behind a destroyed waiter is served") {
    first = Running<Result<void>>();
    leases.erase(leases.begin());
    rig.until([&] { return second.done(); });
    CHECK(order == std::vector<int>{2});
    CHECK(rig.opens() == 17);
  }
  leases.clear();
  rig.until([&] { return order.size() + (first ? 0 : 1) + (second ? 0 : 1) == 2; });
  CHECK(lru.stats().open_max == 16);
}

TEST_CASE("a stop ends the waiting") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  StopSource stop;
  SECTION("for a slot") {
    std::vector<FileLease> leases = pin_all(rig, lru, 16);
    Running<Result<FileLease>> waiting = start(rig.reactor, lru.acquire(16), stop.token());
    rig.let_run();
    REQUIRE_FALSE(waiting.done());
    stop.request_stop();
    const Result<FileLease> stopped = run(
        rig.reactor, [&]() -> Task<Result<FileLease>> { co_return co_await std::move(waiting); }());
    CHECK(stopped.error() == Errc::cancelled);
    CHECK(rig.opens() == 16);
  }
  SECTION("for somebody else's open, which goes on") {
    const auto hold = rig.faults.hold(OpCode::open, 1);
    Running<Result<FileLease>> waiting = start(rig.reactor, lru.acquire(3), stop.token());
    rig.until([&] { return rig.faults.is_held(hold); });
    stop.request_stop(StopReason::deadline);
    const Result<FileLease> stopped = run(
        rig.reactor, [&]() -> Task<Result<FileLease>> { co_return co_await std::move(waiting); }());
    CHECK(stopped.error() == Errc::deadline);
    rig.faults.release(hold);
    rig.until([&] { return static_cast<bool>(lru.try_acquire(3)); });
  }
  SECTION("before it begins") {
    stop.request_stop();
    Running<Result<FileLease>> waiting = start(rig.reactor, lru.acquire(3), stop.token());
    rig.until([&] { return waiting.done(); });
    CHECK(rig.opens() == 0);
    CHECK(lru.stats().open_now == 0);
  }
}

TEST_CASE("never more descriptors than the capacity, with many readers") {
  Rig rig(64);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  bool go = false;
  std::vector<Running<Result<void>>> readers;
  for (std::uint64_t id = 0; id < 64; ++id) {
    readers.push_back(
        start(rig.reactor, id % 3 == 0 && id < 30 ? keep_until(lru, id, go) : check_page(lru, id)));
  }
  std::size_t most = 0;
  const auto all_done = [&] {
    const std::size_t now = rig.descriptors();
    most = std::max(most, now);
    std::size_t done = 0;
    for (const Running<Result<void>>& reader : readers) done += reader.done() ? 1 : 0;
    if (done >= 54) go = true;
    return done == readers.size();
  };
  rig.until(all_done);
  CHECK(most == 16);
  CHECK(lru.stats().open_max == 16);
  CHECK(rig.opens() == 64);
}

TEST_CASE("acquire and try_acquire give the same handle, and a lease moves") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path());
  CHECK_FALSE(lru.try_acquire(1));
  Result<FileLease> acquired = run(rig.reactor, lru.acquire(1));
  REQUIRE(acquired);
  FileLease lease = *std::move(acquired);
  DirectFile* const file = &*lease;
  FileLease other = std::move(lease);
  CHECK_FALSE(lease);
  CHECK(&*other == file);
  other = lru.try_acquire(1);
  CHECK(&*other == file);
  CHECK(lru.stats().pinned_now == 1);
  other = FileLease();
  CHECK(lru.stats().pinned_now == 0);
}

}  // namespace diorite::test
