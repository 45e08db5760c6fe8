// MemoryDriver: one file in memory, behind transfers that end as a script says and not before they
// are waited for.
//
// For what no kernel does on demand: any short count at any alignment, EINTR without end, transfers
// of gigabytes, and operations that are in flight for exactly as long as a test wants. An operation
// completes in a poll that may wait; a poll with kAtOnce completes nothing. Whatever was submitted
// counts as begun: remove() always answers in_flight.
//
// Thread: one.

#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include <diorite/driver/driver.hpp>

namespace diorite::test {

class MemoryDriver final : public Driver {
 public:
  struct Step {
    OpCode code;
    std::uint64_t offset;
    std::uint64_t bytes;
    std::uint8_t flags;
  };
  /// A transfer moves at most so many bytes, or fails with a negated errno.
  std::deque<std::int64_t> script;
  /// The result of syncs, and of closing.
  std::int32_t sync_result = 0;
  std::int32_t close_result = 0;
  std::vector<Step> steps;
  std::vector<std::byte> content;
  std::uint32_t align = 512;
  bool touches_memory = true;  ///< false: transfers of any size, of which only the count is real
  int open_files = 0;

  MemoryDriver() {
    caps_.name = "memory";
    caps_.reason = "a test";
    caps_.in_flight_max = 1024;
  }
  ~MemoryDriver() override {
    DIORITE_ASSERT(flights_.empty(), "a driver is destroyed with operations in flight");
  }

  std::size_t in_flight() const noexcept { return flights_.size(); }

  const DriverCaps& caps() const noexcept override { return caps_; }
  DriverCounters counters() const noexcept override { return {}; }
  void submit(Op& op) noexcept override {
    op.state = OpState::in_flight;
    Flight flight;
    flight.op = &op;
    flight.code = op.code;
    flight.flags = op.flags;
    flight.data = op.data;
    flight.offset = op.offset;
    flight.bytes = op.bytes;
    steps.push_back({op.code, op.offset, op.bytes, op.flags});
    flights_.push_back(std::move(flight));
  }
  Removal remove(Op&) noexcept override { return Removal::in_flight; }
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override {
    const auto found = std::find_if(flights_.begin(), flights_.end(),
                                    [&op](const Flight& flight) { return flight.op == &op; });
    DIORITE_ASSERT(found != flights_.end(), "an orphan that is not in flight");
    found->op = nullptr;
    found->buffer = std::move(buffer);
    found->file = std::move(file);
    found->hook = hook;
  }
  void run_here(Op&) noexcept override { DIORITE_ASSERT(false, "nobody runs here"); }
  void poll(OpList& done, Instant until) noexcept override {
    if (until == kAtOnce) return;
    DIORITE_ASSERT(!flights_.empty() || until != kNever, "a wait that nothing can end");
    now_ = until == kNever ? now_ : std::max(now_, until);
    // What pins and hooks submit belongs to the next poll.
    std::deque<Flight> ending;
    ending.swap(flights_);
    for (Flight& flight : ending) end(flight, done);
  }
  void wake() noexcept override {}
  Instant now() const noexcept override { return now_; }
  WallTime wall_now() const noexcept override { return {}; }
  std::uint64_t entropy() noexcept override { return 4; }

 private:
  struct Flight {
    Op* op = nullptr;
    OpCode code = OpCode::nop;
    std::uint8_t flags = 0;
    std::byte* data = nullptr;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    Pin buffer;
    Pin file;
    OrphanHook hook;
  };

  void end(Flight& flight, OpList& done) noexcept {
    const std::int32_t result = execute(flight);
    if (flight.op == nullptr) {
      if (flight.hook.ended != nullptr) flight.hook.ended(flight.hook.context, flight.code, result);
      flight.buffer.reset();
      flight.file.reset();
      return;
    }
    flight.op->result = result;
    flight.op->state = OpState::done;
    done.push_back(*flight.op);
  }

  std::int32_t execute(Flight& flight) noexcept {
    switch (flight.code) {
      case OpCode::read:
      case OpCode::write:
        return transfer(flight);
      case OpCode::sync_data:
      case OpCode::sync_all:
        return sync_result;
      case OpCode::open:
        ++open_files;
        if (flight.op != nullptr) flight.op->file = DriverFile{7};
        if (flight.op == nullptr) --open_files;
        return 0;
      case OpCode::close:
        --open_files;
        return close_result;
      case OpCode::info:
        if (flight.op != nullptr) {
          FileInfo& info = static_cast<InfoOp*>(flight.op)->info;
          info.bytes = content.size();
          info.kind = FileKind::regular;
          info.align = {align, align, align, AlignSource::kernel};
        }
        return 0;
      default:
        return 0;
    }
  }

  std::int32_t transfer(Flight& flight) noexcept {
    std::uint64_t bytes = flight.bytes;
    if (!script.empty()) {
      const std::int64_t next = script.front();
      script.pop_front();
      if (next < 0) return static_cast<std::int32_t>(next);
      bytes = std::min(bytes, static_cast<std::uint64_t>(next));
    }
    if (!touches_memory) return static_cast<std::int32_t>(bytes);
    if (flight.code == OpCode::read) {
      bytes = flight.offset >= content.size() ? 0 : std::min(bytes, content.size() - flight.offset);
      if (bytes > 0) std::memcpy(flight.data, content.data() + flight.offset, bytes);
    } else if (bytes > 0) {
      if (content.size() < flight.offset + bytes) content.resize(flight.offset + bytes);
      std::memcpy(content.data() + flight.offset, flight.data, bytes);
    }
    return static_cast<std::int32_t>(bytes);
  }

  DriverCaps caps_;
  Instant now_{};
  std::deque<Flight> flights_;
};

}  // namespace diorite::test
