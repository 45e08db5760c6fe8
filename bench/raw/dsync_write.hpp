// One durable block after the other by pwritev2(RWF_DSYNC), no ring at all.

#pragma once

#include <cstddef>
#include <cstdint>

#include "measure.hpp"

namespace diorite::bench::raw {

/// Writes `block` `count` times, one behind the other from the file's beginning, and takes the time
/// of each. 0, or a negated errno value.
int run_dsync_writes(int file, const std::byte* block, unsigned block_bytes, std::uint64_t count,
                     Latencies& latencies) noexcept;

}  // namespace diorite::bench::raw
