// FileOracle: which bytes it takes for possible, and that it catches the others.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

std::vector<std::byte> sectors(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) {
    bytes.insert(bytes.end(), Disk::kSectorBytes, static_cast<std::byte>(value));
  }
  return bytes;
}

void write(FileOracle& oracle, std::uint64_t offset, std::initializer_list<int> values,
           bool durable = false) {
  oracle.wrote(oracle.writing(offset, sectors(values)), true, durable);
}

void sync(FileOracle& oracle, bool success = true) { oracle.synced(oracle.syncing(), success); }

}  // namespace

TEST_CASE("after a power cut each unsynced sector is old or new") {
  FileOracle oracle;
  write(oracle, 0, {1, 1});
  sync(oracle);
  write(oracle, 0, {2, 2});
  SECTION("old") { CHECK(oracle.check_found(sectors({1, 1})).empty()); }
  SECTION("torn") { CHECK(oracle.check_found(sectors({2, 1})).empty()); }
  SECTION("neither") { CHECK_FALSE(oracle.check_found(sectors({1, 3})).empty()); }
  SECTION("shorter") { CHECK_FALSE(oracle.check_found(sectors({1})).empty()); }
  SECTION("what was found stays") {
    REQUIRE(oracle.check_found(sectors({2, 1})).empty());
    CHECK_FALSE(oracle.check_found(sectors({1, 1})).empty());
  }
}

TEST_CASE("a sync covers what had ended before it began, and no more") {
  FileOracle oracle;
  write(oracle, 0, {1});
  const std::uint64_t open_write = oracle.writing(512, sectors({7}));
  const std::uint64_t id = oracle.syncing();
  oracle.wrote(open_write, true, false);
  oracle.synced(id, true);
  SECTION("covered") { CHECK_FALSE(oracle.check_found(sectors({0, 7})).empty()); }
  SECTION("not covered") { CHECK(oracle.check_found(sectors({1, 0})).empty()); }
  SECTION("and since is a limit, too") {
    FileOracle later;
    write(later, 0, {1});
    later.synced(later.syncing(later.now()), true);
    CHECK(later.check_found(sectors({0})).empty());
  }
}

TEST_CASE("a durable write is durable by itself") {
  FileOracle oracle;
  write(oracle, 0, {1}, true);
  CHECK_FALSE(oracle.check_found({}).empty());
}

TEST_CASE("after a failed sync nothing that it covered is certain") {
  FileOracle oracle;
  write(oracle, 0, {1});
  sync(oracle);
  write(oracle, 0, {2});
  sync(oracle, false);
  sync(oracle);  // reports success, and has nothing left to make durable
  SECTION("old on the disk") { CHECK(oracle.check_found(sectors({1})).empty()); }
  SECTION("new on the disk") { CHECK(oracle.check_found(sectors({2})).empty()); }
  SECTION("old for readers") {
    CHECK(oracle.check_read(oracle.reading(), 0, sectors({1})).empty());
  }
}

TEST_CASE("a failed sync may have lost what was in flight, and nothing that was durable") {
  FileOracle oracle;
  write(oracle, 0, {1, 1, 1}, true);
  const std::uint64_t in_flight = oracle.writing(512, sectors({2}));
  const std::uint64_t durable = oracle.writing(1024, sectors({2}));
  const std::uint64_t failing = oracle.syncing();
  // Its end is heard of late: the sync was taken up after it.
  if (GENERATE(false, true)) {
    oracle.wrote(in_flight, true, false);
    oracle.synced(failing, false);
  } else {
    oracle.synced(failing, false);
    oracle.wrote(in_flight, true, false);
  }
  oracle.wrote(durable, true, true);
  const auto reads = [&oracle](std::initializer_list<int> values) {
    return oracle.check_read(oracle.reading(), 0, sectors(values)).empty();
  };
  CHECK(reads({1, 1, 2}));
  CHECK(reads({1, 2, 2}));
  CHECK_FALSE(reads({1, 1, 1}));
  CHECK_FALSE(reads({3, 1, 2}));
  sync(oracle);  // reports success, and has nothing left to make durable
  SECTION("either is found") { CHECK(oracle.check_found(sectors({1, GENERATE(1, 2), 2})).empty()); }
  SECTION("what was durable stays") { CHECK_FALSE(oracle.check_found(sectors({3, 1, 2})).empty()); }
  SECTION("a new write and a new sync end the doubt") {
    write(oracle, 512, {3});
    CHECK_FALSE(reads({1, 1, 2}));
    CHECK(reads({1, 3, 2}));
    SECTION("not the write alone") { CHECK(oracle.check_found(sectors({1, 1, 2})).empty()); }
    SECTION("both") {
      sync(oracle);
      CHECK_FALSE(oracle.check_found(sectors({1, GENERATE(1, 2), 2})).empty());
    }
  }
}

