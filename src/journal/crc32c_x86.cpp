// CRC32C with the instructions of SSE 4.2, and with carry-less multiplication for what is long.
//
// The crc32 instruction takes three cycles and a new one can start every cycle, so one chain uses a
// third of the unit. Long ranges are therefore cut into three lanes A, B, C of equal length n whose
// chains run side by side; afterwards crc(ABC) = crc(A)·x^(16n) + crc(B)·x^(8n) + crc(C) modulo the
// polynomial.
//
// Compiled without special flags: each function names the instructions it needs, and is reached
// only when the processor has them.

#include "journal/crc32c.hpp"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <nmmintrin.h>
#include <wmmintrin.h>

#include <array>
#include <cstring>

#define DIORITE_SSE42 __attribute__((target("sse4.2")))
#define DIORITE_PCLMUL __attribute__((target("sse4.2,pclmul")))

namespace diorite::wal {
namespace {

// Below this, merging the lanes costs more than the chain that it breaks.
constexpr std::size_t kInterleaveBytes = 160;
constexpr std::size_t kLaneWordsMax = 256;

// A carry-less product of two reflected 32-bit polynomials stands one bit too low in its 64 bits,
// and the reduction by the crc32 instruction multiplies by x^32: together a factor x^33, which the
// keys leave out.
struct MergeKey {
  std::uint32_t first;   // x^(16n - 33)
  std::uint32_t second;  // x^(8n - 33)
};

constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if ((a & 0x80000000U) != 0) product ^= b;
    b = crc32c_detail::times_x(b);
  }
  return product;
}

constexpr std::uint32_t power_of_x(int exponent) {
  std::uint32_t value = 0x80000000U;
  for (int i = 0; i < exponent; ++i) value = crc32c_detail::times_x(value);
  return value;
}

// keys[w] merges lanes of w + 1 words, that is n = 8 * (w + 1) bytes.
constexpr std::array<MergeKey, kLaneWordsMax> make_keys() {
  std::array<MergeKey, kLaneWordsMax> keys{};
  MergeKey key{power_of_x(128 - 33), power_of_x(64 - 33)};
  constexpr std::uint32_t kFirstStep = power_of_x(128);
  constexpr std::uint32_t kSecondStep = power_of_x(64);
  for (MergeKey& entry : keys) {
    entry = key;
    key = {multiply(key.first, kFirstStep), multiply(key.second, kSecondStep)};
  }
  return keys;
}

constexpr std::array<MergeKey, kLaneWordsMax> kMergeKeys = make_keys();

template <bool kCopy, class Word>
DIORITE_SSE42 inline Word take(unsigned char* to, const unsigned char* from) noexcept {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  if constexpr (kCopy) std::memcpy(to, &word, sizeof(word));
  return word;
}

template <bool kCopy>
DIORITE_SSE42 inline std::uint32_t chain(std::uint32_t state, unsigned char* to,
                                         const unsigned char* from, std::size_t size) noexcept {
  std::uint64_t wide = state;
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    wide = _mm_crc32_u64(wide, take<kCopy, std::uint64_t>(to + at, from + at));
  }
  state = static_cast<std::uint32_t>(wide);
  if ((size & 4) != 0) {
    state = _mm_crc32_u32(state, take<kCopy, std::uint32_t>(to + at, from + at));
    at += 4;
  }
  if ((size & 2) != 0) {
    state = _mm_crc32_u16(state, take<kCopy, std::uint16_t>(to + at, from + at));
    at += 2;
  }
  if ((size & 1) != 0) {
    state = _mm_crc32_u8(state, take<kCopy, unsigned char>(to + at, from + at));
  }
  return state;
}

template <bool kCopy>
DIORITE_PCLMUL inline std::uint32_t three_lanes(std::uint32_t state, unsigned char* to,
                                                const unsigned char* from,
                                                std::size_t words) noexcept {
  const std::size_t lane = words * 8;
  std::uint64_t a = state;
  std::uint64_t b = 0;
  std::uint64_t c = 0;
  for (std::size_t at = 0; at < lane; at += 8) {
    const std::size_t at_b = lane + at;
    const std::size_t at_c = 2 * lane + at;
    a = _mm_crc32_u64(a, take<kCopy, std::uint64_t>(to + at, from + at));
    b = _mm_crc32_u64(b, take<kCopy, std::uint64_t>(to + at_b, from + at_b));
    c = _mm_crc32_u64(c, take<kCopy, std::uint64_t>(to + at_c, from + at_c));
  }
  const MergeKey key = kMergeKeys[words - 1];
  const __m128i first = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(a)),
                                             _mm_cvtsi64_si128(key.first), 0);
  const __m128i second = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(b)),
                                              _mm_cvtsi64_si128(key.second), 0);
  const auto sum = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_xor_si128(first, second)));
  return static_cast<std::uint32_t>(c ^ _mm_crc32_u64(0, sum));
}

template <bool kCopy>
DIORITE_PCLMUL inline std::uint32_t interleaved(std::uint32_t state, unsigned char* to,
                                                const unsigned char* from,
                                                std::size_t size) noexcept {
  while (size >= kInterleaveBytes) {
    const std::size_t words = size / 24 < kLaneWordsMax ? size / 24 : kLaneWordsMax;
    state = three_lanes<kCopy>(state, to, from, words);
    size -= words * 24;
    from += words * 24;
    if constexpr (kCopy) to += words * 24;
  }
  return chain<kCopy>(state, to, from, size);
}

// A checksum without a copy has nowhere to store to; the pointer that stands in for it is never
// used for more than arithmetic, which null may not be, so it is the source's own address.
unsigned char* no_target(const void* from) noexcept {
  return const_cast<unsigned char*>(static_cast<const unsigned char*>(from));
}

DIORITE_SSE42 std::uint32_t sse42_extend(std::uint32_t state, const void* data,
                                         std::size_t size) noexcept {
  return chain<false>(state, no_target(data), static_cast<const unsigned char*>(data), size);
}

DIORITE_SSE42 std::uint32_t sse42_copy(std::uint32_t state, void* to, const void* from,
                                       std::size_t size) noexcept {
  return chain<true>(state, static_cast<unsigned char*>(to),
                     static_cast<const unsigned char*>(from), size);
}

DIORITE_PCLMUL std::uint32_t pclmul_extend(std::uint32_t state, const void* data,
                                           std::size_t size) noexcept {
  return interleaved<false>(state, no_target(data), static_cast<const unsigned char*>(data), size);
}

DIORITE_PCLMUL std::uint32_t pclmul_copy(std::uint32_t state, void* to, const void* from,
                                         std::size_t size) noexcept {
  return interleaved<true>(state, static_cast<unsigned char*>(to),
                           static_cast<const unsigned char*>(from), size);
}

constexpr Crc32cKernel kSse42{"sse4.2", sse42_extend, sse42_copy};
constexpr Crc32cKernel kPclmul{"sse4.2+pclmul", pclmul_extend, pclmul_copy};

}  // namespace

namespace crc32c_detail {

const Crc32cKernel* x86_sse42() noexcept {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") ? &kSse42 : nullptr;
}

const Crc32cKernel* x86_pclmul() noexcept {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") ? &kPclmul : nullptr;
}

}  // namespace crc32c_detail
}  // namespace diorite::wal

#else

namespace diorite::wal::crc32c_detail {
const Crc32cKernel* x86_sse42() noexcept { return nullptr; }
const Crc32cKernel* x86_pclmul() noexcept { return nullptr; }
}  // namespace diorite::wal::crc32c_detail

#endif
