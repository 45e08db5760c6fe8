// The first write or sync that fails ends a journal: every waiter above the durable mark hears of
// it once, nothing is acknowledged, written or synced afterwards, and the next open has it all.

#include <cerrno>

#include "journal_rig.hpp"

namespace diorite::test {
namespace {

using Kind = FaultDriver::Event::Kind;

JournalOptions options_for(bool flush) {
  JournalOptions options = flush ? flush_options() : rig_options();
  options.in_flight_max = 4;
  return options;
}

void check_poisoned(const Outcome& outcome, std::string_view dir, std::string_view cause) {
  CHECK(outcome.times == 1);
  CHECK(outcome.error == Errc::poisoned);
  const std::string text = outcome.error.text();
  INFO(text);
  CHECK(text.find("indeterminate") != std::string::npos);
  CHECK(text.find(dir) != std::string::npos);
  CHECK(text.find(cause) != std::string::npos);
}

/// Nothing may reach a file of the log from now on.
std::size_t changes(const FaultDriver& faults) {
  std::size_t count = 0;
  for (const FaultDriver::Event& event : faults.log()) {
    if (event.kind != Kind::submitted) continue;
    switch (event.code) {
      case OpCode::write:
      case OpCode::sync_data:
      case OpCode::sync_all:
      case OpCode::truncate:
      case OpCode::allocate:
      case OpCode::rename:
      case OpCode::remove:
      case OpCode::sync_dir:
        ++count;
        break;
      default:
        break;
    }
  }
  return count;
}

/// What a poisoned journal still says.
void check_refuses(JournalRig& rig, Lsn durable) {
  rig.settle();
  rig.faults().clear_log();
  CHECK(rig.journal->poison());
  CHECK(rig.journal->durable_lsn() == durable);
  CHECK(rig.journal->try_append(bytes_of("late")).error() == Errc::poisoned);
  const Outcome& late = rig.append("late");
  const Outcome& later = rig.append_only("late");
  const Outcome& sync = rig.sync_through(rig.journal->next_lsn());
  const Outcome& done = rig.sync_through(durable);
  rig.wait_all();
  CHECK(late.error == Errc::poisoned);
  CHECK(later.error == Errc::poisoned);
  CHECK(sync.error == Errc::poisoned);
  CHECK(done.ok());
  const Error closed = rig.close();
  CHECK(closed == Errc::poisoned);
  CHECK(closed.text().find("indeterminate") != std::string::npos);
  rig.settle();
  CHECK(changes(rig.faults()) == 0);
  CHECK(rig.journal->durable_lsn() == durable);
}

/// Opens it again: all that was acknowledged is there, and nothing that was not appended.
void check_reopen(JournalRig& rig) {
  const std::deque<Outcome> before = rig.outcomes;
  rig.faults().clear_rules();
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::torn);
  const std::vector<Got> got = rig.read();
  for (const Outcome& outcome : before) {
    if (!outcome.ok() || outcome.payload.empty()) continue;
    REQUIRE(outcome.ticket.record_no < got.size());
    CHECK(got[outcome.ticket.record_no].payload == outcome.payload);
  }
  rig.must_append("goes on");
}

TEST_CASE("the n-th write fails", "[poison]") {
  const bool flush = GENERATE(false, true);
  const auto nth = static_cast<std::uint32_t>(GENERATE(1, 2, 3, 5));
  JournalRig rig(options_for(flush));
  rig.faults().fail(OpCode::write, nth, EIO, kCommits);
  for (std::uint64_t i = 0; i < 6; ++i) {
    rig.append(payload_of(i, 4096));
    rig.settle();
  }
  rig.wait_all();
  CHECK(rig.journal->poison() == std::errc::io_error);
  for (std::size_t i = 0; i < 6; ++i) {
    if (i + 1 < nth) {
      CHECK(rig.outcomes[i].ok());
    } else {
      check_poisoned(rig.outcomes[i], rig.dir.path(), "nput/output error");
    }
  }
  const Lsn durable = rig.journal->durable_lsn();
  if (nth > 1) CHECK(durable >= rig.outcomes[nth - 2].ticket.end);
  check_refuses(rig, durable);
  check_reopen(rig);
}

TEST_CASE("the n-th sync fails, and is not tried again", "[poison]") {
  const auto nth = static_cast<std::uint32_t>(GENERATE(1, 2, 4));
  JournalRig rig(options_for(true));
  rig.faults().clear_log();
  rig.faults().fail(OpCode::sync_data, nth, EIO, kCommits);
  for (std::uint64_t i = 0; i < 6; ++i) {
    rig.append(payload_of(i, 4096));
    rig.settle();
  }
  rig.wait_all();
  rig.settle();
  CHECK(rig.submitted(OpCode::sync_data).size() == nth);
  CHECK(rig.submitted(OpCode::write).size() == nth);
  for (std::size_t i = 0; i < 6; ++i) {
    if (i + 1 < nth) {
      CHECK(rig.outcomes[i].ok());
    } else {
      check_poisoned(rig.outcomes[i], rig.dir.path(), "sync_data");
    }
  }
  check_refuses(rig, rig.journal->durable_lsn());
  check_reopen(rig);
}

TEST_CASE("a failure with commits before and behind it in flight", "[poison]") {
  const bool flush = GENERATE(false, true);
  JournalRig rig(options_for(flush));
  const Ticket kept = rig.must_append("kept");
  const Lsn durable = rig.journal->durable_lsn();
  rig.faults().clear_log();
  const auto first = rig.faults().hold(OpCode::write, 1, kCommits);
  const auto second = rig.faults().hold(OpCode::write, 2, kCommits);
  const auto third = rig.faults().hold(OpCode::write, 3, kCommits);
  rig.faults().fail(OpCode::write, 4, EIO, kCommits);
  StopSource stop;
  for (std::uint64_t i = 0; i < 4; ++i) {
    if (i == 3) {
      rig.sync_through(rig.journal->next_lsn());  // of the third
      rig.append_only("never sealed");
    }
    rig.append(payload_of(i, 4096), stop.token());
    rig.settle(4);
  }
  rig.wait_all();
  for (std::size_t i = 1; i < rig.outcomes.size(); ++i) {
    if (rig.outcomes[i].payload == "never sealed") {
      // Its LSN had been given; nobody said that it is durable.
      CHECK(rig.outcomes[i].ok());
      continue;
    }
    check_poisoned(rig.outcomes[i], rig.dir.path(), "nput/output error");
  }
  CHECK(rig.journal->durable_lsn() == durable);
  // Close waits for what is with the device, and later completions change nothing.
  const Outcome& closing = rig.start_close();
  rig.settle(3);
  CHECK_FALSE(closing.done());
  rig.faults().release(third);
  rig.faults().release(first);
  rig.settle(1);
  CHECK_FALSE(closing.done());
  CHECK(rig.journal->durable_lsn() == durable);
  rig.faults().release(second);
  rig.wait(closing);
  CHECK(closing.error == Errc::poisoned);
  CHECK(rig.journal->durable_lsn() == durable);
  CHECK(rig.submitted(OpCode::write).size() == 4);
  CHECK(rig.submitted(OpCode::sync_data).empty());
  for (const Outcome& outcome : rig.outcomes) CHECK(outcome.times == 1);
  rig.reopen();
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() >= 1);
  CHECK(got[0].begin == kept.begin.value);
}

