// Every OpCode once and more, with its effects and its errors, on every driver.

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <diorite/buffer.hpp>

#include "driver/rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

FileInfo info_of(Driver& driver, DriverFile file) {
  InfoOp op;
  op.code = OpCode::info;
  op.file = file;
  REQUIRE(run(driver, op) == 0);
  return op.info;
}

std::int32_t resize(Driver& driver, OpCode code, DriverFile file, std::uint64_t offset,
                    std::uint64_t length, std::uint8_t flags = 0) {
  InfoOp op;
  op.code = code;
  op.file = file;
  op.offset = offset;
  op.length = length;
  op.flags = flags;
  return run(driver, op);
}

std::int32_t run_path(Driver& driver, OpCode code, const std::string& path,
                      std::uint32_t open_flags = 0) {
  PathOp op = path_op(code, path, open_flags);
  const std::int32_t result = run(driver, op);
  if (code == OpCode::open && result == 0) close_file(driver, op.file);
  return result;
}

std::uint64_t blocks_of(const std::string& path) {
  struct stat found = {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  return static_cast<std::uint64_t>(found.st_blocks);
}

}  // namespace

TEST_CASE("open obeys its flags", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const std::string path = dir.file("data");
    CHECK(run_path(driver, OpCode::open, path, kOpenWrite) == -ENOENT);
    CHECK(run_path(driver, OpCode::open, path, kOpenWrite | kOpenCreate | kOpenExclusive) == 0);
    CHECK(run_path(driver, OpCode::open, path, kOpenWrite | kOpenCreate | kOpenExclusive) ==
          -EEXIST);
    struct stat made = {};
    REQUIRE(::stat(path.c_str(), &made) == 0);
    CHECK((made.st_mode & 0777) == 0600);

    dir.write("data", "content");
    CHECK(run_path(driver, OpCode::open, path, kOpenWrite) == 0);
    CHECK(dir.read("data") == "content");
    CHECK(run_path(driver, OpCode::open, path, kOpenWrite | kOpenTruncate) == 0);
    CHECK(dir.read("data").empty());

    const DriverFile reading = open_file(driver, path, 0);
    char byte = 'x';
    Op write = transfer(OpCode::write, reading, 0, &byte, 1);
    CHECK(run(driver, write) == -EBADF);
    close_file(driver, reading);

    CHECK(run_path(driver, OpCode::open, dir.path(), 0) == 0);
    CHECK(run_path(driver, OpCode::open, dir.path(), kOpenWrite) == -EISDIR);
    CHECK(run_path(driver, OpCode::open, path + "/below", 0) == -ENOTDIR);
    CHECK(run_path(driver, OpCode::open, dir.file(std::string(300, 'n')), 0) == -ENAMETOOLONG);
    CHECK(run_path(driver, OpCode::open, dir.path() + std::string(5000, '/'), 0) == -ENAMETOOLONG);
    CHECK(run_path(driver, OpCode::open, std::string(200000, 'n'), 0) == -ENAMETOOLONG);
    CHECK(run_path(driver, OpCode::open, "", 0) == -ENOENT);
    // What follows a NUL must not be ignored: the path before it exists.
    CHECK(run_path(driver, OpCode::open, path + std::string("\0x", 2), 0) == -EINVAL);
    if (::geteuid() != 0) {
      REQUIRE(::chmod(path.c_str(), 0) == 0);
      CHECK(run_path(driver, OpCode::open, path, 0) == -EACCES);
    }
  });
}

