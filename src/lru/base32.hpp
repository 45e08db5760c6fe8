// Crockford's base32, the way ids become file names: digits and lower-case letters without i, l, o
// and u, so that no two names differ by case or by look-alikes.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace diorite::detail {

/// 64 bits in fives.
inline constexpr std::size_t kBase32DigitsMax = 13;
using Base32Digits = std::array<char, kBase32DigitsMax>;

/// The number without leading zeros, most significant digit first; "0" for 0. Written to the end of
/// `digits`, which the result points into.
inline std::string_view to_base32(std::uint64_t number, Base32Digits& digits) noexcept {
  constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  std::size_t first = digits.size();
  do {
    digits[--first] = kAlphabet[number & 31];
    number >>= 5;
  } while (number != 0);
  return std::string_view(digits.data() + first, digits.size() - first);
}

}  // namespace diorite::detail