TEST_CASE("a write that succeeds while a sync fails is not acknowledged", "[poison]") {
  JournalRig rig(options_for(true));
  rig.faults().clear_log();
  const auto hold = rig.faults().hold(OpCode::write, 2, kCommits);
  const auto sync = rig.faults().hold(OpCode::sync_data, 1, kCommits);
  const Outcome& first = rig.append(payload_of(0, 4096));
  rig.pump([&] { return rig.faults().is_held(sync); });
  const Outcome& second = rig.append(payload_of(1, 4096));
  rig.pump([&] { return rig.faults().is_held(hold); });
  rig.faults().fail(OpCode::write, 1, EIO, kCommits);
  const Outcome& third = rig.append(payload_of(2, 4096));
  rig.wait(third);
  CHECK(third.error == Errc::poisoned);
  CHECK(first.error == Errc::poisoned);
  CHECK(second.error == Errc::poisoned);
  const Lsn durable = rig.journal->durable_lsn();
  // The sync succeeds after the failure: too late.
  rig.faults().release(sync);
  rig.settle(1);
  CHECK(rig.journal->durable_lsn() == durable);
  const Outcome& closing = rig.start_close();
  rig.settle(1);
  CHECK_FALSE(closing.done());
  rig.faults().release(hold);
  rig.wait(closing);
  CHECK(closing.error == Errc::poisoned);
  CHECK(rig.submitted(OpCode::sync_data).size() == 1);
}

