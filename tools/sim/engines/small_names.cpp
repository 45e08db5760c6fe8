// Engines whose files change their names and sizes.

#include <algorithm>
#include <utility>
#include <vector>

#include "engines/payload.hpp"
#include "engines/small_files.hpp"

#include <fmt/format.h>

#include <diorite/buffer.hpp>
#include <diorite/fs.hpp>

namespace diorite::sim {
namespace {

constexpr std::size_t kSector = Disk::kSectorBytes;
constexpr const char* kCurrent = "current";
constexpr const char* kTemporary = "next";
constexpr std::size_t kReplaced = 3 * kSector;

constexpr const char* kCut = "cut";
constexpr std::uint64_t kOld = 1;  ///< numbers of patterns
constexpr std::uint64_t kNew = 2;

std::vector<std::byte> pattern(std::uint64_t number, std::size_t bytes) {
  std::vector<std::byte> made(bytes);
  fill_by_number(made, number);
  return made;
}

Task<Result<std::vector<std::byte>>> read_whole(Reactor& reactor, std::string path) {
  Result<DirectFile> file = co_await DirectFile::open(reactor, std::move(path));
  if (!file) co_return file.error();
  Result<AlignedBuf> memory = AlignedBuf::page();
  if (!memory) co_return memory.error();
  const IoResult got = co_await file->read_some_at(RawIoBuf(memory->data(), 4096), 0);
  if (!got) co_return got.error();
  co_return std::vector<std::byte>(memory->data(), memory->data() + got.bytes());
}

Task<Result<void>> write_pattern(DirectFile& file, std::uint64_t offset, std::size_t bytes,
                                 std::uint64_t number) {
  Result<AlignedBuf> data = AlignedBuf::zeroed(bytes);
  if (!data) co_return data.error();
  data->truncate(bytes);
  fill_by_number(data->bytes(), number);
  const BufIoResult written = co_await file.write_at(std::move(*data), offset);
  if (!written) co_return written.error();
  co_return Result<void>();
}

}  // namespace

Task<> SmallReplace::prepare(Life&) { co_return; }

Task<bool> SmallReplace::find(Life& life) {
  Result<std::vector<std::byte>> found = co_await read_whole(life.reactor(), kCurrent);
  if (life.is_over()) co_return false;
  if (!found && found.error() == std::errc::no_such_file_or_directory) {
    tried_ = promised_;
    co_return life.check(promised_ == 0, "the file is gone");
  }
  if (!succeeded(life, found, "a read")) co_return false;
  for (std::uint64_t version = std::max<std::uint64_t>(promised_, 1); version <= tried_;
       ++version) {
    if (*found != pattern(version, kReplaced)) continue;
    // No later one can come back: its file has no name.
    promised_ = tried_ = version;
    co_return true;
  }
  life.violation(fmt::format("none of the versions {} to {}", promised_, tried_));
  co_return false;
}

Task<bool> SmallReplace::replace(Life& life, std::uint64_t version) {
  Reactor& reactor = life.reactor();
  // Left by a crash, it may be the same file as the one in place, under a second name.
  const Result<void> removed = co_await remove(reactor, kTemporary);
  if (!removed && !(removed.error() == std::errc::no_such_file_or_directory)) {
    static_cast<void>(succeeded(life, removed, "a removal"));
    co_return false;
  }
  const OpenOptions options{.write = true, .create = true, .exclusive = true};
  Result<DirectFile> file = co_await DirectFile::open_with(reactor, kTemporary, options);
  if (!succeeded(life, file, "an open")) co_return false;
  const Result<void> written = co_await write_pattern(*file, 0, kReplaced, version);
  if (!succeeded(life, written, "a write")) co_return false;
  const Result<void> synced = co_await file->sync_data();
  if (!succeeded(life, synced, "a sync")) co_return false;
  if (life.is_over()) co_return false;
  tried_ = version;
  const Result<void> renamed = co_await rename(reactor, kTemporary, kCurrent);
  if (!succeeded(life, renamed, "a rename")) co_return false;
  const Result<void> named = co_await sync_dir(reactor, ".");
  if (!succeeded(life, named, "a sync of names")) co_return false;
  promised_ = version;
  life.acknowledge();
  co_return true;
}

Task<> SmallReplace::live(Life& life) {
  const bool found = co_await find(life);
  if (!found || life.is_healthy()) co_return;
  const std::uint64_t next = tried_ + 1;
  const bool replaced = co_await replace(life, next);
  if (replaced && life.number() == 0) static_cast<void>(co_await replace(life, next + 1));
}

Task<> SmallTruncate::prepare(Life& life) {
  const OpenOptions options{.write = true, .create = true};
  Result<DirectFile> file = co_await DirectFile::open_with(life.reactor(), kCut, options);
  if (!succeeded(life, file, "an open")) co_return;
  const Result<void> written = co_await write_pattern(*file, 0, 4 * kSector, kOld);
  if (!succeeded(life, written, "a write")) co_return;
  const Result<void> synced = co_await file->sync_all();
  if (!succeeded(life, synced, "a sync")) co_return;
  const Result<void> named = co_await sync_dir(life.reactor(), ".");
  static_cast<void>(succeeded(life, named, "a sync of names"));
}

std::string SmallTruncate::judge(std::span<const std::byte> found) const {
  const std::vector<std::byte> old_bytes = pattern(kOld, 4 * kSector);
  const std::vector<std::byte> new_bytes = pattern(kNew, 2 * kSector);
  const auto is = [&found](std::size_t sector, const std::byte* bytes) {
    return std::equal(bytes, bytes + kSector, found.data() + sector * kSector);
  };
  const auto is_zero = [&found](std::size_t sector) {
    return std::all_of(found.data() + sector * kSector, found.data() + (sector + 1) * kSector,
                       [](std::byte byte) { return byte == std::byte{0}; });
  };
  const std::size_t sectors = found.size() / kSector;
  const bool whole = found.size() == 4 * kSector && done_ <= Done::cut_tried;
  const bool cut = found.size() == kSector && done_ >= Done::cut_tried && done_ < Done::all;
  const bool written = (sectors == 3 || sectors == 4) && done_ >= Done::write_tried;
  if (!whole && !cut && !written) return fmt::format("it has {} bytes", found.size());
  if (!is(0, old_bytes.data())) return "what was before the cut has changed";
  for (std::size_t sector = 1; sector < sectors; ++sector) {
    const bool is_old = whole && is(sector, old_bytes.data() + sector * kSector);
    const bool is_new =
        written && sector >= 2 && is(sector, new_bytes.data() + (sector - 2) * kSector);
    const bool is_hole = written && (sector < 2 || done_ < Done::all) && is_zero(sector);
    if (!is_old && !is_new && !is_hole) return fmt::format("sector {} is something else", sector);
  }
  return {};
}

Task<bool> SmallTruncate::find(Life& life) {
  Result<std::vector<std::byte>> found = co_await read_whole(life.reactor(), kCut);
  if (!succeeded(life, found, "a read")) co_return false;
  const std::string wrong = judge(*found);
  co_return life.check(wrong.empty(), wrong);
}

Task<> SmallTruncate::live(Life& life) {
  const bool found = co_await find(life);
  if (!found || life.number() > 0) co_return;
  const OpenOptions options{.write = true};
  Result<DirectFile> file = co_await DirectFile::open_with(life.reactor(), kCut, options);
  if (!succeeded(life, file, "an open")) co_return;
  done_ = Done::cut_tried;
  const Result<void> cut = co_await file->truncate(kSector);
  if (!succeeded(life, cut, "a truncation")) co_return;
  const Result<void> cut_synced = co_await file->sync_data();
  if (!succeeded(life, cut_synced, "a sync")) co_return;
  done_ = Done::cut;
  life.acknowledge();
  done_ = Done::write_tried;
  const Result<void> written = co_await write_pattern(*file, 2 * kSector, 2 * kSector, kNew);
  if (!succeeded(life, written, "a write")) co_return;
  const Result<void> synced = co_await file->sync_data();
  if (!succeeded(life, synced, "a sync")) co_return;
  done_ = Done::all;
  life.acknowledge();
}

}  // namespace diorite::sim
