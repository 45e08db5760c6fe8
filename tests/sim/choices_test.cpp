// Choices: seeds, replay, enumeration, and the tame answers.

#include <diorite/sim/choices.hpp>

#include <algorithm>
#include <array>
#include <set>

#include "support/catch.hpp"

using namespace diorite::sim;

namespace {

std::vector<std::uint32_t> ask(Choices& choices) {
  std::vector<std::uint32_t> answers;
  for (std::uint32_t i = 0; i < 200; ++i) {
    answers.push_back(choices.pick(1 + i % 7));
    answers.push_back(choices.chance(per_cent(30)) ? 1 : 0);
    answers.push_back(choices.draw(1000));
    answers.push_back(choices.draw_skewed(1U << 20));
  }
  return answers;
}

}  // namespace

TEST_CASE("equal seeds decide alike, others do not", "[sim][choices]") {
  Choices a = Choices::random(7);
  Choices b = Choices::random(7);
  Choices c = Choices::random(8);
  const std::vector<std::uint32_t> answers = ask(a);
  CHECK(answers == ask(b));
  CHECK(answers != ask(c));
  CHECK(a.made() == b.made());
  CHECK(a.seed() == 7);
  CHECK(a.entropy() == b.entropy());
  CHECK(a.entropy() != a.entropy());
  CHECK(a.entropy() != c.entropy());
}

TEST_CASE("entropy is no decision", "[sim][choices]") {
  Choices a = Choices::random(7);
  Choices b = Choices::random(7);
  a.entropy();
  CHECK(a.made().empty());
  CHECK(ask(a) == ask(b));
}

TEST_CASE("a run is replayed from its decisions, and is tame where they end", "[sim][choices]") {
  Choices first = Choices::random(99);
  const std::vector<std::uint32_t> answers = ask(first);
  Choices again = Choices::replay(99, first.made());
  CHECK(ask(again) == answers);
  CHECK(again.made() == first.made());
  CHECK(again.entropy() == first.entropy());
  for (int i = 0; i < 10; ++i) {
    CHECK(again.pick(5) == 0);
    CHECK_FALSE(again.chance(per_cent(99)));
    CHECK(again.draw(100) == 0);
    CHECK(again.draw_skewed(100) == 0);
  }
}

TEST_CASE("a replayed decision that does not fit is tame", "[sim][choices]") {
  Choices choices = Choices::replay(1, {7, 3, 9});
  CHECK(choices.pick(4) == 0);
  CHECK(choices.pick(4) == 3);
  CHECK_FALSE(choices.chance(per_cent(50)));
  CHECK(choices.made() == std::vector<std::uint32_t>{0, 3, 0});
}

TEST_CASE("what cannot go otherwise is no decision", "[sim][choices]") {
  Choices choices = Choices::random(3);
  CHECK(choices.pick(1) == 0);
  CHECK_FALSE(choices.chance(never()));
  CHECK(choices.chance(always()));
  CHECK(choices.draw(1) == 0);
  CHECK(choices.draw_skewed(1) == 0);
  CHECK(choices.made().empty());
}

TEST_CASE("chances and picks come as often as they should", "[sim][choices]") {
  Choices choices = Choices::random(5);
  constexpr int kRounds = 100'000;
  int happened = 0;
  std::array<int, 5> picked{};
  for (int i = 0; i < kRounds; ++i) {
    if (choices.chance(per_mille(20))) ++happened;
    ++picked[choices.pick(5)];
  }
  CHECK(happened > 1'800);
  CHECK(happened < 2'200);
  for (const int count : picked) {
    CHECK(count > 19'000);
    CHECK(count < 21'000);
  }
}

TEST_CASE("skewed draws give every power of two the same weight", "[sim][choices]") {
  Choices choices = Choices::random(6);
  constexpr std::uint32_t kLimit = 1000;
  std::array<int, 11> widths{};
  for (int i = 0; i < 110'000; ++i) {
    const std::uint32_t value = choices.draw_skewed(kLimit);
    REQUIRE(value < kLimit);
    std::size_t width = 0;
    while ((value >> width) != 0) ++width;
    ++widths[width];
  }
  for (const int count : widths) {
    CHECK(count > 9'000);
    CHECK(count < 11'000);
  }
  // The largest value can be drawn.
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 10'000; ++i) seen.insert(choices.draw_skewed(6));
  CHECK(seen.size() == 6);
}

TEST_CASE("enumeration goes through every combination once", "[sim][choices]") {
  Choices choices = Choices::exhaustive();
  std::set<std::vector<std::uint32_t>> paths;
  std::uint64_t entropy = 0;
  do {
    const std::uint64_t bits = choices.entropy();
    CHECK((entropy == 0 || bits == entropy));
    entropy = bits;
    const std::uint32_t first = choices.pick(3);
    CHECK(choices.draw(50) == 0);
    // The later questions depend on the earlier answers.
    if (first == 1) choices.chance(per_mille(1));
    if (first == 2) choices.pick(4);
    CHECK(paths.insert(choices.made()).second);
  } while (choices.next_path());
  CHECK(paths.size() == 1 + 2 + 4);
  // Each can be replayed.
  for (const std::vector<std::uint32_t>& path : paths) {
    Choices again = Choices::replay(0, path);
    const std::uint32_t first = again.pick(3);
    CHECK(again.draw(50) == 0);
    if (first == 1) again.chance(per_mille(1));
    if (first == 2) again.pick(4);
    CHECK(again.made() == path);
  }
}
