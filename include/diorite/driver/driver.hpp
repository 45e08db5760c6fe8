// Driver: the one seam between diorite and the world.
//
// Every call to the operating system about files, every reading of a clock and every random number
// goes through this interface: io_uring, a pool of threads, or a simulated disk stand behind it.
// Users choose a driver in ReactorOptions and never call it; authors of drivers implement it and
// run the conformance suite (tests/driver/conformance*.cpp), which tests the rules below by number.
//
// Thread: all members on the reactor's thread, but wake() (any thread, and signal handlers) and
// run_here() (any thread).
// Lifetime: destroyed with no op in flight and none in the backlog.
//
//  D1  every submitted op comes back in `done` exactly once, unless remove() said `removed` or
//      it was orphaned
//  D2  the order of `done` is the order of completion
//  D3  after remove() said `in_flight` the op still completes; its own result stands if the I/O
//      took place
//  D4  after orphan() the driver never touches the Op; hook and pins run inside poll, after the
//      completion: first hook.ended, then the buffer's pin, then the file's
//  D5  an op that completes inside submit() is reported by the next poll
//  D6  two ops are ordered only if the second was submitted after the first was reported
//  D7  poll() returns at `until`, on wake(), or with at least one completion
//  D8  a foreign, doubled or stale completion aborts with a text
//  D9  a partial transfer is reported as such; drivers never loop
//  D10 whatever setup ran into becomes a reason in caps(), not an exception
//  D11 pollable() never stays quiet while there is something to be found by poll()

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <diorite/driver/op.hpp>
#include <diorite/pin.hpp>
#include <diorite/result.hpp>
#include <diorite/time.hpp>

namespace diorite {

/// Told of the end of an orphaned op, before its pins are released. An open's new handle was closed
/// by the driver; a write that was cut short counts as failed (-EIO), since nobody is left to send
/// the rest. `context` lives as long as the file's pin.
struct OrphanHook {
  void (*ended)(void* context, OpCode code, std::int64_t result) noexcept = nullptr;
  void* context = nullptr;
};

enum class Removal : std::uint8_t {
  removed,    ///< it never reached the file, and never will
  in_flight,  ///< it will complete; a cancel was sent where that can help
};

enum class DriverKind : std::uint8_t { uring, pool, simulated, other };

/// Keeps a reference to an open file inside the driver's own kernel object, so that the file stays
/// open (and its lock held) until the last operation of a killed process is over.
class FileRegistrar {
 public:
  virtual ~FileRegistrar() = default;
  /// The handle to use instead. Errors: what the kernel said; limit when the table is full.
  virtual Result<DriverFile> register_file(DriverFile file) noexcept = 0;
  /// Gives the place in the table back. The file itself stays open.
  virtual void release_file(DriverFile file) noexcept = 0;
};

/// Constant after construction.
struct DriverCaps {
  DriverKind kind = DriverKind::other;
  std::string_view name;
  /// Why this driver and these features: every rung of the ladder that was tried and what it
  /// answered.
  std::string_view reason;
  std::uint32_t in_flight_max = 0;
  std::uint32_t threads = 0;       ///< worker threads it may start, 0 = none
  FileRegistrar* files = nullptr;  ///< null where files cannot be registered
  /// Changes with every boot of the machine; all zero where the platform has none.
  std::array<std::uint8_t, 16> boot_id{};
};

class OpMeter;

/// What a driver was asked for and does without. caps().reason tells what setup ran into; the last
/// three happen while the driver runs.
enum class Fallback : std::uint8_t {
  smaller_ring,     ///< no memory: fewer entries, or fewer operations in flight, than asked for
  sq_poll,          ///< no kernel thread takes the submissions: they are made by system calls
  sq_poll_cpu,      ///< there is such a thread, and it runs on any processor
  ring_descriptor,  ///< a ring's descriptor is looked up in every system call
  polled_ring,      ///< no second ring: reads and writes end by interrupts
  polled_transfer,  ///< a read or write that the polled ring refused and the main ring did
  polled_file,      ///< a file that cannot be polled: its reads and writes stay on the main ring
  polled_host,      ///< pollable() was called: all reads and writes stay on the main ring
};
inline constexpr std::size_t kFallbackCount = static_cast<std::size_t>(Fallback::polled_host) + 1;
const char* to_string(Fallback fallback) noexcept;

/// Only ever grows.
struct DriverCounters {
  std::uint64_t submitted = 0;       ///< ops taken by submit()
  std::uint64_t completed = 0;       ///< ops reported, orphans included
  std::uint64_t enters = 0;          ///< system calls (or waits) made to submit and reap
  std::uint64_t pool_ops = 0;        ///< ops that a worker thread executed
  std::uint64_t dsync_emulated = 0;  ///< durable writes done as a write and a sync
  std::uint64_t backlog_max = 0;     ///< most ops that ever waited for a slot
  std::uint64_t orphans = 0;
  std::uint64_t orphan_errors = 0;  ///< of those, what failed or was given up
  std::uint64_t cancels_sent = 0;   ///< requests to stop what the system had
  std::uint64_t cancels_won = 0;    ///< those after which the operation ended with ECANCELED
  std::uint64_t cancels_late = 0;   ///< those after which it ended with a result of its own
  std::array<std::uint64_t, kFallbackCount> fallbacks{};  ///< how often, by Fallback

