// LockedDir: operations by path for who holds the lock of a directory.
//
// The lock's file stays open, and locked, until such an operation has ended, also one whose
// coroutine was destroyed first: a removal that lands after the lock was given away would remove a
// file of the next owner's. Files opened here hold the lock as long as they are open themselves.
//
// Thread: the reactor's of the lock. Lifetime: made for one call; the tasks hold what they need.

#pragma once

#include <string>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite::detail {

class LockedDir {
 public:
  /// Requires: open.
  explicit LockedDir(const DirectFile& lock) noexcept : lock_(lock.core_) {}

  /// As DirectFile::open_with.
  Task<Result<DirectFile>> open(std::string path, OpenOptions options) const;
  /// As diorite::rename.
  Task<Result<void>> rename(std::string from, std::string to) const;
  /// As diorite::remove, of a file.
  Task<Result<void>> remove(std::string path) const;

 private:
  FileRef lock_;
};

}  // namespace diorite::detail
