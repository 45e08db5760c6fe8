// UnsyncedDriver: syncs succeed at once and do nothing.
//
// With Writes::as_asked, for tests that open a journal thousands of times, care for the order of
// operations and not for the disk, and would otherwise wait for it. With Writes::plain, durable
// writes and opens are plain ones, too: a journal on that is wrong by construction, and a test of
// power cuts that finds nothing wrong with it is worth nothing.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include <diorite/driver/decorator.hpp>

namespace diorite::test {

class UnsyncedDriver final : public DriverDecorator {
 public:
  enum class Writes : std::uint8_t { as_asked, plain };
  UnsyncedDriver(std::unique_ptr<Driver> inner, Writes writes)
      : DriverDecorator(std::move(inner)), writes_(writes) {}

  void submit(Op& op) noexcept override {
    if (op.code == OpCode::sync_data || op.code == OpCode::sync_all ||
        op.code == OpCode::sync_dir) {
      codes_[&op] = op.code;
      op.code = OpCode::nop;
    } else if (writes_ == Writes::plain && op.code == OpCode::write) {
      op.flags = static_cast<std::uint8_t>(op.flags & ~kOpDsync);
    } else if (writes_ == Writes::plain && op.code == OpCode::open) {
      static_cast<PathOp&>(op).open_flags &= ~kOpenDsync;
    }
    inner().submit(op);
  }
  Removal remove(Op& op) noexcept override {
    const Removal removal = inner().remove(op);
    if (removal == Removal::removed) restore(op);
    return removal;
  }
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override {
    codes_.erase(&op);
    inner().orphan(op, std::move(buffer), std::move(file), hook);
  }
  void poll(OpList& done, Instant until) noexcept override {
    OpList fresh;
    inner().poll(fresh, until);
    while (Op* const op = fresh.pop_front()) {
      restore(*op);
      done.push_back(*op);
    }
  }

 private:
  void restore(Op& op) noexcept {
    const auto found = codes_.find(&op);
    if (found == codes_.end()) return;
    op.code = found->second;
    codes_.erase(found);
  }

  const Writes writes_;
  std::map<const Op*, OpCode> codes_;
};

}  // namespace diorite::test
