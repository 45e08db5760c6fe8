#include <diorite/try.hpp>

#include "support/catch.hpp"

#include <memory>
#include <string>

#include <diorite/result.hpp>

using namespace diorite;

namespace {

int calls = 0;

Result<int> half(int number) {
  ++calls;
  if (number % 2 != 0) return Error(Errc::misaligned, static_cast<std::uint64_t>(number), 2);
  return number / 2;
}

Result<> must_be_small(int number) {
  ++calls;
  if (number > 100) return Errc::limit;
  return {};
}

Result<int> quarter(int number) {
  DIORITE_CHECK(must_be_small(number));
  DIORITE_TRY(const int first, half(number));
  DIORITE_TRY(const int second, half(first));
  return second;
}

Result<std::unique_ptr<int>> boxed(int number) {
  DIORITE_TRY(const int value, half(number));
  return std::make_unique<int>(value);
}

Result<std::string> unboxed(int number) {
  DIORITE_TRY(auto box, boxed(number));
  return std::to_string(*box);
}

Result<> check_in_branches(int number, bool strict) {
  if (strict)
    DIORITE_CHECK(must_be_small(number));
  else
    DIORITE_CHECK(half(number));
  return {};
}

}  // namespace

TEST_CASE("try: values go on, the first error returns", "[try]") {
  calls = 0;
  const Result<int> good = quarter(12);
  REQUIRE(good);
  CHECK(*good == 3);
  CHECK(calls == 3);

  calls = 0;
  const Result<int> late = quarter(6);
  CHECK(late.error() == Errc::misaligned);
  CHECK(late.error().a() == 3);
  CHECK(calls == 3);

  calls = 0;
  CHECK(quarter(104).error() == Errc::limit);
  CHECK(calls == 1);
}

TEST_CASE("try: move-only values are moved out", "[try]") {
  const Result<std::string> text = unboxed(84);
  REQUIRE(text);
  CHECK(*text == "42");
  CHECK(unboxed(7).error() == Errc::misaligned);
}

TEST_CASE("try: an existing variable can take the value", "[try]") {
  const auto sum = []() -> Result<int> {
    int total = 0;
    int part = 0;
    for (const int number : {2, 4, 6}) {
      DIORITE_TRY(part, half(number));
      total += part;
    }
    return total;
  };
  const Result<int> total = sum();
  REQUIRE(total);
  CHECK(*total == 6);
}

TEST_CASE("check: is one statement, and an else belongs to the if before it", "[try]") {
  CHECK(check_in_branches(100, true));
  CHECK(check_in_branches(101, true).error() == Errc::limit);
  CHECK(check_in_branches(102, false));
  CHECK(check_in_branches(101, false).error() == Errc::misaligned);
}
