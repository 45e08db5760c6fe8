// A journal on a FaultDriver, in a directory of its own, for tests of the appending side.
//
//   JournalRig rig;                                        // opens, and waits for the spares
//   const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
//   auto& ack = rig.append("a record");                    // runs beside the test
//   rig.pump([&] { return rig.faults().is_held(hold); });  // turns until it is so
//   CHECK_FALSE(ack.done);
//   rig.faults().release(hold);

#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "journal/commit_verify.hpp"
#include "journal/segment_header.hpp"
#include "support/catch.hpp"
#include "support/fault_driver.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

#include <diorite/fs.hpp>
#include <diorite/journal.hpp>
#include <diorite/journal_reader.hpp>
#include <diorite/scope.hpp>
#include <diorite/try.hpp>

namespace diorite::test {

/// Path suffix of a named segment: its writes are commits, its syncs make them durable. A segment
/// that is being prepared ends with kPrepared.
inline constexpr std::string_view kCommits = ".seg";
inline constexpr std::string_view kPrepared = ".seg.tmp";

inline std::span<const std::byte> bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline JournalOptions rig_options() {
  JournalOptions options;
  options.segment_bytes = 1_MiB;
  options.spares = 1;
  options.confirm_idle_ms = 0;
  options.lock_wait_ms = 5000;
  return options;
}

inline JournalOptions flush_options() {
  JournalOptions options = rig_options();
  options.sync = JournalSync::flush;
  return options;
}

/// Bytes that depend on both arguments in every place.
inline std::string payload_of(std::uint64_t seed, std::size_t bytes) {
  std::string payload(bytes, '\0');
  std::uint64_t state = seed * 0x9E3779B97F4A7C15 + 1;
  for (char& byte : payload) {
    state = state * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<char>(state >> 56);
  }
  return payload;
}

/// What became of an operation that runs beside the test.
struct Outcome {
  std::string payload;  ///< lives as long as the operation
  Error error;
  Ticket ticket;
  std::uint32_t times = 0;  ///< how often it ended: 0 or 1
  std::size_t place = 0;    ///< in the order in which all ended
  bool ok() const noexcept { return times == 1 && !error; }
  bool done() const noexcept { return times > 0; }
};

struct Got {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t number = 0;
  std::uint16_t tag = 0;
  BatchPos batch = BatchPos::single;
  std::string payload;
};

inline Task<Error> read_into(Journal& journal, std::vector<Got>& all) {
  Result<JournalReader> reader = co_await JournalReader::open(journal, journal.head_lsn());
  if (!reader) co_return reader.error();
  for (;;) {
    Result<const Record*> record = co_await reader->next();
    if (!record) co_return record.error();
    if (*record == nullptr) co_return Error();
    const Record& at = **record;
    all.push_back(
        {at.begin.value, at.end.value, at.record_no, at.tag, at.batch,
         std::string(reinterpret_cast<const char*>(at.payload.data()), at.payload.size())});
  }
}

/// Everything that is durable, in order; checks that numbers are dense and positions grow.
inline std::vector<Got> read_all(Reactor& reactor, Journal& journal) {
  std::vector<Got> all;
  const Error error = run(reactor, read_into(journal, all));
  if (error) FAIL(error.text());
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].number != i) FAIL("record " << i << " has number " << all[i].number);
    if (i > 0 && all[i].begin < all[i - 1].end) FAIL("record " << i << " overlaps the one before");
  }
  return all;
}

/// The commits of a file, as its bytes have them, from the first on.
inline std::vector<wal::CommitHeader> commits_of(std::string_view file) {
  const auto bytes = bytes_of(file);
  wal::SegmentHeader header;
  std::vector<wal::CommitHeader> commits;
  if (wal::decode_segment_header(bytes.first(wal::kSegmentHeaderBytes), header) !=
      wal::BlockVerdict::valid) {
    return commits;
  }
  const wal::SegmentGeometry geometry = wal::geometry_of(header);
  for (std::uint64_t lsn = geometry.data_begin(); lsn < geometry.end();) {
    const auto rest = bytes.subspan(static_cast<std::size_t>(lsn - geometry.base_lsn));
    const wal::CommitCheck check = wal::verify_commit(rest, geometry, lsn);
    if (check.verdict != wal::CommitVerdict::valid) break;
    commits.push_back(check.header);
    lsn += wal::commit_footprint(check.header.body_bytes, geometry.pad_unit);
  }
  return commits;
}

inline Result<std::unique_ptr<Journal>> open_at(Reactor& reactor, const std::string& dir,
                                                const JournalOptions& options) {
  return run(reactor, Journal::open(reactor, dir, options));
}

class JournalRig {
 public:
  explicit JournalRig(const JournalOptions& how = rig_options())
      : options(how), host_(make_fault_reactor()) {
    open();
  }
  ~JournalRig() {
    started_.clear();
    journal.reset();
  }

  Reactor& reactor() noexcept { return *host_.reactor; }
  FaultDriver& faults() noexcept { return host_.faults; }

  void open() {
    Result<std::unique_ptr<Journal>> opened = open_at(reactor(), dir.path(), options);
    if (!opened) FAIL(opened.error().text());
    journal = std::move(*opened);
    wait_for_spares();
  }
  Error try_open() {
    Result<std::unique_ptr<Journal>> opened = open_at(reactor(), dir.path(), options);
    if (opened) journal = std::move(*opened);
    return opened.error();
  }
  /// As a crash would leave it, apart from what the device still has.
  void drop() {
    started_.clear();
    journal.reset();
  }
  void reopen() {
    drop();
    open();
  }
  Error close() { return run(reactor(), journal->close()).error(); }
  void wait_for_spares() {
    pump([this] { return journal->stats().spares_ready >= options.spares; });
    settle();
  }

