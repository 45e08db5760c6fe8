// Choices: where every decision of a simulated run comes from.
//
// The order of completions, the moment of the power cut, the sector that is lost: whatever the real
// world would decide, a simulated run asks here. So a run is a function of its seed, a failing run
// can be replayed from the list of its decisions and made smaller, and a small run can be repeated
// with every possible decision. Workloads ask here too, for sizes and actions; nothing in a
// simulated run may take its decisions from anywhere else.
//
// Every question has a tame answer, 0 or false: no fault, the oldest completion first, no crash.
// Shrinking replaces decisions by the tame one.
//
// Thread: one. Lifetime: outlives the Machine that asks it.
//
//   Choices choices = Choices::random(seed);
//   if (choices.chance(per_mille(5))) fail_with(EIO);
//   const std::uint32_t next = choices.pick(in_flight);  // 0 .. in_flight - 1

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diorite::sim {

/// A probability, in millionths.
struct Chance {
  std::uint32_t per_million = 0;
};
constexpr Chance never() noexcept { return {0}; }
constexpr Chance always() noexcept { return {1'000'000}; }
constexpr Chance per_cent(std::uint32_t n) noexcept { return {n * 10'000}; }
constexpr Chance per_mille(std::uint32_t n) noexcept { return {n * 1'000}; }

class Choices {
 public:
  /// Decisions follow from `seed`.
  static Choices random(std::uint64_t seed);
  /// The decisions of an earlier run, taken from made(), then tame ones. `seed` is that run's: it
  /// gives entropy().
  static Choices replay(std::uint64_t seed, std::vector<std::uint32_t> decisions);
  /// Every combination of decisions, one after the other: run, then next_path(), until that is
  /// false. draw() is not enumerated and always 0.
  static Choices exhaustive();

  /// 0 to n - 1; 0 is the tame answer. Requires: n > 0.
  std::uint32_t pick(std::uint32_t n);
  /// false is the tame answer. Never true for never(), and then no decision is recorded.
  bool chance(Chance probability);
  /// 0 to n - 1, where the value matters less than that it varies: latencies, lengths. 0 is tame.
  std::uint32_t draw(std::uint32_t n);
  /// As draw(n), but small values are likelier: every power of two has the same weight.
  std::uint32_t draw_skewed(std::uint32_t n);
  /// Not a decision: bits for identifiers and payloads, a function of the seed and of how often it
  /// was asked.
  std::uint64_t entropy() noexcept {
    entropy_state_ += kStep;
    return mix(entropy_state_);
  }
  /// Decides what entropy() will give.
  std::uint64_t entropy_state() const noexcept { return entropy_state_; }

  /// Exhaustive only: begins the next combination. False when there is none left. With `keep`, of
  /// the decisions behind the first so many no other answers are tried.
  bool next_path(std::size_t keep = ~std::size_t{0});
  /// Exhaustive only: with so many decisions the present path began; before the last of them, it is
  /// the path before it.
  std::size_t given() const noexcept { return given_; }
  /// The decisions of this run so far.
  const std::vector<std::uint32_t>& made() const noexcept { return made_; }
  std::uint64_t seed() const noexcept { return seed_; }

 private:
  enum class Mode : std::uint8_t { random, replay, exhaustive };
  Choices(Mode mode, std::uint64_t seed) noexcept;
  std::uint32_t next(std::uint32_t n, bool enumerated);
  std::uint64_t random_bits() noexcept;

  static constexpr std::uint64_t kStep = 0x9E37'79B9'7F4A'7C15;
  // The finaliser of splitmix64: neighbouring seeds give unrelated streams.
  static constexpr std::uint64_t mix(std::uint64_t value) noexcept {
    value = (value ^ (value >> 30)) * 0xBF58'476D'1CE4'E5B9;
    value = (value ^ (value >> 27)) * 0x94D0'49BB'1331'11EB;
    return value ^ (value >> 31);
  }

  Mode mode_;
  std::uint64_t seed_;
  std::uint64_t state_;
  std::uint64_t entropy_state_;
  std::vector<std::uint32_t> made_;
  std::vector<std::uint32_t> script_;  ///< replay: what to answer; exhaustive: the present path
  std::size_t given_ = 0;
  std::vector<std::uint32_t> branches_;  ///< exhaustive: how many answers each step of it has
};

}  // namespace diorite::sim
