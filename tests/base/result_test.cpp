#include <diorite/result.hpp>

#include "support/catch.hpp"
#include "support/death.hpp"

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

using namespace diorite;
using diorite::test::Death;
using diorite::test::run_in_child;

namespace {

// Counts the objects that are alive, and knows when it was moved from.
class Tracked {
 public:
  explicit Tracked(int value) noexcept : value_(value) { ++alive; }
  Tracked(Tracked&& other) noexcept : value_(std::exchange(other.value_, -1)) { ++alive; }
  Tracked& operator=(Tracked&&) = delete;
  ~Tracked() { --alive; }
  int value() const noexcept { return value_; }

  static inline int alive = 0;

 private:
  int value_;
};

static_assert(!std::is_copy_constructible_v<Result<Tracked>>);
static_assert(!std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(std::is_copy_constructible_v<Result<std::string>>);
static_assert(std::is_nothrow_move_constructible_v<Result<std::string>>);
static_assert(std::is_nothrow_move_constructible_v<Result<>>);
static_assert(!std::is_convertible_v<Result<int>, bool>);

Result<std::string> name_or_error(bool fail) {
  if (fail) return Errc::closed;
  return std::string("a string that is too long for the small buffer");
}

}  // namespace

TEST_CASE("result: a value", "[result]") {
  Result<std::string> result = name_or_error(false);
  REQUIRE(result);
  CHECK(result.has_value());
  CHECK(result->size() == 46);
  CHECK(*result == "a string that is too long for the small buffer");
  CHECK_FALSE(static_cast<bool>(result.error()));
  CHECK(result.value().front() == 'a');
  *result = "changed";
  CHECK(std::as_const(result)->size() == 7);
}

TEST_CASE("result: an error", "[result]") {
  const Result<std::string> result = name_or_error(true);
  CHECK_FALSE(result);
  CHECK_FALSE(result.has_value());
  CHECK(result.error() == Errc::closed);
}

TEST_CASE("result: value_or moves the value, or takes the other", "[result]") {
  CHECK(name_or_error(true).value_or("other") == "other");
  CHECK(name_or_error(false).value_or("other").size() == 46);
}

TEST_CASE("result: value throws what error tells", "[result]") {
  CHECK_THROWS_AS(name_or_error(true).value(), std::system_error);
  try {
    const Result<> failed = Error::from_driver(-EIO);
    failed.value();
    FAIL("no exception");
  } catch (const std::system_error& exception) {
    CHECK(exception.code() == std::errc::io_error);
  }
}

TEST_CASE("result: move-only values move through it", "[result]") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  REQUIRE(result);
  const std::unique_ptr<int> owner = *std::move(result);
  REQUIRE(owner);
  CHECK(*owner == 5);
}

TEST_CASE("result: each value is destroyed exactly once", "[result]") {
  REQUIRE(Tracked::alive == 0);
  {
    Result<Tracked> first(Tracked(1));
    CHECK(Tracked::alive == 1);
    Result<Tracked> second(std::move(first));
    CHECK(Tracked::alive == 2);
    CHECK(second->value() == 1);
    CHECK(first->value() == -1);

    Result<Tracked> error(Errc::busy);
    CHECK(Tracked::alive == 2);
    second = std::move(error);
    CHECK(Tracked::alive == 1);
    CHECK(second.error() == Errc::busy);

    Result<Tracked> third(Tracked(3));
    second = std::move(third);
    CHECK(Tracked::alive == 3);
    CHECK(second->value() == 3);
    CHECK_FALSE(static_cast<bool>(second.error()));
  }
  CHECK(Tracked::alive == 0);
}

TEST_CASE("result: assignment from itself changes nothing", "[result]") {
  Result<std::string> result = name_or_error(false);
  Result<std::string>& alias = result;
  result = std::move(alias);
  REQUIRE(result);
  CHECK(result->size() == 46);
}

TEST_CASE("result: a copy is independent", "[result]") {
  Result<std::string> result = name_or_error(false);
  const Result<std::string> copy = result;
  *result = "changed";
  CHECK(copy->size() == 46);
  const Result<std::string> failed = name_or_error(true);
  const Result<std::string> failed_copy = failed;
  CHECK(failed_copy.error() == Errc::closed);
}

TEST_CASE("result of void: success by default", "[result]") {
  const Result<> done;
  CHECK(done);
  CHECK_NOTHROW(done.value());
  CHECK_FALSE(static_cast<bool>(done.error()));
  const Result<> failed = Errc::no_space;
  CHECK_FALSE(failed);
  CHECK(failed.error() == Errc::no_space);
}

TEST_CASE("result: using the value of an error is stopped, in every build", "[result]") {
  CHECK(run_in_child([] { static_cast<void>(name_or_error(true)->size()); }).aborted());
  CHECK(run_in_child([] { static_cast<void>(*name_or_error(true)); }).aborted());
  CHECK(run_in_child([] { *Result<>(Errc::busy); }).aborted());
}

TEST_CASE("result: an Error that is none cannot pretend to be a failure", "[result]") {
  const Death typed = run_in_child([] { static_cast<void>(Result<int>(Error())); });
  CHECK(typed.aborted());
  CHECK(typed.said("no error"));
  CHECK(run_in_child([] { static_cast<void>(Result<>(Error())); }).aborted());
}
