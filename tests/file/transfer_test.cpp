// Reads and writes in each buffer form: what arrives, and what is refused.

#include <string>

#include "file/forms.hpp"

namespace diorite::test {
namespace {

constexpr std::uint64_t kBeyond = std::uint64_t{1} << 63;

std::string pattern(std::size_t bytes, unsigned seed) {
  std::string content(bytes, '\0');
  fill({reinterpret_cast<std::byte*>(content.data()), content.size()}, seed);
  return content;
}

template <class F>
void in_every_form(F body) {
  for (const Form form : kForms) {
    DYNAMIC_SECTION(name_of(form)) { body(form); }
  }
}

template <class F>
void in_every_form_and_way(F body) {
  for (const Form form : kForms) {
    for (const Way way : kWays) {
      DYNAMIC_SECTION(name_of(form) << ' ' << name_of(way)) { body(form, way); }
    }
  }
}

}  // namespace

TEST_CASE("what was written in any form is read in any form") {
  in_every_form([](Form form) {
    const TempDir dir;
    const auto reactor = make_test_reactor();
    const Direct direct = GENERATE(Direct::preferred, Direct::off);
    const bool dsync = GENERATE(false, true);
    DirectFile file = open_file(*reactor, dir.file("data"), writable(direct));
    Memory memory(form, 4 * kPage);
    fill(memory.bytes(), 21);
    const IoResult written =
        run(*reactor, memory.transfer(file, Way::write_at, 2 * kPage, 3 * kPage, {dsync}));
    REQUIRE(written);
    CHECK(written.bytes() == 3 * kPage);
    if (form != Form::borrowed) CHECK(memory.returned_size == 3 * kPage);
    for (const Way way : {Way::read_at, Way::read_some_at}) {
      fill(memory.bytes(), 99);
      const IoResult read = run(*reactor, memory.transfer(file, way, 2 * kPage, 3 * kPage));
      REQUIRE(read);
      CHECK(*read == 3 * kPage);
      if (form != Form::borrowed) CHECK(memory.returned_size == 3 * kPage);
      CHECK(holds(memory.bytes().first(3 * kPage), 21));
      // Beyond what was asked for, nothing is touched.
      AlignedBuf untouched = filled(4 * kPage, 99);
      CHECK(std::equal(untouched.data() + 3 * kPage, untouched.data() + 4 * kPage,
                       memory.bytes().data() + 3 * kPage));
    }
    if (form == Form::pinned) CHECK(memory.frame().releases == 3);
    close_file(*reactor, std::move(file));
    const std::string content = dir.read("data");
    REQUIRE(content.size() == 5 * kPage);
    CHECK(content.substr(0, 2 * kPage) == std::string(2 * kPage, '\0'));
    CHECK(content.substr(2 * kPage) == pattern(3 * kPage, 21));
  });
}

TEST_CASE("reads around the end of a file, in every form") {
  in_every_form([](Form form) {
    const TempDir dir;
    const auto reactor = make_test_reactor();
    dir.write("data", pattern(5000, 4));
    DirectFile file = open_file(*reactor, dir.file("data"), OpenOptions());
    Memory memory(form, 2 * kPage);
    const IoResult exact = run(*reactor, memory.transfer(file, Way::read_at, 0, 2 * kPage));
    CHECK(exact.error() == Errc::short_io);
    CHECK(exact.error().a() == 2 * kPage);
    CHECK(exact.error().b() == 5000);
    CHECK(exact.bytes() == 5000);
    CHECK(says(exact.error(), "the file ends here"));
    if (form != Form::borrowed) CHECK(memory.returned_size == 5000);
    CHECK(holds(memory.bytes().first(5000), 4));
    const IoResult some = run(*reactor, memory.transfer(file, Way::read_some_at, kPage, kPage));
    REQUIRE(some);
    CHECK(some.bytes() == 904);
    if (form != Form::borrowed) CHECK(memory.returned_size == 904);
    const IoResult past = run(*reactor, memory.transfer(file, Way::read_some_at, 8 * kPage, kPage));
    REQUIRE(past);
    CHECK(past.bytes() == 0);
    if (form != Form::borrowed) CHECK(memory.returned_size == 0);
    close_file(*reactor, std::move(file));
  });
}

TEST_CASE("a transfer of zero bytes is an error in every form, before any system call") {
  in_every_form_and_way([](Form form, Way way) {
    const TempDir dir;
    const auto reactor = make_test_reactor();
    dir.write("data", pattern(kPage, 1));
    DirectFile file = open_file(*reactor, dir.file("data"), writable());
    const std::uint64_t before = reactor->stats().submitted;
    Memory memory(form, kPage);
    const IoResult result = run(*reactor, memory.transfer(file, way, 0, 0));
    CHECK(result.error() == Errc::out_of_range);
    CHECK(result.bytes() == 0);
    CHECK(says(result.error(), std::string(name_of(way)) + ' ' + dir.file("data") +
                                   " offset 0 length 0: out of range"));
    CHECK(says(result.error(), "zero bytes"));
    CHECK(reactor->stats().submitted == before);
    CHECK_FALSE(file.is_dirty());
    close_file(*reactor, std::move(file));
    CHECK(dir.read("data") == pattern(kPage, 1));
  });
}

TEST_CASE("a misaligned offset or length is an error in every form, and nothing happens") {
  in_every_form_and_way([](Form form, Way way) {
    const TempDir dir;
    const auto reactor = make_test_reactor();
    dir.write("data", pattern(2 * kPage, 1));
    DirectFile file = open_file(*reactor, dir.file("data"), writable());
    const std::uint32_t unit =
        way == Way::write_at ? file.alignment().offset : file.alignment().read_offset;
    REQUIRE(unit > 1);
    const std::uint64_t before = reactor->stats().submitted;
    Memory memory(form, 2 * kPage);
    fill(memory.bytes(), 77);
    struct Case {
      std::uint64_t offset;
      std::size_t length;
      std::uint64_t wrong;
      const char* what;
    };
    const Case cases[] = {
        {100, kPage, 100, "the offset"},           {unit - 1, kPage, unit - 1, "the offset"},
        {unit + 1, kPage, unit + 1, "the offset"}, {0, 1, 1, "the length"},
        {0, unit - 1, unit - 1, "the length"},     {kPage, kPage + 100, kPage + 100, "the length"}};
    for (const Case& each : cases) {
      const IoResult result = run(*reactor, memory.transfer(file, way, each.offset, each.length));
      CHECK(result.error() == Errc::misaligned);
      CHECK(result.error().a() == each.wrong);
      CHECK(result.error().b() == unit);
      CHECK(result.bytes() == 0);
      CHECK(says(result.error(), std::string(name_of(way)) + ' ' + dir.file("data") + " offset " +
                                     std::to_string(each.offset) + " length " +
                                     std::to_string(each.length) + ": misaligned"));
      CHECK(says(result.error(), each.what));
      CHECK(holds(memory.bytes(), 77));
    }
    CHECK(reactor->stats().submitted == before);
    CHECK_FALSE(file.is_dirty());
    CHECK(file.operations_in_flight() == 0);
    close_file(*reactor, std::move(file));
    CHECK(dir.read("data") == pattern(2 * kPage, 1));
  });
}

TEST_CASE("a misaligned address is an error in the forms that can have one") {
  for (const Way way : kWays) {
    for (const std::size_t shift : {std::size_t{1}, std::size_t{4}, std::size_t{256}}) {
      DYNAMIC_SECTION(name_of(way) << " shift " << shift) {
        const TempDir dir;
        const auto reactor = make_test_reactor();
        dir.write("data", pattern(2 * kPage, 1));
        DirectFile file = open_file(*reactor, dir.file("data"), writable());
        Frame frame(3 * kPage);
        const auto part = frame.bytes().subspan(shift, kPage);
        const auto address = reinterpret_cast<std::uintptr_t>(part.data());
        const auto judge = [&](const IoResult& result) {
          CHECK(result.error() == Errc::misaligned);
          CHECK(result.error().a() == address);
          CHECK(result.error().b() == file.alignment().memory);
          CHECK(says(result.error(), std::string(name_of(way)) + ' ' + dir.file("data") +
                                         " offset 0 length 4096: misaligned"));
          CHECK(says(result.error(), "the buffer's address"));
        };
        const RawIoBuf raw(part.data(), part.size());
        if (way == Way::read_at) judge(wait(*reactor, file.read_at(raw, 0)));
        if (way == Way::read_some_at) judge(wait(*reactor, file.read_some_at(raw, 0)));
        if (way == Way::write_at) judge(wait(*reactor, file.write_at(ConstIoBuf(part), 0)));
        if (way == Way::read_at) judge(wait(*reactor, file.read_at(frame.pinned(part), 0)));
        if (way == Way::read_some_at) {
          judge(wait(*reactor, file.read_some_at(frame.pinned(part), 0)));
        }
        if (way == Way::write_at) judge(wait(*reactor, file.write_at(frame.pinned(part), 0)));
        CHECK(frame.releases == 1);
        close_file(*reactor, std::move(file));
        CHECK(dir.read("data") == pattern(2 * kPage, 1));
      }
    }
  }
}

TEST_CASE("a transfer that would end beyond 2^63 is an error in every form") {
  in_every_form_and_way([](Form form, Way way) {
    const TempDir dir;
    const auto reactor = make_test_reactor();
    const Direct direct = GENERATE(Direct::preferred, Direct::off);
    DirectFile file = open_file(*reactor, dir.file("data"), writable(direct));
    const std::uint64_t before = reactor->stats().submitted;
    Memory memory(form, 2 * kPage);
    for (const std::uint64_t offset :
         {kBeyond - kPage, kBeyond, ~std::uint64_t{0} - kPage + 1, ~std::uint64_t{0}}) {
      const IoResult result = run(*reactor, memory.transfer(file, way, offset, 2 * kPage));
      CHECK(result.error() == Errc::out_of_range);
      CHECK(result.error().a() == offset);
      CHECK(result.error().b() == kBeyond - 1);
      // All ones stands for "no offset" in an error's context; a() has it.
      if (offset != ErrorContext::kNone) {
        CHECK(says(result.error(), "offset " + std::to_string(offset) + " length 8192"));
      }
      CHECK(says(result.error(), "beyond 2^63"));
    }
    CHECK(reactor->stats().submitted == before);
    close_file(*reactor, std::move(file));
    CHECK(dir.read("data").empty());
  });
}

TEST_CASE("a read of more than an owned buffer holds is an overflow, and gives the buffer back") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", pattern(4 * kPage, 1));
  DirectFile file = open_file(*reactor, dir.file("data"), OpenOptions());
  const BufIoResult result = wait(*reactor, file.read_at(filled(kPage, 5), 0, 2 * kPage));
  CHECK(result.error() == Errc::overflow);
  CHECK(result.error().a() == 2 * kPage);
  CHECK(result.error().b() == kPage);
  CHECK(says(result.error(), "offset 0 length 8192"));
  CHECK(holds(result.buf().bytes(), 5));
  close_file(*reactor, std::move(file));
}

