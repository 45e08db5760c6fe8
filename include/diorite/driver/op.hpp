// Op: one request to the operating system, as the reactor hands it to a driver.
//
// Authors of drivers read this; users meet awaitables (io.hpp), each of which holds one Op inside
// the coroutine's frame. An Op is 64 bytes, starts at submit, and must stay where it is until the
// driver reports it, gives it back (remove), or is told to forget it (orphan). What the kernel or a
// worker thread may touch is copied into the driver's slot at submit, never read from here later;
// the data buffer itself is the only exception.
//
// Thread: the reactor's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <diorite/driver/ready.hpp>
#include <diorite/file_info.hpp>

namespace diorite {

enum class OpCode : std::uint8_t {
  nop,
  read,        ///< file, offset, data, bytes -> bytes read, 0 at the end of the file
  write,       ///< file, offset, data, bytes; kOpDsync -> bytes written
  sync_data,   ///< file: data, and the metadata that is needed to read it back
  sync_all,    ///< file: data and metadata
  allocate,    ///< file, offset, length in InfoOp::length; kOpKeepSize
  truncate,    ///< file, length in InfoOp::length
  info,        ///< InfoOp: file -> info
  close,       ///< file
  try_lock,    ///< file: exclusive, whole file, owned by the open file -> 0, or -EAGAIN when held
  drop_cache,  ///< file: pages of it that are clean leave the page cache -> 0; -EOPNOTSUPP where
               ///< the system has no way
  open,        ///< PathOp: path, open -> 0, the handle in Op::file
  make_dir,    ///< PathOp: path, mode
  list_dir,    ///< ListOp: path -> entries
  rename,      ///< PathOp: path to path2, replacing
  remove,      ///< PathOp: a file, or an empty directory with kOpDirectory
  sync_dir,    ///< PathOp: makes the entries of a directory durable
  call,        ///< CallOp: runs a function of the program's on a worker thread -> 0
};
inline constexpr std::size_t kOpCodeCount = static_cast<std::size_t>(OpCode::call) + 1;
const char* to_string(OpCode code) noexcept;

/// What statistics tell apart.
enum class OpKind : std::uint8_t {
  read,
  write,  ///< durable writes, too
  sync,   ///< sync_data, sync_all and sync_dir
  other,
};
inline constexpr std::size_t kOpKindCount = static_cast<std::size_t>(OpKind::other) + 1;

constexpr OpKind kind_of(OpCode code) noexcept {
  switch (code) {
    case OpCode::read:
      return OpKind::read;
    case OpCode::write:
      return OpKind::write;
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::sync_dir:
      return OpKind::sync;
    default:
      return OpKind::other;
  }
}

/// Where an Op stands. The driver owns it in backlog and in_flight; everything else is illegal and
/// asserted:
///
///   idle ──submit──▶ backlog ──▶ in_flight ──poll──▶ done ──▶ idle (resumed, or submitted again)
///                      │ remove: removed      │ remove: in_flight (stays; completes later)
///                      ▼                      ▼ orphan
///                    idle                  forgotten: the driver never touches the Op again
enum class OpState : std::uint8_t { idle, backlog, in_flight, done };

/// A driver's own name for an open file: a descriptor, a handle, an index. Opaque above the seam.
struct DriverFile {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::uint64_t value = kNone;
  explicit operator bool() const noexcept { return value != kNone; }
  friend bool operator==(DriverFile, DriverFile) noexcept = default;
};

/// One op moves at most this much; Linux caps a transfer at 2 GiB - 4 KiB. A multiple of every
/// alignment, so that a longer transfer goes on at an aligned point, and an int32 holds the count.
inline constexpr std::uint64_t kIoBytesMax = std::uint64_t{1} << 30;

// Op::flags
inline constexpr std::uint8_t kOpDsync = 1;      ///< write: durable when it completes
inline constexpr std::uint8_t kOpExact = 2;      ///< the reactor goes on after a short transfer
inline constexpr std::uint8_t kOpKeepSize = 4;   ///< allocate: the file's size does not change
inline constexpr std::uint8_t kOpDirectory = 8;  ///< remove: path is a directory
inline constexpr std::uint8_t kOpLastStep = 16;  ///< exact, and stopped: the reactor ends it here

/// See the top of the file. While the driver owns it, its links are the driver's.
struct Op : ReadyNode {
  DriverFile file;
  std::uint64_t offset = 0;
  std::byte* data = nullptr;  ///< a write only reads from it
  std::uint32_t bytes = 0;
  std::uint32_t slot = 0;   ///< the driver's while it owns the op, then the reactor's
  std::int32_t result = 0;  ///< >= 0, or a negated errno value
  OpCode code = OpCode::nop;
  OpState state = OpState::idle;
  std::uint8_t flags = 0;
  std::uint8_t align_log2 = 0;  ///< of the file's offsets: where an exact transfer goes on
};
static_assert(sizeof(Op) == 64 && std::is_trivially_copyable_v<Op>);

using OpList = IntrusiveList<Op>;

/// For info, allocate and truncate.
struct InfoOp : Op {
  std::uint64_t length = 0;
  FileInfo info;
};

// PathOp::open_flags
inline constexpr std::uint32_t kOpenWrite = 1;
inline constexpr std::uint32_t kOpenCreate = 2;
inline constexpr std::uint32_t kOpenExclusive = 4;
inline constexpr std::uint32_t kOpenTruncate = 8;
inline constexpr std::uint32_t kOpenDirect = 16;
inline constexpr std::uint32_t kOpenDsync = 32;
inline constexpr std::uint32_t kOpenNoAtime = 64;

/// For what has no asynchronous form. The function runs at most once, and not at all when the op
/// was removed; what it refers to must live until the op has ended, so such an op is never
/// orphaned.
struct CallOp : Op {
  using Function = void (*)(void* context) noexcept;
  Function function = nullptr;
  void* context = nullptr;
};

/// For everything that names a file by path. The driver copies the paths at submit. UTF-8.
struct PathOp : Op {
  std::string_view path;
  std::string_view path2;
  std::uint32_t open_flags = 0;
  std::uint32_t mode = 0;
};

struct DirEntry {
  std::string name;
  FileKind kind = FileKind::other;
};

/// "." and ".." are left out; the order is the file system's.
struct ListOp : PathOp {
  std::unique_ptr<std::vector<DirEntry>> entries;
};

}  // namespace diorite
