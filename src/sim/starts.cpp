// What operations check, take and note when they begin.

#include <cerrno>
#include <cstring>
#include <limits>

#include "sim/kernel.hpp"

namespace diorite::sim::detail {
namespace {

constexpr std::size_t kPathBytesMax = 4096;

bool fits_offset(std::uint64_t value) noexcept {
  return value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

bool has_nul(std::string_view path) noexcept { return path.find('\0') != std::string_view::npos; }

bool has_path(OpCode code) noexcept { return code >= OpCode::open && code <= OpCode::sync_dir; }

bool has_file(OpCode code) noexcept { return code > OpCode::nop && code < OpCode::open; }

}  // namespace

void Kernel::copy_arguments(Flight& flight, const Op& op) {
  flight.flags = op.flags;
  flight.offset = op.offset;
  flight.data = op.data;
  flight.bytes = op.bytes;
  flight.length = 0;
  flight.path.clear();
  flight.path2.clear();
  flight.open_flags = 0;
  if (op.code == OpCode::allocate || op.code == OpCode::truncate) {
    flight.length = static_cast<const InfoOp&>(op).length;
  }
  if (op.code == OpCode::call) {
    flight.function = static_cast<const CallOp&>(op).function;
    flight.context = static_cast<const CallOp&>(op).context;
  }
  if (!has_path(op.code)) return;
  const auto& path_op = static_cast<const PathOp&>(op);
  flight.path = path_op.path;
  flight.path2 = path_op.path2;
  flight.open_flags = path_op.open_flags;
  flight.mode = path_op.mode;
}

std::int32_t Kernel::start(Flight& flight, const Op& op) {
  if (has_path(flight.code)) return start_path(flight);
  if (!has_file(flight.code)) return 0;
  OpenFile* const file = files_.find(*flight.process, op.file);
  if (file == nullptr) return -EBADF;
  FileTable::hold(*file);
  flight.file = file;
  switch (flight.code) {
    case OpCode::read:
    case OpCode::write:
      return start_transfer(flight);
    case OpCode::sync_data:
    case OpCode::sync_all:
      flight.mark = volume().begin_sync(file->node);
      return 0;
    case OpCode::allocate:
    case OpCode::truncate:
      return start_change(flight);
    case OpCode::try_lock:
      return file->writable() ? 0 : -EBADF;
    default:
      return 0;
  }
}

std::int32_t Kernel::start_path(Flight& flight) {
  if (has_nul(flight.path) || has_nul(flight.path2)) return -EINVAL;
  if (flight.path.size() >= kPathBytesMax) return -ENAMETOOLONG;
  if (flight.code != OpCode::sync_dir) return 0;
  const OpenResult found = volume().find_dir(flight.path);
  if (found.result < 0) return found.result;
  volume().hold(found.node);
  flight.node = found.node;
  flight.mark = volume().begin_sync(found.node);
  return 0;
}

std::int32_t Kernel::start_transfer(Flight& flight) {
  const OpenFile& file = *flight.file;
  const bool writes = flight.code == OpCode::write;
  if (!fits_offset(flight.offset)) return -EINVAL;
  if (writes && !file.writable()) return -EBADF;
  if (!writes && file.is_directory) return -EISDIR;
  if (!fits_offset(flight.offset + flight.bytes)) return -EINVAL;
  if (file.direct() && flight.bytes > 0) {
    const DiskOptions& disk = volume().options();
    const auto address = reinterpret_cast<std::uintptr_t>(flight.data);
    if (((flight.offset | flight.bytes) & (disk.offset_align - 1)) != 0 ||
        (address & (disk.memory_align - 1)) != 0) {
      return -EINVAL;
    }
  }
  if (!writes) {
    if (flight.bytes > 0) std::memset(flight.data, kScribble, flight.bytes);
    return 0;
  }
  if (flight.bytes == 0) return 0;
  std::int64_t begun = volume().begin_write(file.node, flight.offset, flight.bytes);
  if (begun == -ENOSPC && faults_.takes_what_is_left()) {
    if (const std::uint32_t room = volume().room_for(file.node, flight.offset, flight.bytes)) {
      flight.bytes = room;
      begun = volume().begin_write(file.node, flight.offset, room);
    }
  }
  if (begun < 0) return static_cast<std::int32_t>(begun);
  flight.write = static_cast<WriteId>(begun);
  return 0;
}

std::int32_t Kernel::start_change(Flight& flight) {
  const bool allocates = flight.code == OpCode::allocate;
  if (!fits_offset(flight.offset) || !fits_offset(flight.length)) return -EFBIG;
  if (allocates && flight.length == 0) return -EINVAL;
  if (!flight.file->writable()) return allocates ? -EBADF : -EINVAL;
  return allocates && !fits_offset(flight.offset + flight.length) ? -EFBIG : 0;
}

void Kernel::capture(Flight& flight) {
  if (flight.write == 0 || flight.captured) return;
  volume().capture(flight.write, flight.data);
  flight.captured = true;
}

std::int32_t Kernel::read_now(Process& process, const Op& op) {
  if (process.dead) return -EIO;
  Flight& flight = take_flight(process, op.code, 0);
  copy_arguments(flight, op);
  std::int32_t result = start(flight, op);
  trace_begin(flight);
  if (result == 0) result = finish(flight);
  flight.result = result;
  trace_end(flight);
  let_go(flight);
  recycle(flight);
  // Begun and ended at once.
  count_event();
  count_event();
  return result;
}

}  // namespace diorite::sim::detail
