// Appending: tickets, sizes, batches, admission, closing, and what a waiter that dies leaves.

#include <array>

#include "journal_rig.hpp"
#include "support/alloc_counter.hpp"

namespace diorite::test {
namespace {

// ---- tickets ----

struct Turns {
  std::vector<std::pair<int, Lsn>> seen;  // who got which LSN, in the order of the resumptions
};

Task<> append_and_note(Journal& journal, int id, int records, Turns& turns, Error& error) {
  for (int i = 0; i < records; ++i) {
    const std::string payload = payload_of(static_cast<std::uint64_t>(id * 1000 + i), 100);
    const Result<Ticket> ticket = co_await journal.append(RecordRef(bytes_of(payload)));
    if (!ticket) {
      error = ticket.error();
      co_return;
    }
    turns.seen.emplace_back(id, ticket->begin);
  }
}

TEST_CASE("LSNs grow, record numbers are dense, and nothing overlaps", "[append]") {
  JournalRig rig;
  std::vector<Ticket> tickets;
  for (int i = 0; i < 200; ++i) {
    const Result<Ticket> ticket = rig.journal->try_append(
        bytes_of(payload_of(static_cast<std::uint64_t>(i), 7u * (i % 50u))));
    REQUIRE(ticket);
    tickets.push_back(*ticket);
    if (i % 9 == 0) rig.settle();
  }
  for (std::size_t i = 0; i < tickets.size(); ++i) {
    CHECK(tickets[i].record_no == i);
    CHECK(tickets[i].begin < tickets[i].end);
    CHECK(tickets[i].epoch == rig.journal->recovery().epoch);
    if (i > 0) CHECK(tickets[i - 1].end <= tickets[i].begin);
  }
  CHECK(rig.journal->next_lsn() >= tickets.back().end);
  REQUIRE_FALSE(rig.close());
  rig.reopen();
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == tickets.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got[i].begin == tickets[i].begin.value);
    CHECK(got[i].end == tickets[i].end.value);
    CHECK(got[i].payload == payload_of(i, 7 * (i % 50)));
  }
}

TEST_CASE("coroutines apply in the order of their LSNs, also when they had to wait", "[append]") {
  JournalOptions options = rig_options();
  options.buffered_bytes_max = 4096;
  JournalRig rig(options);
  Turns turns;
  Error error;
  std::vector<Running<>> all;
  for (int id = 0; id < 16; ++id) {
    all.push_back(start(rig.reactor(), append_and_note(*rig.journal, id, 40, turns, error)));
  }
  rig.pump([&] { return turns.seen.size() == 640 || error; });
  REQUIRE_FALSE(error);
  CHECK(rig.journal->stats().admission_waits > 0);
  for (std::size_t i = 1; i < turns.seen.size(); ++i) {
    REQUIRE(turns.seen[i - 1].second < turns.seen[i].second);
  }
}

// ---- sizes ----

TEST_CASE("records of every size up to the limit, and not beyond", "[append]") {
  JournalRig rig;
  const std::uint64_t limit = rig.journal->record_bytes_max();
  CHECK(limit == 1_MiB - 4096 - 80);
  const std::vector<std::uint64_t> sizes = {0,    1,       7,         8,     9, 4016,
                                            4017, 256_KiB, limit - 1, limit, 0};
  for (std::size_t i = 0; i < sizes.size(); ++i) rig.must_append(payload_of(i, sizes[i]));

  const Lsn before = rig.journal->next_lsn();
  const std::string huge = payload_of(1, limit + 1);
  const Result<Ticket> refused = rig.journal->try_append(bytes_of(huge));
  REQUIRE(refused.error() == Errc::overflow);
  CHECK(refused.error().a() == limit + 1);
  CHECK(refused.error().b() == limit);
  CHECK(refused.error().text().find("append") != std::string::npos);
  CHECK(refused.error().text().find(rig.dir.path()) != std::string::npos);
  const Outcome& waited = rig.append(huge);
  rig.wait(waited);
  CHECK(waited.error == Errc::overflow);
  CHECK(rig.journal->next_lsn() == before);

  REQUIRE_FALSE(rig.close());
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == sizes.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i].payload == payload_of(i, sizes[i]));
}

