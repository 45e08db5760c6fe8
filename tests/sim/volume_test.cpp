// The file system of a simulated disk, with the power on: the answers are those of Linux on ext4.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "sim/extent_set.hpp"
#include "sim/volume_rig.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

constexpr std::uint64_t kOffsetMax = std::numeric_limits<std::int64_t>::max();

std::int32_t open_error(VolumeRig& rig, std::string_view path, std::uint32_t flags) {
  return rig.volume().open(path, flags, 0644).result;
}

/// "d" with "d/f" in it, an empty "e", and a file "f" of two sectors.
void furnish(VolumeRig& rig) {
  REQUIRE(rig.volume().make_dir("d") == 0);
  REQUIRE(rig.volume().make_dir("e") == 0);
  rig.open("d/f");
  rig.write(rig.open("f"), 0, "AB");
}

std::string names_in(VolumeRig& rig, std::string_view dir) {
  std::vector<DirEntry> entries;
  REQUIRE(rig.volume().list(dir, entries) == 0);
  std::string names;
  for (const DirEntry& entry : entries) {
    names += entry.name + (entry.kind == FileKind::directory ? "/ " : " ");
  }
  return names;
}

}  // namespace

TEST_CASE("volume: open finds, creates and refuses", "[sim][volume]") {
  VolumeRig rig;
  furnish(rig);
  const std::string long_name(256, 'n');
  CHECK(open_error(rig, "", 0) == -ENOENT);
  CHECK(open_error(rig, "none", 0) == -ENOENT);
  CHECK(open_error(rig, "none", kOpenWrite) == -ENOENT);
  CHECK(open_error(rig, "none/f", kOpenCreate) == -ENOENT);
  CHECK(open_error(rig, "f/f", kOpenCreate) == -ENOTDIR);
  CHECK(open_error(rig, "f/", 0) == -ENOTDIR);
  CHECK(open_error(rig, "g/", kOpenCreate | kOpenWrite) == -EISDIR);
  CHECK(open_error(rig, "f", kOpenCreate | kOpenExclusive) == -EEXIST);
  CHECK(open_error(rig, "d", kOpenCreate | kOpenExclusive) == -EEXIST);
  CHECK(open_error(rig, "d", kOpenWrite) == -EISDIR);
  CHECK(open_error(rig, "d", kOpenCreate) == -EISDIR);
  CHECK(open_error(rig, "d", kOpenTruncate) == -EISDIR);
  CHECK(open_error(rig, "d", kOpenDirect) == -EINVAL);
  CHECK(open_error(rig, "d", 0) == 0);
  CHECK(open_error(rig, "/d/../d//./f", kOpenDirect | kOpenWrite) == 0);
  CHECK(open_error(rig, "../../f", 0) == 0);
  CHECK(open_error(rig, long_name, kOpenCreate) == -ENAMETOOLONG);
  CHECK(open_error(rig, std::string(255, 'n'), kOpenCreate) == 0);
  CHECK(open_error(rig, std::string(4096, '/'), 0) == -ENAMETOOLONG);
  CHECK(open_error(rig, std::string(4095, '/'), 0) == 0);
  const sim::detail::OpenResult opened = rig.volume().open("f", kOpenWrite | kOpenTruncate, 0);
  CHECK_FALSE(opened.created);
  CHECK(rig.volume().bytes_of(opened.node) == 0);
  CHECK(rig.volume().open("new", kOpenCreate, 0644).created);
}

TEST_CASE("volume: a disk without direct I/O leaves what Linux leaves", "[sim][volume]") {
  DiskOptions options;
  options.direct_possible = false;
  VolumeRig rig(options);
  CHECK(open_error(rig, "a", kOpenCreate | kOpenExclusive | kOpenWrite | kOpenDirect) == -EINVAL);
  CHECK_FALSE(rig.disk.exists("a"));
  CHECK(open_error(rig, "b", kOpenCreate | kOpenWrite | kOpenDirect) == -EINVAL);
  CHECK(rig.disk.exists("b"));
  FileInfo info;
  rig.volume().info(rig.open("c"), info);
  CHECK_FALSE(info.direct_possible);
  CHECK(info.align.source == AlignSource::none);
}

