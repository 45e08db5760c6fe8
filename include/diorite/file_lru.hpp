// FileLru: keeps the most recently used files of one directory open, by number.
//
// Use it for engines with more files than descriptors: tables, blobs, segments named by id. A hit
// costs a look-up; a miss closes the least recently used idle file, and then opens the one asked
// for. For a handful of files that stay open, hold DirectFiles instead.
//
// Thread: the reactor's. Any number of coroutines use one cache at once.
// Lifetime: the cache outlives its leases, and the reactor outlives the cache. A lease pins its
// file: evicted or removed, the file stays open until the last lease goes. Capacity: never more
// descriptors are open than the capacity says, those that are being opened or closed included.
// Where the process has none left, idle files are closed to make do with fewer. Durability: a
// handle with unsynced changes is synced before it is closed, since a file system may forget a
// write-back error with the inode. When that sync fails, or a handle was poisoned before (see
// DirectFile), the failure sticks to the id: every later acquire answers Errc::poisoned until
// forget(), or until the file has been removed. The names of created and removed files are durable
// after sync_dir() of the directory. Errors: an open that fails is not cached. A file that is being
// removed is not found.
//
//   FileLru tables(reactor, "tables");
//   BufIoResult r = co_await tables.read_into(7, std::move(page), 0);
//   if (!r) co_return r.error();                    // r.buf() has the page in any case

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <diorite/buffer.hpp>
#include <diorite/driver/ready.hpp>
#include <diorite/file.hpp>
#include <diorite/io.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/stop.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {
class LruCache;
class LruHandle;
class LruRemoval;
}  // namespace detail

/// Writes the path of file `id` below `dir` into `path`, which is empty. Must give each id a name
/// of its own. May throw std::bad_alloc, nothing else.
using FilePathHook = void (*)(void* context, std::string_view dir, std::uint64_t id,
                              std::string& path);

/// Told of what nobody awaits: a removal, a close, or the sync before it, that failed. May use the
/// cache, but not destroy it. Not called any more once the cache's destructor has begun.
using FileErrorHook = void (*)(void* context, std::uint64_t id, const Error& error) noexcept;

/// Trivially copyable.
struct FileLruOptions {
  std::size_t capacity = 256;  ///< idle and pinned handles together; at least 16
  Direct direct = Direct::preferred;
  bool write = false;           ///< open for writing too
  bool create = false;          ///< create missing files (with write)
  FilePathHook path = nullptr;  ///< null: dir + "/" + the id in lower-case Crockford base32
  void* path_context = nullptr;
  FileErrorHook on_error = nullptr;
  void* error_context = nullptr;
};
static_assert(std::is_trivially_copyable_v<FileLruOptions>);

struct FileLruStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;  ///< acquires that started an open
  std::uint64_t joined = 0;  ///< acquires that waited for somebody else's open
  std::uint64_t open_failures = 0;
  std::uint64_t evictions = 0;  ///< handles given up to make room, or by evict()
  std::uint64_t removals = 0;   ///< files unlinked
  std::uint64_t syncs_before_close = 0;
  std::uint64_t background_errors = 0;  ///< what on_error is told of
  std::uint64_t open_now = 0;           ///< handles, those that are being opened or closed included
  std::uint64_t pinned_now = 0;         ///< handles with a lease
  std::uint64_t open_max = 0;
};

/// A pinned handle. Move-only; empty by default and when moved from. The file belongs to the cache
/// and must not be moved out of it.
class FileLease {
 public:
  FileLease() noexcept = default;
  FileLease(FileLease&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  FileLease& operator=(FileLease&& other) noexcept {
    FileLease taken(std::move(other));
    std::swap(handle_, taken.handle_);
    return *this;
  }
  /// The last lease of a file makes it idle, the most recently used one.
  ~FileLease();
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// Requires: not empty.
  DirectFile& operator*() const noexcept;
  DirectFile* operator->() const noexcept { return &**this; }
  std::uint64_t id() const noexcept;

 private:
  friend class detail::LruCache;
  explicit FileLease(detail::LruHandle* handle) noexcept : handle_(handle) {}
  detail::LruHandle* handle_ = nullptr;
};

class RemoveAwait;

class FileLru {
 public:
  /// Touches nothing yet. A capacity below 16 counts as 16. Allocates.
  FileLru(Reactor& reactor, std::string dir, FileLruOptions options = {});
  FileLru(const FileLru&) = delete;
  FileLru& operator=(const FileLru&) = delete;
  /// Removals go on, and the handles that are left are closed, in the reactor's root scope: those
  /// with unsynced changes are synced first, and failures are counted as
  /// ReactorStats::deferred_close_errors. That takes further turns of the reactor: await
  /// close_all() before to be sure, and to be told. Requires: no lease is left, nobody waits in
  /// acquire().
  ~FileLru();