  std::uint64_t fallback(Fallback which) const noexcept {
    return fallbacks[static_cast<std::size_t>(which)];
  }
};

/// What another event loop can wait for.
#if defined(_WIN32)
using NativeHandle = void*;
inline constexpr NativeHandle kNoHandle = nullptr;
#else
using NativeHandle = int;
inline constexpr NativeHandle kNoHandle = -1;
#endif

class Driver {
 public:
  Driver() = default;
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  virtual ~Driver() = default;

  virtual const DriverCaps& caps() const noexcept = 0;
  virtual DriverCounters counters() const noexcept = 0;

  /// Takes `op` over: idle becomes backlog or in_flight. Cannot fail: a full driver keeps the op in
  /// its backlog, and an impossible op completes with an error. The system may see it only at the
  /// next poll().
  virtual void submit(Op& op) noexcept = 0;
  /// Requires: backlog or in_flight. `removed` makes it idle.
  virtual Removal remove(Op& op) noexcept = 0;
  /// The frame that holds `op` dies now. Requires: in_flight.
  virtual void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept = 0;
  /// Executes a read on the calling thread and sets op.result. Requires: idle, OpCode::read.
  virtual void run_here(Op& op) noexcept = 0;
  /// Submits what is pending, waits (see D7), and appends what completed. Never resumes anything.
  virtual void poll(OpList& done, Instant until) noexcept = 0;
  /// Makes the present or the next poll() return. Thread-safe, async-signal-safe.
  virtual void wake() noexcept = 0;
  /// D11: from the first call on, this is readable whenever a poll() would find something, and at
  /// first in any case; poll() makes it quiet before it looks. kNoHandle where there is none, and
  /// where forbid_fallback meets poll_transfers, which no host can sleep over.
  virtual NativeHandle pollable() noexcept { return kNoHandle; }

  /// From now on times every operation with the meter's clock and tells it of each that ended;
  /// null: no longer. False from a driver that does not know how. Requires: nothing is in flight,
  /// unless `meter` is null.
  virtual bool measure(OpMeter* meter) noexcept { return meter == nullptr; }

  virtual Instant now() const noexcept = 0;
  virtual WallTime wall_now() const noexcept = 0;
  virtual std::uint64_t entropy() noexcept = 0;
};

enum class DriverChoice : std::uint8_t {
  automatic,  ///< io_uring, else the pool
  uring,
  pool,
};

/// What io_uring can do beyond its defaults; no other driver reads it. What the kernel refuses is
/// done without, counted (see Fallback) and told in caps().reason, or is an error of make_driver
/// under forbid_fallback. Trivially copyable.
struct UringOptions {
  /// How many operations can be handed to the kernel in one system call: 0 chooses in_flight_max,
  /// but 8 to 256. Rounded up to a power of two, since the kernel finds an entry by masking its
  /// number. A small ring costs system calls and nothing else: what finds it full waits in the
  /// backlog. At most 32768.
  std::uint32_t sq_entries = 0;

  /// SQPOLL: a thread of the kernel takes the submissions, without a system call while it is awake.
  /// Costs a processor while it is awake, and DEFER_TASKRUN, which excludes it. For many small
  /// operations with a processor to spare. Before Linux 5.13 it takes CAP_SYS_NICE.
  bool sq_poll = false;
  /// So long the thread looks for more before it sleeps, 0 = the kernel's own choice (a second).
  std::uint32_t sq_poll_idle_ms = 0;
  /// The processor it stays on, -1 = any.
  std::int32_t sq_poll_cpu = -1;

  /// IOPOLL: reads and writes of files that this driver opened for direct I/O go to a second ring,
  /// and poll() asks the device for their ends instead of waiting for its interrupts. It never
  /// sleeps while one of them is in flight. For devices with queues for it (nvme.poll_queues), a
  /// processor to spare, and a reactor that no host loop drives. Durable writes (kOpDsync, or a
  /// file opened so) and registered files stay on the main ring: their ends need more than the
  /// device's word. What the polled ring refuses goes through the main ring, once, and from then
  /// on so does everything of that file; under forbid_fallback the refusal is the op's result.
  /// A device without such queues need not refuse: the kernel may use its interrupts in silence.
  bool poll_transfers = false;

  /// Spares the look-up of the ring's descriptor in every system call. Linux 5.18; a thread can
  /// register 16 of them.
  bool register_descriptor = true;
};

/// Trivially copyable.
struct DriverOptions {
  DriverChoice choice = DriverChoice::automatic;
  /// True: an error instead of the pool where io_uring was wanted and refused, instead of a worker
  /// thread where the ring lacks an operation, and instead of every Fallback.
  bool forbid_fallback = false;
  /// True: ops run inside poll(), in order, on no thread: the pool for tests.
  bool pool_inline = false;
  /// A cap: what is submitted beyond it waits in the backlog, in order, so no queue of the system
  /// can overflow. 1 to 32768.
  std::uint32_t in_flight_max = 1024;
  std::uint32_t pool_threads = 4;  ///< 1 to 256; started when first needed
  UringOptions uring = {};
};

/// Walks the ladder: io_uring with all its options, with fewer, with a smaller ring, then the pool.
/// Errors: out_of_range for options beyond their limits; unsupported, with every reason in the
/// text, when nothing on the permitted ladder works. Allocates.
Result<std::unique_ptr<Driver>> make_driver(DriverOptions options = {});

}  // namespace diorite
