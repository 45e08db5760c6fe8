// Machine: a simulated computer, with a disk, a clock and the processes that run on it.
//
// make_driver() gives a Driver for one reactor; everything that the reactor does then happens on
// the machine's disk and in its time, decided by one Choices. Several reactors may run on one
// machine, on one thread: see run_all() in sim/run.hpp.
//
// The end comes in two ways. A power cut decides what is durable and leaves nothing else. A kill
// ends the processes only: what they wrote is still in the page cache, their locks are free, and
// what was in flight may still take place later, unless its file was registered (FileRegistrar), in
// which case the lock stays until then. After either, the drivers are dead: whatever their reactors
// still ask for fails with EIO and touches nothing, so that the engine's objects can be destroyed
// in the ordinary way. The next process gets a new driver.
//
// Buffers in flight are watched: what a read will fill is scribbled over until it completes, and a
// write takes its bytes at some moment before it completes; a buffer that is changed in between is
// a violation (see on_violation).
//
// Thread: one for the machine and all its drivers; wake() as every driver's.
// Lifetime: choices outlives the machine, the machine outlives its drivers.
//
//   Choices choices = Choices::random(7);
//   Machine machine(choices, Profile::standard());
//   machine.plan_power_cut(250);                        // when 250 more things have happened
//   auto reactor = Reactor::create(machine.make_driver());

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include <diorite/driver/driver.hpp>
#include <diorite/sim/choices.hpp>
#include <diorite/sim/disk.hpp>
#include <diorite/sim/profile.hpp>

namespace diorite::sim {

namespace detail {
class Kernel;
}

/// Trivially copyable.
struct MachineOptions {
  DiskOptions disk;
  std::uint32_t in_flight_max = 64;  ///< of each driver; more waits in its backlog
  bool registers_files = true;       ///< drivers have a FileRegistrar
};
static_assert(std::is_trivially_copyable_v<MachineOptions>);

/// Told, as a line of text, of every operation that begins or ends and of every end of a process:
/// for looking at one schedule.
using MachineLog = void (*)(void* context, std::string_view line);

enum class MachineEnd : std::uint8_t { none, power_cut, kill };
/// Asked whether a machine ends now; `changed`: something has begun or ended since it was asked
/// last that changes what a power cut could leave.
using EndQuestion = MachineEnd (*)(void* context, bool changed);

/// Only ever grow.
struct MachineCounters {
  std::uint64_t events = 0;  ///< operations begun and ended
  std::uint64_t power_cuts = 0;
  std::uint64_t kills = 0;
  std::uint64_t errors = 0;  ///< injected
  std::uint64_t short_transfers = 0;
  std::uint64_t sectors_lost = 0;  ///< at power cuts: older than what was last written
  std::uint64_t blocks_damaged = 0;
  std::uint64_t zombies = 0;  ///< operations that took place after their process was gone
};

class Machine {
 public:
  Machine(Choices& choices, const Profile& profile, MachineOptions options = {});
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine();

  /// A new process. Its files, locks and operations end with power_cut(), kill(), or its driver.
  std::unique_ptr<Driver> make_driver();

  Choices& choices() noexcept;
  Disk& disk() noexcept;
  Instant now() const noexcept;
  const Profile& profile() const noexcept;

  /// Everything that is not durable is decided now. The machine is up again at once, for new
  /// drivers; virtual time goes on.
  void power_cut();
  /// All processes die; see the top of the file.
  void kill();
  /// The same when `events` more operations have begun or ended, from inside the driver. A second
  /// plan replaces the first.
  void plan_power_cut(std::uint64_t events) noexcept;
  void plan_kill(std::uint64_t events) noexcept;
  /// `question` is asked after every operation that begins or ends.
  void plan(EndQuestion question, void* context) noexcept;
  /// Forgets what was planned.
  void cancel_plan() noexcept;
  /// No errors, no stuck operations, no damage from now on: for asking that an engine lives.
  void heal() noexcept;

  /// While it is quiet, operations end in the order in which they began, cancelled or not: for
  /// parts of a run that are not to be explored. Only with CompletionOrder::by_choice.
  void set_quiet(bool quiet) noexcept;

  /// Null: nobody is told.
  void set_log(MachineLog log, void* context) noexcept;

  /// Of everything that drivers were asked and answered: equal seeds have equal hashes.
  std::uint64_t trace_hash() const noexcept;
  const MachineCounters& counters() const noexcept;
  /// Equal for two moments in which a power cut could leave the same, and all that follows would be
  /// the same, too; by chance also for two others, once in 2^64 pairs. Damage is not foreseen.
  std::uint64_t fingerprint() const;

  /// What the machine saw a process do that it must never do: the first one, or empty. A buffer
  /// that was changed while it was in flight; or a wait for ever with nothing in flight (a
  /// deadlock), which also ends that process, and aborts a loop that goes on waiting.
  const std::string& violation() const noexcept;

  /// The earliest moment at which something will happen by itself on any driver; kNever if nothing
  /// will. For loops over several reactors.
  Instant next_event() const noexcept;
  /// Time passes. Requires: not into the past.
  void advance(Instant to) noexcept;

 private:
  std::unique_ptr<detail::Kernel> kernel_;
};

/// True when the driver's process has ended by a power cut or a kill. Requires: a driver of a
/// Machine.
bool is_dead(const Driver& driver) noexcept;

}  // namespace diorite::sim
