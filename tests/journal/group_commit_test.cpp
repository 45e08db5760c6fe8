// Group commit: what shares a commit, how many are in flight, in which order they are acknowledged,
// and what has to be durable before.

#include <map>

#include "journal_rig.hpp"
#include "support/manual_driver.hpp"

#include <diorite/timer.hpp>

namespace diorite::test {
namespace {

using Kind = FaultDriver::Event::Kind;

bool is_commit(const FaultDriver::Event& event) {
  return std::string_view(event.path).ends_with(kCommits);
}

/// The most commits that were with the device at a time, as the log has it.
std::size_t most_in_flight(const FaultDriver& faults) {
  std::size_t now = 0;
  std::size_t most = 0;
  for (const FaultDriver::Event& event : faults.log()) {
    if (event.code != OpCode::write || !is_commit(event)) continue;
    if (event.kind == Kind::submitted) most = std::max(most, ++now);
    if (event.kind == Kind::completed) --now;
  }
  return most;
}

std::size_t completed_writes(const FaultDriver& faults) {
  std::size_t count = 0;
  for (const FaultDriver::Event& event : faults.log()) {
    if (event.kind == Kind::completed && event.code == OpCode::write && is_commit(event)) ++count;
  }
  return count;
}

TEST_CASE("what is appended in one turn is one commit and one write", "[group]") {
  JournalRig rig;
  rig.faults().clear_log();
  const JournalStats before = rig.journal->stats();
  for (std::uint64_t i = 0; i < 100; ++i) rig.append(payload_of(i, 50));
  rig.wait_all();
  CHECK(rig.submitted(OpCode::write).size() == 1);
  CHECK(rig.journal->stats().commits - before.commits == 1);
  CHECK(rig.journal->stats().commits_idle - before.commits_idle == 1);
  CHECK(rig.journal->stats().records - before.records == 100);
  for (std::size_t i = 0; i < rig.outcomes.size(); ++i) {
    CHECK(rig.outcomes[i].ok());
    CHECK(rig.outcomes[i].place == i);
  }
  const wal::CommitHeader last = rig.commits().back();
  CHECK(last.record_count == 100);
}

TEST_CASE("while one commit is with the device the next one fills", "[group]") {
  JournalOptions options = rig_options();
  options.in_flight_max = 1;
  JournalRig rig(options);
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append("first");
  rig.pump([&] { return rig.faults().is_held(hold); });
  for (std::uint64_t i = 0; i < 20; ++i) {
    rig.append(payload_of(i, 500));
    rig.settle(1);
  }
  rig.faults().release(hold);
  rig.wait_all();
  const std::vector<wal::CommitHeader> commits = rig.commits();
  REQUIRE(commits.size() == 3);  // EPOCH, the first, and all the others
  CHECK(commits[2].record_count == 20);
}

TEST_CASE("commits are acknowledged in order, however they complete", "[group]") {
  JournalOptions options = rig_options();
  options.in_flight_max = 4;
  JournalRig rig(options);
  rig.faults().clear_log();
  const Lsn durable = rig.journal->durable_lsn();
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  const auto third = rig.faults().hold(OpCode::write, 3, kCommits);
  // Each fills a commit, so that it need not wait for the one in flight.
  for (std::uint64_t i = 0; i < 4; ++i) {
    rig.append(payload_of(i, 4096));
    rig.settle(4);
    rig.pump([&] { return rig.submitted(OpCode::write).size() == i + 1; });
  }
  rig.pump([&] { return completed_writes(rig.faults()) == 2; });
  rig.settle(2);
  // The second and the fourth are on the device, and nobody may know.
  for (const Outcome& outcome : rig.outcomes) CHECK_FALSE(outcome.done());
  CHECK(rig.journal->durable_lsn() == durable);
  CHECK(rig.journal->stats().in_flight == 4);
  rig.faults().release(hold);
  rig.wait(rig.outcomes[1]);
  rig.settle(1);
  CHECK(rig.outcomes[0].ok());
  CHECK(rig.outcomes[1].ok());
  CHECK_FALSE(rig.outcomes[2].done());
  CHECK_FALSE(rig.outcomes[3].done());
  CHECK(rig.journal->durable_lsn() < rig.journal->next_lsn());
  rig.faults().release(third);
  rig.wait_all();
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(rig.outcomes[i].ok());
    CHECK(rig.outcomes[i].place == i);
  }
}

TEST_CASE("never more commits with the device than in_flight_max", "[group]") {
  const auto limit = static_cast<std::uint32_t>(GENERATE(1, 2, 4, 7));
  const bool flush = GENERATE(false, true);
  JournalOptions options = flush ? flush_options() : rig_options();
  options.in_flight_max = limit;
  options.commit_bytes_max = 16_KiB;
  JournalRig rig(options);
  rig.faults().clear_log();
  const auto hold = rig.faults().hold(OpCode::write, 2, kCommits);
  for (std::uint64_t i = 0; i < 60; ++i) {
    rig.append(payload_of(i, 1000 + 331 * (i % 29)));
    if (i % 3 == 0) rig.settle(limit);
  }
  rig.settle(limit);
  CHECK(rig.journal->stats().in_flight <= limit);
  CHECK_FALSE(rig.all_done());
  rig.faults().release(hold);
  rig.wait_all();
  rig.settle();
  CHECK(most_in_flight(rig.faults()) <= limit);
  if (limit <= 4) CHECK(most_in_flight(rig.faults()) == limit);
  for (std::size_t i = 0; i < rig.outcomes.size(); ++i) {
    CHECK(rig.outcomes[i].ok());
    CHECK(rig.outcomes[i].place == i);
  }
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == 60);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i].payload == rig.outcomes[i].payload);
}

