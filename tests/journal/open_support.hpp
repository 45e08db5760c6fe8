// Opening journals in tests, without the appending side.

#pragma once

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "journal/commit_builder.hpp"
#include "journal/reader_core.hpp"
#include "journal/recover.hpp"
#include "journal/store.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

#include <diorite/fs.hpp>

namespace diorite::test {

inline constexpr std::uint64_t kTestSegmentBytes = 1_MiB;

inline JournalOptions small_options() {
  JournalOptions options;
  options.segment_bytes = kTestSegmentBytes;
  options.lock_wait_ms = 2000;
  return options;
}

struct Opened {
  Error error;
  detail::OpenedJournal journal;
};

/// A journal that is dropped without close() is one that crashed, as far as its files go.
inline Opened open_dir(Reactor& reactor, const std::string& dir,
                       const JournalOptions& options = small_options()) {
  Result<detail::OpenedJournal> result = run(reactor, detail::open_journal(reactor, dir, options));
  Opened opened;
  opened.error = result.error();
  if (result) opened.journal = std::move(*result);
  return opened;
}

inline std::vector<std::string> names_in(Reactor& reactor, const std::string& dir) {
  Result<std::vector<DirEntry>> entries = run(reactor, list(reactor, dir));
  if (!entries) FAIL(entries.error().text());
  std::vector<std::string> names;
  for (const DirEntry& entry : *entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

/// Overwrites a part of a file, without going through the library.
inline void poke(const std::string& path, std::uint64_t offset, std::span<const std::byte> bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) FAIL("cannot write to " << path);
}
inline void poke_byte(const std::string& path, std::uint64_t offset, unsigned value) {
  const std::byte byte{static_cast<unsigned char>(value)};
  poke(path, offset, std::span(&byte, 1));
}
inline unsigned peek_byte(const std::string& path, std::uint64_t offset) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int value = file.get();
  if (value < 0) FAIL("cannot read " << path);
  return static_cast<unsigned>(value);
}

/// Every file of a directory but LOCK, with its bytes.
inline std::map<std::string, std::string> snapshot(Reactor& reactor, const TempDir& dir) {
  std::map<std::string, std::string> files;
  for (const std::string& name : names_in(reactor, dir.path())) {
    if (name != "LOCK") files[name] = dir.read(name);
  }
  return files;
}

/// Appends a commit to an open journal, as its writer would.
inline void append_to(Opened& opened, const std::vector<std::string>& payloads) {
  detail::OpenedJournal& journal = opened.journal;
  const wal::SegmentGeometry geometry = wal::geometry_of(journal.segment->header);
  CommitPlan plan;
  for (const std::string& payload : payloads) plan.records.push_back({payload});
  plan.lsn = journal.next_commit_lsn;
  plan.prev_lsn = journal.link.lsn;
  plan.prev_crc = journal.link.header_crc;
  plan.first_record_no = journal.link.next_record_no;
  plan.durable_lsn = journal.next_commit_lsn;
  const Bytes bytes = build_commit(geometry, plan);
  const wal::CommitCheck check = wal::verify_commit(bytes, geometry, plan.lsn);
  REQUIRE(check.verdict == wal::CommitVerdict::valid);
  poke(std::string(journal.segment->file.path()), plan.lsn - geometry.base_lsn, bytes);
  journal.link = wal::link_of(check.header);
  journal.next_commit_lsn = plan.lsn + bytes.size();
}

struct ReadRecord {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t number = 0;
  std::string payload;
  friend bool operator==(const ReadRecord&, const ReadRecord&) = default;
};

struct ReadLog {
  Error error;
  std::vector<ReadRecord> records;
  std::vector<std::string> payloads() const {
    std::vector<std::string> all;
    for (const ReadRecord& record : records) all.push_back(record.payload);
    return all;
  }
};

inline detail::LogEnd end_of_opened(const void* owner) {
  const auto& journal = *static_cast<const detail::OpenedJournal*>(owner);
  return {journal.next_commit_lsn, journal.next_commit_lsn};
}

inline Task<ReadLog> read_with(detail::ReaderCore& reader) {
  ReadLog log;
  for (;;) {
    Result<const Record*> record = co_await reader.next();
    log.error = record.error();
    if (!record || *record == nullptr) break;
    // Half of them by the other way.
    for (const Record* at = *record; at != nullptr;) {
      const std::string payload(reinterpret_cast<const char*>(at->payload.data()),
                                at->payload.size());
      log.records.push_back({at->begin.value, at->end.value, at->record_no, payload});
      at = at->record_no % 2 == 0 ? reader.next_buffered() : nullptr;
    }
  }
  co_return log;
}

inline ReadLog read_log(Reactor& reactor, const Opened& opened, std::uint64_t from = 0) {
  detail::ReaderCore reader(*opened.journal.store, &end_of_opened, &opened.journal);
  const Result<void> sought = reader.seek(Lsn{from});
  if (!sought) return {sought.error(), {}};
  return run(reactor, read_with(reader));
}

/// Record numbers without gaps, positions that grow.
inline bool is_dense(const ReadLog& log) {
  for (std::size_t i = 1; i < log.records.size(); ++i) {
    if (log.records[i].number != log.records[i - 1].number + 1) return false;
    if (log.records[i].begin < log.records[i - 1].end) return false;
  }
  return true;
}

}  // namespace diorite::test
