// Sweeps of DirectFile and of the operations on names.

#include <array>
#include <chrono>

#include <diorite/buffer.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

#include "sim/workload.hpp"

namespace diorite::test {
namespace {

using Done = Task<Result<void>>;

constexpr std::uint64_t kBlocks = 4;

/// The workloads' files exist, durably, with blocks 0 to 3.
Done make_file(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data"));
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    DIORITE_CO_CHECK(co_await write_block(file, notes, i * kBlock, i));
  }
  DIORITE_CO_CHECK(co_await file.sync_all());
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
  for (std::uint64_t i = 0; i < kBlocks; ++i) notes.promise("data", i * kBlock, block_of(i));
  co_return co_await std::move(file).close();
}

Done write_and_sync(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data"));
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    const std::uint64_t at = (kBlocks + i) * kBlock;
    DIORITE_CO_CHECK(co_await write_block(file, notes, at, 10 + i));
    const Result<void> synced = co_await file.sync_data();
    if (!synced) {
      // From now on nothing may be promised any more.
      const Result<void> again = co_await file.sync_data();
      if (again && !is_transient(synced.error()) && !is_cancelled(synced.error())) {
        notes.wrong("a sync succeeded after one that failed");
      }
      co_return synced.error();
    }
    notes.promise("data", at, block_of(10 + i));
  }
  co_return co_await std::move(file).close();
}

Done create_and_sync_dir(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(const bool made, co_await mkdir(reactor, "dir"));
  static_cast<void>(made);
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
  OpenOptions options;
  options.write = true;
  options.create = true;
  options.exclusive = true;
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_with(reactor, "dir/new", options));
  DIORITE_CO_CHECK(co_await write_block(file, notes, 0, 20));
  DIORITE_CO_CHECK(co_await file.sync_all());
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "dir"));
  notes.promise("dir/new", 0, block_of(20));
  DIORITE_CO_TRY(const std::vector<DirEntry> entries, co_await list(reactor, "dir"));
  if (entries.size() != 1 || entries[0].name != "new") notes.wrong("the listing is another one");
  co_return co_await std::move(file).close();
}

Done transfer_exactly(Reactor& reactor, Notes& notes) {
  constexpr std::size_t kBytes = 16 * kBlock;
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data"));
  DIORITE_CO_TRY(AlignedBuf buffer, buffer_of(block_of(30, kBytes)));
  BufIoResult written = co_await file.write_at(std::move(buffer), 8 * kBlock);
  notes.came_back(written.buf());
  if (!written) co_return written.error();
  BufIoResult read = co_await file.read_at(std::move(written.buf()), 8 * kBlock);
  notes.came_back(read.buf());
  if (!read) co_return read.error();
  const std::string found(reinterpret_cast<const char*>(read.buf().data()), read.buf().size());
  if (found != block_of(30, kBytes)) notes.wrong("a read returned other bytes than were written");
  DIORITE_CO_CHECK(co_await file.sync_data());
  notes.promise("data", 8 * kBlock, block_of(30, kBytes));
  // Past the end.
  const BufIoResult tail = co_await file.read_at(std::move(read.buf()), 20 * kBlock);
  if (tail) notes.wrong("a read past the end succeeded");
  co_return co_await std::move(file).close();
}

Done preallocate_and_write(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "room"));
  DIORITE_CO_CHECK(co_await file.preallocate(16 * kBlock));
  DIORITE_CO_CHECK(co_await file.preallocate(32 * kBlock, Prealloc::reserve));
  DIORITE_CO_TRY(const std::uint64_t bytes, co_await file.size());
  if (bytes != 16 * kBlock) notes.wrong("the size is not what was allocated");
  DIORITE_CO_CHECK(co_await write_block(file, notes, 7 * kBlock, 40));
  DIORITE_CO_CHECK(co_await file.sync_data());
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
  notes.promise("room", 7 * kBlock, block_of(40));
  notes.promise("room", 8 * kBlock, std::string(8 * kBlock, '\0'));
  co_return co_await std::move(file).close();
}

