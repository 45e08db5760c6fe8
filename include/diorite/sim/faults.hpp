// FaultDriver: stands before any driver and makes the operations that a test picks fail, be cut
// short, come late, change places or wait; counts and logs all of them.
//
// Use it for a test that says what goes wrong: "the third sync of the files named *.seg fails with
// EIO". Where anything may go wrong at any time, decided by a seed, use a Machine instead, or put a
// FaultDriver before the driver of a calm one. Real drivers do as well: what no rule picks goes on
// to them untouched.
//
//   auto owned = std::make_unique<sim::FaultDriver>(std::move(*make_driver()));
//   sim::FaultDriver& faults = *owned;
//   auto reactor = Reactor::create(std::move(owned));
//
//   faults.fail(OpCode::sync_data, 3, EIO, "*.seg");  // the third from now on; not executed
//   faults.fail(OpCode::write, FaultDriver::kEvery, ENOSPC, "MANIFEST");  // all to such a path
//   faults.fail(OpCode::rename, 1, EIO, {}, FaultDriver::Effect::full);  // executed all the same
//   faults.shorten(OpCode::write, 1, 4096);  // the next write moves at most 4096 bytes
//   faults.delay(OpCode::read, 1, std::chrono::seconds(2));  // is reported two seconds later
//   faults.reorder(OpCode::write, 4);  // the next four writes, in the opposite order
//   const auto hold = faults.hold(OpCode::write, 2);  // the second stays in flight until
//   ... faults.is_held(hold) ... faults.release(hold);  // now, and takes place only then
//
// To try every place where a workload can meet a fault, let the n-th operation of all fail, for n
// from 1 on, until a run comes to its end without meeting it:
//
//   faults.fail_nth(n, EIO);
//   run(workload);
//   if (faults.faults_done() == 0) break;
//
// Rules. A rule counts the operations of its code, and of its path where it has one, that are
// submitted after it was made; the first rule that is due decides. A path is matched at its end
// ("MANIFEST", "wal/LOCK"); with a star or a question mark in it, as a pattern: of the name behind
// the last slash ("*.seg" is not "1.seg.tmp"), or of the whole path when the pattern has a slash.
// Rules for an open file go by the path with which it was opened, those for a rename by the old
// name.
//
// Faults. A failed operation is not executed, unless Effect::full is asked for. A close that fails
// is, always: a system that says EIO has freed the descriptor all the same. (Not with ECANCELED,
// which says that it never began.) An open that takes place and fails leaves its file, and no
// handle. A held operation cannot be removed, like one that the device has begun; orphaned, it
// takes place when it is released. A delayed operation takes place at once, and is reported when
// its time has come, by the clock of the driver below; one that is orphaned is not waited for.
// Operations to be reordered are held until all have come. When the reactor would go to sleep and
// nothing else is under way, those that are there go on without the others, so that a workload may
// wait for one of them. A loop that turns several reactors by itself (run_all) does not know of
// either: use delay() and reorder() with a reactor that waits for itself.
//
// Thread: the reactor's; wake() from any, run_here() passes through without rules.
// Lifetime: everything must be released, and have ended, before it is destroyed. An orphaned
// operation may be released only while the driver below has a free slot. Allocates: for each
// operation, and for the log, which only grows.
// Rules D1 to D10 of driver.hpp hold.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/driver/driver.hpp>
#include <diorite/sim/profile.hpp>
#include <diorite/time.hpp>

namespace diorite::sim {

class FaultDriver final : public Driver, private FileRegistrar {
 public:
  static constexpr std::uint32_t kEvery = 0;

  /// What an operation that fails has done.
  enum class Effect : std::uint8_t {
    none,  ///< nothing: it was refused
    full,  ///< everything, and the error is reported all the same
  };
  enum class Repeat : std::uint8_t {
    once,
    sticky,  ///< from then on every operation of the same Area, too
  };

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

  /// Requires: not null.
  explicit FaultDriver(std::unique_ptr<Driver> inner);
  ~FaultDriver() override;

  // Rules by code and path.

  /// Requires: an errno value, not negated.
  void fail(OpCode code, std::uint32_t nth, int error, std::string_view path = {},
            Effect effect = Effect::none);
  /// read and write only. A direct file wants a multiple of its alignment.
  void shorten(OpCode code, std::uint32_t nth, std::uint32_t bytes, std::string_view path = {});
  /// Is not reported before `by` has passed since it was submitted.
  void delay(OpCode code, std::uint32_t nth, Duration by, std::string_view path = {});
  /// Names the rule; with kEvery it holds, and release() lets go, all operations that match.
  std::uint32_t hold(OpCode code, std::uint32_t nth, std::string_view path = {});
  /// The next `count` that match go on in the opposite order, once all of them have come. Names the
  /// rule: release() lets go what is there.
  std::uint32_t reorder(OpCode code, std::uint32_t count, std::string_view path = {});
  /// True while an operation is held, or kept for its turn, by this rule.
  bool is_held(std::uint32_t rule) const noexcept;
  /// Ends the rule, and submits what it holds.
  void release(std::uint32_t rule);
  /// Forgets every rule. What is held stays held until its release.
  void clear_rules() noexcept { rules_.clear(); }

  // Rules by number, for sweeps.

