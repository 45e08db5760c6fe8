// The numbered cases of the file layer.

#include <sys/resource.h>

#include <array>
#include <csignal>
#include <cstring>

#include "file/rig.hpp"
#include "support/death.hpp"
#include "support/memory_dir.hpp"

namespace diorite::test {
namespace {

void put(std::span<std::byte> bytes, std::size_t at, std::string_view text) {
  std::memcpy(bytes.data() + at, text.data(), text.size());
}

std::string_view text_at(std::span<const std::byte> bytes, std::size_t at, std::size_t length) {
  return {reinterpret_cast<const char*>(bytes.data()) + at, length};
}

AlignedBuf read_back(Reactor& reactor, DirectFile& file, std::uint64_t offset, std::size_t bytes) {
  BufIoResult result = wait(reactor, file.read_at(buffer(bytes), offset, bytes));
  if (!result) FAIL(result.error().text());
  REQUIRE(result.bytes() == bytes);
  REQUIRE(result.buf().size() == bytes);
  return std::move(result).buf();
}

void write_page(Reactor& reactor, DirectFile& file, std::uint64_t offset, AlignedBuf page) {
  const std::size_t bytes = page.size();
  const BufIoResult result = wait(reactor, file.write_at(std::move(page), offset));
  if (!result) FAIL(result.error().text());
  REQUIRE(result.bytes() == bytes);
}

std::uint64_t size_of(Reactor& reactor, DirectFile& file) {
  const Result<std::uint64_t> size = wait(reactor, file.size());
  REQUIRE(size);
  return *size;
}

DirectFile opened(Reactor& reactor, Task<Result<DirectFile>> opening) {
  Result<DirectFile> file = run(reactor, std::move(opening));
  if (!file) FAIL(file.error().text());
  return std::move(*file);
}

}  // namespace

TEST_CASE("F1: a created file has size 0") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", "what was there before");
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  CHECK(size_of(*reactor, file) == 0);
  close_file(*reactor, std::move(file));
  CHECK(dir.read("data").empty());
}

TEST_CASE("F2: a page that was written and synced reads back") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  AlignedBuf page = buffer(kPage);
  put(page.bytes(), 0, "hello");
  write_page(*reactor, file, 0, std::move(page));
  REQUIRE(wait(*reactor, file.sync_data()));
  page = read_back(*reactor, file, 0, kPage);
  CHECK(text_at(page.bytes(), 0, 5) == "hello");
  close_file(*reactor, std::move(file));
  CHECK(dir.read("data").substr(0, 5) == "hello");
}

TEST_CASE("F3: two pages, bytes at their ends") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  AlignedBuf first = buffer(kPage);
  put(first.bytes(), 0, "page");
  put(first.bytes(), kPage - 4, "end!");
  write_page(*reactor, file, 0, std::move(first));
  AlignedBuf second = buffer(kPage);
  put(second.bytes(), 0, "page1");
  write_page(*reactor, file, kPage, std::move(second));
  first = read_back(*reactor, file, 0, kPage);
  second = read_back(*reactor, file, kPage, kPage);
  CHECK(text_at(first.bytes(), 0, 4) == "page");
  CHECK(text_at(first.bytes(), kPage - 4, 4) == "end!");
  CHECK(text_at(second.bytes(), 0, 5) == "page1");
  CHECK(size_of(*reactor, file) == 2 * kPage);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F4: one read over four pages") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  for (std::size_t i = 0; i < 4; ++i) {
    AlignedBuf page = buffer(kPage);
    page[0] = static_cast<std::byte>(i);
    write_page(*reactor, file, i * kPage, std::move(page));
  }
  const AlignedBuf all = read_back(*reactor, file, 0, 4 * kPage);
  for (std::size_t i = 0; i < 4; ++i) CHECK(all[i * kPage] == static_cast<std::byte>(i));
  close_file(*reactor, std::move(file));
}