  /// A pinned, promoted handle; opens the file if need be. Concurrent acquires of one id share one
  /// open, which belongs to the cache: it goes on when its first asker is destroyed. When every
  /// handle is pinned, waits for one to become idle, first come first served.
  /// Errors: of the open; poisoned; std::errc::no_such_file_or_directory while being removed.
  /// Cancel: a stop ends the waiting. Allocates: on a miss an entry, a record and a task; on a hit
  /// a pooled frame.
  Task<Result<FileLease>> acquire(std::uint64_t id);

  /// The hit path without a coroutine: empty on a miss. Promotes. Allocates: nothing.
  FileLease try_acquire(std::uint64_t id) noexcept;

  /// An exact read of `bytes` (default: the capacity) into the buffer, see DirectFile::read_at. The
  /// buffer comes back with every outcome.
  Task<BufIoResult> read_into(std::uint64_t id, AlignedBuf dst, std::uint64_t offset,
                              std::size_t bytes = DirectFile::kFill);

  /// Closes an idle handle, in the background. A pinned one leaves the cache and closes with its
  /// last lease, and so does one that is being opened. The next acquire opens the file anew, after
  /// the old handle's close if that has begun. True when there was a handle. The file stays.
  bool evict(std::uint64_t id) noexcept;

  /// Deletes the file: from this call on it is not found, also by those that wait for it; it is
  /// unlinked when its last lease has gone. Afterwards the id is what the file system says it is.
  /// The cache owns the work. Awaiting is optional; unseen failures go to on_error and the
  /// counters. A second remove of the same id joins the first. Allocates: an entry, a record, a
  /// task.
  RemoveAwait remove(std::uint64_t id);

  /// Forgets the sticky error of an id, after the engine has restored the file.
  void forget(std::uint64_t id) noexcept;

  /// Waits for removals and closes every handle: the first failure of a sync or close, of which
  /// on_error is told too. The cache is empty afterwards, and usable; what is acquired meanwhile is
  /// neither closed nor waited for. A stop does not shorten it.
  /// Errors: busy while there is a lease or somebody waits in acquire(); nothing is closed then.
  Task<Result<void>> close_all();

  FileLruStats stats() const noexcept;
  std::size_t capacity() const noexcept;

 private:
  std::unique_ptr<detail::LruCache> cache_;
};

/// What FileLru::remove returns; may be ignored. -> Result<void>: the outcome of the unlink.
/// Errors: the system's; closed when the reactor was destroyed first.
/// Cancel: a stop ends the waiting, not the removal.
class RemoveAwait {
 public:
  RemoveAwait(RemoveAwait&& other) noexcept;
  RemoveAwait& operator=(RemoveAwait&&) = delete;
  ~RemoveAwait();
  bool await_ready() const noexcept;
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return suspend(frame, *frame.promise().context);
  }
  Result<void> await_resume() noexcept;

 private:
  friend class FileLru;
  struct Stop : StopCallback {
    explicit Stop(RemoveAwait& owner) noexcept
        : StopCallback(&RemoveAwait::stopped), await(owner) {}
    RemoveAwait& await;
  };
  explicit RemoveAwait(detail::LruRemoval& removal) noexcept;
  bool suspend(std::coroutine_handle<> frame, TaskContext& context) noexcept;
  static void stopped(StopCallback& callback) noexcept;

  detail::LruRemoval* removal_;
  TaskContext* context_ = nullptr;
  ReadyNode node_;
  Stop stop_{*this};
  Error stop_error_;
};

}  // namespace diorite
