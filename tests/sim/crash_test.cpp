// What a power cut leaves, for small cases with every decision there is: the sets are written out.

#include <algorithm>
#include <array>

#include "sim/volume_rig.hpp"
#include "support/catch.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

Words left(const VolumeRig& rig, const Profile& profile = torn()) {
  return outcomes(rig.disk, profile).seen;
}

/// A durable file "a" of these sectors.
NodeId durable_file(VolumeRig& rig, std::string_view letters, std::string_view path = "a") {
  const NodeId node = rig.make(path);
  rig.write(node, 0, letters, true);
  return node;
}

}  // namespace

TEST_CASE("crash: nothing pending asks nothing and loses nothing", "[sim][crash]") {
  VolumeRig rig;
  durable_file(rig, "AB");
  const Outcomes all = outcomes(rig.disk, torn());
  CHECK(all.seen == Words{"a=AB"});
  CHECK(all.paths == 1);
  CHECK(rig.disk.all_durable());
}

TEST_CASE("crash: every sector is the durable one or any later version", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AA");
  rig.write(a, 0, "BB");
  rig.write(a, 1, "C");
  CHECK(rig.letters("a") == "BC");
  const Outcomes all = outcomes(rig.disk, torn());
  CHECK(all.seen == Words{"a=AA", "a=AB", "a=AC", "a=BA", "a=BB", "a=BC"});
  CHECK(all.paths == 6);
  CHECK(all.tame == "a=BC");
  CHECK_FALSE(rig.disk.all_durable());
}

TEST_CASE("crash: versions with the same bytes count once", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AA");
  rig.write(a, 0, "AB");
  rig.write(a, 0, "AB");
  rig.write(a, 0, "A");
  const Outcomes all = outcomes(rig.disk, torn());
  CHECK(all.seen == Words{"a=AA", "a=AB"});
  CHECK(all.paths == 2);
}

TEST_CASE("crash: zeros over space that was never written ask nothing", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = rig.make("a");
  REQUIRE(rig.volume().allocate(a, 0, 2 * kBlock, false) == 0);
  rig.sync(a);
  rig.write(a, 0, "................");
  CHECK(outcomes(rig.disk, torn()).paths == 1);
}

TEST_CASE("crash: a write in flight may land once its bytes were taken", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AA");
  REQUIRE(rig.volume().begin_write(a, 0, 512) > 0);
  CHECK(left(rig) == Words{"a=AA"});
  rig.begin(a, 1, "B");
  CHECK(rig.letters("a") == "AA");
  CHECK(left(rig) == Words{"a=AA", "a=AB"});
}

TEST_CASE("crash: a write in flight may bring its size", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "A");
  rig.begin(a, 1, "B");
  CHECK(left(rig) == Words{"a=A", "a=A.", "a=AB"});
}

TEST_CASE("crash: without tears each write lands as a whole, in any order", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAA");
  rig.write(a, 0, "BB");
  rig.write(a, 1, "CC");
  CHECK(left(rig, whole_writes()) == Words{"a=AAA", "a=BBA", "a=ACC", "a=BCC", "a=BBC"});
  CHECK(outcomes(rig.disk, whole_writes()).tame == "a=BCC");
}

TEST_CASE("sync: covers what had completed when it was submitted, and no more", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAA");
  rig.write(a, 0, "B");
  const WriteId open = rig.begin(a, 1, "C");
  const SyncMark mark = rig.volume().begin_sync(a);
  rig.volume().end_write(open, 512, false);
  rig.write(a, 2, "D");
  rig.volume().end_sync(a, mark, true);
  CHECK(left(rig) == Words{"a=BAA", "a=BCA", "a=BAD", "a=BCD"});
  rig.sync(a);
  CHECK(left(rig) == Words{"a=BCD"});
  CHECK(rig.disk.all_durable());
}

