// Whether this process gets io_uring, asked of the kernel itself.
//
// The driver is under test: were it asked, one that refuses every ring would look like a machine
// that has none, and its tests would pass without a single check.

#pragma once

#include <cstdint>

namespace diorite::test {

enum class RingKind : std::uint8_t {
  plain,
  sq_poll,  ///< a thread of the kernel takes the submissions
  polled,   ///< completions are polled for
};

/// True when the kernel gives such a ring, with what the driver cannot do without. Where it does
/// not, the first call for each kind says so on stderr: "skipped: no io_uring here: why".
bool kernel_gives(RingKind kind);

}  // namespace diorite::test