TEST_CASE("a sync that nobody heard of may have failed once its process has ended") {
  FileOracle oracle;
  write(oracle, 0, {1}, true);
  write(oracle, 0, {2});
  const bool asked = GENERATE(false, true);
  const std::uint64_t unheard = asked ? oracle.syncing() : 0;
  CHECK_FALSE(oracle.check_read(oracle.reading(), 0, sectors({1})).empty());
  oracle.process_ended();
  oracle.synced(unheard, true);  // too late
  CHECK(oracle.check_read(oracle.reading(), 0, sectors({1})).empty() == asked);
  CHECK(oracle.check_read(oracle.reading(), 0, sectors({2})).empty());
}

TEST_CASE("a write that failed may have taken place, and may not") {
  FileOracle oracle;
  write(oracle, 0, {1}, true);
  oracle.wrote(oracle.writing(0, sectors({2})), false, false);
  const bool took_place = GENERATE(false, true);
  CHECK(oracle.check_found(sectors({took_place ? 2 : 1})).empty());
}

TEST_CASE("reads see what was written last before they began") {
  FileOracle oracle;
  write(oracle, 0, {1});
  const std::uint64_t early = oracle.reading();
  write(oracle, 0, {2}, true);
  CHECK(oracle.check_read(early, 0, sectors({1})).empty());
  CHECK(oracle.check_read(oracle.reading(), 0, sectors({2})).empty());
  CHECK_FALSE(oracle.check_read(oracle.reading(), 0, sectors({1})).empty());
  // Two writes at once: either may be the last.
  const std::uint64_t a = oracle.writing(0, sectors({3}));
  const std::uint64_t b = oracle.writing(0, sectors({4}));
  oracle.wrote(b, true, false);
  oracle.wrote(a, true, false);
  CHECK(oracle.check_read(oracle.reading(), 0, sectors({3})).empty());
  CHECK(oracle.check_read(oracle.reading(), 0, sectors({4})).empty());
  CHECK_FALSE(oracle.check_read(oracle.reading(), 0, sectors({2})).empty());
}

TEST_CASE("damage reaches as far as the block of a torn write") {
  const FileOracleOptions options{.sector_bytes = 512, .block_bytes = 1024};
  FileOracle oracle(options);
  write(oracle, 0, {1, 1, 1, 1}, true);
  write(oracle, 0, {2});
  const std::array<std::uint64_t, 1> first{0};
  const std::array<std::uint64_t, 1> second{1024};
  SECTION("garbage beside it") { CHECK(oracle.check_found(sectors({9, 9, 1, 1})).empty()); }
  SECTION("garbage elsewhere") { CHECK_FALSE(oracle.check_found(sectors({2, 1, 9, 1})).empty()); }
  SECTION("unreadable") {
    REQUIRE(oracle.check_found(sectors({0, 0, 1, 1}), first).empty());
    // It stays unreadable until it is written anew.
    CHECK(oracle.check_found(sectors({0, 0, 1, 1}), first).empty());
    write(oracle, 0, {3, 3}, true);
    CHECK_FALSE(oracle.check_found(sectors({0, 0, 1, 1}), first).empty());
  }
  SECTION("unreadable elsewhere") {
    CHECK_FALSE(oracle.check_found(sectors({2, 1, 0, 0}), second).empty());
  }
}

