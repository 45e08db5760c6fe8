// UnsyncedDriver: the control. What asks the disk for durability succeeds without asking: syncs do
// nothing, and durable writes and opens are plain ones. A journal on it is wrong by construction,
// and a test of power cuts that finds nothing wrong with it is worth nothing.

#pragma once

#include <map>
#include <memory>
#include <utility>

#include <diorite/driver/driver.hpp>

namespace diorite::powercut {

class UnsyncedDriver final : public Driver {
 public:
  explicit UnsyncedDriver(std::unique_ptr<Driver> inner) : inner_(std::move(inner)) {}

  const DriverCaps& caps() const noexcept override { return inner_->caps(); }
  DriverCounters counters() const noexcept override { return inner_->counters(); }
  void submit(Op& op) noexcept override {
    if (op.code == OpCode::sync_data || op.code == OpCode::sync_all ||
        op.code == OpCode::sync_dir) {
      codes_[&op] = op.code;
      op.code = OpCode::nop;
    } else if (op.code == OpCode::write) {
      op.flags = static_cast<std::uint8_t>(op.flags & ~kOpDsync);
    } else if (op.code == OpCode::open) {
      static_cast<PathOp&>(op).open_flags &= ~kOpenDsync;
    }
    inner_->submit(op);
  }
  Removal remove(Op& op) noexcept override {
    const Removal removal = inner_->remove(op);
    if (removal == Removal::removed) restore(op);
    return removal;
  }
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override {
    codes_.erase(&op);
    inner_->orphan(op, std::move(buffer), std::move(file), hook);
  }
  void run_here(Op& op) noexcept override { inner_->run_here(op); }
  void poll(OpList& done, Instant until) noexcept override {
    OpList fresh;
    inner_->poll(fresh, until);
    while (Op* const op = fresh.pop_front()) {
      restore(*op);
      done.push_back(*op);
    }
  }
  void wake() noexcept override { inner_->wake(); }
  Instant now() const noexcept override { return inner_->now(); }
  WallTime wall_now() const noexcept override { return inner_->wall_now(); }
  std::uint64_t entropy() noexcept override { return inner_->entropy(); }

 private:
  void restore(Op& op) noexcept {
    const auto found = codes_.find(&op);
    if (found == codes_.end()) return;
    op.code = found->second;
    codes_.erase(found);
  }

  std::unique_ptr<Driver> inner_;
  std::map<const Op*, OpCode> codes_;
};

}  // namespace diorite::powercut
