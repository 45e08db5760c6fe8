// The io_uring driver: one ring, entered once per turn, and worker threads for what it cannot do.
// With UringOptions a thread of the kernel takes that ring's submissions, and a second ring has the
// reads and writes that are polled.
//
// Files are read, written, synced, opened and renamed by the ring; info, list_dir, try_lock and
// sync_dir run on worker threads by design, and so does every operation whose opcode this kernel
// lacks, and every close where a thread of the kernel submits.
//
// Thread: the ring belongs to the thread that creates the driver (SINGLE_ISSUER): every member but
// wake() and run_here() must be called there, and debug builds assert it.
// Lifetime: a process that forks must not use the driver in the child: both would share one ring
// and take each other's completions.

#pragma once

#include <memory>
#include <string>

#include <diorite/driver/driver.hpp>
#include <diorite/result.hpp>

namespace diorite::detail {

struct UringCalls;

/// Walks the ladder of rings. Appends to `reasons` each rung that was tried and what the kernel
/// answered, whether it succeeds or not; the driver's caps() tell the whole text.
/// Errors: unsupported, when no ring works here, or when forbid_fallback is set and the ring lacks
/// an operation. Requires: options within their limits.
Result<std::unique_ptr<Driver>> make_uring_driver(const DriverOptions& options,
                                                  std::string& reasons);

/// The same on top of `calls`, which must outlive the driver: tests put refusals in their place.
Result<std::unique_ptr<Driver>> make_uring_driver(const DriverOptions& options,
                                                  std::string& reasons, const UringCalls& calls);

}  // namespace diorite::detail
