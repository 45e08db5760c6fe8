// Driver: the one seam between diorite and the world.
//
// Every call to the operating system about files, every reading of a clock and every random number
// goes through this interface: io_uring, a pool of threads, or a simulated disk stand behind it.
// Users choose a driver in ReactorOptions and never call it; authors of drivers implement it and
// run the conformance suite (tests/driver/conformance.cpp), which tests the rules below by number.
//
// Thread: all members on the reactor's thread, but wake() (any thread, and signal handlers) and
// run_here() (any thread).
// Lifetime: destroyed with no op in flight and none in the backlog.
//
//  D1  every submitted op comes back in `done` exactly once, unless remove() said `removed` or it
//  was
//      orphaned
//  D2  the order of `done` is the order of completion
//  D3  after remove() said `in_flight` the op still completes; its own result stands if the I/O
//  took
//      place
//  D4  after orphan() the driver never touches the Op; hook and pins run inside poll, after the
//      completion: first hook.ended, then the buffer's pin, then the file's
//  D5  an op that completes inside submit() is reported by the next poll
//  D6  two ops are ordered only if the second was submitted after the first was reported
//  D7  poll() returns at `until`, on wake(), or with at least one completion
//  D8  a foreign, doubled or stale completion aborts with a text
//  D9  a partial transfer is reported as such; drivers never loop
//  D10 whatever setup ran into becomes a reason in caps(), not an exception

#pragma once

#include <array>
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

/// Only ever grows.
struct DriverCounters {
  std::uint64_t submitted = 0;       ///< ops taken by submit()
  std::uint64_t completed = 0;       ///< ops reported, orphans included
  std::uint64_t enters = 0;          ///< system calls (or waits) made to submit and reap
  std::uint64_t pool_ops = 0;        ///< ops that a worker thread executed
  std::uint64_t dsync_emulated = 0;  ///< durable writes done as a write and a sync
  std::uint64_t backlog_max = 0;     ///< most ops that ever waited for a slot
  std::uint64_t orphans = 0;
  std::uint64_t orphan_errors = 0;
};

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

  virtual Instant now() const noexcept = 0;
  virtual WallTime wall_now() const noexcept = 0;
  virtual std::uint64_t entropy() noexcept = 0;
};

enum class DriverChoice : std::uint8_t {
  automatic,  ///< io_uring, else the pool
  uring,
  pool,
};

/// Trivially copyable.
struct DriverOptions {
  DriverChoice choice = DriverChoice::automatic;
  /// True: an error instead of the pool where io_uring was wanted and refused, and instead of a
  /// worker thread where the ring lacks an operation.
  bool forbid_fallback = false;
  /// True: ops run inside poll(), in order, on no thread: the pool for tests.
  bool pool_inline = false;
  std::uint32_t in_flight_max = 1024;  ///< 1 to 32768
  std::uint32_t pool_threads = 4;      ///< 1 to 256; started when first needed
};

/// Walks the ladder: io_uring with all its options, with fewer, with a smaller ring, then the pool.
/// Errors: out_of_range for options beyond their limits; unsupported, with every reason in the
/// text, when nothing on the permitted ladder works. Allocates.
Result<std::unique_ptr<Driver>> make_driver(DriverOptions options = {});

}  // namespace diorite