TEST_CASE("volume: directories are made, listed in order, and removed when empty",
          "[sim][volume]") {
  VolumeRig rig;
  furnish(rig);
  CHECK(names_in(rig, "/") == "d/ e/ f ");
  CHECK(names_in(rig, "d") == "f ");
  std::vector<DirEntry> entries;
  CHECK(rig.volume().list("f", entries) == -ENOTDIR);
  CHECK(rig.volume().list("none", entries) == -ENOENT);
  CHECK(rig.volume().find_dir("f").result == -ENOTDIR);
  CHECK(rig.volume().find_dir("none").result == -ENOENT);
  CHECK(rig.volume().make_dir("d") == -EEXIST);
  CHECK(rig.volume().make_dir("f") == -EEXIST);
  CHECK(rig.volume().make_dir("/") == -EEXIST);
  CHECK(rig.volume().make_dir("none/d") == -ENOENT);
  CHECK(rig.volume().make_dir("g/") == 0);
  CHECK(rig.volume().remove("g", false) == -EISDIR);
  CHECK(rig.volume().remove("f", true) == -ENOTDIR);
  CHECK(rig.volume().remove("d", true) == -ENOTEMPTY);
  CHECK(rig.volume().remove("d/.", true) == -EINVAL);
  CHECK(rig.volume().remove("d/..", true) == -ENOTEMPTY);
  CHECK(rig.volume().remove("/", true) == -EBUSY);
  CHECK(rig.volume().remove("none", false) == -ENOENT);
  CHECK(rig.volume().remove("f/", false) == -ENOTDIR);
  CHECK(rig.volume().remove("g", true) == 0);
  CHECK(rig.volume().remove("d/f", false) == 0);
  CHECK(rig.volume().remove("d", true) == 0);
  CHECK(names_in(rig, "/") == "e/ f ");
}

TEST_CASE("volume: rename replaces, and refuses what Linux refuses", "[sim][volume]") {
  VolumeRig rig;
  furnish(rig);
  CHECK(rig.volume().rename("none", "x") == -ENOENT);
  CHECK(rig.volume().rename("f", "none/x") == -ENOENT);
  CHECK(rig.volume().rename("f", "d") == -EISDIR);
  CHECK(rig.volume().rename("e", "f") == -ENOTDIR);
  CHECK(rig.volume().rename("e", "d") == -ENOTEMPTY);
  CHECK(rig.volume().rename("d", "d/x") == -EINVAL);
  CHECK(rig.volume().rename("d/f", "d") == -ENOTEMPTY);
  CHECK(rig.volume().rename("f", "x/") == -ENOTDIR);
  CHECK(rig.volume().rename("/", "x") == -EBUSY);
  CHECK(rig.volume().rename("f", "f") == 0);
  CHECK(rig.volume().rename("d", "d") == 0);
  CHECK(rig.volume().rename("f", "d/f") == 0);
  CHECK(rig.letters("d/f") == "AB");
  CHECK(rig.volume().rename("d", "e") == 0);
  CHECK(rig.letters("e/f") == "AB");
  CHECK(rig.letters("e/../e/f") == "AB");
  CHECK(rig.disk.files() == std::vector<std::string>{"e/f"});
}

TEST_CASE("volume: a removed file lives on while it is held", "[sim][volume]") {
  DiskOptions options;
  options.capacity_bytes = 2 * kBlock;
  VolumeRig rig(options);
  const NodeId a = rig.open("a");
  rig.write(a, 8, "A");
  rig.write(a, 0, "B");
  REQUIRE(rig.volume().remove("a", false) == 0);
  const NodeId b = rig.open("b");
  CHECK(rig.volume().begin_write(b, 0, 512) == -ENOSPC);
  std::vector<std::byte> bytes(512);
  REQUIRE(rig.volume().read(a, 4096, bytes) == 512);
  CHECK(bytes[0] == std::byte{'A'});
  rig.volume().release(a);
  CHECK(rig.volume().begin_write(b, 0, 512) > 0);
}

