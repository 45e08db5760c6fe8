#include "sim/captured.hpp"

#include <cstring>

#include <diorite/assert.hpp>

#include "sim/trace.hpp"

namespace diorite::sim::detail {

void Captured::take(const std::byte* data) {
  DIORITE_ASSERT(blocks.empty(), "a write is captured twice");
  if (bytes == 0) return;
  const std::uint64_t first = offset / kBlockBytes;
  const std::uint64_t last = (offset + bytes - 1) / kBlockBytes;
  blocks.reserve(last - first + 1);
  for (std::uint64_t block = first; block <= last; ++block) {
    const Piece piece = piece_of(block, offset, offset + bytes);
    if (piece.whole()) {
      blocks.push_back(BlockRef::copy_of(data));
    } else {
      blocks.emplace_back();
      blocks.back().set_range(piece.begin, piece.end, data);
    }
    data += piece.end - piece.begin;
  }
}

bool Captured::matches(const std::byte* data) const noexcept {
  std::uint64_t block = offset / kBlockBytes;
  for (const BlockRef& captured : blocks) {
    const Piece piece = piece_of(block++, offset, offset + bytes);
    const std::uint64_t length = piece.end - piece.begin;
    if (std::memcmp(captured.bytes() + piece.begin, data, length) != 0) return false;
    data += length;
  }
  return true;
}

std::uint64_t Captured::hash() const noexcept {
  Trace trace;
  std::uint64_t block = offset / kBlockBytes;
  for (const BlockRef& captured : blocks) {
    trace.fold(piece_of(block++, offset, offset + bytes).hash(captured));
  }
  return trace.hash();
}

}  // namespace diorite::sim::detail