TEST_CASE("who waits for room hears of the failure", "[poison]") {
  const bool flush = GENERATE(false, true);
  JournalOptions options = options_for(flush);
  options.buffered_bytes_max = 8192;
  JournalRig rig(options);
  rig.faults().fail(OpCode::write, 1, EIO, kCommits);
  rig.append(payload_of(0, 8000));
  for (std::uint64_t i = 1; i < 5; ++i) {
    rig.append(payload_of(i, 4000));
    rig.append_only(payload_of(i, 4000));
  }
  rig.wait_all();
  for (const Outcome& outcome : rig.outcomes) {
    check_poisoned(outcome, rig.dir.path(), "nput/output error");
  }
  check_refuses(rig, rig.journal->durable_lsn());
}

TEST_CASE("a short write that cannot go on", "[poison]") {
  JournalRig rig(options_for(false));
  rig.faults().shorten(OpCode::write, 1, 4096, kCommits);
  rig.faults().shorten(OpCode::write, 2, 0, kCommits);
  const Outcome& outcome = rig.append(payload_of(0, 20000));
  rig.wait(outcome);
  check_poisoned(outcome, rig.dir.path(), "done 4096");
  CHECK(rig.journal->poison() == Errc::short_io);
  check_refuses(rig, rig.journal->durable_lsn());
  check_reopen(rig);
}

TEST_CASE("a short write goes on where it stopped", "[poison]") {
  const bool flush = GENERATE(false, true);
  JournalRig rig(options_for(flush));
  rig.faults().clear_log();
  rig.faults().shorten(OpCode::write, 1, 4096, kCommits);
  rig.faults().shorten(OpCode::write, 2, 8192, kCommits);
  rig.must_append(payload_of(0, 20000));
  CHECK(rig.submitted(OpCode::write).size() == 3);
  CHECK_FALSE(rig.journal->poison());
  REQUIRE_FALSE(rig.close());
  rig.reopen();
  CHECK(rig.read().front().payload == payload_of(0, 20000));
}

TEST_CASE("EAGAIN and EINTR with nothing written are tried again", "[poison]") {
  const bool flush = GENERATE(false, true);
  const int error = GENERATE(EAGAIN, EINTR);
  JournalRig rig(options_for(flush));
  rig.faults().clear_log();
  rig.faults().fail(OpCode::write, 1, error, kCommits);
  rig.faults().fail(OpCode::write, 2, error, kCommits);
  rig.must_append("a record");
  CHECK(rig.submitted(OpCode::write).size() == 3);
  CHECK_FALSE(rig.journal->poison());
  CHECK(rig.read().size() == 1);
}

TEST_CASE("no space for a commit's own write is a failure like any other", "[poison]") {
  JournalRig rig(options_for(false));
  rig.faults().fail(OpCode::write, 1, ENOSPC, kCommits);
  const Outcome& outcome = rig.append("a record");
  rig.wait(outcome);
  check_poisoned(outcome, rig.dir.path(), "o space left");
  check_refuses(rig, rig.journal->durable_lsn());
}

