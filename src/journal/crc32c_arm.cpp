// CRC32C with the CRC instructions of ARMv8, which are optional in 8.0 and always there from 8.1
// on.
//
// Compiled without special flags: each function names the extension it needs, and is reached only
// when the processor has it.

#include "journal/crc32c.hpp"

#if defined(__aarch64__) && !defined(__AARCH64EB__) && \
    (defined(__linux__) || defined(__ARM_FEATURE_CRC32))

#include <arm_acle.h>

#include <cstring>

#if defined(__clang__)
#define DIORITE_ARM_CRC __attribute__((target("crc")))
#else
#define DIORITE_ARM_CRC __attribute__((target("+crc")))
#endif

#if !defined(__ARM_FEATURE_CRC32)
// Declared here because the header that declares it is Linux' own; the C libraries all export it.
extern "C" unsigned long getauxval(unsigned long type) noexcept;
#endif

namespace diorite::wal {
namespace {

template <bool kCopy, class Word>
inline Word take(unsigned char* to, const unsigned char* from) noexcept {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  if constexpr (kCopy) std::memcpy(to, &word, sizeof(word));
  return word;
}

template <bool kCopy>
DIORITE_ARM_CRC inline std::uint32_t chain(std::uint32_t state, unsigned char* to,
                                           const unsigned char* from, std::size_t size) noexcept {
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    state = __crc32cd(state, take<kCopy, std::uint64_t>(to + at, from + at));
  }
  if ((size & 4) != 0) {
    state = __crc32cw(state, take<kCopy, std::uint32_t>(to + at, from + at));
    at += 4;
  }
  if ((size & 2) != 0) {
    state = __crc32ch(state, take<kCopy, std::uint16_t>(to + at, from + at));
    at += 2;
  }
  if ((size & 1) != 0) state = __crc32cb(state, take<kCopy, unsigned char>(to + at, from + at));
  return state;
}

DIORITE_ARM_CRC std::uint32_t arm_extend(std::uint32_t state, const void* data,
                                         std::size_t size) noexcept {
  const auto* from = static_cast<const unsigned char*>(data);
  return chain<false>(state, const_cast<unsigned char*>(from), from, size);
}

DIORITE_ARM_CRC std::uint32_t arm_copy(std::uint32_t state, void* to, const void* from,
                                       std::size_t size) noexcept {
  return chain<true>(state, static_cast<unsigned char*>(to),
                     static_cast<const unsigned char*>(from), size);
}

constexpr Crc32cKernel kArm{"armv8-crc", arm_extend, arm_copy};

bool has_crc() noexcept {
#if defined(__ARM_FEATURE_CRC32)
  return true;
#else
  constexpr unsigned long kHardwareCapabilities = 16;  // AT_HWCAP
  constexpr unsigned long kCrc32 = 1UL << 7;           // HWCAP_CRC32
  return (getauxval(kHardwareCapabilities) & kCrc32) != 0;
#endif
}

}  // namespace

namespace crc32c_detail {
const Crc32cKernel* arm_crc() noexcept { return has_crc() ? &kArm : nullptr; }
}  // namespace crc32c_detail
}  // namespace diorite::wal

#else

namespace diorite::wal::crc32c_detail {
const Crc32cKernel* arm_crc() noexcept { return nullptr; }
}  // namespace diorite::wal::crc32c_detail

#endif