TEST_CASE("opened descriptors carry the flags and are not inherited", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    for (const std::uint32_t create : {kOpenCreate, kOpenCreate | kOpenExclusive}) {
      const std::string path = dir.file("data" + std::to_string(create));
      const DriverFile file =
          open_file(driver, path, kOpenWrite | create | kOpenDirect | kOpenDsync | kOpenNoAtime);
      const int descriptor = static_cast<int>(file.value & 0xffffffffU);
      const int flags = ::fcntl(descriptor, F_GETFL);
      CHECK((flags & O_ACCMODE) == O_RDWR);
      CHECK((flags & O_DIRECT) != 0);
      CHECK((flags & O_DSYNC) != 0);
      CHECK((flags & O_NOATIME) != 0);
      CHECK((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0);
      close_file(driver, file);
    }
  });
}

TEST_CASE("direct I/O works at the alignment that info reports", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file =
        open_file(driver, dir.file("data"), kOpenWrite | kOpenCreate | kOpenDirect);
    const FileInfo info = info_of(driver, file);
    CHECK(info.kind == FileKind::regular);
    CHECK(info.bytes == 0);
    REQUIRE(info.direct_possible);
    CHECK(info.align.source != AlignSource::none);
    for (const std::uint32_t align :
         {info.align.memory, info.align.offset, info.align.read_offset}) {
      CHECK(align >= 1);
      CHECK((align & (align - 1)) == 0);
    }
    CHECK(info.align.read_offset <= info.align.offset);
    auto page = AlignedBuf::page();
    REQUIRE(page);
    std::memset(page->data(), 'd', page->size());
    Op write = transfer(OpCode::write, file, info.align.offset, page->data(), info.align.offset);
    CHECK(run(driver, write) == static_cast<std::int32_t>(info.align.offset));
    CHECK(info_of(driver, file).bytes == 2U * info.align.offset);
    close_file(driver, file);

    // The same file, not opened for direct I/O, tells what that would need.
    const DriverFile buffered = open_file(driver, dir.file("data"), 0);
    const FileInfo again = info_of(driver, buffered);
    CHECK(again.align.offset == info.align.offset);
    CHECK(again.align.source == info.align.source);
    CHECK(again.inode == info.inode);
    CHECK(again.device == info.device);
    close_file(driver, buffered);
  });
}

TEST_CASE("info tells what a path is", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile folder = open_file(driver, dir.path(), 0);
    CHECK(info_of(driver, folder).kind == FileKind::directory);
    close_file(driver, folder);
    const DriverFile null = open_file(driver, "/dev/null", 0);
    CHECK(info_of(driver, null).kind == FileKind::other);
    close_file(driver, null);
    InfoOp nothing;
    nothing.code = OpCode::info;
    CHECK(run(driver, nothing) == -EBADF);
  });
}

TEST_CASE("write, sync and read back", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    std::string text = "the quick brown fox";
    Op write = transfer(OpCode::write, file, 3, text.data(), text.size());
    CHECK(run(driver, write) == static_cast<std::int32_t>(text.size()));
    // Durable by itself, or by a sync after it: the result is the same.
    write.flags = kOpDsync;
    write.offset = 30;
    CHECK(run(driver, write) == static_cast<std::int32_t>(text.size()));
    Op sync = file_op(OpCode::sync_data, file);
    CHECK(run(driver, sync) == 0);
    sync.code = OpCode::sync_all;
    CHECK(run(driver, sync) == 0);
    std::string back(text.size(), ' ');
    Op read = transfer(OpCode::read, file, 30, back.data(), back.size());
    CHECK(run(driver, read) == static_cast<std::int32_t>(back.size()));
    CHECK(back == text);
    // Beyond what the system can count to.
    write.offset = ~std::uint64_t{0} - 100;
    CHECK(run(driver, write) == -EINVAL);
    close_file(driver, file);
    CHECK(dir.read("data") == std::string(3, '\0') + text + std::string(8, '\0') + text);
    for (const OpCode code : {OpCode::sync_data, OpCode::sync_all, OpCode::close}) {
      Op closed = file_op(code, DriverFile{});
      CHECK(run(driver, closed) == -EBADF);
    }
  });
}

