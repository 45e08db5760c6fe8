// The public face of a simulated disk: looking into it, damaging it, copying it.

#include <algorithm>

#include "sim/volume_rig.hpp"
#include "support/catch.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;
using sim::Damage;

/// "a" and "d/b", durable.
void furnish(VolumeRig& rig) {
  REQUIRE(rig.volume().make_dir("d") == 0);
  rig.sync_names();
  rig.write(rig.make("a"), 0, "ABCDEFGHI", true);
  const NodeId b = rig.open("d/b");
  rig.sync_names("d");
  rig.write(b, 0, "XY", true);
}

std::string after_power_cut(VolumeRig& rig, std::string_view path) {
  Disk disk = rig.disk;
  Choices choices = Choices::exhaustive();
  disk.volume().crash(choices, torn());
  return VolumeRig::letters_of(disk, path);
}

}  // namespace

TEST_CASE("disk: looks", "[sim][disk]") {
  VolumeRig rig;
  furnish(rig);
  CHECK(rig.disk.files() == std::vector<std::string>{"a", "d/b"});
  CHECK(rig.disk.exists("/d/b"));
  CHECK(rig.disk.exists("d"));
  CHECK_FALSE(rig.disk.exists("none"));
  CHECK(rig.disk.bytes_of("a") == 9 * kSector);
  CHECK(rig.disk.contents("d/b") == sectors("XY"));
  CHECK(rig.disk.contents("none").empty());
  CHECK(rig.disk.contents("d").empty());
  CHECK(rig.disk.all_durable());
}

TEST_CASE("disk: files are sorted as paths", "[sim][disk]") {
  VolumeRig rig;
  REQUIRE(rig.volume().make_dir("a") == 0);
  rig.open("a/x");
  rig.open("a-b");
  rig.open("a.b");
  CHECK(rig.disk.files() == std::vector<std::string>{"a-b", "a.b", "a/x"});
}

TEST_CASE("disk: a copy shares nothing that can change", "[sim][disk]") {
  VolumeRig rig;
  furnish(rig);
  const std::uint64_t hash = rig.disk.hash();
  Disk copy = rig.disk;
  CHECK(copy.hash() == hash);
  copy.flip_bit("a", 17, 3);
  CHECK(copy.hash() != hash);
  CHECK(rig.disk.hash() == hash);
  rig.disk.remove("a");
  CHECK(copy.exists("a"));
  rig.disk = copy;
  CHECK(rig.disk.hash() == copy.hash());
  const Disk moved = std::move(copy);
  CHECK(moved.hash() == rig.disk.hash());
}

TEST_CASE("disk: the hash is of names, sizes and bytes", "[sim][disk]") {
  const auto hash_of = [](std::string_view path, std::string_view letters) {
    VolumeRig rig;
    rig.write(rig.open(path), 0, letters);
    return rig.disk.hash();
  };
  CHECK(hash_of("a", "AB") == hash_of("a", "AB"));
  CHECK(hash_of("a", "AB") != hash_of("b", "AB"));
  CHECK(hash_of("a", "AB") != hash_of("a", "BA"));
  CHECK(hash_of("a", "A") != hash_of("a", "A."));
  // Zeros are zeros, written or not.
  VolumeRig sparse;
  REQUIRE(sparse.volume().truncate(sparse.open("a"), 2 * kSector) == 0);
  CHECK(sparse.disk.hash() == hash_of("a", ".."));
  // A synced disk and an unsynced one look the same.
  VolumeRig rig;
  const NodeId a = rig.open("a");
  rig.write(a, 0, "AB");
  rig.sync(a);
  rig.sync_names();
  CHECK(rig.disk.hash() == hash_of("a", "AB"));
}

