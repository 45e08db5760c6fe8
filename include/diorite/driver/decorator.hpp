// DriverDecorator: a driver that stands before another one and passes everything on.
//
// Derive from it to watch, count, delay or change operations, and override what you care for: the
// rules of driver.hpp hold for the whole. Operations come back in the list that poll() of the
// driver behind fills.
//
// Thread, lifetime: as Driver; it owns the driver behind it.
//
//   class Counting final : public DriverDecorator {
//    public:
//     using DriverDecorator::DriverDecorator;
//     void submit(Op& op) noexcept override {
//       ++counts[static_cast<std::size_t>(op.code)];
//       inner().submit(op);
//     }
//     std::array<std::uint64_t, kOpCodeCount> counts{};
//   };
//   auto reactor = Reactor::create(std::make_unique<Counting>(*make_driver()));

#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <diorite/driver/driver.hpp>

namespace diorite {

class DriverDecorator : public Driver {
 public:
  /// Requires: not null.
  explicit DriverDecorator(std::unique_ptr<Driver> inner) : inner_(std::move(inner)) {
    DIORITE_ASSERT(inner_ != nullptr, "a decorator before no driver");
  }

  const DriverCaps& caps() const noexcept override { return inner_->caps(); }
  DriverCounters counters() const noexcept override { return inner_->counters(); }
  void submit(Op& op) noexcept override { inner_->submit(op); }
  Removal remove(Op& op) noexcept override { return inner_->remove(op); }
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override {
    inner_->orphan(op, std::move(buffer), std::move(file), hook);
  }
  void run_here(Op& op) noexcept override { inner_->run_here(op); }
  void poll(OpList& done, Instant until) noexcept override { inner_->poll(done, until); }
  void wake() noexcept override { inner_->wake(); }
  NativeHandle pollable() noexcept override { return inner_->pollable(); }
  bool measure(OpMeter* meter) noexcept override { return inner_->measure(meter); }
  Instant now() const noexcept override { return inner_->now(); }
  WallTime wall_now() const noexcept override { return inner_->wall_now(); }
  std::uint64_t entropy() noexcept override { return inner_->entropy(); }

 protected:
  Driver& inner() noexcept { return *inner_; }
  const Driver& inner() const noexcept { return *inner_; }

 private:
  std::unique_ptr<Driver> inner_;
};

}  // namespace diorite
