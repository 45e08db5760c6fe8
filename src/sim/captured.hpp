// Captured: the bytes of a write in flight, taken from its buffer.
//
// A write is cut into blocks as the file is, each byte at its place in its block, so that a whole
// block goes on to the file, its versions and the medium without being copied again.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/block.hpp"

namespace diorite::sim::detail {

/// The part of a range that is in one block, as offsets in it.
struct Piece {
  std::uint64_t begin;
  std::uint64_t end;

  bool whole() const noexcept { return begin == 0 && end == kBlockBytes; }
  std::uint64_t hash(const BlockRef& of) const noexcept {
    return whole() ? of.hash() : hash_bytes(of.bytes() + begin, end - begin);
  }
};

inline Piece piece_of(std::uint64_t block, std::uint64_t begin, std::uint64_t end) noexcept {
  const std::uint64_t start = block * kBlockBytes;
  return {std::max(begin, start) - start, std::min(end, start + kBlockBytes) - start};
}

struct Captured {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::vector<BlockRef> blocks;  ///< from the one that holds `offset`

  void take(const std::byte* data);
  /// True while `data` still holds what was taken.
  bool matches(const std::byte* data) const noexcept;
  std::uint64_t hash() const noexcept;
};

}  // namespace diorite::sim::detail
