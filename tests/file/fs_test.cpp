// Operations by path, and locks.

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "file/rig.hpp"

namespace diorite::test {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST_CASE("mkdir says whether it made the directory") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  const std::string path = dir.file("folder");
  Result<bool> made = run(*reactor, mkdir(*reactor, path, 0700));
  REQUIRE(made);
  CHECK(*made);
  struct stat found;
  REQUIRE(::stat(path.c_str(), &found) == 0);
  CHECK(S_ISDIR(found.st_mode));
  CHECK((found.st_mode & 0777) == 0700);
  made = run(*reactor, mkdir(*reactor, path));
  REQUIRE(made);
  CHECK_FALSE(*made);
  dir.write("file", "text");
  made = run(*reactor, mkdir(*reactor, dir.file("file")));
  CHECK(made.error() == std::errc::not_a_directory);
  CHECK(says(made.error(), "mkdir " + dir.file("file") + ": Not a directory"));
  made = run(*reactor, mkdir(*reactor, dir.file("missing/folder")));
  CHECK(made.error() == std::errc::no_such_file_or_directory);
  CHECK(says(made.error(), "mkdir " + dir.file("missing/folder")));
  CHECK(dir.read("file") == "text");
}

TEST_CASE("list tells every entry once, with its kind") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  Result<std::vector<DirEntry>> entries = run(*reactor, list(*reactor, dir.path()));
  REQUIRE(entries);
  CHECK(entries->empty());
  constexpr int kFiles = 300;
  for (int i = 0; i < kFiles; ++i) dir.write("file" + std::to_string(i), "");
  REQUIRE(run(*reactor, mkdir(*reactor, dir.file("folder"))));
  REQUIRE(::symlink("file0", dir.file("link").c_str()) == 0);
  entries = run(*reactor, list(*reactor, dir.path()));
  REQUIRE(entries);
  CHECK(entries->size() == kFiles + 2);
  std::vector<std::string> names;
  for (const DirEntry& entry : *entries) {
    names.push_back(entry.name);
    const FileKind expected = entry.name == "folder" ? FileKind::directory
                              : entry.name == "link" ? FileKind::other
                                                     : FileKind::regular;
    CHECK(entry.kind == expected);
  }
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  entries = run(*reactor, list(*reactor, dir.file("missing")));
  CHECK(is_not_found(entries.error()));
  CHECK(says(entries.error(), "list " + dir.file("missing") + ": No such file"));
  entries = run(*reactor, list(*reactor, dir.file("file0")));
  CHECK(entries.error() == std::errc::not_a_directory);
}

TEST_CASE("rename replaces, and tells both names when it fails") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("new", "new");
  dir.write("old", "old");
  REQUIRE(run(*reactor, rename(*reactor, dir.file("new"), dir.file("old"))));
  CHECK(dir.read("old") == "new");
  CHECK_FALSE(dir.exists("new"));
  const Result<void> missing = run(*reactor, rename(*reactor, dir.file("new"), dir.file("other")));
  CHECK(is_not_found(missing.error()));
  CHECK(says(missing.error(), "rename " + dir.file("new") + ": No such file"));
  CHECK(says(missing.error(), dir.file("other")));
  CHECK(dir.read("old") == "new");
}

TEST_CASE("remove is for files, remove_dir for empty directories") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("file", "text");
  REQUIRE(run(*reactor, mkdir(*reactor, dir.file("folder"))));
  dir.write("folder/inside", "text");
  Result<void> removed = run(*reactor, remove(*reactor, dir.file("folder")));
  CHECK(removed.error() == std::errc::is_a_directory);
  CHECK(says(removed.error(), "remove " + dir.file("folder") + ": Is a directory"));
  removed = run(*reactor, remove_dir(*reactor, dir.file("folder")));
  CHECK(removed.error() == std::errc::directory_not_empty);
  CHECK(says(removed.error(), "remove_dir " + dir.file("folder")));
  removed = run(*reactor, remove_dir(*reactor, dir.file("file")));
  CHECK(removed.error() == std::errc::not_a_directory);
  CHECK(dir.read("folder/inside") == "text");
  CHECK(run(*reactor, remove(*reactor, dir.file("folder/inside"))));
  CHECK(run(*reactor, remove_dir(*reactor, dir.file("folder"))));
  CHECK(run(*reactor, remove(*reactor, dir.file("file"))));
  CHECK(is_not_found(run(*reactor, remove(*reactor, dir.file("file"))).error()));
  CHECK_FALSE(dir.exists("file"));
  CHECK_FALSE(dir.exists("folder"));
}

