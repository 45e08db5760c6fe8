// A small fast generator, the same for both sides of a comparison.

#pragma once

#include <cstdint>

namespace diorite::bench {

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed * 0x9E37'79B9'7F4A'7C15U + 1) {}
  std::uint64_t next() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  /// Below `limit`, which is below 2^32.
  std::uint64_t below(std::uint64_t limit) noexcept { return ((next() >> 32) * limit) >> 32; }

 private:
  std::uint64_t state_;
};

}  // namespace diorite::bench