TEST_CASE("volume: reads and writes of any offset and length", "[sim][volume]") {
  VolumeRig rig;
  const NodeId a = rig.open("a");
  std::vector<std::byte> model;
  Choices choices = Choices::random(3);
  for (int i = 0; i < 400; ++i) {
    const std::size_t offset = choices.pick(40000);
    const std::size_t length = choices.pick(3) == 0 ? 4096 : 1 + choices.pick(9000);
    if (choices.pick(8) == 0) {
      REQUIRE(rig.volume().truncate(a, offset) == 0);
      model.resize(offset);
    } else {
      std::vector<std::byte> data(length, static_cast<std::byte>(choices.pick(256)));
      const std::int64_t id =
          rig.volume().begin_write(a, offset, static_cast<std::uint32_t>(length));
      REQUIRE(id > 0);
      const auto write = static_cast<WriteId>(id);
      CHECK_FALSE(rig.volume().is_captured(write));
      rig.volume().capture(write, data.data());
      CHECK(rig.volume().is_captured(write));
      REQUIRE(rig.volume().matches(write, data.data()));
      data.back() ^= std::byte{1};
      REQUIRE_FALSE(rig.volume().matches(write, data.data()));
      data.back() ^= std::byte{1};
      const std::size_t done = choices.pick(4) == 0 ? choices.pick(9000) % length : length;
      rig.volume().end_write(write, static_cast<std::uint32_t>(done), choices.pick(2) == 0);
      if (done > 0 && model.size() < offset + done) model.resize(offset + done);
      std::copy_n(data.begin(), done,
                  model.begin() + static_cast<std::ptrdiff_t>(done > 0 ? offset : 0));
    }
    if (choices.pick(10) == 0) rig.sync(a);
    REQUIRE(rig.disk.contents("a") == model);
  }
  rig.sync(a);
  rig.sync_names();
  CHECK(rig.disk.all_durable());
  Choices cut = Choices::random(1);
  rig.volume().crash(cut, Profile::hostile());
  CHECK(rig.disk.contents("a") == model);
}

TEST_CASE("volume: limits of offsets, as ext4 has them", "[sim][volume]") {
  VolumeRig rig;
  const NodeId a = rig.open("a");
  std::byte byte{};
  CHECK(rig.volume().read(a, kOffsetMax, {&byte, 1}) == -EINVAL);
  CHECK(rig.volume().read(a, kOffsetMax - 1, {&byte, 1}) == 0);
  CHECK(rig.volume().read(rig.volume().find_dir("/").node, 0, {&byte, 1}) == -EISDIR);
  CHECK(rig.volume().begin_write(a, kOffsetMax, 1) == -EINVAL);
  CHECK(rig.volume().begin_write(a, kOffsetMax - 1, 1) == -EFBIG);
  CHECK(rig.volume().truncate(a, kOffsetMax) == -EFBIG);
  CHECK(rig.volume().allocate(a, 0, 0, false) == -EINVAL);
  CHECK(rig.volume().allocate(a, kOffsetMax, 1, false) == -EFBIG);
  CHECK(rig.volume().allocate(a, 0, kOffsetMax, false) == -EFBIG);
}

TEST_CASE("volume: files of many gigabytes with little in them", "[sim][volume]") {
  VolumeRig rig;
  const NodeId a = rig.open("a");
  constexpr std::uint64_t kSize = std::uint64_t{1} << 43;
  REQUIRE(rig.volume().truncate(a, kSize) == 0);
  rig.write(a, kSize / kSector - 1, "A");
  rig.write(a, (std::uint64_t{4} << 30) / kSector, "B");
  CHECK(rig.volume().bytes_of(a) == kSize);
  std::vector<std::byte> bytes(1024);
  CHECK(rig.volume().read(a, kSize - 512, bytes) == 512);
  CHECK(bytes[0] == std::byte{'A'});
  CHECK(rig.volume().read(a, (std::uint64_t{4} << 30) - 512, bytes) == 1024);
  CHECK(bytes[0] == std::byte{0});
  CHECK(bytes[512] == std::byte{'B'});
  rig.sync(a);
  rig.sync_names();
  const Disk copy = rig.disk;
  CHECK(copy.hash() == rig.disk.hash());
}