TEST_CASE("F5: the ways to open keep what is there") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  const std::string path = dir.file("data");
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, path));
  write_page(*reactor, file, 0, filled(kPage, 7));
  REQUIRE(wait(*reactor, file.sync_data()));
  file = DirectFile();
  file = opened(*reactor, DirectFile::open_rw(*reactor, path));
  CHECK(holds(read_back(*reactor, file, 0, kPage).bytes(), 7));
  file = opened(*reactor, DirectFile::open(*reactor, path));
  CHECK(holds(read_back(*reactor, file, 0, kPage).bytes(), 7));
  DirectFile wal = opened(*reactor, DirectFile::open_wal(*reactor, path));
  DirectFile again = opened(*reactor, DirectFile::open_wal(*reactor, path));
  CHECK(holds(read_back(*reactor, wal, 0, kPage).bytes(), 7));
  CHECK(holds(read_back(*reactor, again, 0, kPage).bytes(), 7));
  for (DirectFile* each : {&file, &wal, &again}) *each = DirectFile();
  settle(*reactor);
  CHECK(descriptors_of(path) == 0);
}

TEST_CASE("F6: a write at a misaligned offset writes nothing and gives the buffer back") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  const ReactorStats before = reactor->stats();
  BufIoResult result = wait(*reactor, file.write_at(filled(kPage, 3), 100));
  CHECK(result.error() == Errc::misaligned);
  CHECK(result.error().a() == 100);
  CHECK(result.error().b() == file.alignment().offset);
  CHECK(result.bytes() == 0);
  CHECK(result.buf().size() == kPage);
  CHECK(holds(result.buf().bytes(), 3));
  CHECK(reactor->stats().submitted == before.submitted);
  CHECK(size_of(*reactor, file) == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F7: a read of a page and 100 bytes is misaligned") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", std::string(3 * kPage, 'x'));
  DirectFile file = opened(*reactor, DirectFile::open(*reactor, dir.file("data")));
  Frame frame(2 * kPage);
  const IoResult raw = wait(*reactor, file.read_at(RawIoBuf(frame.bytes().data(), kPage + 100), 0));
  CHECK(raw.error() == Errc::misaligned);
  CHECK(raw.error().a() == kPage + 100);
  const BufIoResult owned = wait(*reactor, file.read_at(buffer(2 * kPage), 0, kPage + 100));
  CHECK(owned.error() == Errc::misaligned);
  CHECK(owned.buf().capacity() == 2 * kPage);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F8: preallocate only ever grows, and truncate sets") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  REQUIRE(run(*reactor, file.preallocate(2 * kPage)));
  CHECK(size_of(*reactor, file) == 2 * kPage);
  const AlignedBuf zeros = read_back(*reactor, file, 0, 2 * kPage);
  CHECK(std::string_view(reinterpret_cast<const char*>(zeros.data()), zeros.size()) ==
        std::string(2 * kPage, '\0'));
  REQUIRE(run(*reactor, file.preallocate(kPage)));
  REQUIRE(run(*reactor, file.preallocate(0)));
  CHECK(size_of(*reactor, file) == 2 * kPage);
  REQUIRE(run(*reactor, file.preallocate(16 * kPage, Prealloc::reserve)));
  CHECK(size_of(*reactor, file) == 2 * kPage);
  struct stat found;
  REQUIRE(::stat(dir.file("data").c_str(), &found) == 0);
  CHECK(static_cast<std::uint64_t>(found.st_blocks) * 512 >= 16 * kPage);
  REQUIRE(wait(*reactor, file.truncate(kPage)));
  CHECK(size_of(*reactor, file) == kPage);
  close_file(*reactor, std::move(file));

  OpenOptions options = writable();
  options.preallocate_bytes = 3 * kPage;
  file = open_file(*reactor, dir.file("other"), options);
  CHECK(size_of(*reactor, file) == 3 * kPage);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F9: sizes beyond 2^63 overflow before any system call") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  constexpr std::uint64_t kBeyond = std::uint64_t{1} << 63;
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  const std::uint64_t before = reactor->stats().submitted;
  const Result<void> allocated = run(*reactor, file.preallocate(kBeyond));
  CHECK(allocated.error() == Errc::overflow);
  CHECK(allocated.error().a() == kBeyond);
  CHECK(says(allocated.error(), "preallocate " + dir.file("data") + " length 9223372036854775808"));
  const Result<void> truncated = wait(*reactor, file.truncate(~std::uint64_t{0}));
  CHECK(truncated.error() == Errc::overflow);
  CHECK(truncated.error().a() == ~std::uint64_t{0});
  CHECK(says(truncated.error(), "truncate " + dir.file("data")));
  CHECK(reactor->stats().submitted == before);
  CHECK(size_of(*reactor, file) == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F10: a page of 0xAA after both syncs") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = opened(*reactor, DirectFile::create(*reactor, dir.file("data")));
  AlignedBuf page = buffer(kPage);
  std::memset(page.data(), 0xAA, kPage);
  write_page(*reactor, file, 0, std::move(page));
  REQUIRE(wait(*reactor, file.sync_data()));
  REQUIRE(wait(*reactor, file.sync_all()));
  page = read_back(*reactor, file, 0, kPage);
  CHECK(std::string_view(reinterpret_cast<const char*>(page.data()), kPage) ==
        std::string(kPage, '\xAA'));
  CHECK(size_of(*reactor, file) == kPage);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F11: the life of a name") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  const std::string folder = dir.file("folder");
  const std::string one = join_path(folder, "one");
  const std::string two = join_path(folder, "two");
  const Result<bool> made = run(*reactor, mkdir(*reactor, folder));
  REQUIRE(made);
  CHECK(*made);
  DirectFile file = open_file(*reactor, one, writable(Direct::off));
  REQUIRE(run(*reactor, sync_dir(*reactor, folder)));
  Result<std::vector<DirEntry>> entries = run(*reactor, list(*reactor, folder));
  REQUIRE(entries);
  REQUIRE(entries->size() == 1);
  CHECK(entries->front().name == "one");
  CHECK(entries->front().kind == FileKind::regular);
  const std::string text = "12345";
  const IoResult written = wait(*reactor, file.write_at(ConstIoBuf(as_bytes(text)), 0));
  REQUIRE(written);
  CHECK(size_of(*reactor, file) == 5);
  close_file(*reactor, std::move(file));
  REQUIRE(run(*reactor, rename(*reactor, one, two)));
  CHECK_FALSE(dir.exists("folder/one"));
  CHECK(dir.read("folder/two") == text);
  REQUIRE(run(*reactor, remove(*reactor, two)));
  CHECK_FALSE(dir.exists("folder/two"));
  REQUIRE(run(*reactor, remove_dir(*reactor, folder)));
  CHECK_FALSE(dir.exists("folder"));
}

