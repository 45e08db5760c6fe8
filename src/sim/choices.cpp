#include <diorite/sim/choices.hpp>

#include <algorithm>
#include <bit>
#include <utility>

#include <diorite/assert.hpp>

namespace diorite::sim {
namespace {

constexpr std::uint64_t kEntropySalt = 0x656E'7472'6F70'7921;

// 0 to n - 1, from the upper half of random bits.
std::uint32_t scaled(std::uint64_t bits, std::uint32_t n) noexcept {
  return static_cast<std::uint32_t>(((bits >> 32) * n) >> 32);
}

}  // namespace

Choices::Choices(Mode mode, std::uint64_t seed) noexcept
    : mode_(mode), seed_(seed), state_(mix(seed)), entropy_state_(mix(seed ^ kEntropySalt)) {}

Choices Choices::random(std::uint64_t seed) { return Choices(Mode::random, seed); }

Choices Choices::replay(std::uint64_t seed, std::vector<std::uint32_t> decisions) {
  Choices choices(Mode::replay, seed);
  choices.script_ = std::move(decisions);
  return choices;
}

Choices Choices::exhaustive() { return Choices(Mode::exhaustive, 0); }

std::uint64_t Choices::random_bits() noexcept {
  state_ += kStep;
  return mix(state_);
}

// Every decision has one place in made_, in all modes, so that a path found by enumeration can be
// replayed like a random one.
std::uint32_t Choices::next(std::uint32_t n, bool enumerated) {
  const std::size_t step = made_.size();
  std::uint32_t answer = 0;
  switch (mode_) {
    case Mode::random:
      answer = scaled(random_bits(), n);
      break;
    case Mode::replay:
      // Where shrinking has led the run elsewhere, a decision may meet another question than its
      // own; one that does not fit is tame, so that what is left gets tamer, never wilder.
      if (step < script_.size() && script_[step] < n) answer = script_[step];
      break;
    case Mode::exhaustive: {
      const std::uint32_t answers = enumerated ? n : 1;
      if (step == script_.size()) {
        script_.push_back(0);
        branches_.push_back(answers);
      }
      DIORITE_ASSERT(branches_[step] == answers,
                     "a run asked other questions than the run before it, after equal answers");
      answer = script_[step];
      break;
    }
  }
  made_.push_back(answer);
  return answer;
}

std::uint32_t Choices::pick(std::uint32_t n) {
  DIORITE_ASSERT(n > 0, "a choice of nothing");
  return n == 1 ? 0 : next(n, true);
}

bool Choices::chance(Chance probability) {
  if (probability.per_million == 0) return false;
  if (probability.per_million >= always().per_million) return true;
  if (mode_ != Mode::random) return next(2, true) != 0;
  const bool happens = scaled(random_bits(), always().per_million) < probability.per_million;
  made_.push_back(happens ? 1 : 0);
  return happens;
}

std::uint32_t Choices::draw(std::uint32_t n) {
  DIORITE_ASSERT(n > 0, "a draw from nothing");
  return n == 1 ? 0 : next(n, false);
}

std::uint32_t Choices::draw_skewed(std::uint32_t n) {
  DIORITE_ASSERT(n > 0, "a draw from nothing");
  if (n == 1) return 0;
  if (mode_ != Mode::random) return next(n, false);
  // First how many bits the value has, then the value among those that have as many.
  const std::uint64_t bits = random_bits();
  const auto widths = static_cast<std::uint32_t>(std::bit_width(n - 1)) + 1;
  const std::uint32_t width = scaled(bits, widths);
  std::uint32_t value = 0;
  if (width > 0) {
    const std::uint32_t low = std::uint32_t{1} << (width - 1);
    const std::uint32_t count = width + 1 == widths ? n - low : low;
    value = low + scaled(bits << 32, count);
  }
  made_.push_back(value);
  return value;
}

bool Choices::next_path(std::size_t keep) {
  DIORITE_ASSERT(mode_ == Mode::exhaustive, "only enumerated choices have a next path");
  // What the run did not come to is no part of its path.
  keep = std::min(keep, made_.size());
  script_.resize(keep);
  branches_.resize(keep);
  made_.clear();
  entropy_state_ = mix(seed_ ^ kEntropySalt);
  while (!script_.empty() && script_.back() + 1 == branches_.back()) {
    script_.pop_back();
    branches_.pop_back();
  }
  if (script_.empty()) return false;
  ++script_.back();
  given_ = script_.size();
  return true;
}

}  // namespace diorite::sim
