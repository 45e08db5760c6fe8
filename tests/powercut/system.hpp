// The system calls of the power-cut test: descriptors, children with a time limit, loop devices,
// mounts.
//
// Everything here runs in a mount and a process namespace of its own (see supervisor.hpp), where a
// mount or a loop device outlives its processes by nothing: whatever dies, and however, the machine
// is clean afterwards.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace diorite::powercut {

/// The surroundings failed, not the library: no verdict about it.
struct Trouble : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Something that the test needs is not on this machine: it is skipped.
struct Missing : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void throw_errno(const std::string& what);

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset() noexcept;
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

using Millis = std::chrono::milliseconds;

/// Waits for a child. False when it did not end in time; it has then been killed and, if that was
/// possible, waited for.
bool wait_for(pid_t child, Millis limit, int* status) noexcept;
/// To be called first in a child: it dies with its parent.
void die_with_parent() noexcept;

struct Finished {
  bool in_time = false;
  int status = -1;
  std::string output;  ///< of both streams
  bool ok() const noexcept { return in_time && status == 0; }
};
/// Runs a program, found by PATH and the folders of system programs.
Finished run_command(const std::vector<std::string>& words, Millis limit);
bool has_command(const std::string& name);

struct LoopDevice {
  Fd fd;  ///< the last close, of this or of a mount, frees the device
  std::string path;
};
/// Makes a block device of an open file. Throws Trouble, or Missing where there are no loop
/// devices.
LoopDevice attach_loop(int backing, bool direct);

/// 0, or the errno value.
int mount_at(const std::string& device, const std::string& where, const std::string& type,
             const std::string& options) noexcept;
/// 0, or the errno value of the last attempt. Patient: a ring of a killed process holds its files
/// for a while.
int unmount(const std::string& where, Millis limit) noexcept;
void unmount_lazily(const std::string& where) noexcept;

}  // namespace diorite::powercut