  /// The n-th operation, of whatever kind.
  void fail_nth(std::uint32_t n, int error, Repeat repeat = Repeat::once,
                Effect effect = Effect::none);
  /// The n-th of all reads and writes.
  void shorten_nth(std::uint32_t n, std::uint32_t bytes, Repeat repeat = Repeat::once);

  // What happened.

  /// How many operations were submitted, faulted ones included.
  std::uint64_t count(OpCode code) const noexcept {
    return counts_[static_cast<std::size_t>(code)];
  }
  const std::array<std::uint64_t, kOpCodeCount>& counts() const noexcept { return counts_; }
  /// Of every kind.
  std::uint64_t operations() const noexcept;
  /// How many operations a rule has decided about.
  std::uint64_t faults_done() const noexcept { return faults_done_; }
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
  void wake() noexcept override;
  /// What is held or delayed here is not with the driver below, so it is not timed meanwhile.
  bool measure(OpMeter* meter) noexcept override { return inner_->measure(meter); }
  Instant now() const noexcept override { return inner_->now(); }
  WallTime wall_now() const noexcept override { return inner_->wall_now(); }
  std::uint64_t entropy() noexcept override { return inner_->entropy(); }

 private:
  enum class Fault : std::uint8_t { fail, shorten, hold, delay, reorder };
  enum class Scope : std::uint8_t { code, transfers, all };
  struct Rule {
    std::uint32_t id = 0;
    Fault fault = Fault::fail;
    Scope scope = Scope::code;
    OpCode code = OpCode::nop;
    Effect effect = Effect::none;
    Repeat repeat = Repeat::once;
    bool fired = false;
    Area area{};            ///< sticky, once it has fired
    std::uint32_t nth = 0;  ///< reorder: how many
    std::uint32_t seen = 0;
    std::int32_t result = 0;  ///< fail
    std::uint32_t bytes = 0;  ///< shorten
    Duration by{};            ///< delay
    std::string path;
  };
  enum class Stage : std::uint8_t {
    failed,    ///< never reaches the driver below; reported by the next poll
    waiting,   ///< for a release
    below,     ///< the driver below has it
    withheld,  ///< it has ended; reported when it is due
    closing,   ///< the handle of an open that nobody may have is being closed
  };
  /// A faulted operation. The driver below sees the copy, so the caller's op may die at any time.
  struct Proxy {
    FaultDriver* owner = nullptr;
    Op* user = nullptr;  ///< null once orphaned
    Fault fault = Fault::fail;
    Stage stage = Stage::below;
    std::uint32_t rule = 0;
    std::uint32_t user_bytes = 0;
    std::int32_t result = 0;
    Instant due{};
    InfoOp info;
    ListOp list;
    CallOp call;
    Op closer;
    std::string path;
    std::string path2;
    Pin buffer;
    Pin file;
    OrphanHook hook;
    Op& op() noexcept;
  };
  using Proxies = std::vector<std::unique_ptr<Proxy>>;
  enum class Ended : std::uint8_t { reported, withheld };

  Result<DriverFile> register_file(DriverFile file) noexcept override;
  void release_file(DriverFile file) noexcept override;

  // Rules and the log: fault_rules.cpp.
  std::uint32_t add_rule(Rule rule);
  static bool matches(const Rule& rule, const Op& op, std::string_view path) noexcept;
  Rule* due_rule(const Op& op, std::string_view path) noexcept;
  std::string path_of(const Op& op) const;
  void note(Event::Kind kind, const Op& op);

  std::unique_ptr<Proxy> make_proxy(Op& op, const Rule& rule);
  Proxies::iterator find_user(const Op& op) noexcept;
  Proxies::iterator find_below(const Op& op) noexcept;
  void send(Op& op) noexcept;
  void start(Proxy& proxy, const Rule& rule);
  void let_go(std::unique_ptr<Proxy>& proxy);
  void let_stalled_go();
  void orphan_below(Proxies::iterator found, Pin buffer, Pin file, OrphanHook hook) noexcept;
  static void orphan_ended(void* context, OpCode code, std::int64_t result) noexcept;
  static std::int64_t orphan_result(const Proxy& proxy, std::int64_t result) noexcept;
  Instant next_due() const noexcept;
  bool finish_ready(OpList& done) noexcept;
  Ended finish_below(Op& op, OpList& done) noexcept;
  void close_handle(Proxy& proxy, DriverFile handle) noexcept;
  void report(Proxy& proxy, OpList& done) noexcept;
  void report(Op& op, OpList& done) noexcept;

  const std::unique_ptr<Driver> inner_;
  DriverCaps caps_;
  DriverCounters own_;
  std::atomic<bool> woken_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "wake() is called from signal handlers");
  std::array<std::uint64_t, kOpCodeCount> counts_{};
  std::uint64_t faults_done_ = 0;
  std::uint64_t closers_ = 0;  ///< operations of our own: begun
  std::uint64_t closers_done_ = 0;
  std::uint64_t below_ = 0;  ///< with the driver below, and not orphaned
  std::uint32_t next_rule_ = 1;
  std::vector<Rule> rules_;
  Proxies proxies_;
  std::vector<Event> log_;
  std::map<std::uint64_t, std::string> names_;  ///< of open files
  std::map<const Op*, std::string> paths_;      ///< of ops in flight
};

}  // namespace diorite::sim
