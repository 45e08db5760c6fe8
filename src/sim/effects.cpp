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

bool syncs(OpCode code) noexcept {
  return code == OpCode::sync_data || code == OpCode::sync_all || code == OpCode::sync_dir;
}

// What is done without the file system.
bool needs_no_disk(OpCode code) noexcept {
  switch (code) {
    case OpCode::nop:
    case OpCode::close:
    case OpCode::try_lock:
    case OpCode::drop_cache:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::int32_t Kernel::finish(Flight& flight) {
  if (faults_.stopped() && !needs_no_disk(flight.code)) {
    if (flight.write != 0) volume().abandon_write(flight.write, {});
    return faults_.refuse();
  }
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
    case OpCode::drop_cache:
      volume().drop_cache(flight.file->node);
      return 0;
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
    case OpCode::call:
      // On this thread, at the moment that the choices picked.
      flight.function(flight.context);
      return 0;
  }
  return -EINVAL;
}

std::int32_t Kernel::end_read(Flight& flight) {
  if (flight.zombie || flight.bytes == 0) return 0;
  const std::uint32_t unit = flight.file->direct() ? volume().options().offset_align : 1;
  const std::uint32_t bytes = faults_.transferred(flight.bytes, unit);
  const OpenFile& file = *flight.file;
  if (!file.direct() && volume().reads_lie(file.node) && faults_.evicts()) {
    volume().drop_cache(file.node);
  }
  return static_cast<std::int32_t>(
      volume().read(file.node, flight.offset, {flight.data, bytes}, file.direct()));
}

std::int32_t Kernel::end_write(Flight& flight) {
  if (flight.write == 0) return 0;
  const std::uint32_t unit = flight.file->direct() ? volume().options().offset_align : 1;
  const std::uint32_t bytes = faults_.transferred(flight.bytes, unit);
  const bool durable = is_to_be_durable(flight) && !faults_.sync_lies();
  volume().end_write(flight.write, bytes, durable);
  return static_cast<std::int32_t>(bytes);
}

std::int32_t Kernel::end_sync(Flight& flight) {
  if (faults_.sync_lies()) return 0;
  if (volume().is_read_only() && faults_.refuses_sync()) return -EROFS;
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

bool Kernel::is_to_be_durable(const Flight& flight) noexcept {
  return (flight.flags & kOpDsync) != 0 || (flight.file->open_flags & kOpenDsync) != 0;
}

void Kernel::fail(Flight& flight, std::int32_t error) {
  const bool is_change = flight.code == OpCode::write || may_take_part(flight.code);
  // A full disk and a read-only file system refuse before anything is done.
  const bool may_land = error == -EIO || error == -ECANCELED;
  bool stops = false;
  if (flight.write != 0) {
    const NodeId node = flight.file->node;
    const SyncMark before = volume().begin_sync(node);
    if (may_land && faults_.lands_in_part()) {
      land_in_part(flight);
      // In the page cache only, or in space that a log which has failed does not know of.
      if (error == -EIO) stops = lose(node, before, volume().begin_sync(node), false);
    } else {
      volume().abandon_write(flight.write, {});
    }
  } else if (syncs(flight.code) && error != -ECANCELED) {
    const bool on_path = flight.code == OpCode::sync_dir;
    const NodeId node = on_path ? flight.node : flight.file->node;
    stops = lose(node, {}, flight.mark, on_path || flight.file->is_directory);
  } else if (flight.code == OpCode::close && error != -ECANCELED) {
    // The descriptor is free whatever close says, unless it was never called.
    end_close(flight);
  } else if (may_take_part(flight.code) && may_land && faults_.lands_in_part()) {
    take_effect(flight);
  }
  const bool may_stop = error == -EIO && (is_change || syncs(flight.code));
  if (stops || (may_stop && faults_.goes_read_only())) {
    stop_file_system();
  } else if (error == -EROFS) {
    volume().set_read_only(true);
  }
}

// Of what a failed sync covered, pages are marked clean and a transaction is given up, so that the
// next sync finds nothing to do and succeeds (seen on ext4, XFS and btrfs: tests/powercut). True
// when the file system stops.
bool Kernel::lose(NodeId node, SyncMark since, SyncMark mark, bool names) {
  if (names ? !faults_.drops_names() : !faults_.drops_data()) return false;
  DropRules rules;
  rules.since = since.sequence;
  rules.keeps_sizes = !names && faults_.keeps_sizes();
  bool stops = false;
  // Names stay in memory until the file system is mounted anew.
  if (names || faults_.reads_lie()) {
    const bool disk_lies = faults_.disk_lies();
    const bool everywhere =
        disk_lies || names || (!rules.keeps_sizes && faults_.direct_reads_lie());
    rules.lie = everywhere ? Lie::everywhere : Lie::cached;
    stops = everywhere && !disk_lies;
  }
  volume().drop(node, mark, rules);
  return stops;
}

void Kernel::stop_file_system() {
  if (faults_.shuts_down()) {
    faults_.stop();
  } else {
    volume().set_read_only(true);
  }
}

void Kernel::land_in_part(Flight& flight) {
  const std::uint64_t first = flight.offset / Disk::kSectorBytes;
  const std::uint64_t last = (flight.offset + flight.bytes - 1) / Disk::kSectorBytes;
  const auto sectors = static_cast<std::size_t>(last - first + 1);
  const auto landed = std::make_unique<bool[]>(sectors);
  // All of it, when only the flush behind it has failed.
  const bool whole = choices_.pick(4) == 3;
  for (std::size_t i = 0; i < sectors; ++i) landed[i] = whole || choices_.chance(per_cent(50));
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
