// Which file is kept, which one goes, and how files are named.

#include "lru/rig.hpp"

namespace diorite::test {
namespace {

void touch_all(Rig& rig, FileLru& lru, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t id = first; id < last; ++id) REQUIRE(run(rig.reactor, touch(lru, id)));
}

}  // namespace

TEST_CASE("L1: a hit promotes, the least recently used one goes") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  touch_all(rig, lru, 1, 17);
  REQUIRE(run(rig.reactor, touch(lru, 1)));
  REQUIRE(run(rig.reactor, touch(lru, 17)));
  CHECK_FALSE(lru.try_acquire(2));
  CHECK(lru.try_acquire(1));
  CHECK(lru.try_acquire(3));
  CHECK(lru.stats().evictions == 1);
}

TEST_CASE("L2: a capacity of 0 is the smallest there is") {
  Rig rig;
  const FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 0});
  CHECK(lru.capacity() == 16);
}

TEST_CASE("L3: an id that is there stays one handle") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path());
  REQUIRE(run(rig.reactor, touch(lru, 1)));
  REQUIRE(run(rig.reactor, touch(lru, 1)));
  const FileLease first = lru.try_acquire(1);
  const FileLease second = lru.try_acquire(1);
  REQUIRE(first);
  REQUIRE(second);
  CHECK(&*first == &*second);
  CHECK(first.id() == 1);
  CHECK(rig.opens() == 1);
  CHECK(lru.stats().open_now == 1);
  CHECK(lru.stats().pinned_now == 1);
  CHECK(lru.stats().hits == 3);
  CHECK(lru.stats().misses == 1);
}

TEST_CASE("L4: taking out what is not there does nothing") {
  Rig rig(2);
  FileLru lru(rig.reactor, rig.dir.path());
  CHECK_FALSE(lru.evict(1));
  lru.forget(1);
  CHECK_FALSE(lru.try_acquire(1));
  CHECK(rig.faults.count(OpCode::close) == 0);
  const Result<void> removed = run(rig.reactor, await_removal(lru.remove(77)));
  CHECK(removed.error() == std::errc::no_such_file_or_directory);
  CHECK(lru.stats().removals == 0);
  CHECK(run(rig.reactor, check_page(lru, 1)));
}

TEST_CASE("L5: a capacity of 3 is 16") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 3});
  CHECK(lru.capacity() == 16);
  touch_all(rig, lru, 0, 16);
  CHECK(lru.stats().open_now == 16);
  CHECK(lru.stats().evictions == 0);
}

TEST_CASE("L6: the 17th open evicts the second file after a hit on the first, within 16 handles") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  touch_all(rig, lru, 0, 16);
  CHECK(rig.descriptors() == 16);
  CHECK(lru.try_acquire(0));

  // Also while the victim's close is under way, nothing more is opened.
  const auto hold = rig.faults.hold(OpCode::close, 1);
  Running<Result<void>> seventeenth = start(rig.reactor, touch(lru, 16));
  rig.until([&] { return rig.faults.is_held(hold); });
  rig.let_run();
  CHECK(rig.opens() == 16);
  CHECK(rig.descriptors() == 16);
  rig.faults.release(hold);
  rig.until([&] { return seventeenth.done(); });

  CHECK(rig.opens() == 17);
  CHECK(rig.descriptors() == 16);
  CHECK(lru.stats().open_max == 16);
  CHECK_FALSE(lru.try_acquire(1));
  CHECK(lru.try_acquire(0));
  CHECK(lru.try_acquire(2));
}

TEST_CASE("a lease promotes when it ends") {
  Rig rig(20);
  FileLru lru(rig.reactor, rig.dir.path(), {.capacity = 16});
  touch_all(rig, lru, 0, 1);
  FileLease long_one = lru.try_acquire(0);
  touch_all(rig, lru, 1, 16);
  long_one = FileLease();
  touch_all(rig, lru, 16, 17);
  CHECK(lru.try_acquire(0));
  CHECK_FALSE(lru.try_acquire(1));
}

TEST_CASE("L12: id 0 and the largest id have distinct legal names") {
  Rig rig;
  CHECK(name_of(0) == "0");
  CHECK(name_of(31) == "z");
  CHECK(name_of(32) == "10");
  CHECK(name_of(12345) == "c1s");
  CHECK(name_of(UINT64_MAX) == "fzzzzzzzzzzzz");
  std::string alphabet;
  for (std::uint64_t digit = 0; digit < 32; ++digit) alphabet += name_of(digit);
  CHECK(alphabet == "0123456789abcdefghjkmnpqrstvwxyz");

  rig.dir.write("0", page_of(0));
  rig.dir.write("fzzzzzzzzzzzz", page_of(UINT64_MAX));
  FileLru lru(rig.reactor, rig.dir.path());
  CHECK(run(rig.reactor, check_page(lru, 0)));
  CHECK(run(rig.reactor, check_page(lru, UINT64_MAX)));
  const FileLease lease = lru.try_acquire(UINT64_MAX);
  REQUIRE(lease);
  CHECK(lease->path() == rig.dir.file("fzzzzzzzzzzzz"));
}

TEST_CASE("the path hook names the files") {
  Rig rig;
  rig.dir.write("table-7.sst", page_of(7));
  std::string prefix = "/table-";
  FileLruOptions options;
  options.path_context = &prefix;
  options.path = [](void* context, std::string_view dir, std::uint64_t id, std::string& path) {
    path = dir;
    path += *static_cast<std::string*>(context) + std::to_string(id) + ".sst";
  };
  FileLru lru(rig.reactor, rig.dir.path(), options);
  CHECK(run(rig.reactor, check_page(lru, 7)));
  const Result<void> missing = run(rig.reactor, check_page(lru, 8));
  CHECK(missing.error() == std::errc::no_such_file_or_directory);
  CHECK(missing.error().text().find("table-8.sst") != std::string::npos);
  CHECK(run(rig.reactor, await_removal(lru.remove(7))));
  CHECK_FALSE(rig.dir.exists("table-7.sst"));
}

TEST_CASE("files are opened as the options say") {
  Rig rig(1);
  SECTION("read-only by default: a missing file stays missing") {
    FileLruOptions options;
    options.create = true;
    FileLru lru(rig.reactor, rig.dir.path(), options);
    CHECK(run(rig.reactor, touch(lru, 5)).error() == std::errc::no_such_file_or_directory);
    CHECK(run(rig.reactor, write_page(lru, 0)).error() == std::errc::bad_file_descriptor);
  }
  SECTION("created with write and create") {
    FileLruOptions options = writable();
    options.create = true;
    FileLru lru(rig.reactor, rig.dir.path(), options);
    REQUIRE(run(rig.reactor, write_page(lru, 5)));
    CHECK(run(rig.reactor, lru.close_all()));
    CHECK(rig.dir.read(name_of(5)) == page_of(5));
  }
  SECTION("buffered") {
    FileLruOptions options;
    options.direct = Direct::off;
    FileLru lru(rig.reactor, rig.dir.path(), options);
    REQUIRE(run(rig.reactor, touch(lru, 0)));
    const FileLease lease = lru.try_acquire(0);
    REQUIRE(lease);
    CHECK_FALSE(lease->is_direct());
    CHECK(lease->alignment().offset == 1);
  }
}

}  // namespace diorite::test
