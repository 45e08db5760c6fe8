#include "engines/lru_engine.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>
#include <utility>

#include "engines/payload.hpp"

#include <diorite/buffer.hpp>
#include <diorite/fs.hpp>
#include <diorite/scope.hpp>

namespace diorite::sim {
namespace {

constexpr const char* kDir = "tables";
constexpr std::uint32_t kBlock = 4096;
constexpr std::uint32_t kBlocksMax = 3;

void name_file(void*, std::string_view dir, std::uint64_t key, std::string& path) {
  path.assign(dir);
  path += "/f";
  path += std::to_string(key);
}

std::string path_of(std::uint64_t key) {
  std::string path;
  name_file(nullptr, kDir, key, path);
  return path;
}

}  // namespace

LruEngine::LruEngine(Choices& choices)
    : workers_(1 + choices.draw_skewed(6)),
      files_(17 + choices.draw_skewed(16)),
      direct_(one_in(choices, 3) ? Direct::off : Direct::preferred),
      leaving_(files_),
      users_(files_) {}

Task<> LruEngine::live(Life& life) {
  // A damaged file is nothing that a cache of files could notice.
  if (life.damage() != nullptr) co_return;
  if (!set_up_) {
    const Profile& profile = life.machine().profile();
    FileOracleOptions options;
    options.stale_space = profile.stale_space.per_million > 0;
    options.splits_sectors = profile.short_transfer.per_million > 0 && direct_ == Direct::off;
    if (profile.garbage_block.per_million > 0 || profile.unreadable_block.per_million > 0) {
      options.block_bytes = life.machine().disk().options().physical_block_bytes;
    }
    oracle_ = LruOracle(options);
    set_up_ = true;
  }
  users_.assign(files_, Users());
  if (life.after_power_cut()) unchecked_ = true;
  life_ = &life;
  closing_ = false;
  const bool opened = co_await open(life);
  if (opened) co_await work(life);
  lock_ = FileLock();
}

Task<> LruEngine::work(Life& life) {
  const FileLruOptions options{.capacity = 16,
                               .direct = direct_,
                               .write = true,
                               .create = true,
                               .path = &name_file,
                               .path_context = nullptr,
                               .on_error = &told_of_failure,
                               .error_context = this};
  cache_ = std::make_unique<FileLru>(life.reactor(), kDir, options);
  oracle_.new_cache();
  {
    TaskScope scope(life.reactor());
    for (std::uint32_t i = 0; i < workers_; ++i) scope.spawn(act_for_a_while(life));
    [[maybe_unused]] const Result<void> joined = co_await scope.join();
  }
  if (life.choices().draw(3) != 0) co_await close_all(life);
  cache_.reset();
}

Task<bool> LruEngine::open(Life& life) {
  const Result<bool> made = co_await mkdir(life.reactor(), kDir);
  if (!made) {
    failed(life, made.error());
    co_return false;
  }
  const Result<void> named = co_await sync_dir(life.reactor(), ".");
  if (!named) {
    failed(life, named.error());
    co_return false;
  }
  // Operations of a killed process may take place late; a registered lock is held until they have.
  Result<FileLock> held = co_await lock(life.reactor(), "LOCK", std::chrono::seconds(60));
  if (!held) {
    failed(life, held.error());
    co_return false;
  }
  lock_ = std::move(*held);
  [[maybe_unused]] const Result<void> kept = lock_.file().register_with_driver();
  if (!unchecked_) co_return true;
  const bool checked = co_await check_found(life);
  unchecked_ = !checked;
  co_return checked;
}

Task<bool> LruEngine::check_found(Life& life) {
  Result<std::vector<DirEntry>> entries = co_await list(life.reactor(), kDir);
  if (!entries) {
    failed(life, entries.error());
    co_return false;
  }
  std::vector<bool> there(files_);
  for (const DirEntry& entry : *entries) {
    std::uint64_t key = files_;
    const std::string_view digits = std::string_view(entry.name).substr(1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), key);
    const bool known = parsed.ec == std::errc() && key < files_;
    if (!life.check(known, "a file that nobody made: " + entry.name)) co_return false;
    there[static_cast<std::size_t>(key)] = true;
  }
  for (std::uint64_t key = 0; key < files_; ++key) {
    const bool exists = there[static_cast<std::size_t>(key)];
    // First the bytes, of which a failing read may keep us: the check of the name settles it.
    if (exists) {
      const bool checked = co_await check_bytes(life, key);
      if (!checked) co_return false;
    }
    const std::string wrong = oracle_.check_found(key, exists);
    if (!life.check(wrong.empty(), wrong)) co_return false;
    leaving_[static_cast<std::size_t>(key)] = false;
  }
  co_return true;
}

