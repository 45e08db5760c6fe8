// The operating system's calls about files, the clock and waking, as drivers use them.
//
// One implementation per system (linux/os_linux.cpp, ...). Everything here blocks and is noexcept;
// results are negated errno values on every system.
//
// Thread: os_execute and the clocks from any thread; an OsWaker's signal() also from signal
// handlers.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <diorite/driver/op.hpp>
#include <diorite/file_info.hpp>
#include <diorite/result.hpp>
#include <diorite/time.hpp>

namespace diorite::detail {

/// An Op's arguments, copied, and what it gives besides its result. A worker owns it while it runs.
struct OsRequest {
  OpCode code = OpCode::nop;
  std::uint8_t flags = 0;
  DriverFile file;  ///< open: the new handle
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  ///< allocate, truncate
  std::byte* data = nullptr;
  std::uint32_t bytes = 0;
  CallOp::Function function = nullptr;
  void* context = nullptr;
  const char* path = nullptr;  ///< NUL-terminated, owned by whoever runs the request
  const char* path2 = nullptr;
  std::uint32_t open_flags = 0;
  std::uint32_t mode = 0;
  bool dsync_emulated = false;  ///< set when a durable write became a write and a sync
  FileInfo info;
  std::unique_ptr<std::vector<DirEntry>> entries;
};

/// One system call's worth of work (a listing and a directory sync take a few). Never loops over a
/// short transfer, never tries again what failed. An allocation failure is -ENOMEM.
///
/// An exclusive open that fails leaves no file behind, also where the file system refuses direct
/// I/O only after it has created the file.
std::int32_t os_execute(OsRequest& request) noexcept;

/// The descriptor or handle inside a DriverFile: its low 32 bits on POSIX systems, where the high
/// bits may hold a driver's registration.
int os_descriptor(DriverFile file) noexcept;
DriverFile os_driver_file(int descriptor) noexcept;
void os_close(DriverFile file) noexcept;

/// While it lives, the calling thread takes no signals, and neither do the threads that it starts.
/// The program's handlers must not run on a worker: they would interrupt its system calls.
class OsSignalBlock {
 public:
  OsSignalBlock() noexcept;
  ~OsSignalBlock();
  OsSignalBlock(const OsSignalBlock&) = delete;
  OsSignalBlock& operator=(const OsSignalBlock&) = delete;

 private:
  static constexpr std::size_t kMaskBytes = 128;
  alignas(std::uint64_t) std::array<std::byte, kMaskBytes> before_;
};

Instant os_now() noexcept;
WallTime os_wall_now() noexcept;
std::uint64_t os_entropy() noexcept;
std::array<std::uint8_t, 16> os_boot_id() noexcept;

/// What a reactor's thread sleeps on. A signal that comes before the wait is not lost; several
/// count as one.
class OsWaker {
 public:
  static Result<std::unique_ptr<OsWaker>> create();
  ~OsWaker();
  OsWaker(const OsWaker&) = delete;
  OsWaker& operator=(const OsWaker&) = delete;

  void signal() noexcept;                   ///< thread-safe, async-signal-safe
  bool wait_until(Instant until) noexcept;  ///< true when signalled; consumes the signals
  void consume() noexcept;                  ///< takes pending signals without waiting
  int descriptor() const noexcept { return descriptor_; }  ///< readable when signalled

 private:
  explicit OsWaker(int descriptor) noexcept : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace diorite::detail