TEST_CASE("F12: what reads answer around the end of a file of 5000 bytes") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  std::string content(5000, '\0');
  fill({reinterpret_cast<std::byte*>(content.data()), content.size()}, 9);
  dir.write("data", content);
  const Direct direct = GENERATE(Direct::preferred, Direct::off);
  OpenOptions options;
  options.direct = direct;
  DirectFile file = open_file(*reactor, dir.file("data"), options);

  BufIoResult exact = wait(*reactor, file.read_at(buffer(2 * kPage), 0));
  CHECK(exact.error() == Errc::short_io);
  CHECK(exact.error().a() == 8192);
  CHECK(exact.error().b() == 5000);
  CHECK(exact.bytes() == 5000);
  CHECK(exact.buf().size() == 5000);
  CHECK(exact.buf().capacity() == 2 * kPage);
  CHECK(holds(exact.buf().bytes(), 9));
  CHECK(says(exact.error(), "read_at " + dir.file("data") + " offset 0 length 8192"));
  CHECK(says(exact.error(), "(expected 8192, done 5000)"));

  const BufIoResult some = wait(*reactor, file.read_some_at(std::move(exact).buf(), 0));
  REQUIRE(some);
  CHECK(some.bytes() == 5000);
  CHECK(some.buf().size() == 5000);
  BufIoResult tail = wait(*reactor, file.read_some_at(buffer(kPage), kPage));
  REQUIRE(tail);
  CHECK(tail.bytes() == 904);
  CHECK(tail.buf().size() == 904);
  tail = wait(*reactor, file.read_some_at(std::move(tail).buf(), 2 * kPage));
  REQUIRE(tail);
  CHECK(tail.bytes() == 0);
  CHECK(tail.buf().empty());
  tail = wait(*reactor, file.read_at(std::move(tail).buf(), 2 * kPage));
  CHECK(tail.error() == Errc::short_io);
  CHECK(tail.error().b() == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F13: a misaligned offset is an error inside the file and past its end") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", std::string(5000, 'x'));
  DirectFile file = opened(*reactor, DirectFile::open(*reactor, dir.file("data")));
  for (const std::uint64_t offset : {std::uint64_t{100}, std::uint64_t{1000001}}) {
    CHECK(wait(*reactor, file.read_at(buffer(kPage), offset)).error() == Errc::misaligned);
    CHECK(wait(*reactor, file.read_some_at(buffer(kPage), offset)).error() == Errc::misaligned);
  }
  close_file(*reactor, std::move(file));
}