Done truncate_and_grow(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data"));
  notes.may_change("data");
  for (std::uint64_t i = 0; i < 2; ++i) notes.promise("data", i * kBlock, block_of(i));
  DIORITE_CO_CHECK(co_await file.truncate(2 * kBlock));
  DIORITE_CO_CHECK(co_await file.truncate(6 * kBlock));
  DIORITE_CO_CHECK(co_await file.sync_all());
  notes.promise("data", 2 * kBlock, std::string(4 * kBlock, '\0'));
  DIORITE_CO_CHECK(co_await write_block(file, notes, 6 * kBlock, 50));
  DIORITE_CO_CHECK(co_await file.sync_data());
  notes.promise("data", 6 * kBlock, block_of(50));
  co_return co_await std::move(file).close();
}

Done lock_and_wait(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(FileLock held, co_await lock(reactor, "LOCK", std::chrono::seconds(1)));
  const Result<FileLock> second = co_await lock(reactor, "LOCK", std::chrono::milliseconds(50));
  if (second) notes.wrong("a lock was given twice");
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_rw(reactor, "data"));
  static_cast<void>(file.register_with_driver());
  DIORITE_CO_CHECK(co_await write_block(file, notes, 8 * kBlock, 60, {.dsync = true}));
  notes.promise("data", 8 * kBlock, block_of(60));
  DIORITE_CO_CHECK(co_await std::move(file).close());
  co_return co_await std::move(held.file()).close();
}

/// Block 0 of the file tells which generation it is; one of those that may be is there, whole.
Done replace_by_rename(Reactor& reactor, Notes& notes) {
  for (std::uint64_t generation = 0; generation < 3; ++generation) {
    DIORITE_CO_TRY(DirectFile file, co_await DirectFile::create(reactor, "data.tmp"));
    for (std::uint64_t i = 0; i < 2; ++i) {
      DIORITE_CO_CHECK(co_await write_block(file, notes, i * kBlock, 70 + 2 * generation + i));
    }
    DIORITE_CO_CHECK(co_await file.sync_all());
    DIORITE_CO_CHECK(co_await std::move(file).close());
    notes.may_change("data");
    notes.promise("data");
    DIORITE_CO_CHECK(co_await rename(reactor, "data.tmp", "data"));
    DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
    for (std::uint64_t i = 0; i < 2; ++i) {
      notes.promise("data", i * kBlock, block_of(70 + 2 * generation + i));
    }
  }
  co_return Result<void>();
}

Done write_ahead_file(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_wal(reactor, "log"));
  notes.promise("log");
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    DIORITE_CO_CHECK(co_await write_block(file, notes, i * kBlock, 80 + i));
    notes.promise("log", i * kBlock, block_of(80 + i));
  }
  co_return co_await std::move(file).close();
}

Done remove_and_sync_dir(Reactor& reactor, Notes& notes) {
  notes.may_change("data");
  DIORITE_CO_CHECK(co_await remove(reactor, "data"));
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
  notes.promise_gone("data");
  DIORITE_CO_TRY(const bool made, co_await mkdir(reactor, "dir"));
  static_cast<void>(made);
  DIORITE_CO_CHECK(co_await remove_dir(reactor, "dir"));
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
  notes.promise_gone("dir");
  co_return Result<void>();
}

constexpr std::array<Workload, 9> kWorkloads = {{
    {"file: write, sync, close", make_file, write_and_sync, check_files},
    {"file: create, sync_dir, list", nullptr, create_and_sync_dir, check_files},
    {"file: exact transfers", make_file, transfer_exactly, check_files},
    {"file: preallocate", nullptr, preallocate_and_write, check_files},
    {"file: truncate", make_file, truncate_and_grow, check_files},
    {"file: lock, register, durable write", make_file, lock_and_wait, check_files},
    {"file: replace by rename", make_file, replace_by_rename, check_files},
    {"file: open_wal", nullptr, write_ahead_file, check_files},
    {"file: remove", make_file, remove_and_sync_dir, check_files},
}};

}  // namespace

std::span<const Workload> file_workloads() { return kWorkloads; }

}  // namespace diorite::test