TEST_CASE("sync: a version after the mark may land over one that the mark covers", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "A");
  rig.write(a, 0, "B");
  const SyncMark mark = rig.volume().begin_sync(a);
  rig.write(a, 0, "C");
  rig.volume().end_sync(a, mark, false);
  CHECK(left(rig) == Words{"a=B", "a=C"});
}

TEST_CASE("sync: covers no size that came after its mark", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = rig.make("a");
  rig.write(a, 0, "A");
  const SyncMark mark = rig.volume().begin_sync(a);
  rig.write(a, 1, "B");
  rig.volume().end_sync(a, mark, true);
  CHECK(left(rig) == Words{"a=A", "a=A.", "a=AB"});
}

TEST_CASE("all_durable: an older pending version is enough for a difference", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "A");
  rig.write(a, 0, "A");
  CHECK(rig.disk.all_durable());
  rig.write(a, 0, "B");
  rig.write(a, 0, "A");
  CHECK_FALSE(rig.disk.all_durable());
}

TEST_CASE("durable write: an older pending version can never come back", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AA");
  rig.write(a, 0, "BB");
  rig.write(a, 0, "C", true);
  CHECK(left(rig) == Words{"a=CA", "a=CB"});
  rig.sync(a);
  CHECK(left(rig) == Words{"a=CB"});
}

TEST_CASE("durable write: makes the size that it needs durable, nobody else's", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = rig.make("a");
  rig.write(a, 3, "D");
  rig.write(a, 1, "B", true);
  CHECK(left(rig) == Words{"a=.B", "a=.B..", "a=.B.D"});
}

TEST_CASE("size: the durable one, or any pending one", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "A");
  rig.write(a, 1, "B");
  rig.write(a, 2, "C");
  CHECK(left(rig) == Words{"a=A", "a=A.", "a=AB", "a=A..", "a=AB.", "a=A.C", "a=ABC"});
}

TEST_CASE("size: a data sync makes a size durable that reading needs", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "A");
  rig.write(a, 1, "B");
  rig.sync(a, false);
  CHECK(left(rig) == Words{"a=AB"});
}

TEST_CASE("truncate: all or nothing, and writes after it rest upon it", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAA");
  REQUIRE(rig.volume().truncate(a, kSector) == 0);
  CHECK(left(rig) == Words{"a=AAA", "a=A"});
  rig.write(a, 2, "C");
  CHECK(rig.letters("a") == "A.C");
  CHECK(left(rig) == Words{"a=AAA", "a=A", "a=A..", "a=A.C"});
  rig.sync(a);
  CHECK(left(rig) == Words{"a=A.C"});
}

TEST_CASE("truncate: a durable write beyond the cut makes the cut durable", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAA");
  REQUIRE(rig.volume().truncate(a, 0) == 0);
  rig.write(a, 0, "B", true);
  CHECK(left(rig) == Words{"a=B"});
}

