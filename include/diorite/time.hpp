// Instant and WallTime: points in time as the driver tells them.
//
// They are std::chrono time points over clocks that have no now(): the time comes from the reactor
// (Reactor::now), so that a simulated driver's time is the only time there is. Instants order
// events and set deadlines; a WallTime is for stamps that people read and never decides anything.
//
// Thread: plain values.
//
//   const Instant deadline = reactor.now() + std::chrono::milliseconds(50);

#pragma once

#include <chrono>
#include <cstdint>

namespace diorite {

using Duration = std::chrono::nanoseconds;

/// Monotonic, from an arbitrary origin. Has no now() on purpose.
struct MonotonicClock {
  using duration = Duration;
  using rep = Duration::rep;
  using period = Duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
using Instant = std::chrono::time_point<MonotonicClock>;

/// Since 1970-01-01 UTC, and may jump. Has no now() on purpose.
struct WallClock {
  using duration = Duration;
  using rep = Duration::rep;
  using period = Duration::period;
  using time_point = std::chrono::time_point<WallClock>;
  static constexpr bool is_steady = false;
};
using WallTime = std::chrono::time_point<WallClock>;

/// Later than every deadline: wait without a limit.
inline constexpr Instant kNever = Instant::max();
/// Earlier than every instant a driver reports: do not wait.
inline constexpr Instant kAtOnce = Instant::min();
/// Longer than anything lasts.
inline constexpr Duration kForever = Duration::max();

/// `now + delay`, at most kNever, and not before `now`. The origin of a driver's clock is
/// arbitrary, so both may lie anywhere in their range.
constexpr Instant later(Instant now, Duration delay) noexcept {
  if (delay <= Duration::zero()) return now;
  if (now >= Instant() && delay > kNever - now) return kNever;
  return now + delay;
}

}  // namespace diorite