TEST_CASE("a full commit of an odd commit_bytes_max is written whole", "[append]") {
  JournalOptions options = rig_options();
  options.commit_bytes_max = 16_KiB + 8;
  JournalRig rig(options);
  for (std::size_t bytes = 16_KiB - 120; bytes < 16_KiB + 40; bytes += 8) {
    rig.append(payload_of(bytes, bytes));
  }
  rig.wait_all();
  for (const Outcome& outcome : rig.outcomes) CHECK(outcome.ok());
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == rig.outcomes.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i].payload == rig.outcomes[i].payload);
}

Task<Result<Ticket>> append_pieces(Journal& journal, std::string_view head, std::string_view body,
                                   std::uint16_t tag) {
  const RecordRef record(bytes_of(head), bytes_of(body), tag);
  co_return co_await journal.append_durable(record);
}

TEST_CASE("a record in two pieces, with a tag", "[append]") {
  JournalRig rig;
  const std::string head = payload_of(1, 37);
  const std::string body = payload_of(2, 5000);
  REQUIRE(run(rig.reactor(), append_pieces(*rig.journal, head, body, 0xBEEF)));
  REQUIRE(run(rig.reactor(), append_pieces(*rig.journal, "", body, 1)));
  REQUIRE(run(rig.reactor(), append_pieces(*rig.journal, head, "", 65535)));
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == 3);
  CHECK(got[0].payload == head + body);
  CHECK(got[0].tag == 0xBEEF);
  CHECK(got[1].payload == body);
  CHECK(got[1].tag == 1);
  CHECK(got[2].payload == head);
  CHECK(got[2].tag == 65535);
  CHECK(got[0].batch == BatchPos::single);
}

// ---- batches ----

Task<Result<Ticket>> append_all(Journal& journal, const std::vector<std::string>& payloads) {
  std::vector<RecordRef> records;
  for (const std::string& payload : payloads) records.emplace_back(bytes_of(payload), 7);
  const std::span<const RecordRef> span(records);
  co_return co_await journal.append_batch(span);
}

TEST_CASE("a batch lies in one commit", "[append]") {
  JournalOptions options = rig_options();
  options.commit_bytes_max = 16_KiB;
  JournalRig rig(options);
  // Half fills a commit, so that the batch does not fit behind it.
  REQUIRE(rig.journal->try_append(bytes_of(payload_of(0, 10000))));
  std::vector<std::string> payloads;
  for (std::uint64_t i = 1; i <= 8; ++i) payloads.push_back(payload_of(i, 1000));
  Result<Ticket> ticket = run(rig.reactor(), append_all(*rig.journal, payloads));
  REQUIRE(ticket);
  // Larger than any commit that is pooled.
  std::vector<std::string> large;
  for (std::uint64_t i = 9; i <= 40; ++i) large.push_back(payload_of(i, 2000));
  const Result<Ticket> second = run(rig.reactor(), append_all(*rig.journal, large));
  REQUIRE(second);
  REQUIRE(run(rig.reactor(), append_all(*rig.journal, {"alone"})));
  REQUIRE_FALSE(rig.close());

  std::vector<std::uint32_t> counts;
  for (const wal::CommitHeader& header : rig.commits()) {
    if (header.record_count > 0) counts.push_back(header.record_count);
  }
  // The last one may share a commit with nothing.
  CHECK(counts == std::vector<std::uint32_t>{1, 8, 32, 1});
  rig.reopen();
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == 42);
  CHECK(got[0].batch == BatchPos::single);
  CHECK(got[1].batch == BatchPos::first);
  CHECK(got[1].begin == ticket->begin.value);
  for (std::size_t i = 2; i < 8; ++i) CHECK(got[i].batch == BatchPos::middle);
  CHECK(got[8].batch == BatchPos::last);
  CHECK(got[8].end == ticket->end.value);
  CHECK(got[9].batch == BatchPos::first);
  CHECK(got[40].batch == BatchPos::last);
  CHECK(got[41].batch == BatchPos::single);
  for (std::size_t i = 0; i < 8; ++i) CHECK(got[1 + i].payload == payloads[i]);
  for (std::size_t i = 0; i < 32; ++i) CHECK(got[9 + i].payload == large[i]);
  CHECK(got[5].tag == 7);
}

