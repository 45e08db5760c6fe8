// LruOracle: names and bytes of files that a cache opens, evicts and removes.

#include <cstdint>
#include <vector>

#include "support/catch.hpp"

#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

const std::vector<std::byte> kOld(Disk::kSectorBytes, std::byte{1});

void open(LruOracle& oracle, std::uint64_t key) { oracle.opened(key, oracle.opening(key), true); }
void remove(LruOracle& oracle, std::uint64_t key) {
  oracle.removed(key, oracle.removing(key), true);
}
void sync_names(LruOracle& oracle) { oracle.synced_names(oracle.syncing_names(), true); }
void write(LruOracle& oracle, std::uint64_t key) {
  FileOracle& file = oracle.file(key);
  file.wrote(file.writing(0, kOld), true, false);
}

}  // namespace

TEST_CASE("a name is promised by a sync of its directory") {
  LruOracle oracle;
  open(oracle, 1);
  CHECK(oracle.check_exists(1, true).empty());
  CHECK_FALSE(oracle.check_exists(1, false).empty());
  SECTION("not synced") { CHECK(oracle.check_found(1, false).empty()); }
  SECTION("synced") {
    sync_names(oracle);
    CHECK_FALSE(oracle.check_found(1, false).empty());
  }
  SECTION("synced before it was made") {
    const std::uint64_t early = oracle.syncing_names();
    open(oracle, 2);
    oracle.synced_names(early, true);
    CHECK(oracle.check_found(2, false).empty());
  }
}

TEST_CASE("a removed file may come back until its directory is synced") {
  LruOracle oracle;
  open(oracle, 1);
  sync_names(oracle);
  remove(oracle, 1);
  CHECK(oracle.check_exists(1, false).empty());
  CHECK_FALSE(oracle.check_exists(1, true).empty());
  CHECK_FALSE(oracle.is_gone(1));
  SECTION("it may") { CHECK(oracle.check_found(1, true).empty()); }
  SECTION("it may not") {
    sync_names(oracle);
    CHECK(oracle.is_gone(1));
    CHECK_FALSE(oracle.check_found(1, true).empty());
  }
  SECTION("a removal that failed leaves both possible") {
    open(oracle, 2);
    sync_names(oracle);
    oracle.removed(2, oracle.removing(2), false);
    CHECK(oracle.check_exists(2, true).empty());
    CHECK(oracle.check_exists(2, false).empty());
  }
}

TEST_CASE("closing the cache makes durable what it wrote") {
  LruOracle oracle;
  open(oracle, 1);
  write(oracle, 1);
  SECTION("closed") {
    oracle.closed(oracle.closing(), true);
    CHECK_FALSE(oracle.file(1).check_found({}).empty());
  }
  SECTION("not closed") { CHECK(oracle.file(1).check_found({}).empty()); }
  SECTION("closed with an error") {
    oracle.closed(oracle.closing(), false);
    CHECK(oracle.file(1).check_found({}).empty());
  }
  SECTION("closed, but the sync before an eviction had failed") {
    oracle.failed(1);
    oracle.closed(oracle.closing(), true);
    CHECK(oracle.file(1).check_found({}).empty());
  }
  SECTION("by another cache than the one that wrote") {
    oracle.new_cache();
    oracle.closed(oracle.closing(), true);
    CHECK(oracle.file(1).check_found({}).empty());
  }
  SECTION("while it is removed") {
    remove(oracle, 1);
    oracle.closed(oracle.closing(), true);
    CHECK(oracle.file(1).check_found({}).empty());
  }
}

TEST_CASE("a key that is gone begins anew") {
  LruOracle oracle;
  open(oracle, 1);
  write(oracle, 1);
  oracle.file(1).synced(oracle.file(1).syncing(), true);
  remove(oracle, 1);
  sync_names(oracle);
  REQUIRE(oracle.is_gone(1));
  open(oracle, 1);
  CHECK(oracle.file(1).check_found({}).empty());
}

}  // namespace diorite::sim
