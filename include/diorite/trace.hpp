// TraceEvent, TraceHook, TraceRing: what a reactor does, told as it happens.
//
// For looking inside while developing, and for keeping the last few thousand events of a server to
// look at when something went wrong. A reactor without a hook pays one predictable branch for each
// event; with one, a reading of the clock and a call. For numbers that are always there see
// ReactorStats, for distributions latency.hpp.
//
// Thread: the reactor's. Lifetime: the hook's context outlives the reactor. The hook must not call
// the reactor or anything that belongs to it (asserted in debug builds), and must not throw.
// Allocates: TraceRing at construction, nothing else.
//
//   TraceRing last(4096);                          // outlives the reactor
//   auto reactor = Reactor::create({.stall_after = std::chrono::milliseconds(5),
//                                   .trace = last.hook()});
//   ...
//   char line[kTraceTextMax];
//   for (std::size_t i = 0; i < last.size(); ++i) puts(print(last[i], line));

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include <diorite/assert.hpp>
#include <diorite/driver/op.hpp>
#include <diorite/time.hpp>

namespace diorite {

enum class TraceKind : std::uint8_t {
  turn_begin,    ///< value: how many turns there were before
  turn_end,      ///< value: operations in flight
  submit,        ///< an operation is given to the driver
  resubmit,      ///< the same, for what a short or interrupted transfer left over
  complete,      ///< value: the operation's result, of this step of it
  cancel,        ///< the driver was asked to stop what the system has
  removed,       ///< taken back before the system had it
  orphan,        ///< its coroutine died; the driver keeps what the device may touch
  orphan_end,    ///< an orphan ended. value: its result. It has no address any more
  orphan_error,  ///< the same, for a write or sync that failed and that nobody hears of
  reap,          ///< a destructor waits for the operation
  timer,         ///< a timer is due. value: by how many nanoseconds it is late
  post,          ///< what another thread posted runs now. where: its function
  fallback,      ///< the driver went another way than the best. value: how often since the last
  stall,         ///< a coroutine or a post held the reactor. value: nanoseconds. where: see below
};
inline constexpr std::size_t kTraceKindCount = static_cast<std::size_t>(TraceKind::stall) + 1;
const char* to_string(TraceKind kind) noexcept;

/// Trivially copyable. What a kind does not speak of is zero.
///
/// The place of a stall is the code address of the coroutine that ran last: the one that was
/// resumed, or the caller it returned to. (What a coroutine calls, or awaits and is over before it
/// suspends, counts as that coroutine.) A debugger, or `addr2line -Cfe program address` after
/// subtracting where a position-independent program was loaded, names the function and the line
/// where it begins. Null where no coroutine ran: a finished task was being freed, destructors of
/// its frame included.
struct TraceEvent {
  Instant at{};
  const void* op = nullptr;     ///< tells operations in flight apart; not to be followed
  const void* where = nullptr;  ///< code
  std::uint64_t file = DriverFile::kNone;
  std::uint64_t offset = 0;
  std::int64_t value = 0;
  std::uint32_t bytes = 0;
  TraceKind kind = TraceKind::turn_begin;
  OpCode code = OpCode::nop;
};
static_assert(sizeof(TraceEvent) <= 64 && std::is_trivially_copyable_v<TraceEvent>);

/// Trivially copyable. Without a function nothing is traced.
struct TraceHook {
  using Function = void (*)(void* context, const TraceEvent& event) noexcept;
  Function function = nullptr;
  void* context = nullptr;
};

inline constexpr std::size_t kTraceTextMax = 192;
/// One line without its end, such as "1250 submit read 0x7f02c0 file 7 at 4096, 4096 bytes: 0".
/// Numbers are in nanoseconds and bytes. Returns `text`.
const char* print(const TraceEvent& event, char (&text)[kTraceTextMax]) noexcept;

/// The last events of one reactor, or of several on one thread.
class TraceRing {
 public:
  /// Requires: not 0.
  explicit TraceRing(std::size_t capacity)
      : events_(std::make_unique<TraceEvent[]>(capacity)), capacity_(capacity) {
    DIORITE_ASSERT(capacity > 0, "a trace ring needs room");
  }
  TraceRing(const TraceRing&) = delete;
  TraceRing& operator=(const TraceRing&) = delete;

  TraceHook hook() noexcept { return TraceHook{&TraceRing::keep, this}; }

  /// How many there are to be read.
  std::size_t size() const noexcept {
    return total_ < capacity_ ? static_cast<std::size_t>(total_) : capacity_;
  }
  /// How many there ever were.
  std::uint64_t total() const noexcept { return total_; }
  /// From the oldest that is still there to the newest. Requires: index < size().
  const TraceEvent& operator[](std::size_t index) const noexcept {
    DIORITE_ASSERT(index < size(), "an event that the ring does not have");
    return events_[static_cast<std::size_t>((total_ - size() + index) % capacity_)];
  }
  void clear() noexcept { total_ = 0; }

 private:
  static void keep(void* context, const TraceEvent& event) noexcept {
    auto& ring = *static_cast<TraceRing*>(context);
    ring.events_[static_cast<std::size_t>(ring.total_++ % ring.capacity_)] = event;
  }

  std::unique_ptr<TraceEvent[]> events_;
  std::size_t capacity_;
  std::uint64_t total_ = 0;
};

}  // namespace diorite