TEST_CASE("truncate: what it cut does not show when the file grows again", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AA");
  REQUIRE(rig.volume().truncate(a, 700) == 0);
  REQUIRE(rig.volume().truncate(a, 1024) == 0);
  CHECK(rig.letters("a") == "A?");
  rig.sync(a);
  Choices choices = Choices::exhaustive();
  rig.volume().crash(choices, torn());
  const std::vector<std::byte> bytes = rig.disk.contents("a");
  REQUIRE(bytes.size() == 1024);
  CHECK(bytes[699] == std::byte{'A'});
  CHECK(
      std::all_of(bytes.begin() + 700, bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE("lost data stays lost: what a power cut left is durable", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAAA");
  rig.write(a, 0, "BBBBBBBB");
  Choices first = Choices::random(11);
  rig.volume().crash(first, torn());
  CHECK(rig.disk.all_durable());
  CHECK(left(rig).size() == 1);
}

TEST_CASE("a failed sync drops what it covered; reads may lie until the power goes",
          "[sim][crash]") {
  for (const bool lies : {true, false}) {
    VolumeRig rig;
    const NodeId a = durable_file(rig, "AA");
    rig.write(a, 0, "B");
    const SyncMark mark = rig.volume().begin_sync(a);
    rig.write(a, 1, "C");
    rig.volume().drop(a, mark, {lies ? sim::detail::Lie::cached : sim::detail::Lie::none, false});
    CHECK(rig.letters("a") == (lies ? "BC" : "AC"));
    CHECK(left(rig) == Words{"a=AA", "a=AC"});
    rig.sync(a);
    CHECK(left(rig) == Words{"a=AC"});
    CHECK(rig.disk.all_durable() == !lies);
  }
}

TEST_CASE("a failed sync drops a size; a later sync brings what its own data needs",
          "[sim][crash]") {
  for (const bool lies : {true, false}) {
    VolumeRig rig;
    const NodeId a = rig.make("a");
    rig.write(a, 0, "AAAAAAAAAAAAAAAA");
    const SyncMark mark = rig.volume().begin_sync(a);
    rig.write(a, 8, "B");
    rig.volume().drop(a, mark, {lies ? sim::detail::Lie::cached : sim::detail::Lie::none, false});
    rig.sync(a);
    const Words words = left(rig);
    REQUIRE(words.size() == 1);
    CHECK(words.begin()->substr(0, 11) == "a=........B");
  }
}

TEST_CASE("a failed write lands in part", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAAA");
  const std::array<bool, 4> landed{true, false, true, true};
  rig.volume().abandon_write(rig.begin(a, 0, "BBBB"), landed);
  CHECK(rig.letters("a") == "BABB");
  CHECK(left(rig).size() == 8);
  rig.volume().abandon_write(rig.begin(a, 0, "CCCC"), {});
  CHECK(rig.letters("a") == "BABB");
}

TEST_CASE("a name: durable after a sync of its directory, never by the file's", "[sim][crash]") {
  for (const DirectoryModel model :
       {DirectoryModel::ordered, DirectoryModel::subset, DirectoryModel::split}) {
    VolumeRig rig;
    const NodeId a = rig.open("a");
    rig.write(a, 0, "A", true);
    rig.sync(a, true);
    CHECK(left(rig, torn(model)) == Words{"", "a=A"});
    rig.sync_names();
    CHECK(left(rig, torn(model)) == Words{"a=A"});
  }
}

TEST_CASE("a name: durable without the data that nobody synced", "[sim][crash]") {
  VolumeRig rig;
  const NodeId a = rig.make("a");
  rig.write(a, 0, "A");
  CHECK(left(rig) == Words{"a=", "a=.", "a=A"});
}

TEST_CASE("a directory's sync covers what was there when it was submitted", "[sim][crash]") {
  VolumeRig rig;
  rig.open("a");
  const NodeId root = rig.volume().find_dir("/").node;
  const SyncMark mark = rig.volume().begin_sync(root);
  rig.open("b");
  rig.volume().end_sync(root, mark, true);
  CHECK(left(rig) == Words{"a=", "a= b="});
}

TEST_CASE("ordered: names change as a prefix of the whole volume", "[sim][crash]") {
  VolumeRig rig;
  REQUIRE(rig.volume().make_dir("d") == 0);
  rig.sync_names();
  rig.open("a");
  rig.open("d/b");
  rig.open("c");
  CHECK(left(rig) == Words{"", "a=", "a= d/b=", "a= c= d/b="});
  rig.sync_names("d");
  CHECK(left(rig) == Words{"d/b=", "a= d/b=", "a= c= d/b="});
}

TEST_CASE("subset: any of the changes, a rename all or nothing", "[sim][crash]") {
  VolumeRig rig;
  durable_file(rig, "A");
  rig.open("c");
  REQUIRE(rig.volume().rename("a", "b") == 0);
  CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"a=A", "a=A c=", "b=A", "b=A c="});
}

TEST_CASE("split: a rename may leave both names, never none", "[sim][crash]") {
  VolumeRig rig;
  durable_file(rig, "A");
  REQUIRE(rig.volume().rename("a", "b") == 0);
  CHECK(left(rig, torn(DirectoryModel::split)) == Words{"a=A", "b=A", "a=A b=A"});
  CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"a=A", "b=A"});
  CHECK(left(rig, torn(DirectoryModel::ordered)) == Words{"a=A", "b=A"});
}

