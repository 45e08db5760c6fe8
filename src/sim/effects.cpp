// What operations do when they end, or fail to do.

#include <cerrno>
#include <cstring>
#include <utility>

#include <diorite/assert.hpp>

#include "sim/kernel.hpp"

namespace diorite::sim::detail {
namespace {

bool is_scribble(const std::byte* data, std::size_t bytes) noexcept {
  return bytes == 0 || (data[0] == static_cast<std::byte>(kScribble) &&
                        std::memcmp(data, data + 1, bytes - 1) == 0);
}

// An open that fails leaves nothing behind, and a listing changes nothing.
bool may_take_part(OpCode code) noexcept {
  switch (code) {
    case OpCode::allocate:
    case OpCode::truncate:
    case OpCode::make_dir:
    case OpCode::rename:
    case OpCode::remove:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::int32_t Kernel::finish(Flight& flight) {
  if (!flight.zombie) {
    if (flight.write != 0) capture(flight);
    check_buffer(flight);
    if (flight.cancelled) {
      fail(flight, -ECANCELED);
      return -ECANCELED;
    }
    if (const std::int32_t interrupted = faults_.interruption(flight.code); interrupted != 0) {
      if (flight.write != 0) volume().abandon_write(flight.write, {});
      return interrupted;
    }
    if (const std::int32_t error = faults_.error(flight.code, flight.open_flags); error != 0) {
      fail(flight, error);
      return error;
    }
  }
  return take_effect(flight);
}

std::int32_t Kernel::take_effect(Flight& flight) {
  switch (flight.code) {
    case OpCode::nop:
      return 0;
    case OpCode::read:
      return end_read(flight);
    case OpCode::write:
      return end_write(flight);
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::sync_dir:
      return end_sync(flight);
    case OpCode::allocate:
      return volume().allocate(flight.file->node, flight.offset, flight.length,
                               (flight.flags & kOpKeepSize) != 0);
    case OpCode::truncate:
      return volume().truncate(flight.file->node, flight.length);
    case OpCode::info:
      return tell_info(flight);
    case OpCode::close:
      return end_close(flight);
    case OpCode::try_lock:
      return files_.try_lock(*flight.file);
    case OpCode::open:
      return end_open(flight);
    case OpCode::make_dir:
      return volume().make_dir(flight.path);
    case OpCode::list_dir: {
      auto entries = std::make_unique<std::vector<DirEntry>>();
      const std::int32_t result = volume().list(flight.path, *entries);
      if (result == 0) flight.entries = std::move(entries);
      return result;
    }
    case OpCode::rename:
      return volume().rename(flight.path, flight.path2);
    case OpCode::remove:
      return volume().remove(flight.path, (flight.flags & kOpDirectory) != 0);
  }
  return -EINVAL;
}

std::int32_t Kernel::end_read(Flight& flight) {
  if (flight.zombie || flight.bytes == 0) return 0;
  const std::uint32_t unit = flight.file->direct() ? volume().options().offset_align : 1;
  const std::uint32_t bytes = faults_.transferred(flight.bytes, unit);
  return static_cast<std::int32_t>(
      volume().read(flight.file->node, flight.offset, {flight.data, bytes}));
}

std::int32_t Kernel::end_write(Flight& flight) {
  if (flight.write == 0) return 0;
  const std::uint32_t unit = flight.file->direct() ? volume().options().offset_align : 1;
  const std::uint32_t bytes = faults_.transferred(flight.bytes, unit);
  const bool asked = (flight.flags & kOpDsync) != 0 || (flight.file->open_flags & kOpenDsync) != 0;
  volume().end_write(flight.write, bytes, asked && !faults_.sync_lies());
  return static_cast<std::int32_t>(bytes);
}

std::int32_t Kernel::end_sync(Flight& flight) {
  if (faults_.sync_lies()) return 0;
  const NodeId node = flight.file != nullptr ? flight.file->node : flight.node;
  volume().end_sync(node, flight.mark, flight.code != OpCode::sync_data);
  return 0;
}

std::int32_t Kernel::end_open(Flight& flight) {
  const OpenResult opened = volume().open(flight.path, flight.open_flags, flight.mode);
  if (opened.result < 0) return opened.result;
  if (flight.zombie) {
    // Nobody is left to get the handle; what remains is what the open did to the file.
    volume().release(opened.node);
    return 0;
  }
  FileInfo info;
  volume().info(opened.node, info);
  const bool is_directory = info.kind == FileKind::directory;
  OpenFile* const file =
      files_.add(*flight.process, opened.node, flight.open_flags, flight.path, is_directory);
  if (file == nullptr) {
    volume().release(opened.node);
    return -EMFILE;
  }
  flight.opened = FileTable::handle_of(*file);
  return 0;
}

std::int32_t Kernel::end_close(Flight& flight) {
  OpenFile& file = *flight.file;
  // Another close of the same handle was in flight, too, and came first.
  if (!file.has_handle) return -EBADF;
  if (file.registered) --flight.process->registered;
  files_.drop_registration(file, volume());
  files_.drop_handle(file, volume());
  return 0;
}

std::int32_t Kernel::tell_info(Flight& flight) {
  volume().info(flight.file->node, flight.info);
  return 0;
}

void Kernel::fail(Flight& flight, std::int32_t error) {
  const bool is_change = flight.code == OpCode::write || may_take_part(flight.code);
  const bool is_sync = area_of(flight.code) == Area::syncs;
  // A full disk and a read-only file system refuse before anything is done.
  const bool may_land = error == -EIO || error == -ECANCELED;
  if (flight.write != 0) {
    if (may_land && faults_.lands_in_part()) {
      land_in_part(flight);
    } else {
      volume().abandon_write(flight.write, {});
    }
  } else if (is_sync && error != -ECANCELED) {
    // Pages are marked clean after a failed write-back, and a device may drop its cache. Names
    // stand in the log of the file system: when that fails, it stops, and no later sync claims
    // success.
    const OpenFile& file = *flight.file;
    if (!file.is_directory && faults_.drops_data()) {
      // What is read past the page cache is what the device has.
      volume().drop(file.node, flight.mark, !file.direct() && faults_.reads_lie());
    }
  } else if (flight.code == OpCode::close) {
    // The descriptor is free whatever close says.
    end_close(flight);
  } else if (may_take_part(flight.code) && may_land && faults_.lands_in_part()) {
    take_effect(flight);
  }
  const bool aborts = error == -EIO && (is_change || is_sync) && faults_.goes_read_only();
  if (error == -EROFS || aborts) volume().set_read_only(true);
}

void Kernel::land_in_part(Flight& flight) {
  const std::uint64_t first = flight.offset / Disk::kSectorBytes;
  const std::uint64_t last = (flight.offset + flight.bytes - 1) / Disk::kSectorBytes;
  const auto sectors = static_cast<std::size_t>(last - first + 1);
  const auto landed = std::make_unique<bool[]>(sectors);
  for (std::size_t i = 0; i < sectors; ++i) landed[i] = choices_.chance(per_cent(50));
  volume().abandon_write(flight.write, std::span<const bool>(landed.get(), sectors));
}

void Kernel::check_buffer(const Flight& flight) {
  if (flight.captured) {
    if (volume().matches(flight.write, flight.data)) return;
    violate("a buffer was changed while a write of it was in flight: " + flight.file->path +
            " offset " + std::to_string(flight.offset));
  } else if (flight.code == OpCode::read && !is_scribble(flight.data, flight.bytes)) {
    violate("a buffer was changed while a read into it was in flight: " + flight.file->path +
            " offset " + std::to_string(flight.offset));
  }
}

// What an operation holds while it is in flight.
void Kernel::let_go(Flight& flight) noexcept {
  if (OpenFile* const file = std::exchange(flight.file, nullptr); file != nullptr) {
    files_.release(*file, volume());
  }
  if (const NodeId node = std::exchange(flight.node, kNoNode); node != kNoNode) {
    volume().release(node);
  }
  flight.write = 0;
}

void Kernel::violate(std::string text) {
  if (violation_.empty()) violation_ = std::move(text);
}

void Kernel::close_now(Process& process, DriverFile handle) noexcept {
  OpenFile* const file = files_.find(process, handle);
  if (file == nullptr) return;
  if (file->registered) --process.registered;
  files_.drop_registration(*file, volume());
  files_.drop_handle(*file, volume());
}

Result<DriverFile> Kernel::register_file(Process& process, DriverFile handle) noexcept {
  if (process.dead) return Error::from_driver(-EIO);
  OpenFile* const file = files_.find(process, handle);
  if (file == nullptr) return Error::from_driver(-EBADF);
  DIORITE_ASSERT(!file->registered, "registering a file that is registered");
  if (process.registered == FileTable::kRegisteredMax) {
    return Error(Errc::limit, process.registered + 1, FileTable::kRegisteredMax);
  }
  ++process.registered;
  FileTable::hold(*file);
  file->registered = true;
  return FileTable::handle_of(*file);
}

void Kernel::release_file(Process& process, DriverFile handle) noexcept {
  OpenFile* const file = process.dead ? nullptr : files_.find(process, handle);
  DIORITE_ASSERT(process.dead || (file != nullptr && file->registered),
                 "releasing a file that is not registered");
  if (file == nullptr) return;
  --process.registered;
  files_.drop_registration(*file, volume());
}

}  // namespace diorite::sim::detail