TEST_CASE("disk: damage is to what reads see and to what is durable", "[sim][disk]") {
  VolumeRig rig;
  furnish(rig);
  SECTION("a flipped bit") {
    rig.disk.flip_bit("a", 3 * kSector + 5, 2);
    std::vector<std::byte> expected = sectors("ABCDEFGHI");
    expected[3 * kSector + 5] ^= std::byte{4};
    CHECK(rig.disk.contents("a") == expected);
    CHECK(after_power_cut(rig, "a") == "ABC?EFGHI");
  }
  SECTION("a zeroed sector") {
    rig.disk.zero_sector("a", kSector + 100);
    CHECK(rig.letters("a") == "A.CDEFGHI");
    CHECK(after_power_cut(rig, "a") == "A.CDEFGHI");
  }
  SECTION("a misdirected one") {
    rig.disk.misdirect("a", 0, 8 * kSector);
    CHECK(rig.letters("a") == "ABCDEFGHA");
    CHECK(after_power_cut(rig, "a") == "ABCDEFGHA");
  }
  SECTION("an unreadable block, until it is written again") {
    rig.disk.make_unreadable("a", 8 * kSector);
    CHECK(rig.letters("a") == "ABCDEFGH!");
    CHECK(after_power_cut(rig, "a") == "ABCDEFGH!");
    rig.write(rig.open("a"), 8, "J", true);
    CHECK(rig.letters("a") == "ABCDEFGHJ");
    CHECK(after_power_cut(rig, "a") == "ABCDEFGHJ");
  }
  SECTION("a lost file") {
    rig.disk.remove("a");
    CHECK(rig.disk.files() == std::vector<std::string>{"d/b"});
    CHECK(after_power_cut(rig, "a") == "-");
  }
  CHECK(rig.disk.all_durable());
}

TEST_CASE("disk: a stale sector has the bytes before its last durable change", "[sim][disk]") {
  VolumeRig rig;
  const NodeId a = rig.make("a");
  rig.write(a, 0, "ABCDEFGH", true);
  CHECK_FALSE(rig.disk.stale_sector("a", 0));
  rig.write(a, 1, "K");
  CHECK_FALSE(rig.disk.stale_sector("a", kSector));
  rig.sync(a);
  rig.write(a, 2, "L", true);
  CHECK_FALSE(rig.disk.stale_sector("a", 0));
  CHECK(rig.disk.stale_sector("a", kSector));
  CHECK(rig.disk.stale_sector("a", 2 * kSector));
  CHECK(rig.letters("a") == "ABCDEFGH");
  rig.write(a, 0, "STUVWXYZ", true);
  rig.write(a, 3, "D", true);
  CHECK(rig.disk.stale_sector("a", 0));
  CHECK(rig.disk.stale_sector("a", 3 * kSector));
  CHECK(rig.letters("a") == "ATUVWXYZ");
}

TEST_CASE("disk: damage() does one thing and says which", "[sim][disk]") {
  VolumeRig rig;
  furnish(rig);
  rig.write(rig.open("a"), 0, "abcdefghi", true);
  Words kinds;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Disk disk = rig.disk;
    Choices choices = Choices::random(seed);
    const Damage done = damage(disk, choices);
    kinds.insert(to_string(done.kind));
    REQUIRE(disk.hash() != rig.disk.hash());
    if (done.kind == Damage::Kind::lost_file) {
      REQUIRE_FALSE(disk.exists(done.path));
      continue;
    }
    const std::vector<std::byte> before = rig.disk.contents(done.path);
    const std::vector<std::byte> after = disk.contents(done.path);
    REQUIRE(before.size() == after.size());
    for (std::uint64_t at = 0; at < before.size(); ++at) {
      const bool inside = at >= done.offset && at < done.offset + done.bytes;
      REQUIRE((inside || before[at] == after[at]));
    }
  }
  CHECK(kinds == Words{"flipped", "zeroed", "stale", "misdirected", "unreadable", "lost_file"});
}

TEST_CASE("disk: damage() finds nothing on a disk of zeros", "[sim][disk]") {
  VolumeRig rig;
  rig.write(rig.open("a"), 0, "...");
  Choices choices = Choices::random(1);
  CHECK(damage(rig.disk, choices).path.empty());
}