TEST_CASE("rename between directories: either sync keeps the file", "[sim][crash]") {
  for (const bool source : {true, false}) {
    VolumeRig rig;
    REQUIRE(rig.volume().make_dir("d") == 0);
    REQUIRE(rig.volume().make_dir("e") == 0);
    rig.sync_names();
    const NodeId a = rig.open("d/a");
    rig.write(a, 0, "A", true);
    rig.sync_names("d");
    REQUIRE(rig.volume().rename("d/a", "e/a") == 0);
    rig.sync_names(source ? "d" : "e");
    CHECK(left(rig, torn(DirectoryModel::ordered)) == Words{"e/a=A"});
    CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"e/a=A"});
    const Words split = left(rig, torn(DirectoryModel::split));
    CHECK(split == (source ? Words{"e/a=A"} : Words{"e/a=A", "d/a=A e/a=A"}));
  }
}

TEST_CASE("rename: a new file is there after a sync of the new directory alone", "[sim][crash]") {
  VolumeRig rig;
  REQUIRE(rig.volume().make_dir("d") == 0);
  rig.sync_names();
  rig.write(rig.open("a"), 0, "A", true);
  REQUIRE(rig.volume().rename("a", "d/a") == 0);
  rig.sync_names("d");
  CHECK(left(rig, torn(DirectoryModel::ordered)) == Words{"d/a=A"});
  CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"d/a=A"});
}

TEST_CASE("a replaced file is back when its replacement is lost", "[sim][crash]") {
  for (const DirectoryModel model :
       {DirectoryModel::ordered, DirectoryModel::subset, DirectoryModel::split}) {
    VolumeRig rig;
    durable_file(rig, "A", "a");
    durable_file(rig, "B", "b");
    REQUIRE(rig.volume().rename("b", "a") == 0);
    Words expected{"a=A b=B", "a=B"};
    if (model == DirectoryModel::split) expected.insert("a=B b=B");
    CHECK(left(rig, torn(model)) == expected);
    rig.sync_names();
    CHECK(left(rig, torn(model)) == Words{"a=B"});
  }
}

TEST_CASE("a removed file is back until the directory is synced", "[sim][crash]") {
  VolumeRig rig;
  durable_file(rig, "A");
  REQUIRE(rig.volume().remove("a", false) == 0);
  CHECK(left(rig) == Words{"", "a=A"});
  rig.sync_names();
  CHECK(left(rig) == Words{""});
}

TEST_CASE("what is in a directory that is lost is lost", "[sim][crash]") {
  VolumeRig rig;
  REQUIRE(rig.volume().make_dir("d") == 0);
  rig.write(rig.open("d/a"), 0, "A", true);
  rig.sync_names("d");
  CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"", "d/a=A"});
  CHECK(outcomes(rig.disk, torn()).tame == "d/a=A");
}

TEST_CASE("space in a directory that is lost is free again", "[sim][crash]") {
  DiskOptions options;
  options.capacity_bytes = kBlock;
  VolumeRig rig(options);
  REQUIRE(rig.volume().make_dir("d") == 0);
  rig.write(rig.open("d/a"), 0, "A", true);
  rig.sync_names("d");
  Choices lose = Choices::replay(0, {1});
  rig.volume().crash(lose, torn());
  REQUIRE(rig.disk.files().empty());
  CHECK(rig.volume().begin_write(rig.open("b"), 0, 512) > 0);
}

