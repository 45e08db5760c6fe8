// Random reads of one block through a bare ring, with a fixed number in flight.

#pragma once

#include <cstddef>
#include <cstdint>

#include "raw/ring.hpp"

namespace diorite::bench::raw {

struct RandomRead {
  int file = -1;
  std::byte* memory = nullptr;  ///< depth * block_bytes, aligned
  unsigned depth = 1;
  unsigned block_bytes = 4096;
  std::uint64_t blocks = 0;  ///< of the file
  std::uint64_t count = 0;   ///< reads to make
  std::uint64_t seed = 1;
};

/// The first negative result, or 0. A short read is -EIO.
int run_random_reads(Ring& ring, const RandomRead& job) noexcept;

}  // namespace diorite::bench::raw