TEST_CASE("fill_bytes says when a commit need not wait", "[group]") {
  JournalOptions options = rig_options();
  options.fill_bytes = 16_KiB;
  JournalRig rig(options);
  rig.faults().clear_log();
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append("first");
  rig.pump([&] { return rig.faults().is_held(hold); });
  rig.append(payload_of(1, 12000));
  rig.settle(1);
  CHECK(rig.submitted(OpCode::write).size() == 1);
  rig.append(payload_of(2, 5000));
  rig.pump([&] { return completed_writes(rig.faults()) == 1; });
  CHECK(rig.submitted(OpCode::write).size() == 2);
  CHECK(rig.journal->stats().commits_fill == 1);
  rig.faults().release(hold);
  rig.wait_all();
}

TEST_CASE("a commit carries what was durable when it was submitted", "[group]") {
  const bool flush = GENERATE(false, true);
  JournalOptions options = flush ? flush_options() : rig_options();
  options.in_flight_max = 1;
  options.commit_bytes_max = 16_KiB;
  JournalRig rig(options);
  const Lsn base = rig.journal->durable_lsn();
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append(payload_of(0, 12000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  // Sealed because it is full, and queued behind the first.
  rig.append(payload_of(1, 12000));
  rig.append(payload_of(2, 12000));
  rig.settle(1);
  rig.faults().release(hold);
  rig.wait_all();
  rig.settle();
  const std::vector<wal::CommitHeader> commits = rig.commits();
  REQUIRE(commits.size() == 4);
  CHECK(commits[1].durable_lsn == base.value);
  CHECK(commits[2].durable_lsn == commits[2].lsn);
  CHECK(commits[3].durable_lsn == commits[3].lsn);
  CHECK(rig.journal->stats().commits_full >= 1);
}

TEST_CASE("a commit never promises what is still with the device", "[group]") {
  JournalOptions options = rig_options();
  options.in_flight_max = 4;
  JournalRig rig(options);
  const Lsn base = rig.journal->durable_lsn();
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  for (std::uint64_t i = 0; i < 3; ++i) {
    rig.append(payload_of(i, 4096));
    rig.settle(3);
  }
  rig.pump([&] { return completed_writes(rig.faults()) >= 2; });
  rig.settle(1);
  rig.append(payload_of(3, 4096));
  rig.settle(1);
  rig.faults().release(hold);
  rig.wait_all();
  const std::vector<wal::CommitHeader> commits = rig.commits();
  REQUIRE(commits.size() == 5);
  for (std::size_t i = 1; i < commits.size(); ++i) CHECK(commits[i].durable_lsn == base.value);
}

// A buffer that is used again too early would change what the device still has to read.
TEST_CASE("what is with the device does not change until it is written", "[group]") {
  JournalOptions options = rig_options();
  options.in_flight_max = 4;
  JournalRig rig(options);
  const auto hold = rig.faults().hold(OpCode::write, 2, kCommits);
  rig.append(payload_of(0, 4096));
  rig.settle(1);
  rig.append(payload_of(1, 4096));
  rig.pump([&] { return rig.faults().is_held(hold); });
  for (std::uint64_t i = 2; i < 40; ++i) {
    rig.append(payload_of(i, 4096));
    rig.settle(4);
  }
  rig.faults().release(hold);
  rig.wait_all();
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == 40);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i].payload == payload_of(i, 4096));
}

// ---- flush ----

/// At most one sync at a time.
void check_syncs(const FaultDriver& faults) {
  bool active = false;
  for (const FaultDriver::Event& event : faults.log()) {
    if (event.code != OpCode::sync_data || !is_commit(event)) continue;
    if (event.kind == Kind::submitted) {
      CHECK_FALSE(active);
      active = true;
    } else if (event.kind == Kind::completed) {
      active = false;
    }
  }
}