TEST_CASE("sync_dir wants a directory") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  dir.write("file", "text");
  CHECK(run(*rig.reactor, sync_dir(*rig.reactor, dir.path())));
  const Result<void> on_file = run(*rig.reactor, sync_dir(*rig.reactor, dir.file("file")));
  CHECK(on_file.error() == std::errc::not_a_directory);
  CHECK(says(on_file.error(), "sync_dir " + dir.file("file")));
  rig.faults.fail(OpCode::sync_dir, 1, EIO);
  const Result<void> failed = run(*rig.reactor, sync_dir(*rig.reactor, dir.path()));
  CHECK(failed.error() == std::errc::io_error);
  CHECK(rig.faults.count(OpCode::sync_dir) == 3);
}

TEST_CASE("empty paths and zero bytes are refused before any system call") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  const std::uint64_t before = reactor->stats().submitted;
  const std::string zero = dir.file(std::string("a\0b", 3));
  const std::string fine = dir.file("fine");
  for (const std::string& path : {std::string(), zero}) {
    CHECK(run(*reactor, mkdir(*reactor, path)).error() == Errc::out_of_range);
    CHECK(run(*reactor, list(*reactor, path)).error() == Errc::out_of_range);
    CHECK(run(*reactor, remove(*reactor, path)).error() == Errc::out_of_range);
    CHECK(run(*reactor, remove_dir(*reactor, path)).error() == Errc::out_of_range);
    CHECK(run(*reactor, sync_dir(*reactor, path)).error() == Errc::out_of_range);
    CHECK(run(*reactor, rename(*reactor, path, fine)).error() == Errc::out_of_range);
    CHECK(run(*reactor, rename(*reactor, fine, path)).error() == Errc::out_of_range);
    CHECK(run(*reactor, lock(*reactor, path, {})).error() == Errc::out_of_range);
  }
  CHECK(reactor->stats().submitted == before);
}

TEST_CASE("paths are put together and taken apart") {
  CHECK(join_path("dir", "name") == "dir/name");
  CHECK(join_path("dir/", "name") == "dir/name");
  CHECK(join_path("/", "name") == "/name");
  CHECK(join_path("", "name") == "name");
  CHECK(parent_path("name") == ".");
  CHECK(parent_path("dir/name") == "dir");
  CHECK(parent_path("/name") == "/");
  CHECK(parent_path("/dir/name") == "/dir");
  CHECK(parent_path("dir/sub/name") == "dir/sub");
}

TEST_CASE("two open files cannot both have the lock, in one process either") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile first = open_file(*reactor, dir.file("lock"), writable(Direct::off));
  DirectFile second = open_file(*reactor, dir.file("lock"), writable(Direct::off));
  REQUIRE(run(*reactor, first.try_lock()));
  const Result<void> conflict = run(*reactor, second.try_lock());
  CHECK(conflict.error() == Errc::busy);
  CHECK(says(conflict.error(), "try_lock " + dir.file("lock")));
  // Closing another descriptor of the file, or locking again, takes nothing away.
  DirectFile third = open_file(*reactor, dir.file("lock"), writable(Direct::off));
  close_file(*reactor, std::move(third));
  CHECK(run(*reactor, first.try_lock()));
  CHECK(run(*reactor, second.try_lock()).error() == Errc::busy);
  close_file(*reactor, std::move(first));
  CHECK(run(*reactor, second.try_lock()));
  close_file(*reactor, std::move(second));
}

TEST_CASE("lock waits up to its limit and tells how long it did") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  Result<FileLock> held = run(*reactor, lock(*reactor, dir.file("LOCK"), {}));
  REQUIRE(held);
  CHECK(dir.exists("LOCK"));
  Result<FileLock> refused = run(*reactor, lock(*reactor, dir.file("LOCK"), {}));
  CHECK(refused.error() == Errc::locked);
  CHECK(says(refused.error(), "lock " + dir.file("LOCK") + ": locked by another process (waited "));
  const Instant begin = reactor->now();
  refused = run(*reactor, lock(*reactor, dir.file("LOCK"), milliseconds(30)));
  const auto waited = reactor->now() - begin;
  CHECK(refused.error() == Errc::locked);
  CHECK(refused.error().a() >= 30);
  CHECK(milliseconds(refused.error().a()) <= waited);
  CHECK(says(refused.error(), "waited " + std::to_string(refused.error().a()) + " ms"));
  settle(*reactor);
  CHECK(descriptors_of(dir.file("LOCK")) == 1);
}

