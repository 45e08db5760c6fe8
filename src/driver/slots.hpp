// SlotTable: what a driver remembers of each operation in flight, apart from the Op itself.
//
// A slot outlives the coroutine frame that holds its Op: when the frame dies, the slot keeps the
// buffer's and the file's pins until the completion. Its tag (generation and index) is what the
// kernel or a worker carries, so that a completion for a slot that has been given to another op is
// detected.
//
// Thread: the reactor's. Allocates: at construction only.

#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/driver/driver.hpp>

namespace diorite::detail {

/// `Extra` is what the driver's kernel interface or workers may touch: copied arguments, result
/// areas. It is default-constructed once and reused by every op that gets the slot.
template <class Extra>
class SlotTable {
 public:
  struct Slot {
    Op* op = nullptr;  ///< null once orphaned
    std::uint32_t generation = 0;
    std::uint32_t next_free = 0;
    std::uint32_t bytes = 0;  ///< asked for
    OpCode code = OpCode::nop;
    bool busy = false;
    Pin buffer;
    Pin file;
    OrphanHook hook;
    Extra extra;
  };

  explicit SlotTable(std::uint32_t count) : slots_(std::make_unique<Slot[]>(count)), count_(count) {
    for (std::uint32_t i = 0; i < count; ++i) slots_[i].next_free = i + 1;
  }

  std::uint32_t in_flight() const noexcept { return in_flight_; }
  bool full() const noexcept { return in_flight_ == count_; }

  /// Binds `op` to a free slot and puts it in flight. Requires: not full.
  Slot& acquire(Op& op) noexcept {
    DIORITE_ASSERT(free_ < count_, "no free slot");
    Slot& slot = slots_[free_];
    DIORITE_ASSERT(!slot.busy && slot.op == nullptr, "a free slot is in use");
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

  Slot& of(const Op& op) noexcept {
    DIORITE_ASSERT(op.state == OpState::in_flight && op.slot < count_, "an op without a slot");
    Slot& slot = slots_[op.slot];
    DIORITE_ASSERT(slot.op == &op, "a slot belongs to another op");
    return slot;
  }

  std::uint64_t tag(const Slot& slot) const noexcept {
    const auto index = static_cast<std::uint64_t>(&slot - slots_.get());
    return (static_cast<std::uint64_t>(slot.generation) << 32) | index;
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
    ++slot.generation;
    slot.next_free = free_;
    free_ = static_cast<std::uint32_t>(&slot - slots_.get());
    --in_flight_;
  }

  std::unique_ptr<Slot[]> slots_;
  std::uint32_t count_;
  std::uint32_t free_ = 0;
  std::uint32_t in_flight_ = 0;
};

}  // namespace diorite::detail
