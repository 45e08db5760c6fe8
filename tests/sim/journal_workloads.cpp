// Sweeps of Journal. The journal stands in "wal"; its records tell which they are.

#include <array>
#include <chrono>

#include <diorite/fs.hpp>
#include <diorite/journal_reader.hpp>
#include <diorite/timer.hpp>
#include <diorite/try.hpp>

#include "sim/workload.hpp"
#include "support/alloc_counter.hpp"

namespace diorite::test {
namespace {

using Done = Task<Result<void>>;
using Owned = std::unique_ptr<Journal>;

constexpr std::uint64_t kSegment = std::uint64_t{64} << 10;

JournalOptions options_of(JournalSync sync = JournalSync::dsync) {
  JournalOptions options;
  options.segment_bytes = kSegment;
  options.commit_bytes_max = 16 << 10;
  options.sync = sync;
  options.spares = 1;
  options.confirm_idle_ms = 0;
  options.lock_wait_ms = 1000;
  // A block that cannot be read behind the last promise may be what a torn write left, or a record
  // that was acknowledged and cannot be read today. By default the first is assumed.
  options.refuse_unreadable_tail = true;
  return options;
}

std::span<const std::byte> bytes_of(const std::string& text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Everything that is durable becomes what the notes know; an error tells that not all was read.
Done read_through(Journal& journal, Notes& notes, bool whole = true) {
  std::vector<std::string> records;
  DIORITE_CO_TRY(JournalReader reader, co_await JournalReader::open(journal, journal.head_lsn()));
  for (;;) {
    DIORITE_CO_TRY(const Record* record, co_await reader.next());
    if (record == nullptr) break;
    const AllocShield shield;
    const auto* const data = reinterpret_cast<const char*>(record->payload.data());
    records.emplace_back(data, record->payload.size());
    if (record->record_no + 1 != records.size()) notes.wrong("a record has another number");
  }
  if (whole) {
    notes.found(std::move(records));
  } else {
    notes.seen(records);
  }
  co_return Result<void>();
}

Done append_durably(Journal& journal, Notes& notes, int count, std::size_t bytes) {
  for (int i = 0; i < count; ++i) {
    const std::string payload = notes.appending(bytes);
    const Result<Ticket> ticket = co_await journal.append_durable(RecordRef(bytes_of(payload)));
    if (!ticket) co_return ticket.error();
    notes.all_promised();
  }
  co_return Result<void>();
}

/// Many at a time, and one wait for all of them.
Done append_and_sync(Journal& journal, Notes& notes, int count, std::size_t bytes) {
  for (int i = 0; i < count; ++i) {
    const std::string payload = notes.appending(bytes);
    const Result<Ticket> ticket = co_await journal.append(RecordRef(bytes_of(payload)));
    if (!ticket) co_return ticket.error();
  }
  DIORITE_CO_CHECK(co_await journal.sync_all());
  notes.all_promised();
  co_return Result<void>();
}

Done make_journal(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 3, 1000));
  co_return co_await journal->close();
}

/// As a crash leaves it: not closed, and the last record appended only.
Done make_unclean(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 30, 4000));
  co_return Result<void>();
}

Done create(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  if (journal->recovery().verdict != JournalVerdict::created) notes.wrong("it was there before");
  co_return co_await journal->close();
}

Done append(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 6, 500));
  co_return co_await journal->close();
}

Done rotate(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 20, 10'000));
  co_return co_await journal->close();
}

Done reopen(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await read_through(*journal, notes));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 2, 100));
  co_return co_await journal->close();
}

Done flush(Reactor& reactor, Notes& notes) {
  const JournalOptions options = options_of(JournalSync::flush);
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options));
  for (int i = 0; i < 3; ++i) {
    DIORITE_CO_CHECK(co_await append_and_sync(*journal, notes, 8, 3000));
  }
  co_return co_await journal->close();
}

Done crowd(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  for (int i = 0; i < 3; ++i) {
    DIORITE_CO_CHECK(co_await append_and_sync(*journal, notes, 20, 2000));
  }
  co_return co_await journal->close();
}

Done batches(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  for (int i = 0; i < 4; ++i) {
    const std::string first = notes.appending(700);
    const std::string second = notes.appending(800);
    const std::array<RecordRef, 2> both = {RecordRef(bytes_of(first)), RecordRef(bytes_of(second))};
    const Result<Ticket> ticket = co_await journal->append_batch(both);
    if (!ticket) co_return ticket.error();
    DIORITE_CO_CHECK(co_await journal->sync_through(*ticket));
    notes.all_promised();
  }
  co_return co_await journal->close();
}

Done confirm(Reactor& reactor, Notes& notes) {
  JournalOptions options = options_of();
  options.confirm_idle_ms = 5;
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 2, 300));
  DIORITE_CO_CHECK(co_await sleep_for(std::chrono::milliseconds(20)));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 2, 300));
  co_return co_await journal->close();
}

Done read_only(Reactor& reactor, Notes& notes) {
  JournalOptions options = options_of();
  options.read_only = true;
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options));
  // Where it cannot tell whether a writer is at work, it ends at what a promise on the disk covers.
  DIORITE_CO_CHECK(co_await read_through(*journal, notes, false));
  co_return co_await journal->close();
}

Done abandon(Reactor& reactor, Notes& notes) {
  // Neither waited for nor closed.
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 2, 900));
  for (int i = 0; i < 8; ++i) {
    const std::string payload = notes.appending(2000);
    const Result<Ticket> ticket = co_await journal->append(RecordRef(bytes_of(payload)));
    if (!ticket) co_return ticket.error();
  }
  co_return Result<void>();
}

constexpr std::array<Workload, 12> kWorkloads = {{
    {"journal: create, close", nullptr, create, check_journal},
    {"journal: append, sync, close", nullptr, append, check_journal},
    {"journal: rotation", nullptr, rotate, check_journal},
    {"journal: clean open, append", make_journal, reopen, check_journal},
    {"journal: unclean open, append", make_unclean, reopen, check_journal},
    {"journal: unclean open, rotation", make_unclean, rotate, check_journal},
    {"journal: flush", nullptr, flush, check_journal},
    {"journal: many at a time", nullptr, crowd, check_journal},
    {"journal: batches", make_journal, batches, check_journal},
    {"journal: confirm when idle", nullptr, confirm, check_journal},
    {"journal: read only", make_unclean, read_only, check_journal},
    {"journal: abandoned", make_journal, abandon, check_journal},
}};

}  // namespace

std::span<const Workload> journal_workloads() { return kWorkloads; }

Task<Result<void>> check_journal(Reactor& reactor, Notes& notes) {
  DIORITE_CO_TRY(Owned journal, co_await Journal::open(reactor, "wal", options_of()));
  DIORITE_CO_CHECK(co_await read_through(*journal, notes));
  // It lives.
  DIORITE_CO_CHECK(co_await append_durably(*journal, notes, 1, 64));
  DIORITE_CO_CHECK(co_await read_through(*journal, notes));
  co_return co_await journal->close();
}

}  // namespace diorite::test