TEST_CASE("batches that are refused append nothing", "[append]") {
  JournalRig rig;
  const Lsn before = rig.journal->next_lsn();
  const Result<Ticket> empty = run(rig.reactor(), append_all(*rig.journal, {}));
  CHECK(empty.error() == Errc::out_of_range);
  CHECK(empty.error().text().find("batch of no records") != std::string::npos);

  const std::uint64_t limit = rig.journal->record_bytes_max();
  const std::vector<std::string> halves = {payload_of(1, limit / 2), payload_of(2, limit / 2)};
  const Result<Ticket> large = run(rig.reactor(), append_all(*rig.journal, halves));
  REQUIRE(large.error() == Errc::overflow);
  CHECK(large.error().a() == 2 * wal::frame_bytes(limit / 2));
  CHECK(large.error().b() == wal::frame_bytes(limit));
  CHECK(large.error().text().find("a batch is one commit") != std::string::npos);
  CHECK(rig.journal->next_lsn() == before);

  // Exactly as much as fits.
  const std::vector<std::string> fits = {payload_of(1, limit / 2), payload_of(2, limit / 2 - 16)};
  CHECK(run(rig.reactor(), append_all(*rig.journal, fits)));
}

// ---- admission ----

JournalOptions tight_options() {
  JournalOptions options = rig_options();
  options.buffered_bytes_max = 8192;
  options.in_flight_max = 1;
  return options;
}