TEST_CASE("a failure during close", "[poison]") {
  const bool flush = GENERATE(false, true);
  JournalRig rig(options_for(flush));
  rig.must_append("kept");
  rig.faults().fail(flush ? OpCode::sync_data : OpCode::write, 1, EIO, kCommits);
  const Error closed = rig.close();
  CHECK(closed == Errc::poisoned);
  CHECK(rig.close() == Errc::closed);
  check_reopen(rig);
}

TEST_CASE("a failing MANIFEST ends the journal, and what was durable stays", "[poison]") {
  JournalRig rig(options_for(false));
  const Ticket kept = rig.must_append("kept");
  rig.faults().fail(OpCode::write, 1, EIO, "MANIFEST");
  // Rotates, which writes MANIFEST.
  rig.append(payload_of(1, rig.journal->record_bytes_max()));
  rig.pump([&] { return static_cast<bool>(rig.journal->poison()); });
  rig.wait_all();
  CHECK(rig.close() == Errc::poisoned);
  check_reopen(rig);
  CHECK(rig.read().front().begin == kept.begin.value);
}

// A preparation that is under way ends too.
TEST_CASE("a failure cuts the preparation of a segment short", "[poison]") {
  JournalRig rig(options_for(false));
  rig.must_append(payload_of(0, rig.journal->record_bytes_max() - 100000));
  rig.wait_for_spares();
  const auto hold = rig.faults().hold(OpCode::write, 3, kPrepared);
  rig.must_append(payload_of(1, 200000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  rig.faults().fail(OpCode::write, 1, EIO, kCommits);
  const Outcome& failed = rig.append("fails");
  rig.wait(failed);
  CHECK(failed.error == Errc::poisoned);
  rig.settle(1);
  rig.faults().clear_log();
  rig.faults().release(hold);
  rig.settle();
  CHECK(changes(rig.faults()) == 0);
  CHECK(rig.close() == Errc::poisoned);
  check_reopen(rig);
}

// ---- buffered journals ----

JournalOptions buffered_options() {
  JournalOptions options = flush_options();
  options.direct = Direct::off;
  return options;
}

Task<Error> fail_and_close(Journal& journal) {
  const RecordRef record(bytes_of("fails"));
  const Result<Ticket> ticket = co_await journal.append_durable(record);
  if (ticket) co_return Error();
  const Result<void> closed = co_await journal.close();
  co_return closed.error();
}

TEST_CASE("a buffered journal is not believed before the next boot", "[poison]") {
  const bool at_once = GENERATE(false, true);
  JournalRig rig(buffered_options());
  rig.must_append("kept");
  rig.faults().clear_log();
  rig.faults().fail(OpCode::sync_data, 1, EIO, kCommits);
  if (at_once) {
    // The waiter closes the journal before anything else has a turn.
    CHECK(run(rig.reactor(), fail_and_close(*rig.journal)) == Errc::poisoned);
  } else {
    const Outcome& failed = rig.append("fails");
    rig.wait(failed);
    CHECK(failed.error == Errc::poisoned);
    rig.settle();
    CHECK(rig.close() == Errc::poisoned);
  }
  CHECK(rig.submitted(OpCode::write, "MANIFEST").size() == 1);
  rig.drop();
  rig.faults().clear_rules();
  const Error refused = rig.try_open();
  REQUIRE(refused == Errc::poisoned);
  CHECK(refused.text().find(rig.dir.path()) != std::string::npos);
  rig.options.force_after_poison = true;
  REQUIRE_FALSE(rig.try_open());
  CHECK(rig.read().front().payload == "kept");
}

TEST_CASE("a buffered journal that fails while it closes remembers it too", "[poison]") {
  JournalRig rig(buffered_options());
  rig.must_append("kept");
  rig.faults().fail(OpCode::sync_data, 1, EIO, kCommits);
  CHECK(rig.close() == Errc::poisoned);
  rig.drop();
  rig.faults().clear_rules();
  CHECK(rig.try_open() == Errc::poisoned);
}

}  // namespace
}  // namespace diorite::test