Task<bool> LruEngine::check_bytes(Life& life, std::uint64_t key) {
  const OpenOptions options{.direct = direct_};
  Result<DirectFile> file = co_await DirectFile::open_with(life.reactor(), path_of(key), options);
  if (!file) {
    failed(life, file.error());
    co_return false;
  }
  const Result<std::uint64_t> size = co_await file->size();
  Result<AlignedBuf> memory = AlignedBuf::with_cap(kBlock);
  if (!size || !memory) {
    if (!size) failed(life, size.error());
    co_return false;
  }
  std::vector<std::byte> contents(static_cast<std::size_t>(*size));
  std::vector<std::uint64_t> unreadable;
  for (std::uint64_t at = 0; at < *size; at += kBlock) {
    const std::uint64_t errors = life.machine().counters().errors;
    const IoResult got = co_await file->read_at(RawIoBuf(memory->data(), kBlock), at);
    const bool ends = got.error() == Errc::short_io;  // The file does, in this block.
    const bool injected = life.machine().counters().errors != errors || life.is_over();
    if (!got && is_device(got.error()) && !injected) {
      unreadable.push_back(at);
      continue;
    }
    if (!got && !ends) {
      failed(life, got.error());
      co_return false;
    }
    std::copy_n(memory->data(), std::min<std::uint64_t>(got.bytes(), *size - at),
                contents.data() + at);
  }
  const std::string wrong = oracle_.file(key).check_found(contents, unreadable);
  co_return life.check(wrong.empty(), "file " + std::to_string(key) + ": " + wrong);
}

void LruEngine::failed(Life& life, const Error& error) {
  // A block that a torn write has left unreadable stays so until it is written.
  if (is_device(error) && life.machine().profile().unreadable_block.per_million > 0) return;
  life.failed(error);
}

void LruEngine::told_of_failure(void* engine, std::uint64_t key, const Error& error) noexcept {
  auto& self = *static_cast<LruEngine*>(engine);
  if (self.life_->is_over()) return;
  // Whoever has the file alone got it when every older handle was closed: what they lost, its
  // acquire would have said.
  const Users& users = self.users_[static_cast<std::size_t>(key)];
  self.life_->check(users.file == nullptr || users.evicted_in_use || users.file->poison(),
                    "a file was lent out before its older handle had closed and failed");
  self.oracle_.failed(key);
  self.failed(*self.life_, error);
}

std::uint64_t LruEngine::draw_key(Choices& choices) {
  std::uint64_t key = choices.draw(files_);
  for (std::uint32_t i = 0; i < files_; ++i, key = (key + 1) % files_) {
    const auto index = static_cast<std::size_t>(key);
    if (leaving_[index] && oracle_.is_gone(key)) leaving_[index] = false;
    if (!leaving_[index]) break;
  }
  return key;
}

Task<> LruEngine::act_for_a_while(Life& life) {
  while (!closing_ && life.goes_on()) co_await act(life);
}

