// Kernel: the inside of a Machine: clock, processes, operations in flight, and the end of them all.
//
// An operation begins (its arguments are checked, a write takes room, a sync notes what it covers),
// stays in flight for a time, ends (takes effect, or fails), and is then reported by its driver. A
// driver calls begin(), wait() and take_done(); everything else happens inside wait(), where time
// passes for all processes of the machine.
//
// A deadlock, that is a driver that waits for ever with nothing in flight, cannot be slept through
// on one thread. It is recorded as a violation and ends the process, so that a loop of turns sees
// it and can give up; a loop that does not look is stopped by an assertion.
//
// Thread: one, and wake() of the drivers. Lifetime: outlives its drivers; choices outlives it.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/result.hpp>
#include <diorite/sim/machine.hpp>

#include "sim/faults.hpp"
#include "sim/files.hpp"
#include "sim/flight.hpp"
#include "sim/trace.hpp"
#include "sim/volume.hpp"

namespace diorite::sim::detail {

class Kernel {
 public:
  Kernel(Choices& choices, const Profile& profile, const MachineOptions& options);
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  ~Kernel();

  // What a Machine is asked.

  Choices& choices() noexcept { return choices_; }
  Disk& disk() noexcept { return disk_; }
  Volume& volume() noexcept { return disk_.volume(); }
  const Profile& profile() const noexcept { return profile_; }
  const MachineOptions& options() const noexcept { return options_; }
  Instant now() const noexcept { return now_; }
  const std::array<std::uint8_t, 16>& boot_id() const noexcept { return boot_id_; }
  const MachineCounters& counters() const noexcept;
  std::uint64_t trace_hash() const noexcept;
  void set_log(MachineLog log, void* context) noexcept {
    log_ = log;
    log_context_ = context;
  }
  const std::string& violation() const noexcept { return violation_; }

  void power_cut();
  void kill();
  void plan(bool power, std::uint64_t events) noexcept;
  void plan(EndQuestion question, void* context) noexcept;
  void cancel_plan() noexcept {
    planned_events_ = 0;
    question_ = nullptr;
  }
  void set_quiet(bool quiet) noexcept { quiet_ = quiet; }
  /// Equal where a power cut now could leave the same, and nothing else: fingerprint.cpp.
  std::uint64_t fingerprint() const;
  void heal() noexcept;
  Instant next_event() noexcept;
  void advance(Instant to);

  // What a driver asks.

  Process& start_process();
  /// Requires: nothing in flight, unless it is dead.
  void end_process(Process& process) noexcept;
  Flight& begin(Process& process, const Op& op, std::uint64_t tag);
  /// True when the operation had not begun: it never will, and `flight` is gone.
  bool withdraw(Flight& flight);
  /// Until something of the process has ended, or `until`.
  void wait(Process& process, Instant until);
  /// Time that a process spends without waiting.
  void spend(Duration duration);
  Flight* take_done(Process& process) noexcept { return process.done.pop_front(); }
  void recycle(Flight& flight) noexcept;
  /// Closes at once, without an operation.
  void close_now(Process& process, DriverFile handle) noexcept;
  std::int32_t read_now(Process& process, const Op& op);
  Result<DriverFile> register_file(Process& process, DriverFile handle) noexcept;
  void release_file(Process& process, DriverFile handle) noexcept;

 private:
  struct Event {
    Instant time;   ///< when it is heard of
    Instant exact;  ///< orders what is heard of at the same time
    std::uint64_t order = 0;
    Flight* flight = nullptr;
    std::uint64_t serial = 0;
    bool capture = false;
  };
  static bool later(const Event& a, const Event& b) noexcept {
    if (a.time != b.time) return a.time > b.time;
    return a.exact != b.exact ? a.exact > b.exact : a.order > b.order;
  }