TEST_CASE("split: two names are one file, and one may go", "[sim][crash]") {
  VolumeRig rig;
  durable_file(rig, "A");
  REQUIRE(rig.volume().rename("a", "b") == 0);
  Choices both = Choices::replay(0, {1});
  rig.volume().crash(both, torn(DirectoryModel::split));
  REQUIRE(all_files(rig.disk) == "a=A b=A");
  rig.write(rig.open("a"), 0, "N", true);
  CHECK(rig.letters("b") == "N");
  CHECK(rig.volume().rename("a", "b") == 0);
  CHECK(all_files(rig.disk) == "a=N b=N");
  REQUIRE(rig.volume().remove("a", false) == 0);
  rig.sync_names();
  CHECK(left(rig) == Words{"b=N"});
}

TEST_CASE("subset: a name cannot be taken while the change that freed it is lost", "[sim][crash]") {
  VolumeRig rig;
  durable_file(rig, "A");
  REQUIRE(rig.volume().rename("a", "b") == 0);
  rig.write(rig.open("a"), 0, "N", true);
  CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"a=A", "b=A", "a=N b=A"});
}

TEST_CASE("subset: a directory cannot go while a file that left it has not arrived",
          "[sim][crash]") {
  VolumeRig rig;
  REQUIRE(rig.volume().make_dir("d") == 0);
  rig.sync_names();
  rig.write(rig.open("d/a"), 0, "A", true);
  rig.sync_names("d");
  REQUIRE(rig.volume().make_dir("e") == 0);
  rig.sync_names();
  REQUIRE(rig.volume().rename("d/a", "e/a") == 0);
  REQUIRE(rig.volume().remove("d", true) == 0);
  CHECK(left(rig, torn(DirectoryModel::subset)) == Words{"d/a=A", "e/a=A"});
  SECTION("a sync that covers the removal brings the rename with it") {
    rig.sync_names();
    CHECK(left(rig, torn(DirectoryModel::split)) == Words{"e/a=A"});
  }
}

TEST_CASE("subset: directories never become a ring", "[sim][crash]") {
  VolumeRig rig;
  REQUIRE(rig.volume().make_dir("a") == 0);
  REQUIRE(rig.volume().make_dir("b") == 0);
  rig.open("a/x");
  rig.open("b/y");
  for (const char* dir : {"/", "a", "b"}) rig.sync_names(dir);
  REQUIRE(rig.volume().rename("a", "b/a") == 0);
  REQUIRE(rig.volume().rename("b/a", "c") == 0);
  REQUIRE(rig.volume().rename("b", "c/b") == 0);
  CHECK(left(rig, torn(DirectoryModel::subset)) ==
        Words{"a/x= b/y=", "b/a/x= b/y=", "b/y= c/x=", "c/b/y= c/x=", "a/b/y= a/x="});
}

TEST_CASE("a failed sync of a directory drops its names", "[sim][crash]") {
  for (const bool lies : {true, false}) {
    VolumeRig rig;
    rig.open("a");
    const NodeId root = rig.volume().find_dir("/").node;
    rig.volume().drop(root, rig.volume().begin_sync(root),
                      {lies ? sim::detail::Lie::cached : sim::detail::Lie::none, false});
    CHECK(rig.disk.exists("a") == lies);
    rig.sync_names();
    CHECK(left(rig) == Words{""});
  }
}

TEST_CASE("garbage takes the whole physical block, what was durable in it, too", "[sim][crash]") {
  Profile profile = torn();
  profile.garbage_block = sim::always();
  for (const std::uint32_t physical : {4096U, 512U}) {
    DiskOptions options;
    options.physical_block_bytes = physical;
    VolumeRig rig(options);
    const NodeId a = durable_file(rig, "AAAAAAAAZ");
    rig.write(a, 1, "B");
    CHECK(left(rig, profile) == Words{physical == 4096 ? "a=????????Z" : "a=A?AAAAAAZ"});
  }
}

