// Opening: the ladder of direct I/O, exclusive creation, and what is wrong with a path.

#include <cerrno>

#include "file/rig.hpp"
#include "support/death.hpp"

namespace diorite::test {
namespace {

Error open_error(Reactor& reactor, std::string path, OpenOptions options) {
  const Result<DirectFile> opened =
      run(reactor, DirectFile::open_with(reactor, std::move(path), options));
  REQUIRE_FALSE(opened);
  return opened.error();
}

}  // namespace

TEST_CASE("direct policies on the file system of the build") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile required = open_file(*reactor, dir.file("data"), writable(Direct::required));
  CHECK(required.is_direct());
  CHECK(required.direct_reason() == "direct");
  int flags = 0;
  CHECK(descriptors_of(dir.file("data"), &flags) == 1);
  CHECK((flags & O_DIRECT) != 0);
  const DioAlign align = required.alignment();
  CHECK(align.offset >= 512);
  CHECK(align.memory >= 512);
  CHECK((align.offset & (align.offset - 1)) == 0);
  CHECK(align.source != AlignSource::none);
  close_file(*reactor, std::move(required));

  DirectFile preferred = open_file(*reactor, dir.file("data"), writable());
  CHECK(preferred.is_direct());
  close_file(*reactor, std::move(preferred));

  DirectFile off = open_file(*reactor, dir.file("data"), writable(Direct::off));
  CHECK_FALSE(off.is_direct());
  CHECK(off.direct_reason() == "buffered: the options ask for it");
  CHECK(off.alignment().source == AlignSource::none);
  CHECK(off.alignment().offset == 1);
  CHECK(off.alignment().read_offset == 1);
  CHECK(off.alignment().memory == 1);
  CHECK(descriptors_of(dir.file("data"), &flags) == 1);
  CHECK((flags & O_DIRECT) == 0);
  close_file(*reactor, std::move(off));
}

TEST_CASE("an open that is refused for O_DIRECT goes on without, or says so") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  SECTION("preferred") {
    rig.faults.fail(OpCode::open, 1, EINVAL);
    DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
    CHECK_FALSE(file.is_direct());
    CHECK(file.direct_reason() == "buffered: the file system refuses O_DIRECT at open");
    CHECK(file.alignment().offset == kPage);
    CHECK(rig.faults.count(OpCode::open) == 2);
    close_file(*rig.reactor, std::move(file));
  }
  SECTION("preferred, and refused for good") {
    rig.faults.fail(OpCode::open, FaultDriver::kEvery, EINVAL);
    const Error error = open_error(*rig.reactor, dir.file("data"), writable());
    CHECK(error == std::errc::invalid_argument);
    CHECK(rig.faults.count(OpCode::open) == 2);
  }
  SECTION("required") {
    rig.faults.fail(OpCode::open, 1, EINVAL);
    const Error error = open_error(*rig.reactor, dir.file("data"), writable(Direct::required));
    CHECK(error == Errc::direct_unsupported);
    CHECK(says(error, "open " + dir.file("data") + ": direct I/O is not supported here"));
    CHECK(says(error, "refuses O_DIRECT at open"));
    CHECK(rig.faults.count(OpCode::open) == 1);
  }
  SECTION("O_NOATIME refused above the driver's own attempt") {
    rig.faults.fail(OpCode::open, 1, EPERM);
    OpenOptions options = writable();
    options.noatime = true;
    DirectFile file = open_file(*rig.reactor, dir.file("data"), options);
    CHECK(file.is_direct());
    close_file(*rig.reactor, std::move(file));
  }
}

TEST_CASE("exclusive creation never takes a file that somebody else made") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  const Direct direct = GENERATE(Direct::required, Direct::preferred, Direct::off);
  OpenOptions options = writable(direct);
  options.exclusive = true;
  DirectFile file = open_file(*rig.reactor, dir.file("data"), options);
  close_file(*rig.reactor, std::move(file));
  Error error = open_error(*rig.reactor, dir.file("data"), options);
  CHECK(error == std::errc::file_exists);
  CHECK(says(error, "open " + dir.file("data") + ": File exists"));
  // Also when O_DIRECT is refused first, and the file comes in between the two attempts.
  if (direct == Direct::preferred) {
    rig.faults.fail(OpCode::open, 1, EINVAL);
    error = open_error(*rig.reactor, dir.file("data"), options);
    CHECK(error == std::errc::file_exists);
  }
  settle(*rig.reactor);
  CHECK(descriptors_of(dir.file("data")) == 0);
}

