#include "engines/file_engine.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "engines/payload.hpp"

#include <diorite/buffer.hpp>
#include <diorite/fs.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

namespace diorite::sim {
namespace {

constexpr const char* kPath = "data";
constexpr std::uint32_t kBlock = 4096;

}  // namespace

FileEngine::FileEngine(Choices& choices)
    : direct_(one_in(choices, 3) ? Direct::off : Direct::preferred),
      workers_(1 + choices.draw_skewed(6)),
      blocks_(2 + choices.draw_skewed(14)) {}

Task<> FileEngine::live(Life& life) {
  // A damaged file is nothing that a DirectFile could notice.
  if (life.damage() != nullptr) co_return;
  if (!set_up_) {
    const Profile& profile = life.machine().profile();
    FileOracleOptions options;
    options.stale_space = profile.stale_space.per_million > 0;
    options.splits_sectors = profile.short_transfer.per_million > 0 && direct_ == Direct::off;
    if (profile.garbage_block.per_million > 0 || profile.unreadable_block.per_million > 0) {
      options.block_bytes = life.machine().disk().options().physical_block_bytes;
    }
    oracle_ = FileOracle(options);
    set_up_ = true;
  }
  oracle_.process_ended();
  if (life.after_power_cut()) unchecked_ = true;
  const bool opened = co_await open(life);
  if (opened) {
    TaskScope scope(life.reactor());
    for (std::uint32_t i = 0; i < workers_; ++i) scope.spawn(act_for_a_while(life));
    [[maybe_unused]] const Result<void> joined = co_await scope.join();
  }
  if (!file_) co_return;
  const Result<void> closed = co_await std::move(file_).close();
  file_ = DirectFile();
  if (!closed) failed(life, closed.error());
}

Task<bool> FileEngine::open(Life& life) {
  const OpenOptions options{.direct = direct_, .write = true, .create = true};
  Result<DirectFile> file = co_await DirectFile::open_with(life.reactor(), kPath, options);
  if (!file) {
    failed(life, file.error());
    co_return false;
  }
  file_ = std::move(*file);
  // Without its name the file's bytes are promised to nobody.
  const Result<void> named = co_await sync_dir(life.reactor(), ".");
  if (!named) {
    failed(life, named.error());
    co_return false;
  }
  if (!unchecked_) co_return true;
  const bool checked = co_await check_found(life);
  unchecked_ = !checked;
  co_return checked;
}

Task<bool> FileEngine::check_found(Life& life) {
  const Result<std::uint64_t> size = co_await file_.size();
  if (!size) {
    failed(life, size.error());
    co_return false;
  }
  std::vector<std::byte> contents(static_cast<std::size_t>(*size));
  std::vector<std::uint64_t> unreadable;
  Result<AlignedBuf> memory = AlignedBuf::with_cap(kBlock);
  if (!memory) co_return false;
  for (std::uint64_t at = 0; at < *size; at += kBlock) {
    const std::uint64_t errors = life.machine().counters().errors;
    const IoResult got = co_await file_.read_at(RawIoBuf(memory->data(), kBlock), at);
    const bool ends = got.error() == Errc::short_io;  // The file does, in this block.
    if (!got && life.machine().counters().errors == errors && is_device(got.error()) &&
        !life.is_over()) {
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
  const std::string wrong = oracle_.check_found(contents, unreadable);
  co_return life.check(wrong.empty(), wrong);
}

void FileEngine::failed(Life& life, const Error& error) {
  // A block that a torn write has left unreadable stays so until it is written.
  if (is_device(error) && life.machine().profile().unreadable_block.per_million > 0) return;
  life.failed(error);
}

FileEngine::Range FileEngine::draw_range(Choices& choices) const {
  const std::uint32_t unit = std::max(file_.alignment().offset, Disk::kSectorBytes);
  const std::uint32_t units = blocks_ * kBlock / unit;
  const std::uint32_t first = choices.draw(units);
  const std::uint32_t most = std::min(units - first, 4 * kBlock / unit);
  const std::uint32_t count = 1 + choices.draw_skewed(most);
  return {std::uint64_t{first} * unit, std::size_t{count} * unit};
}

Task<> FileEngine::act_for_a_while(Life& life) {
  while (file_ && !file_.poison() && life.goes_on()) co_await act(life);
  if (file_ && file_.poison()) co_await check_refusals(life);
}

Task<> FileEngine::check_refusals(Life& life) {
  Result<AlignedBuf> data = AlignedBuf::zeroed(kBlock);
  if (!data || life.is_over()) co_return;
  data->truncate(kBlock);
  // Not told to the oracle: nothing of it may ever get to the file.
  const BufIoResult written = co_await file_.write_at(std::move(*data), 0, WriteFlags{});
  const Result<void> synced = co_await file_.sync_data();
  if (life.is_over()) co_return;
  life.check(!written && written.error() == Errc::poisoned, "a poisoned file took a write");
  life.check(!synced && synced.error() == Errc::poisoned, "a poisoned file took a sync");
}

Task<> FileEngine::act(Life& life) {
  switch (life.choices().draw(8)) {
    case 0:
    case 1:
    case 2:
      return write(life);
    case 3:
      return write_and_die(life);
    case 4:
    case 5:
      return read(life);
    default:
      return sync(life);
  }
}

Task<> FileEngine::write(Life& life) {
  Choices& choices = life.choices();
  const Range range = draw_range(choices);
  Result<AlignedBuf> data = AlignedBuf::zeroed(range.bytes);
  if (!data) co_return;
  data->truncate(range.bytes);
  fill_with_entropy(choices, data->bytes());
  const std::uint64_t id = oracle_.writing(range.offset, data->bytes());
  const WriteFlags flags{.dsync = one_in(choices, 3)};
  const BufIoResult written = co_await file_.write_at(std::move(*data), range.offset, flags);
  // After the end of the process nothing is known of what it left behind.
  if (life.is_over()) co_return;
  oracle_.wrote(id, static_cast<bool>(written), flags.dsync);
  if (!written) co_return failed(life, written.error());
  if (flags.dsync) life.acknowledge();
}

Task<> FileEngine::write_child(FileEngine& engine, Life& life) { co_await engine.write(life); }

Task<> FileEngine::write_and_die(Life& life) {
  // Nobody hears how the write ends, so one that is taken back poisons the file.
  if (life.is_healthy()) co_return co_await write(life);
  Running<> child = start(life.reactor(), write_child(*this, life));
  const Duration while_ = std::chrono::nanoseconds(life.choices().draw_skewed(500'000));
  const Result<void> slept = co_await sleep_for(while_);
  if (!slept) failed(life, slept.error());
  child = {};
}

Task<> FileEngine::read(Life& life) {
  const Range range = draw_range(life.choices());
  Result<AlignedBuf> memory = AlignedBuf::with_cap(range.bytes);
  if (!memory) co_return;
  const std::uint64_t id = oracle_.reading();
  const RawIoBuf to(memory->data(), range.bytes);
  const IoResult got = co_await file_.read_at(to, range.offset);
  if (!got && !(got.error() == Errc::short_io)) co_return failed(life, got.error());
  const std::span<const std::byte> bytes(memory->data(), static_cast<std::size_t>(got.bytes()));
  const std::string wrong = oracle_.check_read(id, range.offset, bytes);
  life.check(wrong.empty(), wrong);
}

Task<> FileEngine::sync(Life& life) {
  const std::uint64_t id = oracle_.syncing();
  Result<void> synced;
  if (one_in(life.choices(), 4)) {
    synced = co_await file_.sync_all();
  } else {
    synced = co_await file_.sync_data();
  }
  if (!life.is_over()) oracle_.synced(id, synced.has_value());
  if (!synced) co_return failed(life, synced.error());
  life.acknowledge();
}

}  // namespace diorite::sim
