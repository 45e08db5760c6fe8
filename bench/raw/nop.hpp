// A no-op through a bare ring, over and over, one at a time.

#pragma once

#include <cstdint>

#include "raw/ring.hpp"

namespace diorite::bench::raw {

void run_nops(Ring& ring, std::uint64_t count) noexcept;

}  // namespace diorite::bench::raw