TEST_CASE("dropping a file's cached pages changes nothing of it", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const std::string text(10'000, 'c');
    const DriverFile file = open_file(driver, dir.file("data"));
    Op write = transfer(OpCode::write, file, 0, const_cast<char*>(text.data()), text.size());
    REQUIRE(run(driver, write) == static_cast<std::int32_t>(text.size()));
    // What is not written back stays, also in the cache.
    for (const bool synced : {false, true}) {
      Op sync = file_op(OpCode::sync_data, file);
      if (synced) REQUIRE(run(driver, sync) == 0);
      Op drop = file_op(OpCode::drop_cache, file);
      CHECK(run(driver, drop) == 0);
      std::string back(text.size(), ' ');
      Op read = transfer(OpCode::read, file, 0, back.data(), back.size());
      CHECK(run(driver, read) == static_cast<std::int32_t>(back.size()));
      CHECK(back == text);
    }
    // Nobody who cannot write needs to be kept from it.
    const DriverFile reading = open_file(driver, dir.file("data"), 0);
    Op drop = file_op(OpCode::drop_cache, reading);
    CHECK(run(driver, drop) == 0);
    close_file(driver, reading);
    close_file(driver, file);
    Op closed = file_op(OpCode::drop_cache, DriverFile{});
    CHECK(run(driver, closed) == -EBADF);
  });
}

TEST_CASE("allocate and truncate", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const std::string path = dir.file("data");
    const DriverFile file = open_file(driver, path);
    REQUIRE(resize(driver, OpCode::allocate, file, 0, 65536, kOpKeepSize) == 0);
    CHECK(info_of(driver, file).bytes == 0);
    CHECK(blocks_of(path) >= 65536 / 512);
    REQUIRE(resize(driver, OpCode::allocate, file, 4096, 8192) == 0);
    CHECK(info_of(driver, file).bytes == 12288);
    REQUIRE(resize(driver, OpCode::truncate, file, 0, 5000) == 0);
    CHECK(info_of(driver, file).bytes == 5000);
    REQUIRE(resize(driver, OpCode::truncate, file, 0, 0) == 0);
    CHECK(info_of(driver, file).bytes == 0);
    CHECK(resize(driver, OpCode::allocate, file, 0, 0) == -EINVAL);
    CHECK(resize(driver, OpCode::truncate, file, 0, ~std::uint64_t{0}) < 0);
    CHECK(resize(driver, OpCode::allocate, file, 0, ~std::uint64_t{0}) < 0);
    CHECK(info_of(driver, file).bytes == 0);
    close_file(driver, file);
  });
}

TEST_CASE("a lock excludes another open of the same file, and ends with close", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile first = open_file(driver, dir.file("LOCK"));
    const DriverFile second = open_file(driver, dir.file("LOCK"));
    Op lock_first = file_op(OpCode::try_lock, first);
    Op lock_second = file_op(OpCode::try_lock, second);
    CHECK(run(driver, lock_first) == 0);
    CHECK(run(driver, lock_second) == -EAGAIN);
    CHECK(run(driver, lock_first) == 0);
    // Closing an unrelated descriptor of the same file does not release it.
    close_file(driver, open_file(driver, dir.file("LOCK")));
    CHECK(run(driver, lock_second) == -EAGAIN);
    close_file(driver, first);
    CHECK(run(driver, lock_second) == 0);
    close_file(driver, second);
  });
}

