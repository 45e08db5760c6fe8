// Powers of two: rounding, tests of alignment, and literals for sizes.
//
// Everything here is constexpr and total: rounding up saturates instead of wrapping, so that a
// hostile length cannot become a small one.
//
//   static_assert(align_up(5000, 4096) == 8192 && is_aligned(8_KiB, 4096));

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace diorite {

/// The page of every platform that diorite runs on, and the least alignment of an AlignedBuf.
inline constexpr std::size_t kPageBytes = 4096;

constexpr bool is_power_of_two(std::uint64_t value) noexcept { return std::has_single_bit(value); }

/// Requires: `alignment` is a power of two.
constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) noexcept {
  return (value & (alignment - 1)) == 0;
}

inline bool is_aligned(const void* address, std::uint64_t alignment) noexcept {
  return is_aligned(reinterpret_cast<std::uintptr_t>(address), alignment);
}

constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) noexcept {
  return value & ~(alignment - 1);
}

/// The next multiple of `alignment`, or the largest multiple there is when that would wrap. Compare
/// the result with `value` where this can happen: it is below it only then.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  return value > kMax - (alignment - 1) ? align_down(kMax, alignment)
                                        : align_down(value + (alignment - 1), alignment);
}

/// The binary logarithm of a power of two.
constexpr std::uint8_t log2_of(std::uint64_t power) noexcept {
  return static_cast<std::uint8_t>(std::countr_zero(power));
}

inline namespace literals {
consteval std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
consteval std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
consteval std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
}  // namespace literals

}  // namespace diorite