TEST_CASE("volume: space runs out and comes back", "[sim][volume]") {
  DiskOptions options;
  options.capacity_bytes = 8 * kBlock;
  VolumeRig rig(options);
  const NodeId a = rig.open("a");
  REQUIRE(rig.volume().allocate(a, 0, 6 * kBlock, true) == 0);
  CHECK(rig.volume().bytes_of(a) == 0);
  CHECK(rig.volume().allocate(a, 0, 8 * kBlock, true) == 0);
  CHECK(rig.volume().allocate(a, 0, 9 * kBlock, true) == -ENOSPC);
  const NodeId b = rig.open("b");
  CHECK(rig.volume().begin_write(b, 0, 1) == -ENOSPC);
  // Inside what it has reserved, a file can always write.
  rig.write(a, 0, "A");
  CHECK(rig.volume().bytes_of(a) == 512);
  REQUIRE(rig.volume().truncate(a, 512) == 0);
  rig.write(b, 0, std::string(7 * 8, 'B'));
  CHECK(rig.volume().begin_write(b, 7 * kBlock, 1) == -ENOSPC);
  REQUIRE(rig.volume().truncate(a, 0) == 0);
  CHECK(rig.volume().begin_write(b, 7 * kBlock, 1) > 0);
}

TEST_CASE("volume: read-only refuses every change and no look", "[sim][volume]") {
  VolumeRig rig;
  furnish(rig);
  const NodeId f = rig.volume().find("f");
  rig.volume().set_read_only(true);
  CHECK(open_error(rig, "f", 0) == 0);
  CHECK(open_error(rig, "f", kOpenWrite) == -EROFS);
  CHECK(open_error(rig, "new", kOpenCreate) == -EROFS);
  CHECK(open_error(rig, "f", kOpenCreate | kOpenExclusive) == -EEXIST);
  CHECK(rig.volume().make_dir("new") == -EROFS);
  CHECK(rig.volume().make_dir("d") == -EEXIST);
  CHECK(rig.volume().rename("f", "g") == -EROFS);
  CHECK(rig.volume().remove("f", false) == -EROFS);
  CHECK(rig.volume().begin_write(f, 0, 512) == -EROFS);
  CHECK(rig.volume().truncate(f, 0) == -EROFS);
  CHECK(rig.volume().allocate(f, 0, 1, false) == -EROFS);
  CHECK(rig.letters("f") == "AB");
}

TEST_CASE("volume: info tells of the disk's options", "[sim][volume]") {
  DiskOptions options;
  options.physical_block_bytes = 512;
  options.memory_align = 4;
  options.offset_align = 4096;
  VolumeRig rig(options);
  FileInfo info;
  const NodeId a = rig.open("a");
  rig.write(a, 0, "AB");
  rig.volume().info(a, info);
  CHECK(info.bytes == 1024);
  CHECK(info.inode == a);
  CHECK(info.kind == FileKind::regular);
  CHECK(info.physical_block_bytes == 512);
  CHECK(info.align.memory == 4);
  CHECK(info.align.offset == 4096);
  CHECK(info.align.source == AlignSource::kernel);
  rig.volume().info(rig.volume().find_dir("/").node, info);
  CHECK(info.kind == FileKind::directory);
}

TEST_CASE("volume: the end of all processes frees what only they held", "[sim][volume]") {
  DiskOptions options;
  options.capacity_bytes = kBlock;
  VolumeRig rig(options);
  rig.write(rig.open("a"), 0, "A");
  REQUIRE(rig.volume().remove("a", false) == 0);
  CHECK(rig.volume().begin_write(rig.open("b"), 0, 1) == -ENOSPC);
  rig.volume().release_all();
  CHECK(rig.volume().begin_write(rig.open("b"), 0, 1) > 0);
}