  // The schedule: kernel.cpp.
  Flight& take_flight(Process& process, OpCode code, std::uint64_t tag);
  void schedule(Flight& flight);
  void set_end(Flight& flight, Instant exact);
  void push_event(Flight& flight, Instant time, Instant exact, bool capture);
  static bool is_stale(const Event& event) noexcept;
  const Event* next_scheduled() noexcept;
  void take_event();
  void wait_by_latency(Process& process, Instant until);
  void wait_by_choice(Process& process, Instant until);
  Flight& nth_in_flight(std::uint32_t n) noexcept;
  void report_deadlock(Process& process);
  void pass_to(Instant to);
  Duration latency();
  void end(Flight& flight);
  void count_event();
  static bool changes_disk(const Flight& flight, bool ends) noexcept;
  void ask_for_end();
  std::uint32_t pick_in_flight(std::uint32_t count);
  /// Where every order is tried, time goes on at a whole second after a power cut, so that it does
  /// not tell apart what is otherwise the same.
  Instant boot_after(Instant end) const noexcept;
  /// For the log, where there is one.
  void tell(std::string_view line) const {
    if (log_ != nullptr) log_(log_context_, line);
  }
  void tell_flight(const Flight& flight, bool ends) const;
  void trace_begin(const Flight& flight) noexcept;
  void trace_end(const Flight& flight) noexcept;

  // What operations do: effects.cpp.
  void copy_arguments(Flight& flight, const Op& op);
  std::int32_t start(Flight& flight, const Op& op);
  std::int32_t start_path(Flight& flight);
  std::int32_t start_transfer(Flight& flight);
  std::int32_t start_change(Flight& flight);
  void capture(Flight& flight);
  std::int32_t finish(Flight& flight);
  std::int32_t take_effect(Flight& flight);
  std::int32_t end_read(Flight& flight);
  std::int32_t end_write(Flight& flight);
  std::int32_t end_sync(Flight& flight);
  std::int32_t end_open(Flight& flight);
  std::int32_t end_close(Flight& flight);
  std::int32_t tell_info(Flight& flight);
  void fail(Flight& flight, std::int32_t error);
  void land_in_part(Flight& flight);
  static bool is_to_be_durable(const Flight& flight) noexcept;
  bool lose(NodeId node, SyncMark since, SyncMark mark, bool names);
  void stop_file_system();
  void check_buffer(const Flight& flight);
  void let_go(Flight& flight) noexcept;
  void violate(std::string text);

  // How things end: endings.cpp.
  void notify_of_death(Flight& flight) noexcept;
  void die(Process& process) noexcept;
  void become_zombie(Flight& flight);
  void zombie_ended(Process& process) noexcept;
  void settle_before_power_cut();
  Profile crash_profile() const noexcept;
  void new_boot() noexcept;
  void drop_processes() noexcept;

  Choices& choices_;
  const Profile profile_;
  const MachineOptions options_;
  Disk disk_;
  Faults faults_;
  FileTable files_;
  MachineLog log_ = nullptr;
  void* log_context_ = nullptr;
  Trace trace_;
  Instant now_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::uint32_t processes_started_ = 0;
  std::vector<std::unique_ptr<Flight>> flights_;
  FlightList free_flights_;
  FlightList in_flight_;  ///< of all processes, zombies included, in the order of their beginning
  std::uint32_t in_flight_count_ = 0;
  std::vector<Event> events_;  ///< a heap, the earliest first
  std::uint64_t event_order_ = 0;
  std::uint64_t flight_serial_ = 0;
  std::uint64_t planned_events_ = 0;  ///< 0 = nothing planned
  bool planned_power_ = false;
  EndQuestion question_ = nullptr;
  void* question_context_ = nullptr;
  bool changed_ = true;  ///< since the question was asked: what a power cut could leave
  bool quiet_ = false;
  std::array<std::uint8_t, 16> boot_id_{};
  mutable MachineCounters counters_;
  std::string violation_;
};

}  // namespace diorite::sim::detail
