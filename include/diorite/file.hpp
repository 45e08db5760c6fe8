// DirectFile: an open file for direct, aligned, asynchronous transfers.
//
// Use it for everything an engine keeps on disk and caches itself: pages, logs, tables. Transfers
// bypass the page cache where the file system allows (see Direct) and are exact: all bytes, or an
// error with the count. For configuration files and other small text, fs.hpp has whole-file
// helpers.
//
// Thread: the reactor's on which it was opened.
// Lifetime: movable, also while operations are in flight: each holds the file open. Dropping it
// without close() closes it after its last operation and only counts the close error. The reactor
// outlives it. Durability: a write is durable after a later sync_data() or sync_all() that was
// started after the write's completion and succeeded; at once with WriteFlags{.dsync = true} or
// open_wal(). A created file's name is durable after sync_dir() of its directory (open_wal does
// that itself). A sync that fails poisons the file: what had not been synced is indeterminate, a
// second sync would lie (Linux reports a write-back error once), and so every later write and sync
// answers Errc::poisoned. A write that fails with a device error poisons it as well. Alignment:
// address, offset and length are checked against alignment() in release builds too, since the
// kernel's EINVAL does not say which was wrong, and some file systems take what others refuse.
//
//   DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data.db"));
//   DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
//   auto written = co_await file.write_at(std::move(page), 0);
//   if (!written) co_return written.error();            // written.buf() still has the page
//   DIORITE_CO_CHECK(co_await file.sync_data());

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <diorite/file_info.hpp>
#include <diorite/io.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite {

enum class Direct : std::uint8_t {
  required,   ///< Errc::direct_unsupported where the file system cannot
  preferred,  ///< buffered there; is_direct() and direct_reason() tell. The 4096 checks stay
  off,        ///< the page cache, any alignment
};

/// Trivially copyable. O_CLOEXEC always.
struct OpenOptions {
  Direct direct = Direct::preferred;
  bool write = false;
  bool create = false;     ///< when missing
  bool exclusive = false;  ///< with create: an existing file is an error
  bool truncate = false;
  bool dsync = false;    ///< every write is durable when it completes
  bool noatime = false;  ///< dropped where the file is not ours (EPERM)
  std::uint32_t mode = 0644;
  std::uint64_t preallocate_bytes = 0;
};
static_assert(std::is_trivially_copyable_v<OpenOptions>);

struct WriteFlags {
  bool dsync = false;  ///< durable when it completes: RWF_DSYNC, or a write and a sync
};

enum class Prealloc : std::uint8_t {
  extend,   ///< the size becomes at least that much; blocks are reserved, and read as zero
  reserve,  ///< blocks are reserved, the size stays
};

class SharedFile;

class DirectFile {
 public:
  /// Empty.
  DirectFile() noexcept = default;
  DirectFile(DirectFile&&) noexcept = default;
  DirectFile& operator=(DirectFile&&) noexcept = default;
  ~DirectFile() = default;

  /// Read-only. Errors: the system's; out_of_range for an empty path or one with a zero byte.
  /// Cancel: before the open reached the system Errc::cancelled; later the file is opened, or
  /// closed again if the coroutine is gone. Allocates: the file's record and one task.
  static Task<Result<DirectFile>> open(Reactor& reactor, std::string path);
  /// Read and write; creates, or truncates what is there.
  static Task<Result<DirectFile>> create(Reactor& reactor, std::string path);
  /// Read and write; creates, keeps what is there.
  static Task<Result<DirectFile>> open_rw(Reactor& reactor, std::string path);
  /// As open_rw, and every write is durable when it completes. Durable: the directory entry too,
  /// before this returns.
  static Task<Result<DirectFile>> open_wal(Reactor& reactor, std::string path);
  static Task<Result<DirectFile>> open_with(Reactor& reactor, std::string path,
                                            OpenOptions options);

  /// Fills the whole capacity of `dst`. Errors: short_io at the end of the file (a = capacity, b =
  /// bytes read, which are valid); misaligned; out_of_range for zero bytes. Allocates: nothing.
  ReadAwait read_at(RawIoBuf dst, std::uint64_t offset) noexcept;
  static constexpr std::size_t kFill = ~std::size_t{0};
  /// The same into an owned buffer, the first `bytes` of it; its length becomes what was read.
  ReadBufAwait<AlignedBuf> read_at(AlignedBuf dst, std::uint64_t offset,
                                   std::size_t bytes = kFill) noexcept;
  ReadBufAwait<PinnedBuf> read_at(PinnedBuf dst, std::uint64_t offset) noexcept;

  /// One operation: may be short, 0 bytes at or past the end of the file. Errors: no short_io.
  ReadAwait read_some_at(RawIoBuf dst, std::uint64_t offset) noexcept;
  ReadBufAwait<AlignedBuf> read_some_at(AlignedBuf dst, std::uint64_t offset,
                                        std::size_t bytes = kFill) noexcept;
  ReadBufAwait<PinnedBuf> read_some_at(PinnedBuf dst, std::uint64_t offset) noexcept;

