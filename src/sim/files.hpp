// FileTable: the open files of a simulated machine, of all its processes.
//
// An open file lives until nothing refers to it: neither a handle, nor a registration, nor an
// operation in flight. Its lock lives as long. That is the kernel's own rule for locks that belong
// to an open file, and why a registered lock file outlasts its killed process: the registration
// ends only when the process's last operation has.
//
// Thread: one. Lifetime: a pointer to an OpenFile is good while a reference is held.

#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/driver/op.hpp>

#include "sim/volume.hpp"

namespace diorite::sim::detail {

struct Process;

struct OpenFile {
  NodeId node = kNoNode;
  std::uint32_t open_flags = 0;
  std::uint32_t index = 0;
  std::uint32_t serial = 0;
  std::uint32_t references = 0;  ///< the handle, the registration, operations in flight
  Process* process = nullptr;
  bool has_handle = false;
  bool registered = false;
  bool locked = false;
  bool is_directory = false;
  std::string path;  ///< as it was opened

  bool writable() const noexcept { return (open_flags & kOpenWrite) != 0; }
  bool direct() const noexcept { return (open_flags & kOpenDirect) != 0; }
};

class FileTable {
 public:
  /// Of each process, as the ring's table.
  static constexpr std::uint32_t kRegisteredMax = 64;

  /// Takes over the caller's hold of the node. Null when the table is full.
  OpenFile* add(Process& process, NodeId node, std::uint32_t open_flags, std::string_view path,
                bool is_directory);
  static DriverFile handle_of(const OpenFile& file) noexcept;
  /// Null when `process` has no such handle.
  OpenFile* find(const Process& process, DriverFile handle) noexcept;

  static void hold(OpenFile& file) noexcept { ++file.references; }
  void release(OpenFile& file, Volume& volume) noexcept;
  void drop_handle(OpenFile& file, Volume& volume) noexcept;
  void drop_registration(OpenFile& file, Volume& volume) noexcept;

  /// The handles of a process that has ended, and its registrations unless something of it is still
  /// in flight.
  void drop_all(const Process& process, bool registrations, Volume& volume) noexcept;
  /// The power is off: nothing is open, and the volume knows that already.
  void forget_all() noexcept;

  /// 0, or -EAGAIN when another open file has it.
  std::int32_t try_lock(OpenFile& file) noexcept;

 private:
  std::deque<OpenFile> files_;
  std::vector<std::uint32_t> free_;
};

}  // namespace diorite::sim::detail
