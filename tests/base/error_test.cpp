#include <diorite/error.hpp>

#include "support/catch.hpp"
#include "support/death.hpp"

#include <cerrno>
#include <set>
#include <string>
#include <system_error>

using namespace diorite;
using diorite::test::run_in_child;

namespace {

constexpr Errc kAllCodes[] = {
    Errc::misaligned,
    Errc::overflow,
    Errc::out_of_range,
    Errc::short_io,
    Errc::cancelled,
    Errc::deadline,
    Errc::closed,
    Errc::poisoned,
    Errc::corrupt,
    Errc::manifest_lost,
    Errc::missing_segment,
    Errc::tail_unreadable,
    Errc::truncated,
    Errc::rewound,
    Errc::lost,
    Errc::no_space,
    Errc::locked,
    Errc::bad_format,
    Errc::direct_unsupported,
    Errc::unsupported,
    Errc::limit,
    Errc::busy,
};

Error from_errno(int number) { return Error::from_driver(-static_cast<std::int64_t>(number)); }

}  // namespace

TEST_CASE("error: the default value is no error and equals none", "[error]") {
  const Error none;
  CHECK_FALSE(static_cast<bool>(none));
  CHECK(none.text() == "no error");
  CHECK_FALSE(static_cast<bool>(none.code()));
  for (const Errc code : kAllCodes) CHECK_FALSE(none == code);
  CHECK_FALSE(none == std::errc::io_error);
  CHECK_FALSE(none == std::errc{});
  CHECK_FALSE(is_cancelled(none));
  CHECK_FALSE(is_transient(none));
  CHECK_FALSE(is_no_space(none));
  CHECK_FALSE(is_not_found(none));
  CHECK_FALSE(is_device(none));
}

TEST_CASE("error: every code has a text of its own and is only equal to itself", "[error]") {
  std::set<std::string> texts;
  for (const Errc code : kAllCodes) {
    const Error error(code);
    CHECK(static_cast<bool>(error));
    CHECK(error.code().category() == diorite_category());
    CHECK(error.code() == code);
    CHECK(diorite_category().message(static_cast<int>(code)) != "unknown");
    CHECK(texts.insert(diorite_category().message(static_cast<int>(code))).second);
    for (const Errc other : kAllCodes) CHECK((error == other) == (code == other));
  }
  CHECK(std::string(diorite_category().name()) == "diorite");
  CHECK(diorite_category().message(255) == "unknown");
}

TEST_CASE("error: what a driver reports stays an errno of the generic category", "[error]") {
  const Error error = from_errno(ENOENT);
  CHECK(error == std::errc::no_such_file_or_directory);
  CHECK(error.code() == std::error_code(ENOENT, std::generic_category()));
  CHECK(error.text() == std::generic_category().message(ENOENT));
  // An errno and a code of ours may have the same number.
  CHECK_FALSE(from_errno(static_cast<int>(Errc::overflow)) == Errc::overflow);
  CHECK_FALSE(Error(Errc::overflow) == std::errc::no_such_file_or_directory);
}

TEST_CASE("error: a driver's result that is no failure is refused", "[error]") {
  CHECK(run_in_child([] { static_cast<void>(Error::from_driver(0)); }).aborted());
  CHECK(run_in_child([] { static_cast<void>(Error::from_driver(4096)); }).aborted());
}

TEST_CASE("error: codes of the system category still match their condition", "[error]") {
  const Error error(std::error_code(EIO, std::system_category()));
  CHECK(error == std::errc::io_error);
  CHECK(is_device(error));
}

TEST_CASE("error: predicates tell what a caller can do about it", "[error]") {
  CHECK(is_cancelled(Errc::cancelled));
  CHECK(is_cancelled(Errc::deadline));
  CHECK(is_cancelled(from_errno(ECANCELED)));
  CHECK_FALSE(is_cancelled(Errc::closed));

  for (const int number : {EAGAIN, EINTR, ENOMEM, EBUSY, EMFILE, ENFILE}) {
    INFO("errno " << number);
    CHECK(is_transient(from_errno(number)));
    CHECK_FALSE(is_device(from_errno(number)));
  }
  CHECK(is_transient(Errc::busy));
  CHECK_FALSE(is_transient(from_errno(EIO)));
  CHECK_FALSE(is_transient(Errc::poisoned));

  for (const int number : {ENOSPC, EDQUOT, EFBIG}) {
    INFO("errno " << number);
    CHECK(is_no_space(from_errno(number)));
    CHECK_FALSE(is_transient(from_errno(number)));
  }
  CHECK(is_no_space(Errc::no_space));
  CHECK_FALSE(is_no_space(from_errno(EIO)));

  CHECK(is_not_found(from_errno(ENOENT)));
  CHECK_FALSE(is_not_found(from_errno(ENOTDIR)));

  for (const int number : {EIO, ENODATA, EREMOTEIO, ENXIO}) {
    INFO("errno " << number);
    CHECK(is_device(from_errno(number)));
    CHECK_FALSE(is_no_space(from_errno(number)));
  }
  CHECK(is_device(Errc::corrupt));
  CHECK_FALSE(is_device(from_errno(EINVAL)));
  CHECK_FALSE(is_device(Errc::short_io));
}

TEST_CASE("error: the two details are kept and told where they mean something", "[error]") {
  const Error error(Errc::short_io, 4096, 512);
  CHECK(error.a() == 4096);
  CHECK(error.b() == 512);
  CHECK(error.text() == "fewer bytes than expected (expected 4096, done 512)");
  CHECK(Error(Errc::misaligned, 100, 4096).text() == "misaligned (100 is not a multiple of 4096)");
  CHECK(Error(Errc::overflow, 5000, 4096).text() == "too long (5000 bytes, room for 4096)");
  CHECK(Error(Errc::limit, 9, 8).text() == "beyond a fixed limit (9, limit 8)");
  CHECK(Error(Errc::locked, 250).text() == "locked by another process (waited 250 ms)");
}