TEST_CASE("a block that was being written may be unreadable until it is written again",
          "[sim][crash]") {
  Profile profile = torn();
  profile.unreadable_block = sim::always();
  VolumeRig rig;
  const NodeId a = durable_file(rig, "AAAAAAAAZ");
  rig.begin(a, 1, "B");
  Choices choices = Choices::exhaustive();
  const Volume::CrashCounts counts = rig.volume().crash(choices, profile);
  CHECK(counts.blocks_damaged == 1);
  CHECK(rig.letters("a") == "!!!!!!!!Z");
  const NodeId again = rig.open("a");
  rig.write(again, 2, "CC");
  CHECK(rig.letters("a") == "!!CC!!!!Z");
  CHECK(left(rig) == Words{"a=!!CC!!!!Z", "a=!!!C!!!!Z", "a=!!C!!!!!Z", "a=!!!!!!!!Z"});
  rig.sync(again);
  CHECK(left(rig) == Words{"a=!!CC!!!!Z"});
  CHECK(rig.volume().begin_write(again, 100, 100) == -EIO);
}

TEST_CASE("stale space: shows what was freed, once and for all", "[sim][crash]") {
  Profile profile = torn();
  profile.stale_space = sim::always();
  VolumeRig rig;
  const NodeId old = durable_file(rig, "OOOOOOOO", "old");
  rig.volume().release(old);
  REQUIRE(rig.volume().remove("old", false) == 0);
  rig.sync_names();
  const NodeId a = rig.make("a");
  REQUIRE(rig.volume().allocate(a, 0, 2 * kBlock, false) == 0);
  rig.write(a, 0, "A", true);
  rig.sync(a, true);
  CHECK(rig.letters("a") == "A...............");
  CHECK(left(rig, torn()) == Words{"a=A..............."});
  CHECK(left(rig, profile) == Words{"a=AOOOOOOOOOOOOOOO"});
  SECTION("zeros that are durable keep it away") {
    rig.write(a, 0, "A...............");
    rig.sync(a);
    CHECK(left(rig, profile) == Words{"a=A..............."});
  }
  SECTION("zeros that are not may be lost") {
    rig.write(a, 1, ".");
    CHECK(left(rig, profile) == Words{"a=AOOOOOOOOOOOOOOO", "a=A.OOOOOOOOOOOOOO"});
  }
  SECTION("what read as zeros after a power cut does so after the next one") {
    Choices choices = Choices::exhaustive();
    rig.volume().crash(choices, torn());
    rig.write(rig.open("a"), 0, "B", true);
    CHECK(left(rig, profile) == Words{"a=B..............."});
  }
}

TEST_CASE("a power cut ends everything: writable, nothing in flight, space counted",
          "[sim][crash]") {
  DiskOptions options;
  options.capacity_bytes = 4 * kBlock;
  VolumeRig rig(options);
  const NodeId a = rig.open("a");
  REQUIRE(rig.volume().allocate(a, 0, 4 * kBlock, false) == 0);
  rig.begin(a, 0, "A");
  rig.volume().set_read_only(true);
  Choices lose = Choices::replay(0, {1});  // the name
  rig.volume().crash(lose, torn());
  CHECK(rig.disk.files().empty());
  CHECK_FALSE(rig.volume().is_read_only());
  const NodeId b = rig.open("b");
  CHECK(rig.volume().allocate(b, 0, 4 * kBlock, true) == 0);
}

TEST_CASE("equal decisions give equal disks", "[sim][crash]") {
  VolumeRig rig;
  for (int i = 0; i < 8; ++i) {
    const NodeId node = rig.open(std::string(1, static_cast<char>('a' + i)));
    rig.write(node, static_cast<std::uint64_t>(i), "XYZXYZXYZ");
    rig.write(node, 1, "PQ");
  }
  const auto hash_after = [&](std::uint64_t seed) {
    Disk disk = rig.disk;
    Choices choices = Choices::random(seed);
    disk.volume().crash(choices, Profile::hostile());
    return disk.hash();
  };
  Words hashes;
  for (std::uint64_t seed = 0; seed < 32; ++seed) {
    CHECK(hash_after(seed) == hash_after(seed));
    hashes.insert(std::to_string(hash_after(seed)));
  }
  CHECK(hashes.size() > 16);
}
