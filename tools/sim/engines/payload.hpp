// Bytes and sizes for workloads, decided by choices.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <diorite/sim/choices.hpp>

namespace diorite::sim {

inline void fill_with_entropy(Choices& choices, std::span<std::byte> bytes) {
  std::size_t at = 0;
  for (; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = choices.entropy();
    std::memcpy(bytes.data() + at, &word, sizeof(word));
  }
  if (at == bytes.size()) return;
  const std::uint64_t last = choices.entropy();
  std::memcpy(bytes.data() + at, &last, bytes.size() - at);
}

/// Bytes that follow from `number` alone, and are zero nowhere for long.
inline void fill_by_number(std::span<std::byte> bytes, std::uint64_t number) {
  std::uint64_t word = number;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(word)) {
    word = (word + 1) * 0x9E37'79B9'7F4A'7C15;
    word ^= word >> 31;
    std::memcpy(bytes.data() + at, &word, std::min(sizeof(word), bytes.size() - at));
  }
}

/// One in `n`, as a matter of variety: never asked of every possible run.
inline bool one_in(Choices& choices, std::uint32_t n) { return choices.draw(n) == n - 1; }

}  // namespace diorite::sim
