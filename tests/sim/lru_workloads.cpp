// Sweeps of FileLru. Every workload has a cache of its own over the directory "files".

#include <array>
#include <set>

#include <diorite/file_lru.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

#include "lru/base32.hpp"
#include "sim/workload.hpp"
#include "support/alloc_counter.hpp"

namespace diorite::test {
namespace {

using Done = Task<Result<void>>;

std::string path_of(std::uint64_t id) {
  const AllocShield shield;
  detail::Base32Digits digits;
  return "files/" + std::string(detail::to_base32(id, digits));
}

FileLruOptions writable() {
  FileLruOptions options;
  options.capacity = 16;
  options.write = true;
  options.create = true;
  return options;
}

Done make_dir(Reactor& reactor, Notes&) {
  DIORITE_CO_TRY(const bool made, co_await mkdir(reactor, "files"));
  static_cast<void>(made);
  co_return co_await sync_dir(reactor, ".");
}

Done write_file(FileLru& files, Notes& notes, std::uint64_t id) {
  DIORITE_CO_TRY(FileLease lease, co_await files.acquire(id));
  co_return co_await write_block(*lease, notes, 0, id);
}

Done make_files(Reactor& reactor, Notes& notes) {
  DIORITE_CO_CHECK(co_await make_dir(reactor, notes));
  FileLru files(reactor, "files", writable());
  for (std::uint64_t id = 0; id < 4; ++id) {
    DIORITE_CO_CHECK(co_await write_file(files, notes, id));
  }
  DIORITE_CO_CHECK(co_await files.close_all());
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "files"));
  for (std::uint64_t id = 0; id < 4; ++id) notes.promise(path_of(id), 0, block_of(id));
  co_return Result<void>();
}

Done miss_and_hit(Reactor& reactor, Notes& notes) {
  FileLru files(reactor, "files", writable());
  for (std::uint64_t id = 2; id < 6; ++id) {
    FileLease lease;
    {
      DIORITE_CO_TRY(lease, co_await files.acquire(id));
    }
    DIORITE_CO_CHECK(co_await write_block(*lease, notes, kBlock, 100 + id));
    DIORITE_CO_CHECK(co_await lease->sync_data());
    DIORITE_CO_CHECK(co_await sync_dir(reactor, "files"));
    notes.promise(path_of(id), kBlock, block_of(100 + id));
  }
  DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
  const BufIoResult read = co_await files.read_into(3, std::move(page), kBlock);
  notes.came_back(read.buf());
  if (!read) co_return read.error();
  if (files.try_acquire(9)) notes.wrong("a file is open that nobody opened");
  co_return co_await files.close_all();
}

/// Which files the cache could not sync.
struct Failures {
  std::set<std::uint64_t> ids;
  static void failed(void* context, std::uint64_t id, const Error& error) noexcept {
    const AllocShield shield;
    if (error) static_cast<Failures*>(context)->ids.insert(id);
  }
};

Done evict_dirty(Reactor& reactor, Notes& notes) {
  constexpr std::uint64_t kFiles = 20;
  Failures failures;
  FileLruOptions options = writable();
  options.on_error = &Failures::failed;
  options.error_context = &failures;
  std::set<std::uint64_t> written;
  Result<void> closed;
  {
    FileLru files(reactor, "files", options);
    for (std::uint64_t id = 0; id < kFiles; ++id) {
      notes.may_change(path_of(id));
      const Result<void> done = co_await write_file(files, notes, id);
      if (!done) continue;
      const AllocShield shield;
      written.insert(id);
    }
    files.evict(kFiles - 1);
    closed = co_await files.close_all();
  }
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "files"));
  for (const std::uint64_t id : written) {
    if (failures.ids.count(id) == 0) notes.promise(path_of(id), 0, block_of(id));
  }
  co_return closed;
}

Done remove_files(Reactor& reactor, Notes& notes) {
  FileLru files(reactor, "files", writable());
  {
    DIORITE_CO_TRY(FileLease lease, co_await files.acquire(1));
    notes.may_change(path_of(1));
    static_cast<void>(files.remove(1));
    const Result<FileLease> other = co_await files.acquire(1);
    if (other) notes.wrong("a file that is being removed was found");
  }
  const Result<void> first = co_await files.remove(1);
  notes.may_change(path_of(2));
  DIORITE_CO_CHECK(co_await files.remove(2));
  DIORITE_CO_CHECK(co_await sync_dir(reactor, "files"));
  if (first || is_not_found(first.error())) notes.promise_gone(path_of(1));
  notes.promise_gone(path_of(2));
  co_return co_await files.close_all();
}

Done drop_cache(Reactor& reactor, Notes& notes) {
  // Nothing is awaited: the cache's end has to close what is dirty and to finish what was removed.
  FileLru files(reactor, "files", writable());
  DIORITE_CO_CHECK(co_await write_file(files, notes, 30));
  DIORITE_CO_CHECK(co_await write_file(files, notes, 31));
  notes.may_change(path_of(0));
  static_cast<void>(files.remove(0));
  co_return Result<void>();
}

constexpr std::array<Workload, 4> kWorkloads = {{
    {"lru: miss, write, sync, hit", make_files, miss_and_hit, check_files},
    {"lru: evict dirty files", make_dir, evict_dirty, check_files},
    {"lru: remove", make_files, remove_files, check_files},
    {"lru: end without close_all", make_files, drop_cache, check_files},
}};

}  // namespace

std::span<const Workload> lru_workloads() { return kWorkloads; }

}  // namespace diorite::test
