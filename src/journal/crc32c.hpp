// CRC32C (Castagnoli): the checksum of everything that the journal writes.
//
// The functions here work on the raw register, without inversion at either end. A checksum with
// salt s starts the register at ~s and inverts it at the end; the CRC32C of the RFCs is the one
// with salt 0. The salt is what makes the intact bytes of an earlier use of a segment fail: for a
// fixed string the final register is a bijection of the first one, so another salt always gives
// another checksum.
//
// Thread: any thread. The fastest implementation that the processor has is chosen at the first
// call.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace diorite::wal {

/// One implementation. Both functions take and return the raw register; `copy` also copies, in the
/// same pass, and its two ranges must not overlap.
struct Crc32cKernel {
  const char* name;
  std::uint32_t (*extend)(std::uint32_t state, const void* data, std::size_t size) noexcept;
  std::uint32_t (*copy)(std::uint32_t state, void* to, const void* from, std::size_t size) noexcept;
};

/// The implementation in use. Code that makes several calls in a row keeps the reference.
const Crc32cKernel& crc32c_kernel() noexcept;

/// Every implementation that this processor can run, the portable one first and the fastest last.
std::span<const Crc32cKernel* const> crc32c_kernels() noexcept;

/// For tests: uses `kernel` from now on, or chooses again when it is null.
void crc32c_force(const Crc32cKernel* kernel) noexcept;

constexpr std::uint32_t crc32c_begin(std::uint32_t salt) noexcept { return ~salt; }
constexpr std::uint32_t crc32c_finish(std::uint32_t state) noexcept { return ~state; }

inline std::uint32_t crc32c_extend(std::uint32_t state, const void* data,
                                   std::size_t size) noexcept {
  return crc32c_kernel().extend(state, data, size);
}

inline std::uint32_t crc32c_copy(std::uint32_t state, void* to, const void* from,
                                 std::size_t size) noexcept {
  return crc32c_kernel().copy(state, to, from, size);
}

/// The checksum of one contiguous range.
inline std::uint32_t crc32c(std::uint32_t salt, const void* data, std::size_t size) noexcept {
  return crc32c_finish(crc32c_extend(crc32c_begin(salt), data, size));
}

namespace crc32c_detail {

/// The generator polynomial, bit-reflected: bit 31 stands for x^0.
inline constexpr std::uint32_t kPolynomial = 0x82F63B78;

/// Multiplies by x modulo the polynomial.
constexpr std::uint32_t times_x(std::uint32_t value) noexcept {
  return (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
}

/// What the processor offers beyond the portable kernel, fastest last, null where it has no such
/// instructions. Defined by crc32c_x86.cpp and crc32c_arm.cpp.
const Crc32cKernel* x86_sse42() noexcept;
const Crc32cKernel* x86_pclmul() noexcept;
const Crc32cKernel* arm_crc() noexcept;

}  // namespace crc32c_detail
}  // namespace diorite::wal
