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
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = choices.entropy();
    std::memcpy(bytes.data() + at, &word, std::min(sizeof(word), bytes.size() - at));
  }
}

/// One in `n`, as a matter of variety: never asked of every possible run.
inline bool one_in(Choices& choices, std::uint32_t n) { return choices.draw(n) == n - 1; }

}  // namespace diorite::sim
