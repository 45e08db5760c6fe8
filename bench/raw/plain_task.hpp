// What a ready task is compared with: a call that is not inlined, and a hand-written lazy coroutine
// whose frame comes from malloc. Both do one addition.

#pragma once

#include <cstdint>

namespace diorite::bench::raw {

/// -> `value` after `count` calls that add 1.
std::uint64_t run_calls(std::uint64_t count, std::uint64_t value) noexcept;

/// The same by coroutines, each made, awaited and freed.
std::uint64_t run_plain_tasks(std::uint64_t count, std::uint64_t value);

}  // namespace diorite::bench::raw