TEST_CASE("F14: a buffer's address off by one is an error, whatever the kernel would take") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", std::string(2 * kPage, 'x'));
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  Frame frame(3 * kPage);
  const auto off = frame.bytes().subspan(1, kPage);
  const auto address = reinterpret_cast<std::uintptr_t>(off.data());
  const IoResult read = wait(*reactor, file.read_at(RawIoBuf::from_slice(off), 0));
  CHECK(read.error() == Errc::misaligned);
  CHECK(read.error().a() == address);
  CHECK(read.error().b() == file.alignment().memory);
  CHECK(says(read.error(), "the buffer's address"));
  const IoResult written = wait(*reactor, file.write_at(ConstIoBuf(off), 0));
  CHECK(written.error() == Errc::misaligned);
  CHECK(written.error().a() == address);
  {
    const PinIoResult pinned = wait(*reactor, file.read_at(frame.pinned(off), 0));
    CHECK(pinned.error() == Errc::misaligned);
    CHECK(pinned.buf().raw().data() == off.data());
    CHECK(static_cast<bool>(pinned.buf()));
    CHECK(frame.pins == 1);
  }
  close_file(*reactor, std::move(file));
  CHECK(dir.read("data") == std::string(2 * kPage, 'x'));
}

TEST_CASE("F15: direct policies on a file system that is all page cache") {
  const MemoryDir dir;
  if (!dir) {
    WARN("no tmpfs at /dev/shm: not tested");
    return;
  }
  const auto reactor = make_test_reactor();
  const std::string path = dir.file();
  DirectFile file = open_file(*reactor, path, writable());
  CHECK_FALSE(file.is_direct());
  CHECK(file.direct_reason().starts_with("buffered"));
  CHECK(file.alignment().offset == kPage);
  CHECK(wait(*reactor, file.write_at(filled(kPage, 1), 512)).error() == Errc::misaligned);
  write_page(*reactor, file, 0, filled(kPage, 1));
  close_file(*reactor, std::move(file));

  OpenOptions required = writable(Direct::required);
  required.truncate = true;
  const Result<DirectFile> refused = run(*reactor, DirectFile::open_with(*reactor, path, required));
  CHECK(refused.error() == Errc::direct_unsupported);
  CHECK(says(refused.error(), "open " + path));
  CHECK(says(refused.error(), "direct I/O is not supported here"));
  settle(*reactor);
  CHECK(descriptors_of(path) == 0);

  // What the refused open was to truncate is still there.
  file = open_file(*reactor, path, writable(Direct::off));
  CHECK(size_of(*reactor, file) == kPage);
  CHECK_FALSE(file.is_direct());
  CHECK(file.alignment().offset == 1);
  CHECK(file.alignment().memory == 1);
  CHECK(file.alignment().source == AlignSource::none);
  Frame frame(kPage);
  const IoResult odd = wait(*reactor, file.read_at(RawIoBuf(frame.bytes().data() + 3, 77), 5));
  CHECK(odd);
  CHECK(odd.bytes() == 77);
  close_file(*reactor, std::move(file));
}

