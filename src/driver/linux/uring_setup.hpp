// The ladder that finds rings that work.
//
// It asks for everything that makes a ring fast and gives up what the kernel refuses, one thing at
// a time; then it proves the ring with a no-op, and asks which operations the ring knows. Every
// rung, refused or not, is told in words that an operator can act on, and what the options asked
// for and did not get is counted.
//
// Thread: the one that will use the rings.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <diorite/driver/driver.hpp>
#include <diorite/result.hpp>

#include "driver/linux/uring_ring.hpp"

namespace diorite::detail {

/// What carries out an OpCode.
enum class OpRoute : std::uint8_t { ring, worker };

struct UringRings {
  std::unique_ptr<Uring> main;    ///< has carried out a no-op
  std::unique_ptr<Uring> polled;  ///< null unless it was asked for and given
  /// Neither ring's completions overflow while no more operations than this have not been reaped.
  std::uint32_t in_flight_max = 0;
  std::array<OpRoute, kOpCodeCount> routes{};
  std::array<std::uint64_t, kFallbackCount> fallbacks{};
};

/// Errors: unsupported; why is in `reasons`, to which it always appends.
Result<UringRings> make_uring_rings(const DriverOptions& options, std::string& reasons,
                                    const UringCalls& calls);

/// IORING_OP_FTRUNCATE, which headers before Linux 6.9 do not have.
inline constexpr int kUringOpFtruncate = 55;

}  // namespace diorite::detail
