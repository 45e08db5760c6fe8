// UringFiles: the ring's table of open files.
//
// A write that is under way when its process is killed goes on after the process' descriptors are
// closed; only the ring itself still refers to its files. A lock file that stands in this table
// therefore stays locked until the last of those writes is over.
//
// Thread: the one that created the ring. Lifetime: the ring outlives it.

#pragma once

#include <cstdint>

#include <diorite/driver/driver.hpp>

#include "driver/linux/uring_ring.hpp"

namespace diorite::detail {

/// A registered file's operations go through its place in the table, but info, try_lock and
/// whatever else runs on a worker thread still use its descriptor, so that must stay open while
/// they are used. Closing a registered file (OpCode::close) gives its place back and closes the
/// descriptor.
class UringFiles final : public FileRegistrar {
 public:
  explicit UringFiles(Uring& ring) noexcept : ring_(ring) {}

  /// Requires: `file` is not registered.
  Result<DriverFile> register_file(DriverFile file) noexcept override;
  /// Requires: `file` came from register_file.
  void release_file(DriverFile file) noexcept override;

 private:
  static_assert(Uring::kFilesMax <= 64, "one bit for each place");

  Uring& ring_;
  std::uint64_t used_ = 0;
};

}  // namespace diorite::detail
