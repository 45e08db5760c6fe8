// Threads that do the same thing at the same time, with one clock for all.

#pragma once

#include <cstdint>
#include <functional>

#include "measure.hpp"

namespace diorite::bench {

/// Runs `work(thread, count)` on `threads` threads, numbered from 0, with `count` divided among
/// them; they begin together, and the sample ends with the last of them. Errors: throws what a
/// thread throws.
Sample run_team(unsigned threads, std::uint64_t count,
                const std::function<void(unsigned thread, std::uint64_t count)>& work);

}  // namespace diorite::bench