TEST_CASE("lock gets what is let go while it waits, and a stop ends the waiting") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  Result<FileLock> held = run(*reactor, lock(*reactor, dir.file("LOCK"), {}));
  REQUIRE(held);
  StopSource stop;
  Running<Result<FileLock>> patient = start(*reactor, lock(*reactor, dir.file("LOCK"), hours(1)));
  Running<Result<FileLock>> stopped =
      start(*reactor, lock(*reactor, dir.file("LOCK"), hours(1)), stop.token());
  // Until both have been refused once, and sleep.
  while (reactor->next_deadline() == kNever) reactor->turn(kNever);
  for (int i = 0; i < 4; ++i) reactor->turn(kNever);
  CHECK_FALSE(patient.done());
  stop.request_stop();
  CHECK(is_cancelled(finish(*reactor, stopped).error()));
  *held = FileLock();
  const Result<FileLock> got = finish(*reactor, patient);
  CHECK(got);
}

TEST_CASE("a lock that another process holds is held until that process ends") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  const std::string path = dir.write("LOCK", "");
  int ready[2];
  int go[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(go) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(go[1]);
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct flock whole = {};
    whole.l_type = F_WRLCK;
    const char answer = ::fcntl(descriptor, F_OFD_SETLK, &whole) == 0 ? 'y' : 'n';
    char end = 0;
    if (::write(ready[1], &answer, 1) == 1 && ::read(go[0], &end, 1) < 0) ::_exit(1);
    ::_exit(0);
  }
  char answer = 0;
  REQUIRE(::read(ready[0], &answer, 1) == 1);
  REQUIRE(answer == 'y');
  CHECK(run(*reactor, lock(*reactor, path, milliseconds(3))).error() == Errc::locked);
  for (const int descriptor : {go[0], go[1], ready[0], ready[1]}) ::close(descriptor);
  const Result<FileLock> got = run(*reactor, lock(*reactor, path, hours(1)));
  CHECK(got);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("registering a file with the driver") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  const Result<void> registered = file.register_with_driver();
  if (reactor->driver().files == nullptr) {
    CHECK(registered.error() == Errc::unsupported);
    CHECK(says(registered.error(), "register_with_driver " + dir.file("data")));
    CHECK(says(registered.error(), "keeps no table of files"));
  } else {
    CHECK(registered);
    CHECK(file.register_with_driver());
  }
  // It works as before, and its number is free again after the close.
  REQUIRE(wait(*reactor, file.write_at(filled(kPage, 4), 0)));
  REQUIRE(wait(*reactor, file.sync_data()));
  REQUIRE(run(*reactor, file.preallocate(2 * kPage)));
  REQUIRE(run(*reactor, file.try_lock()));
  const BufIoResult read = wait(*reactor, file.read_at(buffer(kPage), 0));
  REQUIRE(read);
  CHECK(holds(read.buf().bytes(), 4));
  close_file(*reactor, std::move(file));
  CHECK(descriptors_of(dir.file("data")) == 0);
  // The table has few places: each comes back.
  for (int i = 0; i < 200; ++i) {
    file = open_file(*reactor, dir.file("data"), writable());
    if (reactor->driver().files != nullptr) REQUIRE(file.register_with_driver());
    if (i % 2 == 0) {
      close_file(*reactor, std::move(file));
    } else {
      file = DirectFile();
      settle(*reactor);
    }
  }
  // And the lock went with the file, registered or not.
  CHECK(run(*reactor, lock(*reactor, dir.file("data"), {})));
}

TEST_CASE("operations by path: stopped before they start, they do not take place") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("file", "text");
  StopSource stop;
  stop.request_stop(StopReason::deadline);
  Running<Result<void>> removing =
      start(*reactor, remove(*reactor, dir.file("file")), stop.token());
  const Result<void> removed = finish(*reactor, removing);
  CHECK(removed.error() == Errc::deadline);
  CHECK(says(removed.error(), "remove " + dir.file("file")));
  CHECK(dir.exists("file"));
  Running<Result<DirectFile>> opening =
      start(*reactor, DirectFile::create(*reactor, dir.file("file")), stop.token());
  CHECK(finish(*reactor, opening).error() == Errc::deadline);
  CHECK(dir.read("file") == "text");
}

}  // namespace diorite::test