TEST_CASE("folders: make, list, sync, rename, remove", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const std::string folder = dir.file("folder");
    CHECK(run_path(driver, OpCode::make_dir, folder + "/deep") == -ENOENT);
    PathOp make = path_op(OpCode::make_dir, folder, 0, 0700);
    CHECK(run(driver, make) == 0);
    CHECK(run(driver, make) == -EEXIST);
    dir.write("folder/a", "1");
    dir.write("folder/b", "22");
    REQUIRE(::symlink("a", dir.file("folder/link").c_str()) == 0);
    PathOp below = path_op(OpCode::make_dir, "", 0, 0700);
    const std::string below_path = folder + "/below";
    below.path = below_path;
    CHECK(run(driver, below) == 0);

    ListOp list;
    list.code = OpCode::list_dir;
    list.path = folder;
    REQUIRE(run(driver, list) == 0);
    REQUIRE(list.entries != nullptr);
    std::vector<std::pair<std::string, FileKind>> names;
    for (const DirEntry& entry : *list.entries) names.emplace_back(entry.name, entry.kind);
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::pair<std::string, FileKind>>{{"a", FileKind::regular},
                                                                 {"b", FileKind::regular},
                                                                 {"below", FileKind::directory},
                                                                 {"link", FileKind::other}});
    const std::string file_path = folder + "/a";
    list.path = file_path;
    CHECK(run(driver, list) == -ENOTDIR);
    CHECK(list.entries == nullptr);

    CHECK(run_path(driver, OpCode::sync_dir, folder) == 0);
    CHECK(run_path(driver, OpCode::sync_dir, file_path) == -ENOTDIR);
    CHECK(run_path(driver, OpCode::sync_dir, folder + "/none") == -ENOENT);

    const std::string other_path = folder + "/b";
    PathOp rename = path_op(OpCode::rename, file_path);
    rename.path2 = other_path;
    CHECK(run(driver, rename) == 0);
    CHECK(dir.read("folder/b") == "1");
    CHECK(run(driver, rename) == -ENOENT);

    CHECK(run_path(driver, OpCode::remove, below_path) < 0);
    PathOp remove = path_op(OpCode::remove, folder);
    remove.flags = kOpDirectory;
    CHECK(run(driver, remove) == -ENOTEMPTY);
    remove.path = other_path;
    CHECK(run(driver, remove) == -ENOTDIR);
    remove.path = below_path;
    CHECK(run(driver, remove) == 0);
    CHECK(run_path(driver, OpCode::remove, other_path) == 0);
    CHECK(run_path(driver, OpCode::remove, other_path) == -ENOENT);
    CHECK_FALSE(dir.exists("folder/b"));
  });
}

TEST_CASE("many paths in flight keep their own text", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    constexpr std::size_t kFolders = 100;
    std::vector<std::unique_ptr<PathOp>> ops;
    for (std::size_t i = 0; i < kFolders; ++i) {
      // The op's own string dies before the request runs; lengths go up and down across block
      // sizes.
      auto path = std::make_unique<std::string>(dir.path());
      const std::size_t slashes = (i * 37) % 900;
      *path += std::string(slashes, '/') + "/f" + std::to_string(i);
      ops.push_back(std::make_unique<PathOp>(path_op(OpCode::make_dir, *path, 0, 0700)));
      driver.submit(*ops.back());
      if (ops.back()->state == OpState::in_flight) {
        std::fill(path->begin(), path->end(), '?');
      } else {
        FAIL("more than the driver takes");
      }
    }
    for (const Op* const op : collect(driver, kFolders)) CHECK(op->result == 0);
    for (std::size_t i = 0; i < kFolders; ++i) CHECK(dir.exists("f" + std::to_string(i)));
  });
}

TEST_CASE("running out of descriptors is an error like any other", "[driver][ops]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const std::string path = dir.write("data", "x");
    rlimit before = {};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    // A descriptor gets the lowest free number, and that is the first one forbidden.
    const int lowest = ::dup(STDERR_FILENO);
    ::close(lowest);
    rlimit none = before;
    none.rlim_cur = static_cast<rlim_t>(lowest);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    PathOp open = path_op(OpCode::open, path);
    OpList done;
    driver.submit(open);
    while (open.state != OpState::done) driver.poll(done, kNever);
    ::setrlimit(RLIMIT_NOFILE, &before);
    done.pop_front();
    CHECK(open.result == -EMFILE);
  });
}
