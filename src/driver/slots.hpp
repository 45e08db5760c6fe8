// SlotTable: what a driver remembers of each operation in flight, apart from the Op itself.
//
// A slot outlives the coroutine frame that holds its Op: when the frame dies, the slot keeps the
// buffer's and the file's pins until the completion. Its tag (generation and index) is what the
// kernel or a worker carries, so that a completion for a slot that has been given to another op is
// detected.
//
// It also times operations where somebody wants to know (latency.hpp). The moment of submit() waits
// in the Op, in the two fields that nobody needs until the op has a slot or a result, so that an Op
// stays one cache line however long the backlog is.
//
// Thread: the reactor's. Allocates: at construction only.

#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/driver.hpp>
#include <diorite/latency.hpp>

// GCC and clang take what is cold out of line, also where everything around it is flattened.
#if defined(__GNUC__)
#define DIORITE_DETAIL_COLD [[gnu::noinline, gnu::cold]]
#else
#define DIORITE_DETAIL_COLD
#endif

namespace diorite::detail {

/// `Extra` is what the driver's kernel interface or workers may touch: copied arguments, result
/// areas. It is default-constructed once and reused by every op that gets the slot.
template <class Extra>
class SlotTable {
 public:
  // Slot::notes
  static constexpr std::uint8_t kTimed = 1;
  static constexpr std::uint8_t kCancelSent = 2;
  static constexpr std::uint8_t kWaits = 4;  ///< for entering()

  struct Slot {
    Op* op = nullptr;  ///< null once orphaned
    std::uint32_t generation = 0;
    std::uint32_t next_free = 0;
    std::uint32_t bytes = 0;  ///< asked for
    OpCode code = OpCode::nop;
    bool busy = false;
    std::uint8_t notes = 0;
    Instant submitted{};  ///< if it is timed, as is the next
    Instant given{};      ///< to the system
    Pin buffer;
    Pin file;
    OrphanHook hook;
    Extra extra;
  };

  explicit SlotTable(std::uint32_t count) : slots_(std::make_unique<Slot[]>(count)), count_(count) {
    for (std::uint32_t i = 0; i < count; ++i) slots_[i].next_free = i + 1;
  }

  struct Cancels {
    std::uint64_t sent = 0;
    std::uint64_t won = 0;
    std::uint64_t late = 0;
  };

  std::uint32_t in_flight() const noexcept { return in_flight_; }
  const Cancels& cancels() const noexcept { return cancels_; }

  /// See Driver::measure.
  void set_meter(OpMeter* meter) noexcept {
    DIORITE_ASSERT(meter == nullptr || in_flight_ == 0, "measuring began in the middle");
    meter_ = meter;
  }
  /// Comes first in Driver::submit.
  void submitted(Op& op) const noexcept {
    if (meter_ != nullptr) keep_stamp(op, meter_->now());
  }
  bool full() const noexcept { return in_flight_ == count_; }

  /// Binds `op` to a free slot and puts it in flight: from here on the system has it, unless
  /// wait_for_entry() says otherwise. Requires: not full.
  Slot& acquire(Op& op) noexcept {
    DIORITE_ASSERT(free_ < count_, "no free slot");
    Slot& slot = slots_[free_];
    DIORITE_ASSERT(!slot.busy && slot.op == nullptr, "a free slot is in use");
    if (meter_ != nullptr) begin_timing(slot, op);
    op.slot = free_;
    op.state = OpState::in_flight;
    free_ = slot.next_free;
    slot.op = &op;
    slot.code = op.code;
    slot.bytes = op.bytes;
    slot.busy = true;
    ++in_flight_;
    return slot;
  }

  /// The system hears of it only with the next entering().
  void wait_for_entry(Slot& slot) noexcept {
    if (slot.notes == 0) return;
    note(slot, kWaits);
    slot.next_free = first_waiting_;  // it has no other use while the slot is busy
    first_waiting_ = index_of(slot);
  }
  /// Everything that waits is given to the system now. (Where that refuses for want of memory, its
  /// time with the system begins at the first attempt.)
  void entering() noexcept {
    if (first_waiting_ != kNone) stamp_waiting();
  }

  /// A cancel for it was given to the system; counts once.
  void cancel_sent(Slot& slot) noexcept {
    if ((slot.notes & kCancelSent) != 0) return;
    note(slot, kCancelSent);
    ++cancels_.sent;
  }

  Slot& of(const Op& op) noexcept {
    DIORITE_ASSERT(op.state == OpState::in_flight && op.slot < count_, "an op without a slot");
    Slot& slot = slots_[op.slot];
    DIORITE_ASSERT(slot.op == &op, "a slot belongs to another op");
    return slot;
  }

  std::uint64_t tag(const Slot& slot) const noexcept {
    return (static_cast<std::uint64_t>(slot.generation) << 32) | index_of(slot);
  }