  /// Turns until `done()` says so.
  template <class F>
  void pump(F done) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      if (std::chrono::steady_clock::now() > limit) FAIL("what the test waits for never came");
      reactor().turn(reactor().now() + std::chrono::milliseconds(5));
    }
  }
  /// Turns until nothing but `held` operations is with the device, and nothing is ready.
  void settle(std::uint64_t held = 0) {
    pump([&] { return !reactor().turn(kAtOnce) && reactor().stats().in_flight <= held; });
    for (int i = 0; i < 8; ++i) reactor().turn(kAtOnce);
  }
  void wait(const Outcome& outcome) {
    pump([&] { return outcome.done(); });
  }
  bool all_done() const {
    return std::all_of(outcomes.begin(), outcomes.end(),
                       [](const Outcome& outcome) { return outcome.done(); });
  }
  void wait_all() {
    pump([this] { return all_done(); });
  }

  // Beside the test. The results stay where they are.
  Outcome& append(std::string payload, StopToken stop = {}) {
    Outcome& outcome = add(std::move(payload));
    keep(start(reactor(), run_durable(*journal, outcome), stop));
    return outcome;
  }
  Outcome& append_only(std::string payload, StopToken stop = {}) {
    Outcome& outcome = add(std::move(payload));
    keep(start(reactor(), run_append(*journal, outcome), stop));
    return outcome;
  }
  Outcome& sync_through(Lsn until, StopToken stop = {}) {
    Outcome& outcome = add({});
    outcome.ticket.end = until;
    keep(start(reactor(), run_sync(*journal, outcome), stop));
    return outcome;
  }
  Outcome& start_close(StopToken stop = {}) {
    Outcome& outcome = add({});
    keep(start(reactor(), run_close(*journal, outcome), stop));
    return outcome;
  }
  /// Destroys the coroutine that was started last.
  void drop_last() { started_.pop_back(); }
  /// Destroys the n-th of those that were started.
  void drop_nth(std::size_t n) { started_[n] = {}; }
  std::size_t started() const noexcept { return started_.size(); }

  /// One record, here and now.
  Ticket must_append(std::string payload) {
    Outcome& outcome = append(std::move(payload));
    wait(outcome);
    if (outcome.error) FAIL(outcome.error.text());
    return outcome.ticket;
  }

  /// Submitted writes of commits, or syncs of named segments, since the log was cleared.
  std::vector<FaultDriver::Event> submitted(OpCode code, std::string_view suffix = kCommits) {
    std::vector<FaultDriver::Event> events;
    for (const FaultDriver::Event& event : faults().log()) {
      if (event.kind == FaultDriver::Event::Kind::submitted && event.code == code &&
          std::string_view(event.path).ends_with(suffix)) {
        events.push_back(event);
      }
    }
    return events;
  }
  /// Commits in the order of the log.
  std::vector<wal::CommitHeader> commits() {
    std::vector<wal::CommitHeader> all;
    Result<std::vector<DirEntry>> entries = run(reactor(), list(reactor(), dir.path()));
    if (!entries) FAIL(entries.error().text());
    std::vector<std::string> names;
    for (const DirEntry& entry : *entries) {
      if (std::string_view(entry.name).ends_with(kCommits)) names.push_back(entry.name);
    }
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      for (const wal::CommitHeader& header : commits_of(dir.read(name))) all.push_back(header);
    }
    return all;
  }
  std::vector<Got> read() { return read_all(reactor(), *journal); }

  TempDir dir;
  JournalOptions options;

 private:
  FaultReactor host_;

 public:
  std::unique_ptr<Journal> journal;
  std::deque<Outcome> outcomes;
  std::size_t ended = 0;

 private:
  Outcome& add(std::string payload) {
    outcomes.emplace_back();
    outcomes.back().payload = std::move(payload);
    return outcomes.back();
  }
  void keep(Running<> running) { started_.push_back(std::move(running)); }
  void end(Outcome& outcome, Error error) {
    outcome.error = error;
    outcome.place = ended++;
    ++outcome.times;
  }
  Task<> run_durable(Journal& to, Outcome& outcome) {
    const RecordRef record(bytes_of(outcome.payload));
    const Result<Ticket> ticket = co_await to.append_durable(record);
    if (ticket) outcome.ticket = *ticket;
    end(outcome, ticket.error());
  }
  Task<> run_append(Journal& to, Outcome& outcome) {
    const RecordRef record(bytes_of(outcome.payload));
    const Result<Ticket> ticket = co_await to.append(record);
    if (ticket) outcome.ticket = *ticket;
    end(outcome, ticket.error());
  }
  Task<> run_sync(Journal& to, Outcome& outcome) {
    const Lsn until = outcome.ticket.end;
    const Result<void> synced = co_await to.sync_through(until);
    end(outcome, synced.error());
  }
  Task<> run_close(Journal& to, Outcome& outcome) {
    const Result<void> closed = co_await to.close();
    end(outcome, closed.error());
  }

  std::deque<Running<>> started_;
};

}  // namespace diorite::test