TEST_CASE("F16: without the right to O_NOATIME a file opens all the same") {
  const TempDir dir;
  const std::string own = dir.write("own", "mine");
  REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
  const auto reactor = make_test_reactor();
  OpenOptions options;
  options.noatime = true;
  DirectFile file = open_file(*reactor, own, options);
  int flags = 0;
  CHECK(descriptors_of(own, &flags) == 1);
  CHECK((flags & O_NOATIME) != 0);
  close_file(*reactor, std::move(file));

  const Death death = run_in_child([] {
    become_nobody();
    const std::string path = "/etc/passwd";
    auto in_child = Reactor::create({test_driver_options(), 4096});
    child_check(static_cast<bool>(in_child), "Reactor::create");
    OpenOptions other;
    other.noatime = true;
    Result<DirectFile> opened = run(**in_child, DirectFile::open_with(**in_child, path, other));
    child_check(static_cast<bool>(opened), opened.error().text());
    int child_flags = O_NOATIME;
    child_check(descriptors_of(path, &child_flags) == 1, "one descriptor");
    child_check((child_flags & O_NOATIME) == 0, "no O_NOATIME");
    const Result<std::uint64_t> size = wait(**in_child, opened->size());
    child_check(size && *size > 0, "size");
    *opened = DirectFile();
  });
  INFO(death.error_output);
  CHECK(death.survived());
}

TEST_CASE("F18: a write that runs out of room says how much is on the file") {
  const TempDir dir;
  const Death death = run_in_child([&dir] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit two_pages{2 * kPage, 2 * kPage};
    child_check(::setrlimit(RLIMIT_FSIZE, &two_pages) == 0, "setrlimit");
    auto reactor = Reactor::create({test_driver_options(), 4096});
    child_check(static_cast<bool>(reactor), "Reactor::create");
    Result<DirectFile> file =
        run(**reactor, DirectFile::open_with(**reactor, dir.file("data"), writable()));
    child_check(static_cast<bool>(file), file.error().text());
    AlignedBuf big = *AlignedBuf::zeroed(4 * kPage);
    fill(big.bytes(), 5);
    const BufIoResult result = wait(**reactor, file->write_at(std::move(big), 0));
    child_check(is_no_space(result.error()), "no room: " + result.error().text());
    child_check(result.bytes() == 2 * kPage, "two pages are on the file");
    child_check(result.buf().size() == 4 * kPage && holds(result.buf().bytes(), 5), "the buffer");
    child_check(!file->poison(), "a full disk poisons nothing");
    // Making room, here by asking for less, is enough to go on.
    AlignedBuf page = *AlignedBuf::zeroed(kPage);
    fill(page.bytes(), 6);
    child_check(static_cast<bool>(wait(**reactor, file->write_at(std::move(page), kPage))),
                "again");
    child_check(static_cast<bool>(wait(**reactor, file->sync_data())), "sync");
    *file = DirectFile();
  });
  INFO(death.error_output);
  CHECK(death.survived());
  const std::string content = dir.read("data");
  REQUIRE(content.size() == 2 * kPage);
  CHECK(holds(as_bytes(content).first(kPage), 5));
  CHECK(holds(as_bytes(content).subspan(kPage), 6));
}

TEST_CASE("F18: ENOSPC gives the buffer back, poisons nothing, and the write can be repeated") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
  rig.faults.fail(OpCode::write, 1, ENOSPC);
  BufIoResult result = wait(*rig.reactor, file.write_at(filled(kPage, 8), 0));
  CHECK(result.error() == std::errc::no_space_on_device);
  CHECK(is_no_space(result.error()));
  CHECK(result.bytes() == 0);
  CHECK(says(result.error(), "write_at " + dir.file("data") + " offset 0 length 4096: No space"));
  REQUIRE(result.buf().size() == kPage);
  CHECK_FALSE(static_cast<bool>(file.poison()));
  result = wait(*rig.reactor, file.write_at(std::move(result).buf(), 0));
  CHECK(result);
  CHECK(wait(*rig.reactor, file.sync_data()));
  close_file(*rig.reactor, std::move(file));
  CHECK(holds(as_bytes(dir.read("data")), 8));
}

}  // namespace diorite::test
