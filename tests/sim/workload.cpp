#include "sim/workload.hpp"

#include <algorithm>
#include <utility>

#include <diorite/buffer.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

#include "support/alloc_counter.hpp"

namespace diorite::test {

void Notes::promise(const std::string& path, std::uint64_t offset, std::string bytes) {
  const AllocShield shield;
  gone_.erase(path);
  files_[path][offset] = std::move(bytes);
}

void Notes::promise(const std::string& path) {
  const AllocShield shield;
  gone_.erase(path);
  files_[path];
}

void Notes::promise_gone(const std::string& path) {
  const AllocShield shield;
  files_.erase(path);
  gone_.insert(path);
}

void Notes::may_change(const std::string& path) {
  const AllocShield shield;
  files_.erase(path);
  gone_.erase(path);
}

std::string Notes::appending(std::size_t bytes) {
  const AllocShield shield;
  appended_.push_back(block_of(next_++, bytes));
  return appended_.back();
}

void Notes::found(std::vector<std::string> records) {
  const AllocShield shield;
  if (records.size() < promised_) {
    wrong(std::to_string(records.size()) + " records found of " + std::to_string(promised_) +
          " that were promised");
  }
  seen(records);
  // What an open has returned stays.
  appended_ = std::move(records);
  promised_ = appended_.size();
}

void Notes::seen(const std::vector<std::string>& records) {
  const AllocShield shield;
  if (records.size() > appended_.size()) wrong("more records found than were appended");
  const std::size_t both = std::min(records.size(), appended_.size());
  for (std::size_t i = 0; i < both; ++i) {
    if (records[i] != appended_[i]) wrong("record " + std::to_string(i) + " is another one");
  }
}

void Notes::wrong(std::string text) {
  const AllocShield shield;
  complaints_.push_back(std::move(text));
}

void Notes::came_back(const AlignedBuf& buffer) {
  if (buffer.capacity() == 0) wrong("an operation kept its buffer");
}

std::string block_of(std::uint64_t seed, std::size_t bytes) {
  const AllocShield shield;
  std::string block(bytes, '\0');
  std::uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15U;
  for (char& byte : block) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<char>(state >> 56);
  }
  return block;
}

Result<AlignedBuf> buffer_of(std::string_view bytes) {
  DIORITE_TRY(AlignedBuf buffer, AlignedBuf::with_cap(bytes.size()));
  DIORITE_CHECK(buffer.extend(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  return buffer;
}

Task<Result<void>> write_block(DirectFile& file, Notes& notes, std::uint64_t offset,
                               std::uint64_t seed, WriteFlags flags) {
  DIORITE_CO_TRY(AlignedBuf buffer, buffer_of(block_of(seed)));
  BufIoResult written = co_await file.write_at(std::move(buffer), offset, flags);
  notes.came_back(written.buf());
  if (!written) co_return written.error();
  co_return Result<void>();
}

namespace {

Task<Result<void>> check_file(Reactor& reactor, Notes& notes, std::string path,
                              const std::map<std::uint64_t, std::string>& promised) {
  Result<DirectFile> file = co_await DirectFile::open(reactor, path);
  if (!file) {
    notes.wrong(path + ": " + file.error().text());
    co_return Result<void>();
  }
  for (const auto& [offset, bytes] : promised) {
    DIORITE_CO_TRY(AlignedBuf buffer, AlignedBuf::with_cap(bytes.size()));
    const BufIoResult read = co_await file->read_at(std::move(buffer), offset, bytes.size());
    if (!read) {
      notes.wrong(read.error().text());
      continue;
    }
    const std::string found(reinterpret_cast<const char*>(read.buf().data()), bytes.size());
    if (found != bytes) notes.wrong(path + " has lost bytes at " + std::to_string(offset));
  }
  Result<void> closed = co_await std::move(*file).close();
  co_return closed;
}

}  // namespace

Task<Result<void>> check_files(Reactor& reactor, Notes& notes) {
  for (const auto& [path, promised] : notes.files_) {
    DIORITE_CO_CHECK(co_await check_file(reactor, notes, path, promised));
  }
  for (const std::string& path : notes.gone_) {
    const Result<DirectFile> file = co_await DirectFile::open(reactor, path);
    if (file) {
      notes.wrong(path + " is there again");
    } else if (!is_not_found(file.error())) {
      notes.wrong(file.error().text());
    }
  }
  co_return Result<void>();
}

std::vector<Workload> all_workloads() {
  std::vector<Workload> all;
  for (const auto& some : {file_workloads(), lru_workloads(), journal_workloads()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace diorite::test
