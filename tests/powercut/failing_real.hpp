// A real file system on a disk that fails when it is told to: a recorder below a loop device.

#pragma once

#include <memory>
#include <string>

#include "powercut/failing_scenarios.hpp"
#include "powercut/filesystem.hpp"
#include "powercut/supervisor.hpp"

namespace diorite::powercut {

struct RealDisk {
  const char* name;
  FileSystem fs;
  /// A file system in a file of this one, through its page cache: as a virtual machine's disk is
  /// when its host caches writes.
  bool stacked = false;
};

/// Mounted and empty. Throws Trouble and Missing.
std::unique_ptr<Computer> make_real_computer(const RealDisk& disk, const Workspace& workspace);

}  // namespace diorite::powercut
