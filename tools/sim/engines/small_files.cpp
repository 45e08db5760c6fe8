#include "engines/small_files.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "engines/payload.hpp"

#include <diorite/buffer.hpp>
#include <diorite/fs.hpp>
#include <diorite/scope.hpp>

namespace diorite::sim {
namespace {

constexpr std::size_t kSector = Disk::kSectorBytes;
constexpr const char* kPath = "data";
constexpr const char* kDir = "files";

std::string path_of(std::uint64_t key) { return std::string(kDir) + "/" + std::to_string(key); }

void name_file(void*, std::string_view, std::uint64_t key, std::string& path) {
  path = path_of(key);
}

}  // namespace

Task<bool> SmallFileEngine::write(Life& life, DirectFile& file, FileOracle& oracle,
                                  std::uint64_t offset, std::size_t bytes, std::uint64_t number,
                                  bool dsync) {
  Result<AlignedBuf> data = AlignedBuf::zeroed(bytes);
  if (!data || life.is_over()) co_return false;
  data->truncate(bytes);
  fill_by_number(data->bytes(), number);
  const std::uint64_t id = oracle.writing(offset, data->bytes());
  const WriteFlags flags{.dsync = dsync};
  const BufIoResult written = co_await file.write_at(std::move(*data), offset, flags);
  if (!succeeded(life, written, "a write")) co_return false;
  oracle.wrote(id, true, dsync);
  if (dsync) life.acknowledge();
  co_return true;
}

Task<bool> SmallFileEngine::sync(Life& life, DirectFile& file, FileOracle& oracle) {
  if (life.is_over()) co_return false;
  const std::uint64_t id = oracle.syncing();
  const Result<void> synced = co_await file.sync_data();
  if (!succeeded(life, synced, "a sync")) co_return false;
  oracle.synced(id, true);
  life.acknowledge();
  co_return true;
}

Task<bool> SmallFileEngine::check(Life& life, std::string path, FileOracle& oracle,
                                  std::size_t bytes) {
  Result<DirectFile> file = co_await DirectFile::open(life.reactor(), std::move(path));
  if (!succeeded(life, file, "an open")) co_return false;
  Result<AlignedBuf> memory = AlignedBuf::with_cap(bytes);
  if (!memory) co_return false;
  const IoResult got = co_await file->read_some_at(RawIoBuf(memory->data(), bytes), 0);
  if (!succeeded(life, got, "a read")) co_return false;
  const std::string wrong =
      oracle.check_found({memory->data(), static_cast<std::size_t>(got.bytes())});
  co_return life.check(wrong.empty(), wrong);
}

Task<bool> SmallFileEngine::make(Life& life, std::string path, FileOracle& oracle,
                                 std::size_t bytes) {
  const OpenOptions options{.write = true, .create = true};
  Result<DirectFile> file =
      co_await DirectFile::open_with(life.reactor(), std::move(path), options);
  if (!succeeded(life, file, "an open")) co_return false;
  const bool written = co_await write(life, *file, oracle, 0, bytes, 99);
  co_return written&& co_await sync(life, *file, oracle);
}

Task<> SmallOverlap::prepare(Life& life) {
  const bool made = co_await make(life, kPath, oracle_, 8 * kSector);
  if (!made) co_return;
  const Result<void> named = co_await sync_dir(life.reactor(), ".");
  static_cast<void>(succeeded(life, named, "a sync of names"));
}

Task<> SmallOverlap::live(Life& life) {
  const bool first = life.number() == 0;
  if (!first) {
    const bool right = co_await check(life, kPath, oracle_, 8 * kSector);
    if (!right || life.is_healthy()) co_return;
  }
  const OpenOptions options{.write = true};
  Result<DirectFile> file = co_await DirectFile::open_with(life.reactor(), kPath, options);
  if (!succeeded(life, file, "an open")) co_return;
  const std::uint64_t number = life.number() * 10;
  Running<bool> one =
      start(life.reactor(), write(life, *file, oracle_, 0, 3 * kSector, number + 1));
  Running<bool> two =
      start(life.reactor(), write(life, *file, oracle_, 2 * kSector, 3 * kSector, number + 2));
  // One sync while the second write may still be under way, and one after both.
  const bool first_written = co_await std::move(one);
  bool goes_on = first_written && co_await sync(life, *file, oracle_);
  const bool second_written = co_await std::move(two);
  goes_on = goes_on && second_written && first;
  goes_on = goes_on && co_await sync(life, *file, oracle_);
  if (!goes_on) co_return;
  static_cast<void>(co_await write(life, *file, oracle_, kSector, 2 * kSector, number + 3, true));
}

std::uint64_t SmallLru::fingerprint() const {
  return files_[0].fingerprint() * 3 + files_[1].fingerprint() * 5;
}

Task<> SmallLru::prepare(Life& life) {
  const Result<bool> made = co_await mkdir(life.reactor(), kDir);
  if (!succeeded(life, made, "a mkdir")) co_return;
  for (std::uint64_t key = 0; key < files_.size(); ++key) {
    const bool written = co_await make(life, path_of(key), files_[key], 4 * kSector);
    if (!written) co_return;
  }
  const Result<void> named = co_await sync_dir(life.reactor(), kDir);
  if (!succeeded(life, named, "a sync of names")) co_return;
  const Result<void> dir_named = co_await sync_dir(life.reactor(), ".");
  static_cast<void>(succeeded(life, dir_named, "a sync of names"));
}

Task<> SmallLru::use(Life& life, FileLru& cache, std::uint64_t key) {
  const std::uint64_t number = life.number() * 10 + key;
  {
    Result<FileLease> lease = co_await cache.acquire(key);
    if (!succeeded(life, lease, "an acquire")) co_return;
    const bool written = co_await write(life, **lease, files_[key], 0, 2 * kSector, number);
    if (!written) co_return;
  }
  // Closed in the background, and opened anew by the next user.
  cache.evict(key);
}

Task<> SmallLru::use_again(Life& life, FileLru& cache, std::uint64_t key) {
  const std::uint64_t number = life.number() * 10 + key;
  Result<FileLease> lease = co_await cache.acquire(key);
  if (!succeeded(life, lease, "an acquire")) co_return;
  const bool written = co_await write(life, **lease, files_[key], kSector, 2 * kSector, number + 5);
  if (written) static_cast<void>(co_await sync(life, **lease, files_[key]));
}

Task<> SmallLru::close_all(Life& life, FileLru& cache) {
  if (life.is_over()) co_return;
  std::array<std::uint64_t, 2> ids{};
  for (std::size_t key = 0; key < files_.size(); ++key) ids[key] = files_[key].syncing();
  const Result<void> closed = co_await cache.close_all();
  if (!succeeded(life, closed, "close_all()")) co_return;
  for (std::size_t key = 0; key < files_.size(); ++key) files_[key].synced(ids[key], true);
  life.acknowledge();
}

Task<> SmallLru::live(Life& life) {
  if (life.number() > 0) {
    for (std::uint64_t key = 0; key < files_.size(); ++key) {
      const bool right = co_await check(life, path_of(key), files_[key], 4 * kSector);
      if (!right) co_return;
    }
    co_return;
  }
  const FileLruOptions options{.capacity = 16,
                               .direct = Direct::preferred,
                               .write = true,
                               .create = true,
                               .path = &name_file,
                               .path_context = nullptr,
                               .on_error = nullptr,
                               .error_context = nullptr};
  FileLru cache(life.reactor(), kDir, options);
  for (std::uint64_t key = 0; key < files_.size(); ++key) {
    if (!life.is_over()) co_await use(life, cache, key);
  }
  if (!life.is_over()) co_await use_again(life, cache, 0);
  if (!life.is_over()) co_await close_all(life, cache);
}

}  // namespace diorite::sim