Task<> LruEngine::act(Life& life) {
  switch (life.choices().draw(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
      return write(life);
    case 6:
    case 7:
    case 8:
      return read(life);
    case 9:
    case 10:
      return sync(life);
    case 11:
    case 12:
      return sync_names(life);
    case 13:
      return remove(life);
    default:
      return evict(life);
  }
}

Task<FileLease> LruEngine::acquire(Life& life, std::uint64_t key) {
  const std::uint64_t id = oracle_.opening(key);
  Result<FileLease> lease = co_await cache_->acquire(key);
  if (!life.is_over()) oracle_.opened(key, id, lease.has_value());
  if (lease) {
    Users& users = users_[static_cast<std::size_t>(key)];
    if (users.alone) users.file = &**lease;
    co_return std::move(*lease);
  }
  const Error error = lease.error();
  if (error == Errc::poisoned) cache_->forget(key);
  // Another worker has begun to remove it.
  const bool removed = is_not_found(error) && leaving_[static_cast<std::size_t>(key)];
  if (!removed) failed(life, error);
  co_return FileLease();
}

Task<> LruEngine::write(Life& life) {
  Choices& choices = life.choices();
  const std::uint64_t key = draw_key(choices);
  if (leaving_[static_cast<std::size_t>(key)]) co_return;
  const Use use(users_[static_cast<std::size_t>(key)]);
  FileLease lease = co_await acquire(life, key);
  if (!lease) co_return;
  const std::uint64_t offset = std::uint64_t{choices.draw(kBlocksMax)} * kBlock;
  Result<AlignedBuf> data = AlignedBuf::page();
  if (!data) co_return;
  fill_with_entropy(choices, data->bytes());
  const WriteFlags flags{.dsync = one_in(choices, 4)};
  const std::uint64_t id = oracle_.file(key).writing(offset, data->bytes());
  const BufIoResult written = co_await lease->write_at(std::move(*data), offset, flags);
  if (life.is_over()) co_return;
  // What a poisoned file had in flight is indeterminate, too, and its owner knows: close_all() need
  // not tell.
  oracle_.file(key).wrote(id, written && !lease->poison(), flags.dsync);
  if (!written) co_return failed(life, written.error());
  if (flags.dsync) life.acknowledge();
}

Task<> LruEngine::read(Life& life) {
  const std::uint64_t key = draw_key(life.choices());
  if (leaving_[static_cast<std::size_t>(key)]) co_return;
  const Use use(users_[static_cast<std::size_t>(key)]);
  FileLease lease = co_await acquire(life, key);
  if (!lease) co_return;
  Result<AlignedBuf> memory = AlignedBuf::with_cap(kBlock);
  if (!memory) co_return;
  const std::uint64_t offset = std::uint64_t{life.choices().draw(kBlocksMax)} * kBlock;
  const std::uint64_t id = oracle_.file(key).reading();
  const IoResult got = co_await lease->read_some_at(RawIoBuf(memory->data(), kBlock), offset);
  if (!got) co_return failed(life, got.error());
  const std::span<const std::byte> bytes(memory->data(), static_cast<std::size_t>(got.bytes()));
  const std::string wrong = oracle_.file(key).check_read(id, offset, bytes);
  life.check(wrong.empty(), "file " + std::to_string(key) + ": " + wrong);
}

Task<> LruEngine::sync(Life& life) {
  const std::uint64_t key = draw_key(life.choices());
  if (leaving_[static_cast<std::size_t>(key)]) co_return;
  const Use use(users_[static_cast<std::size_t>(key)]);
  FileLease lease = co_await acquire(life, key);
  if (!lease) co_return;
  const std::uint64_t id = oracle_.file(key).syncing();
  const Result<void> synced = co_await lease->sync_data();
  if (life.is_over()) co_return;
  oracle_.file(key).synced(id, synced.has_value());
  if (!synced) co_return failed(life, synced.error());
  life.acknowledge();
}

Task<> LruEngine::sync_names(Life& life) {
  const std::uint64_t id = oracle_.syncing_names();
  const Result<void> synced = co_await sync_dir(life.reactor(), kDir);
  if (life.is_over()) co_return;
  oracle_.synced_names(id, synced.has_value());
  if (!synced) co_return failed(life, synced.error());
  life.acknowledge();
}

Task<> LruEngine::evict(Life& life) {
  const std::uint64_t key = draw_key(life.choices());
  Users& users = users_[static_cast<std::size_t>(key)];
  users.evicted_in_use |= users.now > 0;
  cache_->evict(key);
  co_return;
}

Task<> LruEngine::remove(Life& life) {
  const std::uint64_t key = draw_key(life.choices());
  const auto index = static_cast<std::size_t>(key);
  if (leaving_[index]) co_return;
  // One that was never made has nothing to lose, and removing it is an error.
  if (oracle_.is_gone(key)) co_return;
  leaving_[index] = true;
  const std::uint64_t id = oracle_.removing(key);
  const Result<void> removed = co_await cache_->remove(key);
  if (life.is_over()) co_return;
  oracle_.removed(key, id, removed.has_value());
  if (!removed && !is_not_found(removed.error())) failed(life, removed.error());
}

Task<> LruEngine::close_all(Life& life) {
  closing_ = true;
  const std::uint64_t id = oracle_.closing();
  const Result<void> closed = co_await cache_->close_all();
  if (life.is_over()) co_return;
  oracle_.closed(id, closed.has_value());
  if (!closed) co_return failed(life, closed.error());
  life.acknowledge();
}

}  // namespace diorite::sim
