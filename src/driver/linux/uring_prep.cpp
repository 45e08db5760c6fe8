#include "driver/linux/uring_prep.hpp"

#include <fcntl.h>

#include "driver/linux/uring_setup.hpp"

namespace diorite::detail {
namespace {

int open_flags(std::uint32_t flags) noexcept {
  int result = O_CLOEXEC;
  result |= (flags & kOpenWrite) != 0 ? O_RDWR : O_RDONLY;
  if ((flags & kOpenCreate) != 0) result |= O_CREAT;
  if ((flags & kOpenExclusive) != 0) result |= O_EXCL;
  if ((flags & kOpenTruncate) != 0) result |= O_TRUNC;
  if ((flags & kOpenDirect) != 0) result |= O_DIRECT;
  if ((flags & kOpenDsync) != 0) result |= O_DSYNC;
  if ((flags & kOpenNoAtime) != 0) result |= O_NOATIME;
  return result;
}

}  // namespace

bool uring_needs_worker(const Op& op) noexcept {
  if (op.code != OpCode::open) return false;
  const std::uint32_t flags = static_cast<const PathOp&>(op).open_flags;
  return (flags & kOpenCreate) != 0 && (flags & kOpenExclusive) != 0 &&
         (flags & (kOpenDirect | kOpenNoAtime)) != 0;
}

void uring_prepare_again(io_uring_sqe& sqe, const OsRequest& request) noexcept {
  Op op;
  op.code = request.code;
  op.flags = request.flags;
  op.file = request.file;
  op.offset = request.offset;
  op.data = request.data;
  op.bytes = request.bytes;
  uring_prepare_transfer(sqe, op);
}

void uring_prepare_request(io_uring_sqe& sqe, const OsRequest& request) noexcept {
  const auto length = static_cast<off_t>(request.length);
  switch (request.code) {
    case OpCode::allocate:
      io_uring_prep_fallocate(&sqe, 0, (request.flags & kOpKeepSize) != 0 ? FALLOC_FL_KEEP_SIZE : 0,
                              static_cast<off_t>(request.offset), length);
      uring_set_file(sqe, request.file);
      break;
    case OpCode::truncate:
      io_uring_prep_rw(kUringOpFtruncate, &sqe, 0, nullptr, 0, request.length);
      uring_set_file(sqe, request.file);
      break;
    case OpCode::close:
      // Always by the descriptor: closing a place of the table would leave the descriptor open.
      io_uring_prep_close(&sqe, os_descriptor(request.file));
      break;
    case OpCode::drop_cache:
      io_uring_prep_fadvise(&sqe, 0, 0, 0, POSIX_FADV_DONTNEED);
      uring_set_file(sqe, request.file);
      break;
    case OpCode::open:
      io_uring_prep_openat(&sqe, AT_FDCWD, request.path, open_flags(request.open_flags),
                           static_cast<mode_t>(request.mode));
      break;
    case OpCode::make_dir:
      io_uring_prep_mkdirat(&sqe, AT_FDCWD, request.path, static_cast<mode_t>(request.mode));
      break;
    case OpCode::rename:
      io_uring_prep_renameat(&sqe, AT_FDCWD, request.path, AT_FDCWD, request.path2, 0);
      break;
    case OpCode::remove:
      io_uring_prep_unlinkat(&sqe, AT_FDCWD, request.path,
                             (request.flags & kOpDirectory) != 0 ? AT_REMOVEDIR : 0);
      break;
    default:
      DIORITE_ASSERT(false, "an operation went to the ring that the ring does not have");
  }
}

}  // namespace diorite::detail
