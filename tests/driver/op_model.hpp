// Random operations, removals and orphans against a model in memory, for any driver.
//
// Lanes of one file have at most one operation in flight each, so what is concurrent does not
// overlap, and the model knows what every lane holds. A cancelled write must not have landed.

#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <random>

#include "driver/rig.hpp"

namespace diorite::test {

inline constexpr std::size_t kLanes = 24;
inline constexpr std::size_t kLaneBytes = 4096;

class OpModel;

/// One region of the file, with at most one op in flight on it: what is concurrent does not
/// overlap.
struct OpLane {
  std::array<char, kLaneBytes> model{};   // what the file holds
  std::array<char, kLaneBytes> buffer{};  // what the op moves
  Op op;
  bool busy = false;
  bool orphaned = false;
  std::uint64_t base = 0;
  std::ptrdiff_t from = 0;
  OpModel* owner = nullptr;

  void write_is_done(std::int64_t result) {
    if (result > 0) std::copy_n(buffer.begin(), result, model.begin() + from);
  }
  bool read_is_right(std::int32_t result) const {
    return std::equal(buffer.begin(), buffer.begin() + result, model.begin() + from);
  }
};

class OpModel {
 public:
  OpModel(Driver& driver, DriverFile file, std::uint32_t seed)
      : driver_(driver), file_(file), random_(seed) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      lanes_[i].base = i * kLaneBytes;
      lanes_[i].owner = this;
    }
  }

  void step() {
    OpLane& lane = lanes_[pick(kLanes)];
    if (!lane.busy) {
      start(lane);
    } else if (!lane.orphaned && pick(8) == 0) {
      remove_or_orphan(lane);
    }
    if (pick(6) == 0) reap(kAtOnce);
  }

  void end(OpLane& lane) {
    lane.busy = false;
    lane.orphaned = false;
    --busy_;
  }

  void finish() {
    while (busy_ > 0) reap(kNever);
    for (OpLane& lane : lanes_) {
      lane.op = transfer(OpCode::read, file_, lane.base, lane.buffer.data(), kLaneBytes);
      REQUIRE(run(driver_, lane.op) == static_cast<std::int32_t>(kLaneBytes));
      REQUIRE(lane.buffer == lane.model);
    }
  }

 private:
  std::size_t pick(std::size_t below) { return random_() % below; }

  void start(OpLane& lane) {
    const std::size_t from = pick(kLaneBytes);
    const std::size_t bytes = 1 + pick(kLaneBytes - from);
    const bool write = pick(3) != 0;
    if (write) std::generate_n(lane.buffer.begin(), bytes, [&] { return char(random_()); });
    lane.op = transfer(write ? OpCode::write : OpCode::read, file_, lane.base + from,
                       lane.buffer.data(), bytes);
    if (write && pick(100) == 0) lane.op.flags = kOpDsync;
    if (pick(50) == 0) lane.op.code = OpCode::nop;
    lane.from = static_cast<std::ptrdiff_t>(from);
    lane.busy = true;
    ++busy_;
    driver_.submit(lane.op);
  }

  void remove_or_orphan(OpLane& lane) {
    if (driver_.remove(lane.op) == Removal::removed) {
      end(lane);
      return;
    }
    if (pick(2) == 0) return;
    lane.orphaned = true;
    OrphanHook hook;
    hook.context = &lane;
    hook.ended = [](void* context, OpCode code, std::int64_t result) noexcept {
      if (code == OpCode::write) static_cast<OpLane*>(context)->write_is_done(result);
    };
    // The buffer's pin tells the end; until then nothing else may use the lane.
    Pin buffer(&lane, [](void* context) noexcept {
      auto* const ended = static_cast<OpLane*>(context);
      ended->owner->end(*ended);
    });
    driver_.orphan(lane.op, std::move(buffer), Pin(), hook);
    // The frame of the op dies: nobody may look at what it held.
    std::memset(static_cast<void*>(&lane.op), 0xdb, sizeof(lane.op));
  }

  void reap(Instant until) {
    OpList done;
    driver_.poll(done, until);
    while (Op* const op = done.pop_front()) {
      op->state = OpState::idle;
      OpLane& lane = *std::find_if(lanes_.begin(), lanes_.end(),
                                   [op](const OpLane& each) { return &each.op == op; });
      if (op->result == -ECANCELED) {
        end(lane);
        continue;
      }
      REQUIRE(op->result == (op->code == OpCode::nop ? 0 : static_cast<std::int32_t>(op->bytes)));
      if (op->code == OpCode::write) lane.write_is_done(op->result);
      if (op->code == OpCode::read) REQUIRE(lane.read_is_right(op->result));
      end(lane);
    }
  }

  Driver& driver_;
  DriverFile file_;
  std::mt19937 random_;
  std::array<OpLane, kLanes> lanes_;
  std::size_t busy_ = 0;
};

/// `steps` of them on a file of its own.
inline void run_model(Driver& driver, DriverFile file, std::uint32_t seed, int steps) {
  InfoOp size;
  size.code = OpCode::truncate;
  size.file = file;
  size.length = kLanes * kLaneBytes;
  REQUIRE(run(driver, size) == 0);
  auto model = std::make_unique<OpModel>(driver, file, seed);
  for (int i = 0; i < steps; ++i) model->step();
  model->finish();
  const DriverCounters counters = driver.counters();
  CHECK(counters.orphan_errors <= counters.orphans);
}

}  // namespace diorite::test