  /// Rule D8: aborts unless the tag names an operation that is in flight now.
  Slot& resolve(std::uint64_t tag) noexcept {
    const auto index = static_cast<std::uint32_t>(tag);
    DIORITE_ASSERT(index < count_, "a completion for a slot that does not exist");
    Slot& slot = slots_[index];
    DIORITE_ASSERT(slot.busy, "a completion for an operation that is not in flight");
    DIORITE_ASSERT(slot.generation == static_cast<std::uint32_t>(tag >> 32),
                   "a stale completion: its slot has been given to another operation");
    return slot;
  }

  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
    Slot& slot = of(op);
    DIORITE_ASSERT(!slot.buffer && !slot.file, "a slot of a living op holds pins");
    slot.op = nullptr;
    slot.buffer = std::move(buffer);
    slot.file = std::move(file);
    slot.hook = hook;
  }

  /// Takes a slot back whose operation never began (remove() says `removed`): the op becomes idle
  /// and is not reported.
  void release(Slot& slot) noexcept {
    DIORITE_ASSERT(slot.busy && slot.op != nullptr, "releasing a slot that no op holds");
    std::exchange(slot.op, nullptr)->state = OpState::idle;
    recycle(slot);
  }

  /// The same for a slot that the system still knows: it stays busy, without an op, until finish().
  void detach(Slot& slot) noexcept {
    DIORITE_ASSERT(slot.busy && slot.op != nullptr, "detaching a slot that no op holds");
    std::exchange(slot.op, nullptr)->state = OpState::idle;
    slot.notes = static_cast<std::uint8_t>(slot.notes & kWaits);
  }

  /// Ends an operation: its op, if it still lives, becomes done; an orphan's hook runs, then its
  /// pins are released. Returns true when the op lives. The slot is free before any foreign code
  /// runs.
  bool finish(Slot& slot, std::int32_t result, OpList& done) noexcept {
    DIORITE_ASSERT(slot.busy, "finishing an operation that is not in flight");
    Op* const op = std::exchange(slot.op, nullptr);
    Pin buffer = std::move(slot.buffer);
    Pin file = std::move(slot.file);
    const OrphanHook hook = std::exchange(slot.hook, OrphanHook{});
    const OpCode code = slot.code;
    const std::uint32_t bytes = slot.bytes;
    if (slot.notes != 0) account(slot, result);
    recycle(slot);
    if (op != nullptr) {
      op->result = result;
      op->state = OpState::done;
      done.push_back(*op);
      return true;
    }
    // Nobody is left to send the rest of a write that was cut short.
    if (code == OpCode::write && result >= 0 && static_cast<std::uint32_t>(result) < bytes) {
      result = -EIO;
    }
    if (hook.ended != nullptr) hook.ended(hook.context, code, result);
    buffer.reset();
    file.reset();
    return false;
  }

 private:
  // The generation changes when the slot is given back, so a second completion with the old tag is
  // stale from that moment on.
  void recycle(Slot& slot) noexcept {
    slot.busy = false;
    slot.notes = 0;
    ++slot.generation;
    slot.next_free = free_;
    free_ = index_of(slot);
    --in_flight_;
  }

  std::uint32_t index_of(const Slot& slot) const noexcept {
    return static_cast<std::uint32_t>(&slot - slots_.get());
  }

  static void note(Slot& slot, std::uint8_t what) noexcept {
    slot.notes = static_cast<std::uint8_t>(slot.notes | what);
  }
  static void keep_stamp(Op& op, Instant at) noexcept {
    const auto stamp = static_cast<std::uint64_t>(at.time_since_epoch().count());
    op.slot = static_cast<std::uint32_t>(stamp);
    op.result = static_cast<std::int32_t>(static_cast<std::uint32_t>(stamp >> 32));
  }
  static Instant kept_stamp(const Op& op) noexcept {
    const std::uint64_t high = static_cast<std::uint32_t>(op.result);
    return Instant(Duration(static_cast<Duration::rep>(high << 32 | op.slot)));
  }

  // Rare: kept out of the way of what is not timed.
  DIORITE_DETAIL_COLD void begin_timing(Slot& slot, const Op& op) noexcept {
    slot.notes = kTimed;
    slot.submitted = kept_stamp(op);
    // Straight from submit(): no time has passed.
    slot.given = op.state == OpState::backlog ? meter_->now() : slot.submitted;
  }
  DIORITE_DETAIL_COLD void account(const Slot& slot, std::int32_t result) noexcept {
    DIORITE_ASSERT((slot.notes & kWaits) == 0, "an operation ended before it was given away");
    if ((slot.notes & kCancelSent) != 0) {
      ++(result == -ECANCELED ? cancels_.won : cancels_.late);
    }
    if ((slot.notes & kTimed) == 0 || meter_ == nullptr) return;
    meter_->ended(slot.code, slot.given - slot.submitted, meter_->now() - slot.given);
  }
  DIORITE_DETAIL_COLD void stamp_waiting() noexcept {
    const Instant now = meter_ != nullptr ? meter_->now() : Instant();
    while (first_waiting_ != kNone) {
      Slot& slot = slots_[first_waiting_];
      first_waiting_ = slot.next_free;
      slot.given = now;
      slot.notes = static_cast<std::uint8_t>(slot.notes & ~kWaits);
    }
  }

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  std::unique_ptr<Slot[]> slots_;
  OpMeter* meter_ = nullptr;
  std::uint32_t count_;
  std::uint32_t free_ = 0;
  std::uint32_t in_flight_ = 0;
  std::uint32_t first_waiting_ = kNone;  ///< timed, and not given to the system yet
  Cancels cancels_;
};

}  // namespace diorite::detail
