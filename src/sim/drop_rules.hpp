// What a failed sync leaves of what it covered, and who can see it.

#pragma once

#include <cstdint>

namespace diorite::sim::detail {

/// Which reads go on to see what was dropped.
enum class Lie : std::uint8_t { none, cached, everywhere };

/// Trivially copyable.
struct DropRules {
  Lie lie = Lie::none;
  bool keeps_sizes = false;  ///< only bytes are dropped
  std::uint64_t since = 0;   ///< only what took effect after this
};

}  // namespace diorite::sim::detail
