// Latencies: where the time of operations goes, in three parts, by kind.
//
// queued is from submit() until the system was given the operation: the wait for a slot, and for
// the end of the turn, when everything that the turn started is sent with one call. device is from
// there until its completion was reaped. ready is from there until its coroutine was resumed: the
// wait for the coroutines before it. A device that is slow, a device that is given too much, and a
// program that holds its reactor look the same from outside, and each shows in another part.
//
// Every step of a transfer that goes on after a short result is queued and with the device of its
// own; the coroutine becomes ready once. Operations that were removed count nowhere; orphans become
// ready for nobody. Behind the pool of threads, the wait for a free thread belongs to the device.
//
// Precision: that of Histogram; for ready, 32 ns more.
// Thread: the reactor's. Lifetime: the reactor's. Allocates: nothing after Reactor::create.
//
//   const OpLatencies& reads = reactor.latencies()->of(OpKind::read);
//   report(reads.device.percentile(99), reads.ready.percentile(99));

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <diorite/driver/driver.hpp>
#include <diorite/driver/op.hpp>
#include <diorite/histogram.hpp>
#include <diorite/time.hpp>

namespace diorite {

struct OpLatencies {
  Histogram queued;
  Histogram device;
  Histogram ready;

  void merge(const OpLatencies& other) noexcept {
    queued.merge(other.queued);
    device.merge(other.device);
    ready.merge(other.ready);
  }
};

/// See the top of the file.
class Latencies {
 public:
  OpLatencies& of(OpKind kind) noexcept { return kinds_[static_cast<std::size_t>(kind)]; }
  const OpLatencies& of(OpKind kind) const noexcept {
    return kinds_[static_cast<std::size_t>(kind)];
  }
  /// Adds those of all kinds to `sum`.
  void merge_into(OpLatencies& sum) const noexcept {
    for (const OpLatencies& kind : kinds_) sum.merge(kind);
  }
  void reset() noexcept { kinds_ = {}; }

 private:
  std::array<OpLatencies, kOpKindCount> kinds_{};
};

/// What a driver that measures reads its clock from, and reports to: see Driver::measure.
class OpMeter {
 public:
  /// `clock` is the driver that the reactor talks to: a decorator may have a clock of its own.
  OpMeter(const Driver& clock, Latencies& latencies) noexcept
      : clock_(&clock), latencies_(&latencies) {}
  Instant now() const noexcept { return clock_->now(); }
  void ended(OpCode code, Duration queued, Duration device) noexcept {
    OpLatencies& kind = latencies_->of(kind_of(code));
    kind.queued.record(queued);
    kind.device.record(device);
  }

 private:
  const Driver* clock_;
  Latencies* latencies_;
};

namespace detail {

/// Measures as long as it lives: the driver is told to stop before either of them is gone.
class Measuring {
 public:
  explicit Measuring(Driver& driver) noexcept : driver_(driver), works_(driver.measure(&meter_)) {}
  Measuring(const Measuring&) = delete;
  Measuring& operator=(const Measuring&) = delete;
  ~Measuring() { driver_.measure(nullptr); }

  bool works() const noexcept { return works_; }
  Latencies& latencies() noexcept { return latencies_; }
  const Latencies& latencies() const noexcept { return latencies_; }

  /// How long ago a stamp was taken. They wrap every 137 seconds, and what waited longer than that
  /// to be resumed counts for less.
  static constexpr std::uint32_t stamp(Instant at) noexcept {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(at.time_since_epoch().count()) >>
                                      kTickShift);
  }
  static constexpr Duration since(std::uint32_t stamp_then, Instant now) noexcept {
    return Duration(
        static_cast<Duration::rep>(std::uint64_t{stamp(now) - stamp_then} << kTickShift));
  }

 private:
  static constexpr unsigned kTickShift = 5;  // 32 ns, about what reading a clock takes

  Driver& driver_;
  Latencies latencies_;
  OpMeter meter_{driver_, latencies_};
  bool works_;
};

}  // namespace detail
}  // namespace diorite
