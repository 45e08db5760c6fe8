#include <diorite/assert.hpp>

#include "support/catch.hpp"
#include "support/death.hpp"

#include <cstdio>
#include <cstring>

using namespace diorite;
using diorite::test::Death;
using diorite::test::run_in_child;

namespace {

void print_in_own_words(const AssertionFailure& failure) noexcept {
  std::fprintf(stderr, "handler: %s|%s|%s|%d\n", failure.message, failure.expression,
               std::strrchr(failure.file, '/') + 1, failure.line > 0 ? 1 : 0);
}

}  // namespace

TEST_CASE("assert: a true condition is evaluated once and has no effect", "[assert]") {
  int evaluations = 0;
  DIORITE_ASSERT(++evaluations == 1, "evaluated more than once");
  CHECK(evaluations == 1);
}

TEST_CASE("assert: a false condition aborts and says message, expression and place", "[assert]") {
  const Death death = run_in_child([] {
    const int appended = 1;
    const int durable = 2;
    DIORITE_ASSERT(durable <= appended, "the durable mark passed the last appended byte");
  });
  CHECK(death.aborted());
  CHECK(death.said("the durable mark passed the last appended byte"));
  CHECK(death.said("durable <= appended"));
  CHECK(death.said("assert_test.cpp:"));
}

TEST_CASE("assert: a handler hears of the failure, and the process ends all the same", "[assert]") {
  const Death death = run_in_child([] {
    set_assertion_handler(&print_in_own_words);
    DIORITE_ASSERT(1 > 2, "one is not greater");
  });
  CHECK(death.aborted());
  CHECK(death.said("handler: one is not greater|1 > 2|assert_test.cpp|1"));
}

TEST_CASE("assert: setting a handler returns the one before, null restores the default",
          "[assert]") {
  const AssertionHandler original = set_assertion_handler(&print_in_own_words);
  REQUIRE(original != nullptr);
  CHECK(set_assertion_handler(nullptr) == &print_in_own_words);
  CHECK(set_assertion_handler(original) == original);
  const Death death = run_in_child([] { DIORITE_ASSERT(false, "to the default"); });
  CHECK(death.said("diorite: assertion failed: to the default"));
}

TEST_CASE("assert: the debug form follows NDEBUG", "[assert]") {
  bool evaluated = false;
  const auto condition = [&evaluated] { return evaluated = true; };
  DIORITE_DEBUG_ASSERT(condition(), "never false");
  const Death death = run_in_child([] { DIORITE_DEBUG_ASSERT(1 > 2, "debug only"); });
#ifdef NDEBUG
  CHECK_FALSE(evaluated);
  CHECK(death.survived());
#else
  CHECK(evaluated);
  CHECK(death.aborted());
  CHECK(death.said("debug only"));
#endif
}

TEST_CASE("assert: works as one statement in an if without braces", "[assert]") {
  int branch = 0;
  if (branch == 0)
    DIORITE_ASSERT(branch == 0, "inside");
  else
    branch = 1;
  CHECK(branch == 0);
}