TEST_CASE("flush: nothing is acknowledged before a sync that came after the write", "[group]") {
  JournalRig rig(flush_options());
  rig.faults().clear_log();
  const auto hold = rig.faults().hold(OpCode::sync_data, 1, kCommits);
  const Outcome& outcome = rig.append("a record");
  rig.pump([&] { return rig.faults().is_held(hold); });
  rig.settle(1);
  CHECK(completed_writes(rig.faults()) == 1);
  CHECK_FALSE(outcome.done());
  rig.faults().release(hold);
  rig.wait(outcome);
  CHECK(outcome.ok());
  std::vector<std::pair<Kind, OpCode>> order;
  for (const FaultDriver::Event& event : rig.faults().log()) {
    if (is_commit(event) && event.kind != Kind::released) {
      order.emplace_back(event.kind, event.code);
    }
  }
  const std::vector<std::pair<Kind, OpCode>> expected = {{Kind::submitted, OpCode::write},
                                                         {Kind::completed, OpCode::write},
                                                         {Kind::submitted, OpCode::sync_data},
                                                         {Kind::completed, OpCode::sync_data}};
  CHECK(order == expected);
  CHECK(rig.journal->stats().syncs == 1);
  // No write asked for its own durability.
  for (const FaultDriver::Event& event : rig.submitted(OpCode::write)) {
    CHECK((event.flags & kOpDsync) == 0);
  }
}

TEST_CASE("flush: a write that completes during a sync is not covered by it", "[group]") {
  JournalRig rig(flush_options());
  rig.faults().clear_log();
  const auto first_sync = rig.faults().hold(OpCode::sync_data, 1, kCommits);
  const auto second_sync = rig.faults().hold(OpCode::sync_data, 2, kCommits);
  const Outcome& covered = rig.append(payload_of(0, 4096));
  rig.pump([&] { return rig.faults().is_held(first_sync); });
  const Outcome& later = rig.append(payload_of(1, 4096));
  rig.pump([&] { return completed_writes(rig.faults()) == 2; });
  rig.settle(1);
  CHECK(rig.submitted(OpCode::sync_data).size() == 1);
  rig.faults().release(first_sync);
  rig.pump([&] { return rig.faults().is_held(second_sync); });
  rig.settle(1);
  CHECK(covered.ok());
  CHECK_FALSE(later.done());
  CHECK(rig.journal->durable_lsn() < rig.journal->next_lsn());
  rig.faults().release(second_sync);
  rig.wait(later);
  CHECK(later.ok());
  check_syncs(rig.faults());
}

TEST_CASE("flush: one sync covers all writes that completed before it, and no hole", "[group]") {
  JournalRig rig(flush_options());
  rig.faults().clear_log();
  const auto sync = rig.faults().hold(OpCode::sync_data, 1, kCommits);
  const auto write = rig.faults().hold(OpCode::write, 2, kCommits);
  rig.append(payload_of(0, 4096));
  rig.pump([&] { return rig.faults().is_held(sync); });
  rig.append(payload_of(1, 4096));
  rig.settle(2);
  rig.append(payload_of(2, 4096));
  rig.pump([&] { return completed_writes(rig.faults()) == 2; });
  rig.faults().release(sync);
  rig.wait(rig.outcomes[0]);
  rig.settle(1);
  // The third may be synced already, but the second is not even written.
  CHECK_FALSE(rig.outcomes[1].done());
  CHECK_FALSE(rig.outcomes[2].done());
  rig.faults().release(write);
  rig.wait_all();
  CHECK(rig.outcomes[1].place < rig.outcomes[2].place);
  check_syncs(rig.faults());
}

TEST_CASE("flush: across a rotation each file is synced", "[group]") {
  JournalOptions options = flush_options();
  options.spares = 2;
  JournalRig rig(options);
  rig.faults().clear_log();
  const auto sync = rig.faults().hold(OpCode::sync_data, 1, kCommits);
  rig.append(payload_of(0, 4096));
  rig.pump([&] { return rig.faults().is_held(sync); });
  // Does not fit behind it: goes to the next segment while the sync of this one is under way.
  const std::uint64_t limit = rig.journal->record_bytes_max();
  rig.append(payload_of(1, 4096));
  rig.settle(1);
  rig.append(payload_of(2, limit - 4096));
  rig.pump([&] { return completed_writes(rig.faults()) == 3; });
  const auto second = rig.faults().hold(OpCode::sync_data, 2, "1.seg");
  const auto other = rig.faults().hold(OpCode::sync_data, 1, "1.seg");
  rig.faults().release(sync);
  rig.wait(rig.outcomes[1]);
  rig.pump([&] { return rig.faults().is_held(other); });
  // The syncs of the first file say nothing of the second.
  CHECK(rig.outcomes[0].ok());
  CHECK_FALSE(rig.outcomes[2].done());
  rig.faults().release(second);
  rig.faults().release(other);
  rig.wait_all();
  rig.settle();
  CHECK(rig.submitted(OpCode::sync_data, "0.seg").size() == 2);
  CHECK(rig.submitted(OpCode::sync_data, "1.seg").size() == 1);
  check_syncs(rig.faults());
  CHECK(rig.read().size() == 3);
}