TEST_CASE("a buffer that has no memory is refused") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  CHECK(wait(*reactor, file.read_at(AlignedBuf(), 0)).error() == Errc::out_of_range);
  CHECK(wait(*reactor, file.write_at(AlignedBuf(), 0)).error() == Errc::out_of_range);
  CHECK(wait(*reactor, file.read_at(AlignedBuf(), 0, kPage)).error() == Errc::overflow);
  CHECK(wait(*reactor, file.read_at(RawIoBuf(), 0)).error() == Errc::out_of_range);
  CHECK(wait(*reactor, file.read_at(PinnedBuf(), 0)).error() == Errc::out_of_range);
  close_file(*reactor, std::move(file));
}

TEST_CASE("writes to a file that was opened for reading say so") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", pattern(kPage, 1));
  DirectFile file = open_file(*reactor, dir.file("data"), OpenOptions());
  BufIoResult written = wait(*reactor, file.write_at(filled(kPage, 2), 0));
  CHECK(written.error() == std::errc::bad_file_descriptor);
  CHECK(says(written.error(), "write_at " + dir.file("data") + " offset 0 length 4096"));
  CHECK(says(written.error(), "opened for reading only"));
  CHECK(holds(written.buf().bytes(), 2));
  CHECK(wait(*reactor, file.truncate(0)).error() == std::errc::bad_file_descriptor);
  CHECK(run(*reactor, file.preallocate(2 * kPage)).error() == std::errc::bad_file_descriptor);
  CHECK_FALSE(file.is_dirty());
  CHECK_FALSE(static_cast<bool>(file.poison()));
  CHECK(wait(*reactor, file.sync_data()));
  close_file(*reactor, std::move(file));
  CHECK(dir.read("data") == pattern(kPage, 1));
}