TEST_CASE("damage behind the end of a file shows when the file grows over it") {
  const FileOracleOptions options{.block_bytes = 4096};
  FileOracle oracle(options);
  SECTION("of a block that was seen to be damaged") {
    write(oracle, 512, {1});
    REQUIRE(oracle.check_found(sectors({0, 0, 0, 0, 0, 0, 0, 0}), std::array{0UL}).empty());
    write(oracle, 0, {2, 2}, true);
    REQUIRE(oracle.check_found(sectors({2, 2})).empty());
  }
  SECTION("of one whose write was lost with the size of the file") {
    write(oracle, 512, {1});
    REQUIRE(oracle.check_found({}).empty());
  }
  write(oracle, 8192, {3}, true);
  std::vector<std::byte> grown = sectors({2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3});
  CHECK(oracle.check_found(grown, std::array{0UL}).empty());
  CHECK_FALSE(oracle.check_found(grown, std::array{4096UL}).empty());
}

TEST_CASE("space that was never written is zero, or what stood there before") {
  for (const bool stale : {false, true}) {
    const FileOracleOptions options{.stale_space = stale};
    FileOracle oracle(options);
    write(oracle, 0, {1});
    CHECK(oracle.check_found(sectors({5})).empty() == stale);
  }
}

TEST_CASE("writes at the same time may both be cut in one sector") {
  const FileOracleOptions options{.splits_sectors = true};
  std::vector<std::byte> mixed = sectors({2});
  std::fill(mixed.begin() + 100, mixed.begin() + 200, std::byte{1});
  const bool at_once = GENERATE(false, true);
  FileOracle oracle(options);
  const std::uint64_t one = oracle.writing(0, sectors({1}));
  if (!at_once) oracle.wrote(one, true, false);
  const std::uint64_t two = oracle.writing(0, sectors({2}));
  oracle.wrote(two, true, false);
  if (at_once) oracle.wrote(one, true, false);
  CHECK(oracle.check_read(oracle.reading(), 0, mixed).empty() == at_once);
  CHECK(oracle.check_found(mixed).empty() == at_once);
}

TEST_CASE("a read that was cut short goes on in what has landed meanwhile") {
  const FileOracleOptions options{.splits_sectors = true};
  FileOracle oracle(options);
  write(oracle, 0, {1}, true);
  const std::uint64_t read = oracle.reading();
  static_cast<void>(oracle.writing(0, sectors({2})));
  // The read had come as far as byte 100, the write as far as byte 200.
  std::vector<std::byte> mixed = sectors({1});
  std::fill(mixed.begin() + 100, mixed.begin() + 200, std::byte{2});
  CHECK(oracle.check_read(read, 0, mixed).empty());
  mixed[150] = std::byte{3};
  CHECK_FALSE(oracle.check_read(read, 0, mixed).empty());
  mixed[150] = std::byte{2};
  CHECK_FALSE(oracle.check_found(mixed).empty());
}

TEST_CASE("a hole that was found may show what stood there before, once it is given space") {
  const bool stale = GENERATE(false, true);
  const FileOracleOptions options{.stale_space = stale};
  FileOracle oracle(options);
  write(oracle, 0, {1, 1});
  REQUIRE(oracle.check_found(sectors({1, 0})).empty());
  write(oracle, 0, {2}, true);
  SECTION("the hole") { CHECK(oracle.check_found(sectors({2, 5})).empty() == stale); }
  SECTION("not what is beside it") { CHECK_FALSE(oracle.check_found(sectors({5, 0})).empty()); }
  SECTION("not what was written there and found") {
    write(oracle, 512, {0}, true);
    REQUIRE(oracle.check_found(sectors({2, 0})).empty());
    CHECK_FALSE(oracle.check_found(sectors({2, 5})).empty());
  }
}

TEST_CASE("a transfer may be cut short within a sector, of files in the page cache") {
  for (const bool splits : {false, true}) {
    const FileOracleOptions options{.splits_sectors = splits};
    FileOracle oracle(options);
    write(oracle, 0, {1}, true);
    write(oracle, 0, {2});
    std::vector<std::byte> mixed = sectors({2});
    std::fill(mixed.begin() + 100, mixed.end(), std::byte{1});
    CHECK(oracle.check_found(mixed).empty() == splits);
  }
}

TEST_CASE("what is sure") {
  FileOracle oracle;
  CHECK(oracle.is_surely(0, sectors({0})));
  write(oracle, 0, {1});
  CHECK_FALSE(oracle.is_surely(0, sectors({1})));
  sync(oracle);
  CHECK(oracle.is_surely(0, sectors({1})));
  oracle.writing(0, sectors({2}));
  CHECK_FALSE(oracle.is_surely(0, sectors({1})));
}

}  // namespace diorite::sim
