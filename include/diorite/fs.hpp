// File-system operations by path: directories, renames, removal, and the durability of names.
//
// A name is data too: a created, renamed or removed entry survives a power cut only after
// sync_dir() of the directory it stands in. replace-by-rename is write, sync the file, rename, sync
// the directory.
//
// Thread: the reactor's. Paths are UTF-8 and copied; relative ones start at the process' directory.
// Cancel: an operation that reached the system takes place, also if its coroutine is gone.
// Errors: the system's; out_of_range for an empty path or one with a zero byte.
// Allocates: one task each.
//
//   DIORITE_CO_CHECK(co_await rename(reactor, "MANIFEST.tmp", "MANIFEST"));
//   DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <diorite/driver/op.hpp>
#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>
#include <diorite/time.hpp>

namespace diorite {

/// Replaces what `to` names. Durable: after sync_dir of both directories.
Task<Result<void>> rename(Reactor& reactor, std::string from, std::string to);

/// A file. Durable: after sync_dir.
Task<Result<void>> remove(Reactor& reactor, std::string path);
/// An empty directory.
Task<Result<void>> remove_dir(Reactor& reactor, std::string path);

/// -> whether this call made it: an existing directory is a success. Parents must exist.
/// Errors: not a directory when something else has the name.
Task<Result<bool>> mkdir(Reactor& reactor, std::string path, std::uint32_t mode = 0755);

/// The entries of a directory without "." and "..", in no order. Allocates: the list.
Task<Result<std::vector<DirEntry>>> list(Reactor& reactor, std::string path);

/// Makes the entries of the directory durable.
Task<Result<void>> sync_dir(Reactor& reactor, std::string path);

/// A held lock: ends when this is dropped or its process dies. Move-only.
class FileLock {
 public:
  FileLock() noexcept = default;
  explicit FileLock(DirectFile file) noexcept : file_(std::move(file)) {}
  explicit operator bool() const noexcept { return static_cast<bool>(file_); }
  DirectFile& file() noexcept { return file_; }

 private:
  DirectFile file_;
};

/// Locks the whole file `path`, creating it when missing, and tries again for up to `wait`.
/// Errors: locked when another holds it all that time (a = milliseconds waited).
/// Cancel: a stop ends the waiting.
Task<Result<FileLock>> lock(Reactor& reactor, std::string path, Duration wait);

/// "dir/name", with one slash between.
std::string join_path(std::string_view dir, std::string_view name);
/// What stands before the last slash; "." when there is none.
std::string parent_path(std::string_view path);

}  // namespace diorite