TEST_CASE("try_append says busy where append would wait", "[append]") {
  JournalRig rig(tight_options());
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append(payload_of(1, 8000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Result<Ticket> busy = rig.journal->try_append(bytes_of(payload_of(2, 4000)));
  REQUIRE(busy.error() == Errc::busy);
  CHECK(busy.error().text().find("try_append") != std::string::npos);
  // Never past one that waits, even where there is room for it.
  const Outcome& waiting = rig.append_only(payload_of(3, 4000));
  rig.settle(1);
  CHECK_FALSE(waiting.done());
  CHECK(rig.journal->try_append(bytes_of("x")).error() == Errc::busy);
  rig.faults().release(hold);
  rig.wait(waiting);
  CHECK(rig.journal->try_append(bytes_of("x")));
}

TEST_CASE("who waits for room is served in order, whatever its size", "[append]") {
  JournalRig rig(tight_options());
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append(payload_of(0, 8000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  for (std::uint64_t i = 1; i <= 30; ++i) {
    const std::size_t bytes = i % 3 == 0 ? 10 : 3000;
    if (i % 2 == 0) {
      rig.append(payload_of(i, bytes));
    } else {
      rig.append_only(payload_of(i, bytes));
    }
  }
  rig.settle(1);
  for (const Outcome& outcome : rig.outcomes) CHECK_FALSE(outcome.done());
  CHECK(rig.journal->stats().buffered_bytes <= 8192);
  rig.faults().release(hold);
  rig.wait_all();
  for (std::size_t i = 0; i < rig.outcomes.size(); ++i) {
    REQUIRE(rig.outcomes[i].ok());
    CHECK(rig.outcomes[i].ticket.record_no == i);
  }
  rig.settle();
  CHECK(rig.journal->stats().buffered_bytes == 0);
}

TEST_CASE("a record above buffered_bytes_max is admitted alone", "[append]") {
  JournalRig rig(tight_options());
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append("small");
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& large = rig.append(payload_of(1, 100000));
  const Outcome& behind = rig.append("behind");
  rig.settle(1);
  CHECK(rig.journal->stats().buffered_bytes < 100);
  CHECK_FALSE(large.done());
  rig.faults().release(hold);
  rig.wait(behind);
  CHECK(large.ok());
  CHECK(behind.ok());
}

TEST_CASE("a stop ends waiting for room, and nothing was appended", "[append]") {
  JournalRig rig(tight_options());
  StopSource stop;
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append(payload_of(0, 8000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& first = rig.append_only(payload_of(1, 4000), stop.token());
  const Outcome& second = rig.append(payload_of(2, 4000), stop.token());
  const Outcome& third = rig.append(payload_of(3, 100));
  rig.settle(1);
  stop.request_stop();
  rig.settle(1);
  CHECK(first.error == Errc::cancelled);
  CHECK(second.error == Errc::cancelled);
  rig.faults().release(hold);
  rig.wait(third);
  CHECK(third.ok());
  CHECK(third.ticket.record_no == 1);
}

TEST_CASE("a stop ends waiting for durability, and the record stays", "[append]") {
  JournalRig rig;
  StopSource stop;
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  const Outcome& stopped = rig.append("a record", stop.token());
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& sync = rig.sync_through(rig.journal->next_lsn(), stop.token());
  rig.settle(1);
  stop.request_stop(StopReason::deadline);
  rig.settle(1);
  CHECK(stopped.error == Errc::deadline);
  CHECK(sync.error == Errc::deadline);
  rig.faults().release(hold);
  rig.must_append("another");
  REQUIRE_FALSE(rig.close());
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == 2);
  CHECK(got[0].payload == "a record");
}

Task<> stop_after_sync(Journal& journal, Lsn until, StopSource& stop) {
  const Result<void> synced = co_await journal.sync_through(until);
  if (synced) stop.request_stop();
}

TEST_CASE("a stop between the grant and the copy ends append_durable", "[append]") {
  JournalRig rig(tight_options());
  StopSource stop;
  const auto first = rig.faults().hold(OpCode::write, 1, kCommits);
  const auto second = rig.faults().hold(OpCode::write, 2, kCommits);
  rig.append(payload_of(0, 8000));
  rig.pump([&] { return rig.faults().is_held(first); });
  const Outcome& stopped = rig.append(payload_of(1, 4000), stop.token());
  const Outcome& other = rig.append(payload_of(2, 4000));
  rig.settle(1);
  // Woken by the acknowledgement that gives the room, before the one that gets it.
  Running<> stopper =
      start(rig.reactor(), stop_after_sync(*rig.journal, rig.journal->next_lsn(), stop));
  rig.settle(1);
  rig.faults().release(first);
  rig.pump([&] { return rig.faults().is_held(second); });
  rig.settle(1);
  // Nothing was appended: had it been, it would wait for the device, and no stop could end that.
  CHECK(is_cancelled(stopped.error));
  CHECK_FALSE(other.done());
  rig.faults().release(second);
  rig.wait(other);
  CHECK(other.ok());
  CHECK(other.ticket.record_no == 1);
}

// ---- dying waiters ----

TEST_CASE("a waiter that dies in any state leaks no room", "[append]") {
  const bool flush = GENERATE(false, true);
  JournalOptions options = tight_options();
  if (flush) options.sync = JournalSync::flush;
  JournalRig rig(options);
  for (int state = 0; state < 5; ++state) {
    for (int durable = 0; durable < 2; ++durable) {
      INFO("state " << state << " durable " << durable);
      const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
      rig.append(payload_of(0, 8000));
      rig.pump([&] { return rig.faults().is_held(hold); });
      const auto start_one = [&](std::size_t bytes) {
        return durable != 0 ? &rig.append(payload_of(7, bytes))
                            : &rig.append_only(payload_of(7, bytes));
      };
      const std::size_t victim = rig.started();
      const Outcome* const dying = start_one(4000);
      const Outcome* const next = start_one(3000);
      if (state == 0) rig.drop_nth(victim);  // never ran
      rig.settle(1);
      if (state == 1) rig.drop_nth(victim);      // first in the queue for room
      if (state == 2) rig.drop_nth(victim + 1);  // second
      rig.faults().release(hold);
      if (state == 3) {
        // Turn by turn, so that it dies with room granted, or a little earlier or later.
        for (int turn = 0; turn < 2; ++turn)
          rig.reactor().turn(rig.reactor().now() + std::chrono::seconds(5));
        rig.drop_nth(victim);
      }
      if (state == 4) {
        // Waits for durability, or has it.
        rig.pump([&] { return rig.journal->stats().buffered_bytes < 8000; });
        rig.drop_nth(victim);
      }
      rig.settle();
      if (state != 2) CHECK(next->ok());
      if (state == 2) CHECK(dying->ok());
      CHECK(rig.journal->stats().buffered_bytes == 0);
      rig.must_append(payload_of(9, 8100));
    }
  }
  REQUIRE_FALSE(rig.close());
}

struct DropWhenGranted {
  JournalRig& rig;
  std::size_t victim;
  bool dropped = false;
};

Task<> drop_after_sync(DropWhenGranted& drop, Lsn until) {
  const Result<void> synced = co_await drop.rig.journal->sync_through(until);
  // Woken by the same acknowledgement that gave the room, and first in the queue: the victim has
  // its room, and has not copied.
  if (synced) drop.rig.drop_nth(drop.victim);
  drop.dropped = true;
}

TEST_CASE("a waiter that dies with room granted gives it to the next", "[append]") {
  const bool durable = GENERATE(false, true);
  JournalRig rig(tight_options());
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append(payload_of(0, 8000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const std::size_t victim = rig.started();
  const Outcome& dying =
      durable ? rig.append(payload_of(1, 8000)) : rig.append_only(payload_of(1, 8000));
  const Outcome& next = rig.append(payload_of(2, 8000));
  rig.settle(1);
  DropWhenGranted drop{rig, victim};
  Running<> dropper = start(rig.reactor(), drop_after_sync(drop, rig.journal->next_lsn()));
  rig.settle(1);
  rig.faults().release(hold);
  rig.wait(next);
  CHECK(drop.dropped);
  CHECK_FALSE(dying.done());
  CHECK(next.ok());
  CHECK(next.ticket.record_no == 1);
}

// ---- sync_through ----

TEST_CASE("sync_through: beyond the end, durable already, everything", "[append]") {
  JournalRig rig;
  const Result<void> beyond = run(rig.reactor(), [](Journal& journal) -> Task<Result<void>> {
    co_return co_await journal.sync_through(Lsn{journal.next_lsn().value + 1});
  }(*rig.journal));
  REQUIRE(beyond.error() == Errc::out_of_range);
  CHECK(beyond.error().a() == rig.journal->next_lsn().value + 1);
  CHECK(beyond.error().b() == rig.journal->next_lsn().value);
  CHECK(beyond.error().text().find("nothing has been appended there") != std::string::npos);

  const Ticket ticket = rig.must_append("durable");
  SyncThroughAwait ready = rig.journal->sync_through(ticket);
  CHECK(ready.await_ready());
  REQUIRE(rig.journal->try_append(bytes_of("more")));
  SyncThroughAwait waits = rig.journal->sync_all();
  CHECK_FALSE(waits.await_ready());
  const Outcome& all = rig.sync_through(rig.journal->next_lsn());
  rig.wait(all);
  CHECK(all.ok());
  CHECK(rig.read().size() == 2);
}

TEST_CASE("a ticket of an earlier open is durable, or lost", "[append]") {
  JournalRig rig;
  const Ticket kept = rig.must_append("kept");
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  const Outcome& gone = rig.append_only("cut away");
  rig.pump([&] { return rig.faults().is_held(hold) && gone.done(); });
  const Ticket lost = gone.ticket;
  rig.drop();
  // The write of the dead journal takes place, but on a damaged block: as if it never had.
  rig.faults().clear_rules();
  rig.faults().fail(OpCode::write, 1, EIO, kCommits);
  rig.faults().release(hold);
  rig.faults().clear_rules();
  const std::string segment = rig.dir.file("0000000000000000.seg");
  rig.settle();
  {
    std::string bytes = rig.dir.read("0000000000000000.seg");
    REQUIRE(lost.begin.value < bytes.size());
    bytes[lost.begin.value] = static_cast<char>(bytes[lost.begin.value] ^ 1);
    rig.dir.write("0000000000000000.seg", bytes);
  }
  rig.open();
  REQUIRE(rig.journal->recovery().verdict == JournalVerdict::torn);
  const Outcome& fresh = rig.append("fresh");
  rig.wait(fresh);
  CHECK(fresh.ticket.record_no == lost.record_no);

  SyncThroughAwait old = rig.journal->sync_through(kept);
  CHECK(old.await_ready());
  CHECK(old.await_resume());
  SyncThroughAwait cut = rig.journal->sync_through(lost);
  CHECK(cut.await_ready());
  const Error error = cut.await_resume().error();
  CHECK(error == Errc::lost);
  CHECK(error.a() == lost.record_no);
  CHECK(error.text().find("did not survive") != std::string::npos);
}

// ---- closing ----

TEST_CASE("close: everything appended is there, and the next open is clean", "[append]") {
  const bool flush = GENERATE(false, true);
  JournalRig rig(flush ? flush_options() : rig_options());
  for (std::uint64_t i = 0; i < 50; ++i) {
    REQUIRE(rig.journal->try_append(bytes_of(payload_of(i, 3000))));
  }
  REQUIRE_FALSE(rig.close());
  const Lsn end = rig.journal->durable_lsn();
  CHECK(end == rig.journal->next_lsn());
  const Error again = rig.close();
  CHECK(again == Errc::closed);
  CHECK(again.text().find("close") != std::string::npos);
  CHECK(rig.journal->try_append(bytes_of("late")).error() == Errc::closed);
  const Outcome& late = rig.append("late");
  rig.wait(late);
  CHECK(late.error == Errc::closed);
  // What is durable still is.
  const Outcome& sync = rig.sync_through(end);
  rig.wait(sync);
  CHECK(sync.ok());

  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  CHECK(rig.journal->recovery().end == end);
  CHECK(rig.journal->recovery().torn_bytes == 0);
  CHECK(rig.read().size() == 50);
  // On in the same segment.
  rig.must_append("more");
  CHECK(rig.commits().back().segment_seq == 0);
}

TEST_CASE("close waits for what is with the device; appends during it are refused", "[append]") {
  const bool flush = GENERATE(false, true);
  JournalOptions options = tight_options();
  if (flush) options.sync = JournalSync::flush;
  JournalRig rig(options);
  const auto hold = flush ? rig.faults().hold(OpCode::sync_data, 1, kCommits)
                          : rig.faults().hold(OpCode::write, 1, kCommits);
  const Outcome& first = rig.append(payload_of(1, 8000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& waits_for_room = rig.append_only(payload_of(2, 4000));
  rig.settle(1);
  const Outcome& closing = rig.start_close();
  rig.settle(1);
  CHECK_FALSE(closing.done());
  CHECK(waits_for_room.error == Errc::closed);
  const Outcome& during = rig.append("during");
  rig.wait(during);
  CHECK(during.error == Errc::closed);
  const Outcome& twice = rig.start_close();
  rig.wait(twice);
  CHECK(twice.error == Errc::closed);
  rig.faults().release(hold);
  rig.wait(closing);
  CHECK(closing.ok());
  CHECK(first.ok());
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  CHECK(rig.read().size() == 1);
}

TEST_CASE("close goes to the next segment when this one has no room for its commit", "[append]") {
  JournalRig rig;
  const std::uint64_t limit = rig.journal->record_bytes_max();
  rig.must_append(payload_of(1, limit));  // does not fit behind the EPOCH commit: rotates
  rig.wait_for_spares();
  REQUIRE_FALSE(rig.close());
  CHECK(rig.commits().back().kind == wal::CommitKind::close);
  CHECK(rig.commits().back().segment_seq == 2);
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  rig.must_append("more");
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() == 2);
  CHECK(got[0].payload == payload_of(1, limit));
  REQUIRE_FALSE(rig.close());
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  CHECK(rig.read().size() == 2);
}

TEST_CASE("a stopped close leaves a journal that opens with everything", "[append]") {
  JournalRig rig;
  StopSource stop;
  rig.must_append("one");
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  const Outcome& closing = rig.start_close(stop.token());
  rig.pump([&] { return rig.faults().is_held(hold); });
  stop.request_stop();
  rig.settle(1);
  // Its commit is with the device, so LOCK stays.
  CHECK_FALSE(closing.done());
  rig.faults().release(hold);
  rig.wait(closing);
  CHECK(is_cancelled(closing.error));
  rig.reopen();
  CHECK(rig.read().size() == 1);
}

TEST_CASE("a close that is dropped half-way leaves a journal that can be destroyed", "[append]") {
  JournalRig rig;
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append("one");
  rig.pump([&] { return rig.faults().is_held(hold); });
  rig.start_close();
  rig.settle(1);
  rig.drop_last();
  rig.faults().release(hold);
  rig.settle();
  CHECK(rig.outcomes[0].ok());
  CHECK(rig.close() == Errc::closed);
  rig.reopen();
  CHECK(rig.read().size() == 1);
}

TEST_CASE("destroyed with commits in flight: waiters hear of it, and the rest is kept",
          "[append]") {
  const bool flush = GENERATE(false, true);
  JournalOptions options = tight_options();
  options.in_flight_max = 4;
  if (flush) options.sync = JournalSync::flush;
  JournalRig rig(options);
  rig.must_append("acknowledged");
  const auto hold = rig.faults().hold(OpCode::write, FaultDriver::kEvery, kCommits);
  const Outcome& flying = rig.append(payload_of(1, 4000));
  rig.settle(1);
  const Outcome& flying_too = rig.append(payload_of(2, 4000));
  rig.settle(2);
  const Outcome& sync = rig.sync_through(rig.journal->next_lsn());
  const Outcome& room = rig.append_only(payload_of(3, 4000));
  const Outcome& room_too = rig.append(payload_of(4, 4000));
  rig.settle(2);
  rig.journal.reset();
  rig.pump([&] { return rig.all_done(); });
  for (const Outcome* outcome : {&flying, &flying_too, &sync, &room, &room_too}) {
    CHECK(outcome->times == 1);
    CHECK(outcome->error == Errc::closed);
  }
  rig.faults().release(hold);
  rig.settle();
  rig.open();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::torn);
  const std::vector<Got> got = rig.read();
  REQUIRE(got.size() >= 1);
  CHECK(got[0].payload == "acknowledged");
  for (std::size_t i = 1; i < got.size(); ++i) CHECK(got[i].payload == payload_of(i, 4000));
}

TEST_CASE("nobody else opens a destroyed journal while a write of it is with the device",
          "[append]") {
  constexpr std::array<std::string_view, 3> kNames{kCommits, kPrepared, "MANIFEST"};
  const std::string_view name = kNames[GENERATE(0U, 1U, 2U)];
  CAPTURE(std::string(name));
  JournalOptions options = tight_options();
  options.segment_bytes = 64_KiB;
  options.lock_wait_ms = 0;
  JournalRig rig(options);
  rig.must_append("acknowledged");
  const auto hold = rig.faults().hold(OpCode::write, 1, name);
  // Enough for another segment, and for the note in MANIFEST that the journal was opened.
  for (std::uint64_t i = 0; i < 40; ++i) rig.append(payload_of(i, 4000));
  if (name == "MANIFEST") {
    rig.drop();
    rig.settle();
    auto opening = [&]() -> Task<> {
      static_cast<void>(co_await Journal::open(rig.reactor(), rig.dir.path(), rig.options));
    };
    Running<> running = start(rig.reactor(), opening());
    rig.pump([&] { return rig.faults().is_held(hold); });
    running = {};
  } else {
    rig.pump([&] { return rig.faults().is_held(hold); });
    rig.drop();
  }
  rig.settle(1);
  REQUIRE(rig.faults().is_held(hold));
  const Error refused = rig.try_open();
  CHECK(refused == Errc::locked);
  CHECK(refused.text().find("LOCK") != std::string::npos);
  rig.faults().release(hold);
  rig.settle();
  rig.open();
  CHECK(rig.read().size() >= 1);
}

TEST_CASE("nobody else opens a destroyed journal while it creates, names or removes a segment",
          "[append]") {
  struct Step {
    OpCode code;
    std::string_view path;
  };
  constexpr std::array<Step, 3> kSteps{Step{OpCode::open, "*.seg.tmp"},
                                       Step{OpCode::rename, "*.seg.tmp"},
                                       Step{OpCode::remove, "*.seg"}};
  const Step step = kSteps[GENERATE(0U, 1U, 2U)];
  CAPTURE(to_string(step.code));
  JournalOptions options = tight_options();
  options.segment_bytes = 64_KiB;
  options.lock_wait_ms = 0;
  JournalRig rig(options);
  rig.must_append("acknowledged");
  // A segment whose name may not be durable is removed again.
  if (step.code == OpCode::remove) rig.faults().fail(OpCode::sync_dir, 1, EIO);
  const auto hold = rig.faults().hold(step.code, 1, step.path);
  for (std::uint64_t i = 0; i < 40; ++i) rig.append(payload_of(i, 4000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  rig.drop();
  rig.settle(1);
  REQUIRE(rig.faults().is_held(hold));
  CHECK(rig.try_open() == Errc::locked);
  rig.faults().release(hold);
  rig.settle();
  rig.open();
  CHECK(rig.read().size() >= 1);
}

TEST_CASE("a read-only journal refuses to append", "[append]") {
  JournalRig rig;
  rig.must_append("one");
  REQUIRE_FALSE(rig.close());
  rig.journal.reset();
  rig.options.read_only = true;
  REQUIRE_FALSE(rig.try_open());
  const Error refused = rig.journal->try_append(bytes_of("two")).error();
  CHECK(refused == Errc::unsupported);
  CHECK(refused.text().find("read-only") != std::string::npos);
  const Outcome& waited = rig.append("two");
  rig.wait(waited);
  CHECK(waited.error == Errc::unsupported);
  CHECK(rig.read().size() == 1);
  CHECK_FALSE(rig.close());
  CHECK(rig.close() == Errc::closed);
}

// ---- allocations ----

Task<Result<void>> append_many(Journal& journal, std::string_view payload, int count) {
  const RecordRef record(bytes_of(payload));
  for (int i = 0; i < count; ++i) {
    DIORITE_CO_TRY([[maybe_unused]] const Ticket ticket, co_await journal.append_durable(record));
  }
  co_return Result<void>();
}

Task<Result<void>> append_from_eight(Journal& journal, Reactor& reactor, std::string_view payload,
                                     int count) {
  std::array<Running<Result<void>>, 8> running;
  for (Running<Result<void>>& one : running) {
    one = start(reactor, append_many(journal, payload, count));
  }
  for (Running<Result<void>>& one : running) {
    const Result<void> ended = co_await std::move(one);
    if (!ended) co_return ended.error();
  }
  co_return Result<void>();
}

TEST_CASE("append_durable allocates nothing in steady state", "[append]") {
  const bool flush = GENERATE(false, true);
  TempDir dir;
  auto reactor = make_test_reactor();
  JournalOptions options = rig_options();
  options.segment_bytes = 16_MiB;
  options.confirm_idle_ms = 100;
  if (flush) options.sync = JournalSync::flush;
  Result<std::unique_ptr<Journal>> journal = open_at(*reactor, dir.path(), options);
  REQUIRE(journal);
  const std::string payload = payload_of(1, 300);
  const auto round = [&](int count) {
    return run(*reactor, append_from_eight(**journal, *reactor, payload, count));
  };
  REQUIRE(round(50));
  while ((*journal)->stats().spares_ready < options.spares) {
    reactor->turn(reactor->now() + std::chrono::milliseconds(5));
  }
  REQUIRE(round(50));
  const auto counted = [&](int appends) {
    const AllocCount count;
    const Result<void> done = round(appends);
    const AllocTotals totals = count.everywhere();
    REQUIRE(done);
    CHECK(totals.deletes == totals.news);
    return totals.news;
  };
  const std::uint64_t hits = reactor->stats().frame_pool_hits;
  const auto few = counted(50);
  const auto many = counted(150);
  // Under AddressSanitizer the frames of the tasks themselves come from the heap: a fixed number
  // for each round, however much is appended in it.
  CHECK(few == many);
  if (reactor->stats().frame_pool_hits > hits) CHECK(many == 0);
  REQUIRE(run(*reactor, (*journal)->close()));
}

}  // namespace
}  // namespace diorite::test