TEST_CASE("dsync: neither appends nor rotations sync", "[group]") {
  JournalOptions options = rig_options();
  options.spares = 2;
  JournalRig rig(options);
  rig.faults().clear_log();
  for (std::uint64_t i = 0; i < 90; ++i) rig.append(payload_of(i, 40000));
  rig.wait_all();
  CHECK(rig.journal->stats().rotations >= 3);
  CHECK(rig.journal->stats().syncs == 0);
  CHECK(rig.submitted(OpCode::sync_data).empty());
  for (const FaultDriver::Event& event : rig.submitted(OpCode::write)) {
    CHECK((event.flags & kOpDsync) != 0);
  }
}

TEST_CASE("no block of a segment is written twice", "[group]") {
  const bool flush = GENERATE(false, true);
  JournalOptions options = flush ? flush_options() : rig_options();
  options.spares = 2;
  JournalRig rig(options);
  rig.faults().clear_log();
  for (std::uint64_t i = 0; i < 200; ++i) {
    rig.append(payload_of(i, 100 * (i % 97)));
    if (i % 5 == 0) rig.settle(8);
  }
  rig.wait_all();
  REQUIRE_FALSE(rig.close());
  std::map<std::string, std::uint64_t> ends;
  for (const FaultDriver::Event& event : rig.submitted(OpCode::write)) {
    std::uint64_t& end = ends[event.path];
    CHECK(event.offset >= end);
    end = event.offset + event.length;
  }
  CHECK_FALSE(ends.empty());
}

// ---- CONFIRM ----

Task<Result<void>> idle_for_an_hour(Journal& journal, std::uint64_t& confirms) {
  const RecordRef record(bytes_of("a record"));
  DIORITE_CO_TRY([[maybe_unused]] const Ticket ticket, co_await journal.append_durable(record));
  DIORITE_CO_CHECK(co_await sleep_for(std::chrono::minutes(1)));
  confirms = journal.stats().commits_confirm;
  DIORITE_CO_CHECK(co_await sleep_for(std::chrono::hours(1)));
  co_return Result<void>();
}

TEST_CASE("the durable mark is written once the journal idles, and only once", "[group]") {
  TempDir dir;
  ManualReactor rig = make_manual_reactor();
  JournalOptions options = rig_options();
  options.confirm_idle_ms = 100;
  Result<std::unique_ptr<Journal>> opened = open_at(*rig.reactor, dir.path(), options);
  REQUIRE(opened);
  std::unique_ptr<Journal> journal = std::move(*opened);
  std::uint64_t confirms = 0;
  REQUIRE(run(*rig.reactor, idle_for_an_hour(*journal, confirms)));
  CHECK(confirms == 1);
  CHECK(journal->stats().commits_confirm == 1);
  const std::vector<wal::CommitHeader> commits = commits_of(dir.read("0000000000000000.seg"));
  REQUIRE(commits.size() == 3);
  CHECK(commits[2].kind == wal::CommitKind::confirm);
  CHECK(commits[2].durable_lsn == commits[2].lsn);
  CHECK(journal->durable_lsn() == journal->next_lsn());
  // And again after the next record.
  REQUIRE(run(*rig.reactor, idle_for_an_hour(*journal, confirms)));
  CHECK(journal->stats().commits_confirm == 2);
  journal.reset();
  opened = open_at(*rig.reactor, dir.path(), options);
  REQUIRE(opened);
  CHECK((*opened)->recovery().verdict == JournalVerdict::torn);
  CHECK((*opened)->recovery().durable.value + 4096 == (*opened)->recovery().end.value);
  CHECK(read_all(*rig.reactor, **opened).size() == 2);
}

Task<Result<void>> idle() { co_return co_await sleep_for(std::chrono::hours(1)); }

TEST_CASE("an idle journal without news writes nothing", "[group]") {
  TempDir dir;
  ManualReactor rig = make_manual_reactor();
  JournalOptions options = rig_options();
  options.confirm_idle_ms = 100;
  Result<std::unique_ptr<Journal>> opened = open_at(*rig.reactor, dir.path(), options);
  REQUIRE(opened);
  REQUIRE(run(*rig.reactor, idle()));
  CHECK((*opened)->stats().commits_confirm == 0);
  CHECK((*opened)->stats().commits == 0);
}

}  // namespace
}  // namespace diorite::test