TEST_CASE("opening with direct I/O required truncates") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", std::string(5000, 'x'));
  OpenOptions options = writable(Direct::required);
  options.truncate = true;
  DirectFile file = open_file(*reactor, dir.file("data"), options);
  close_file(*reactor, std::move(file));
  CHECK(dir.read("data").empty());
}

TEST_CASE("what is wrong with a path is told, with the path") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("file", "text");
  OpenOptions reading;
  struct Case {
    std::string path;
    OpenOptions options;
    std::errc code;
    const char* text;
  };
  const Case cases[] = {
      {dir.file("missing"), reading, std::errc::no_such_file_or_directory, "No such file"},
      {dir.file("missing/file"), writable(), std::errc::no_such_file_or_directory, "No such file"},
      {dir.file("file/below"), writable(), std::errc::not_a_directory, "Not a directory"},
      {dir.path(), writable(), std::errc::is_a_directory, "Is a directory"},
      {dir.file(std::string(300, 'n')), writable(), std::errc::filename_too_long, "name too long"},
  };
  for (const Case& each : cases) {
    const Error error = open_error(*reactor, each.path, each.options);
    CHECK(error == each.code);
    CHECK(says(error, "open "));
    CHECK(says(error, each.path.substr(each.path.size() - 20)));
    CHECK(says(error, each.text));
  }
  CHECK(is_not_found(open_error(*reactor, dir.file("missing"), reading)));
  const std::uint64_t before = reactor->stats().submitted;
  Error error = open_error(*reactor, "", reading);
  CHECK(error == Errc::out_of_range);
  CHECK(says(error, "the path is empty"));
  error = open_error(*reactor, dir.file(std::string("a\0b", 3)), writable());
  CHECK(error == Errc::out_of_range);
  CHECK(says(error, "zero byte"));
  CHECK(reactor->stats().submitted == before);
  CHECK_FALSE(dir.exists("a"));
}

TEST_CASE("without permission nothing opens") {
  const TempDir dir;
  const std::string path = dir.write("secret", "text");
  REQUIRE(::chmod(path.c_str(), 0) == 0);
  const Death death = run_in_child([&path] {
    become_nobody();
    auto reactor = Reactor::create({test_driver_options(), 4096});
    child_check(static_cast<bool>(reactor), "Reactor::create");
    const Result<DirectFile> opened = run(**reactor, DirectFile::open(**reactor, path));
    child_check(opened.error() == std::errc::permission_denied, opened.error().text());
    child_check(opened.error().text() == "open " + path + ": Permission denied",
                opened.error().text());
  });
  INFO(death.error_output);
  CHECK(death.survived());
  CHECK(::chmod(path.c_str(), 0600) == 0);
  CHECK(dir.read("secret") == "text");
}

TEST_CASE("an open whose information cannot be had leaves no descriptor") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  rig.faults.fail(OpCode::info, 1, EIO);
  const Error error = open_error(*rig.reactor, dir.file("data"), writable());
  CHECK(error == std::errc::io_error);
  CHECK(says(error, "open " + dir.file("data")));
  settle(*rig.reactor);
  CHECK(descriptors_of(dir.file("data")) == 0);
}

TEST_CASE("an open whose room cannot be had leaves no descriptor") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  rig.faults.fail(OpCode::allocate, 1, ENOSPC);
  OpenOptions options = writable();
  options.preallocate_bytes = 4 * kPage;
  CHECK(is_no_space(open_error(*rig.reactor, dir.file("data"), options)));
  settle(*rig.reactor);
  CHECK(descriptors_of(dir.file("data")) == 0);
}

TEST_CASE("the mode and the close-on-exec flag of a new file") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  OpenOptions options = writable();
  options.mode = 0600;
  DirectFile file = open_file(*reactor, dir.file("data"), options);
  struct stat found;
  REQUIRE(::stat(dir.file("data").c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 0600);
  for (int descriptor = 3; descriptor < 64; ++descriptor) {
    struct stat other;
    if (::fstat(descriptor, &other) != 0 || other.st_ino != found.st_ino) continue;
    CHECK((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0);
  }
  close_file(*reactor, std::move(file));
}

}  // namespace diorite::test