  /// Writes all of `src`. Errors: short_io when the system stopped taking bytes (b = bytes on the
  /// file), the system's own, misaligned, out_of_range for zero bytes, poisoned.
  /// Durable: see WriteFlags. Cancel: a write that reached the system completes.
  WriteAwait write_at(ConstIoBuf src, std::uint64_t offset, WriteFlags flags = {}) noexcept;
  WriteBufAwait<AlignedBuf> write_at(AlignedBuf src, std::uint64_t offset,
                                     WriteFlags flags = {}) noexcept;
  WriteBufAwait<PinnedBuf> write_at(PinnedBuf src, std::uint64_t offset,
                                    WriteFlags flags = {}) noexcept;

  /// Makes every write that completed before this call durable, with the metadata that reading it
  /// back needs. Errors: the system's, once; poisoned ever after. The syncs of one file follow each
  /// other, since Linux tells a write-back error to only one of two that overlap; those that wait
  /// share one. Durable writes through the page cache take their turn among them.
  SyncAwait sync_data() noexcept;
  /// And all other metadata.
  SyncAwait sync_all() noexcept;
  /// Asks the system to let go of the file's pages in its cache, so that the next reads come from
  /// the device: for a file read through the page cache that somebody else may have failed to
  /// write, since a page that could not be written is shown as if it had been. Pages that are not
  /// written back yet stay: call sync_data() before. So do pages that are in use, those that
  /// another process maps among them. Errors: not_supported where the system has no way; the
  /// system's.
  VoidAwait drop_cache() noexcept;

  SizeAwait size() noexcept;
  /// Size, kind, identity, and what direct I/O demands.
  InfoAwait info() noexcept;
  /// Reserves room for the first `bytes`. A file that is as large already is left alone. Errors:
  /// overflow beyond 2^63 - 1 (a = bytes), before any system call; no space.
  Task<Result<void>> preallocate(std::uint64_t bytes, Prealloc mode = Prealloc::extend);
  /// Sets the size. Errors: overflow as preallocate.
  VoidAwait truncate(std::uint64_t bytes) noexcept;

  /// Waits for the operations in flight, then closes -> the error of close. Requires: not empty.
  Task<Result<void>> close() &&;

  /// Locks the whole file for this open file alone. One attempt. Errors: busy while another has it.
  /// The lock ends when the file is closed. Advisory on POSIX systems (open file description lock).
  Task<Result<void>> try_lock();
  /// Lets the driver's kernel object hold the file open too, so that a lock outlives a killed
  /// process until the last of its writes is over. Errors: unsupported where the driver has no such
  /// thing.
  Result<void> register_with_driver() noexcept;

  /// For reads by other reactors and threads; see shared_file.hpp. Until the last SharedFile of it
  /// is gone, close() waits, and this file's reactor must live. Allocates: one record.
  SharedFile share() const;

  explicit operator bool() const noexcept { return static_cast<bool>(core_); }
  DioAlign alignment() const noexcept;
  bool is_direct() const noexcept;
  /// Why it is direct, or is not.
  std::string_view direct_reason() const noexcept;
  std::string_view path() const noexcept;
  std::uint32_t physical_block_bytes() const noexcept;
  /// What made the file unusable for writing, if anything did.
  Error poison() const noexcept;
  /// Whether a write, truncation or allocation has happened since the last successful sync, or is
  /// under way.
  bool is_dirty() const noexcept;
  std::uint32_t operations_in_flight() const noexcept;
  Reactor& reactor() const noexcept;

 private:
  explicit DirectFile(detail::FileRef core) noexcept : core_(std::move(core)) {}
  static Task<Result<DirectFile>> open_holding(Reactor& reactor, std::string path,
                                               OpenOptions options, detail::FileRef lock);
  friend class detail::FileCore;
  friend class detail::LockedDir;
  friend class SharedFile;
  // Lazy tasks take the file's count by value, so that the DirectFile may move or die first.
  static Task<Result<void>> preallocate_core(detail::FileRef core, std::uint64_t bytes,
                                             Prealloc mode);
  static Task<Result<void>> try_lock_core(detail::FileRef core);
  static Task<Result<void>> close_core(detail::FileRef core);
  ReadBufAwait<AlignedBuf> read_owned(AlignedBuf dst, std::uint64_t offset, std::size_t bytes,
                                      const char* operation, std::uint8_t flags) noexcept;
  ReadBufAwait<PinnedBuf> read_pinned(PinnedBuf dst, std::uint64_t offset, const char* operation,
                                      std::uint8_t flags) noexcept;
  SyncAwait sync_with(const char* operation, OpCode code) noexcept;

  detail::FileRef core_;
};

}  // namespace diorite