TEST_CASE("reads of an empty file") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  const BufIoResult some = wait(*reactor, file.read_some_at(buffer(kPage), 0));
  REQUIRE(some);
  CHECK(some.bytes() == 0);
  const BufIoResult exact = wait(*reactor, file.read_at(buffer(kPage), 0));
  CHECK(exact.error() == Errc::short_io);
  CHECK(exact.error().b() == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("an awaitable that is never awaited does nothing, and may be moved") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  Frame frame(kPage);
  {
    auto unused = file.write_at(frame.pinned(), 0);
    auto moved = std::move(unused);
    CHECK(frame.pins == 1);
  }
  CHECK(frame.releases == 1);
  fill(frame.bytes(), 3);
  auto write = file.write_at(ConstIoBuf(frame.bytes()), 0);
  // The file may move, and the DirectFile die, before the operation starts: it holds the file
  // itself.
  DirectFile elsewhere = std::move(file);
  elsewhere = DirectFile();
  auto moved = std::move(write);
  REQUIRE(wait(*reactor, std::move(moved)));
  settle(*reactor);
  // The moved-from awaitable was the only other holder.
  CHECK(as_bytes(dir.read("data")).size() == kPage);
}

TEST_CASE("a file tells what it is") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  dir.write("data", pattern(5000, 1));
  DirectFile file = open_file(*reactor, dir.file("data"), OpenOptions());
  const Result<FileInfo> info = wait(*reactor, file.info());
  REQUIRE(info);
  struct stat found;
  REQUIRE(::stat(dir.file("data").c_str(), &found) == 0);
  CHECK(info->bytes == 5000);
  CHECK(info->inode == found.st_ino);
  CHECK(info->kind == FileKind::regular);
  CHECK(file.path() == dir.file("data"));
  CHECK(&file.reactor() == reactor.get());
  CHECK(static_cast<bool>(file));
  CHECK_FALSE(static_cast<bool>(DirectFile()));
  close_file(*reactor, std::move(file));
  CHECK_FALSE(static_cast<bool>(file));
}

}  // namespace diorite::test
