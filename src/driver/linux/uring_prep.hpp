// From operations to submission entries: which opcode, which flags, which file.
//
// Thread: the reactor's.

#pragma once

#include <errno.h>
#include <liburing.h>
#include <sys/uio.h>

#include <cstdint>
#include <limits>

#include <diorite/driver/op.hpp>

#include "driver/os.hpp"

namespace diorite::detail {

/// A DriverFile's high half is its place in the ring's file table plus one, 0 = none.
inline std::uint32_t uring_file_place(DriverFile file) noexcept {
  return file ? static_cast<std::uint32_t>(file.value >> 32) : 0;
}

/// True for those whose whole argument is in the Op: nop, read, write and the syncs.
constexpr bool uring_is_transfer(OpCode code) noexcept { return code <= OpCode::sync_all; }

/// True when a cancel can help, and cannot hurt: a transfer that the device has goes on anyway, and
/// a close that was stopped would leak its descriptor.
constexpr bool uring_can_cancel(OpCode code) noexcept {
  return !uring_is_transfer(code) && code != OpCode::close;
}

/// True for an open that takes several system calls to leave nothing behind when it fails: O_DIRECT
/// is refused only after an exclusive open has created the file.
bool uring_needs_worker(const Op& op) noexcept;

/// 0, or the negated errno of an operation that the ring must not see: an offset of all ones would
/// mean "at the file's own position" to it.
inline std::int32_t uring_refusal(const Op& op) noexcept {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  switch (op.code) {
    case OpCode::read:
    case OpCode::write:
      return op.offset <= kMax ? 0 : -EINVAL;
    case OpCode::allocate:
      if (op.offset > kMax) return -EFBIG;
      [[fallthrough]];
    case OpCode::truncate:
      return static_cast<const InfoOp&>(op).length <= kMax ? 0 : -EFBIG;
    default:
      return 0;
  }
}

inline void uring_set_file(io_uring_sqe& sqe, DriverFile file) noexcept {
  const std::uint32_t place = uring_file_place(file);
  if (place == 0) {
    sqe.fd = os_descriptor(file);
  } else {
    sqe.fd = static_cast<int>(place - 1);
    sqe.flags |= IOSQE_FIXED_FILE;
  }
}

/// Fills everything but user_data. Requires: uring_is_transfer. Inline, since it is on the way of
/// every page that is read.
inline void uring_prepare_transfer(io_uring_sqe& sqe, const Op& op) noexcept {
  switch (op.code) {
    case OpCode::read:
      io_uring_prep_read(&sqe, 0, op.data, op.bytes, op.offset);
      break;
    case OpCode::write:
      io_uring_prep_write(&sqe, 0, op.data, op.bytes, op.offset);
      if ((op.flags & kOpDsync) != 0) sqe.rw_flags = RWF_DSYNC;
      break;
    case OpCode::sync_data:
      io_uring_prep_fsync(&sqe, 0, IORING_FSYNC_DATASYNC);
      break;
    case OpCode::sync_all:
      io_uring_prep_fsync(&sqe, 0, 0);
      break;
    default:
      io_uring_prep_nop(&sqe);
      return;
  }
  uring_set_file(sqe, op.file);
}

/// A read or write from the slot's copy.
void uring_prepare_again(io_uring_sqe& sqe, const OsRequest& request) noexcept;

/// The same for the rest, from the slot's copy.
void uring_prepare_request(io_uring_sqe& sqe, const OsRequest& request) noexcept;

}  // namespace diorite::detail
