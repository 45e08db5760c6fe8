#include <diorite/error.hpp>

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

using namespace diorite;
using diorite::test::AllocCount;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Error failed_read(const std::string& path, std::uint64_t offset) {
  ErrorContext context;
  context.operation = "read_at";
  context.path = path;
  context.offset = offset;
  context.length = 4096;
  return with_context(Error::from_driver(-EIO), context);
}

}  // namespace

TEST_CASE("error context: the text tells operation, path, offset, length, cause and note",
          "[error]") {
  ErrorContext context;
  context.operation = "read_at";
  context.path = "data.db";
  context.offset = 100;
  context.length = 4096;
  context.note = "the offset is not a multiple of 4096";
  const Error error = with_context(Error(Errc::misaligned, 100, 4096), context);
  CHECK(error == Errc::misaligned);
  CHECK(error.a() == 100);
  CHECK(error.text() ==
        "read_at data.db offset 100 length 4096: misaligned (100 is not a multiple of 4096): "
        "the offset is not a multiple of 4096");
}

TEST_CASE("error context: what is not known is left out, an offset of zero is not", "[error]") {
  ErrorContext context;
  context.operation = "open";
  context.path = "a";
  const std::string text = with_context(Error::from_driver(-ENOENT), context).text();
  CHECK(text == "open a: " + std::generic_category().message(ENOENT));
  CHECK(contains(failed_read("a", 0).text(), "offset 0 length 4096"));
}

TEST_CASE("error context: the first report stays, since it is closest to the cause", "[error]") {
  const Error first = failed_read("inner", 1);
  ErrorContext outer;
  outer.operation = "recover";
  outer.path = "outer";
  const Error second = with_context(first, outer);
  CHECK(second.context_id() == first.context_id());
  CHECK(contains(second.text(), "inner"));
  CHECK_FALSE(contains(second.text(), "outer"));
}

TEST_CASE("error context: no error gets no context", "[error]") {
  ErrorContext context;
  context.operation = "read_at";
  const Error none = with_context(Error(), context);
  CHECK_FALSE(static_cast<bool>(none));
  CHECK(none.context_id() == 0);
}

TEST_CASE("error context: it is a copy, so the path may die", "[error]") {
  Error error;
  {
    const std::string path(100, 'p');
    error = failed_read(path, 7);
  }
  CHECK(contains(error.text(), std::string(100, 'p')));
}

TEST_CASE("error context: a long path keeps its end, a long note its beginning", "[error]") {
  const std::string path = "FIRST/" + std::string(1000, 'x') + "/name.db";
  const std::string note = "the fault" + std::string(2000, 'y') + "LAST";
  ErrorContext context;
  context.operation = "open";
  context.path = path;
  context.note = note;
  const std::string text = with_context(Error::from_driver(-EACCES), context).text();
  CHECK(contains(text, "/name.db"));
  CHECK_FALSE(contains(text, "FIRST"));
  CHECK(contains(text, "the fault"));
  CHECK_FALSE(contains(text, "LAST"));
}

TEST_CASE("error context: failures side by side do not overwrite each other", "[error]") {
  std::vector<Error> errors;
  for (std::uint64_t i = 0; i < 100; ++i) {
    errors.push_back(failed_read("file-" + std::to_string(i) + ".db", i * 4096));
  }
  for (std::uint64_t i = 0; i < 100; ++i) {
    CHECK(contains(errors[i].text(), "file-" + std::to_string(i) + ".db"));
    CHECK(contains(errors[i].text(), "offset " + std::to_string(i * 4096)));
  }
}

TEST_CASE("error context: an overwritten context is left out, not replaced by another", "[error]") {
  const Error old = failed_read("old.db", 1);
  for (std::uint64_t i = 0; i < 10'000; ++i) static_cast<void>(failed_read("new.db", i));
  CHECK(old == std::errc::io_error);
  CHECK(old.text() == std::generic_category().message(EIO));
}

TEST_CASE("error context: recording one allocates nothing", "[error]") {
  const std::string path(200, 'p');
  const AllocCount count;
  for (std::uint64_t i = 0; i < 1000; ++i) static_cast<void>(failed_read(path, i));
  CHECK(count.here().news == 0);
}

TEST_CASE("error context: threads that fail together each find their own", "[error]") {
  // Fewer failures in all than the ring has records, so that each must still be found at the end.
  constexpr std::size_t kThreads = 8;
  constexpr std::uint64_t kFailures = 16;
  std::array<std::vector<Error>, kThreads> errors;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([t, &mine = errors[t]] {
      for (std::uint64_t i = 0; i < kFailures; ++i) {
        mine.push_back(failed_read("thread-" + std::to_string(t) + ".db", i));
        static_cast<void>(mine.back().text());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t t = 0; t < kThreads; ++t) {
    for (std::uint64_t i = 0; i < kFailures; ++i) {
      const std::string text = errors[t][i].text();
      CHECK(
          contains(text, "thread-" + std::to_string(t) + ".db offset " + std::to_string(i) + ' '));
    }
  }
}