TEST_CASE("volume: errors of names are those of the kernel below", "[sim][volume]") {
  const TempDir temp;
  const std::string root = temp.path() + "/";
  VolumeRig rig;
  furnish(rig);
  REQUIRE(::mkdir((root + "d").c_str(), 0755) == 0);
  REQUIRE(::mkdir((root + "e").c_str(), 0755) == 0);
  for (const char* name : {"d/f", "f"}) {
    const int file = ::open((root + name).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    REQUIRE(file >= 0);
    ::close(file);
  }
  const auto result = [](int returned) { return returned < 0 ? -errno : 0; };
  const std::vector<std::string> paths = {"d",      "e",     "f",   "d/f",  "none", "d/none",
                                          "f/none", "d/",    "f/",  "e/",   "d/.",  "d/..",
                                          "none/x", "none/", "d/e", "e/d/x"};
  Choices choices = Choices::random(5);
  for (int i = 0; i < 3000; ++i) {
    const std::string& a = paths[choices.pick(static_cast<std::uint32_t>(paths.size()))];
    const std::string& b = paths[choices.pick(static_cast<std::uint32_t>(paths.size()))];
    const std::string in_a = root + a;
    const std::string in_b = root + b;
    INFO(i << ' ' << a << ' ' << b);
    switch (choices.pick(6)) {
      case 0:
        REQUIRE(rig.volume().make_dir(a) == result(::mkdir(in_a.c_str(), 0755)));
        break;
      case 1:
        REQUIRE(rig.volume().remove(a, true) == result(::rmdir(in_a.c_str())));
        break;
      case 2:
        REQUIRE(rig.volume().remove(a, false) == result(::unlink(in_a.c_str())));
        break;
      case 3:
        REQUIRE(rig.volume().rename(a, b) == result(::rename(in_a.c_str(), in_b.c_str())));
        break;
      default: {
        const std::uint32_t flags = choices.pick(16);
        int os_flags = (flags & kOpenWrite) != 0 ? O_RDWR : O_RDONLY;
        if ((flags & kOpenCreate) != 0) os_flags |= O_CREAT;
        if ((flags & kOpenExclusive) != 0 && (flags & kOpenCreate) != 0) os_flags |= O_EXCL;
        if ((flags & kOpenTruncate) != 0) os_flags |= O_TRUNC;
        const int file = ::open(in_a.c_str(), os_flags | O_CLOEXEC, 0644);
        const int expected = file < 0 ? -errno : 0;
        if (file >= 0) ::close(file);
        INFO("open with " << flags);
        const sim::detail::OpenResult opened = rig.volume().open(a, flags, 0644);
        REQUIRE(opened.result == expected);
        if (opened.result == 0) rig.volume().release(opened.node);
      }
    }
  }
}

TEST_CASE("extents: like a set of numbers", "[sim][volume]") {
  sim::detail::ExtentSet extents;
  std::vector<bool> model(200, false);
  Choices choices = Choices::random(9);
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t a = choices.pick(200);
    const std::uint64_t b = choices.pick(200);
    const std::uint64_t begin = std::min(a, b);
    const std::uint64_t end = std::max(a, b);
    const bool adds = choices.pick(2) == 0;
    std::uint64_t missing = 0;
    for (std::uint64_t at = begin; at < end; ++at) missing += model[at] ? 0U : 1U;
    REQUIRE(extents.missing(begin, end) == missing);
    std::uint64_t in_gaps = 0;
    extents.each_gap(begin, end, [&](std::uint64_t from, std::uint64_t to) {
      in_gaps += to - from;
      for (std::uint64_t at = from; at < to; ++at) REQUIRE_FALSE(model[at]);
    });
    REQUIRE(in_gaps == missing);
    if (adds) {
      extents.add(begin, end);
    } else {
      extents.remove(begin, end);
    }
    for (std::uint64_t at = begin; at < end; ++at) model[at] = adds;
    REQUIRE(extents.count() ==
            static_cast<std::uint64_t>(std::count(model.begin(), model.end(), true)));
  }
}
