// FaultDriver: stands before another driver and fails, shortens or holds back the operations that a
// test picks; counts and logs all of them.
//
//   auto owned = std::make_unique<FaultDriver>(std::move(*make_driver()));
//   FaultDriver& faults = *owned;
//   auto reactor = Reactor::create(std::move(owned));
//
//   faults.fail(OpCode::sync_data, 3, EIO);  // the third sync from now on; not executed
//   faults.fail(OpCode::write, FaultDriver::kEvery, ENOSPC, "MANIFEST");  // all to such a path
//   faults.shorten(OpCode::write, 1, 4096);  // the next write moves at most 4096 bytes
//   const auto hold = faults.hold(OpCode::write, 2);  // the second stays in flight until
//   ... faults.is_held(hold) ... faults.release(hold);  // now, and takes place only then
//   CHECK(faults.count(OpCode::sync_data) == 3);
//   for (const FaultDriver::Event& event : faults.log()) ...
//
// A rule counts the operations of its code, and of its path suffix where it has one, that are
// submitted after it was made; the first rule that is due decides. Rules for an open file go by the
// path with which it was opened. A held operation cannot be removed, like one that the device has
// begun; orphaned, it takes place when it is released. An orphaned operation may be released only
// while the driver below has a free slot.
//
// Thread: the reactor's; run_here() and wake() pass through, without rules. Rules D1 to D10 hold:
// the conformance suite runs over a FaultDriver. Everything must be released before it is
// destroyed.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/driver/driver.hpp>

namespace diorite::test {

class FaultDriver final : public Driver, private FileRegistrar {
 public:
  static constexpr std::uint32_t kEvery = 0;

  struct Event {
    enum class Kind : std::uint8_t { submitted, released, completed, removed, orphaned };
    Kind kind;
    OpCode code;
    std::string path;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  ///< of a transfer, an allocation or a truncation
    std::uint8_t flags = 0;
    std::int32_t result = 0;  ///< completed only
  };

  explicit FaultDriver(std::unique_ptr<Driver> inner);
  ~FaultDriver() override;

  void fail(OpCode code, std::uint32_t nth, int error, std::string_view path_suffix = {});
  /// read and write only.
  void shorten(OpCode code, std::uint32_t nth, std::uint32_t bytes,
               std::string_view path_suffix = {});
  /// Names the rule; with kEvery it holds, and release() lets go, all operations that match.
  std::uint32_t hold(OpCode code, std::uint32_t nth, std::string_view path_suffix = {});
  /// True while an operation is held by this rule.
  bool is_held(std::uint32_t hold) const noexcept;
  /// Ends the rule, and submits what it holds.
  void release(std::uint32_t hold);
  /// Forgets every rule. What is held stays held until its release.
  void clear_rules() noexcept { rules_.clear(); }

  /// How many operations were submitted, faulted ones included.
  std::uint64_t count(OpCode code) const noexcept {
    return counts_[static_cast<std::size_t>(code)];
  }
  const std::vector<Event>& log() const noexcept { return log_; }
  void clear_log() noexcept { log_.clear(); }
  Driver& inner() noexcept { return *inner_; }

  const DriverCaps& caps() const noexcept override { return caps_; }
  DriverCounters counters() const noexcept override;
  void submit(Op& op) noexcept override;
  Removal remove(Op& op) noexcept override;
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override;
  void run_here(Op& op) noexcept override { inner_->run_here(op); }
  void poll(OpList& done, Instant until) noexcept override;
  void wake() noexcept override { inner_->wake(); }
  Instant now() const noexcept override { return inner_->now(); }
  WallTime wall_now() const noexcept override { return inner_->wall_now(); }
  std::uint64_t entropy() noexcept override { return inner_->entropy(); }

 private:
  enum class Fault : std::uint8_t { fail, shorten, hold };
  struct Rule {
    std::uint32_t id;
    Fault fault;
    OpCode code;
    std::uint32_t nth;
    std::uint32_t seen;
    std::int32_t result;  // fail
    std::uint32_t bytes;  // shorten
    std::string suffix;
  };
  /// A faulted operation. The driver below sees the copy, so the caller's op may die at any time.
  struct Proxy {
    Op* user = nullptr;
    Fault fault = Fault::fail;
    std::uint32_t rule = 0;
    bool passed_on = false;
    std::int32_t result = 0;
    InfoOp info;
    ListOp list;
    std::string path;
    std::string path2;
    Pin buffer;
    Pin file;
    OrphanHook hook;
    Op& op() noexcept;
  };
  using Proxies = std::vector<std::unique_ptr<Proxy>>;

  Result<DriverFile> register_file(DriverFile file) noexcept override;
  void release_file(DriverFile file) noexcept override;

  std::uint32_t add_rule(Fault fault, OpCode code, std::uint32_t nth, std::int32_t result,
                         std::uint32_t bytes, std::string_view suffix);
  const Rule* due_rule(const Op& op, std::string_view path) noexcept;
  std::unique_ptr<Proxy> make_proxy(Op& op, const Rule& rule) const;
  Proxies::iterator find_user(const Op& op) noexcept;
  void pass_on(Proxy& proxy) noexcept;
  bool finish_failed(OpList& done) noexcept;
  void finish_inner(Op& op, OpList& done) noexcept;
  std::string path_of(const Op& op) const;
  void note(Event::Kind kind, const Op& op);

  const std::unique_ptr<Driver> inner_;
  DriverCaps caps_;
  DriverCounters own_;
  std::array<std::uint64_t, kOpCodeCount> counts_{};
  std::uint32_t next_rule_ = 1;
  std::vector<Rule> rules_;
  Proxies proxies_;
  std::vector<Event> log_;
  std::map<std::uint64_t, std::string> names_;  ///< of open files
  std::map<const Op*, std::string> paths_;      ///< of ops in flight
};

}  // namespace diorite::test
