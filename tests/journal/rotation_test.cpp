// Rotation: from segment to segment without a gap, with or without a spare at hand.

#include <cerrno>

#include "journal_rig.hpp"

namespace diorite::test {
namespace {

TEST_CASE("records of all sizes over several segments, and all of them again", "[rotation]") {
  const bool flush = GENERATE(false, true);
  const auto spares = static_cast<std::uint32_t>(GENERATE(1, 3));
  JournalOptions options = flush ? flush_options() : rig_options();
  options.spares = spares;
  JournalRig rig(options);
  std::uint64_t total = 0;
  for (std::uint64_t i = 0; total < 5_MiB; ++i) {
    const std::size_t bytes = i % 11 == 0 ? 300000 : (i * 7919) % 20000;
    rig.append(payload_of(i, bytes));
    total += bytes;
    if (i % 7 == 0) rig.reactor().turn(kAtOnce);
  }
  rig.wait_all();
  CHECK(rig.journal->stats().rotations >= 5);
  for (std::size_t i = 0; i < rig.outcomes.size(); ++i) {
    REQUIRE(rig.outcomes[i].ok());
    CHECK(rig.outcomes[i].ticket.record_no == i);
    CHECK(rig.outcomes[i].place == i);
    if (i > 0) CHECK(rig.outcomes[i].ticket.begin >= rig.outcomes[i - 1].ticket.end);
  }
  const auto check = [&] {
    const std::vector<Got> got = rig.read();
    REQUIRE(got.size() == rig.outcomes.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i].payload == rig.outcomes[i].payload);
      CHECK(got[i].begin == rig.outcomes[i].ticket.begin.value);
      CHECK(got[i].end == rig.outcomes[i].ticket.end.value);
    }
  };
  check();
  rig.reopen();  // without a close
  CHECK(rig.journal->recovery().verdict == JournalVerdict::torn);
  CHECK(rig.journal->recovery().torn_bytes == 0);
  check();
  REQUIRE_FALSE(rig.close());
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  check();
}

TEST_CASE("commits of two segments may be with the device together", "[rotation]") {
  JournalOptions options = rig_options();
  options.spares = 2;
  JournalRig rig(options);
  const std::uint64_t limit = rig.journal->record_bytes_max();
  const auto hold = rig.faults().hold(OpCode::write, 1, "0.seg");
  const Outcome& before = rig.append(payload_of(0, 100000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& after = rig.append(payload_of(1, limit));
  rig.pump([&] { return rig.submitted(OpCode::write, "1.seg").size() == 1; });
  rig.settle(1);
  CHECK_FALSE(after.done());
  rig.faults().release(hold);
  rig.wait_all();
  CHECK(before.place == 0);
  CHECK(after.ok());
  CHECK(rig.read().size() == 2);
}

TEST_CASE("without a spare an append waits, and then goes on", "[rotation]") {
  JournalRig rig;
  const std::uint64_t limit = rig.journal->record_bytes_max();
  const auto hold = rig.faults().hold(OpCode::write, 1, kPrepared);
  rig.must_append(payload_of(0, limit));  // takes the spare
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Lsn next = rig.journal->next_lsn();
  CHECK(rig.journal->try_append(bytes_of("x")).error() == Errc::busy);
  const Outcome& first = rig.append(payload_of(1, 5000));
  const Outcome& second = rig.append_only(payload_of(2, 10));
  StopSource stop;
  const Outcome& stopped = rig.append(payload_of(3, 10), stop.token());
  const Outcome& third = rig.append(payload_of(4, 10));
  rig.settle(1);
  CHECK_FALSE(first.done());
  CHECK_FALSE(second.done());
  CHECK(rig.journal->next_lsn() == next);  // no LSN before there is room
  CHECK(rig.journal->stats().spare_waits >= 1);
  stop.request_stop();
  rig.settle(1);
  CHECK(is_cancelled(stopped.error));
  rig.faults().release(hold);
  rig.wait_all();
  CHECK(first.ticket.record_no == 1);
  CHECK(second.ticket.record_no == 2);
  CHECK(third.ticket.record_no == 3);
  REQUIRE_FALSE(rig.close());
  rig.reopen();
  CHECK(rig.read().size() == 4);
}

TEST_CASE("closed while an append waits for a spare", "[rotation]") {
  JournalRig rig;
  const auto hold = rig.faults().hold(OpCode::write, 1, kPrepared);
  rig.must_append(payload_of(0, rig.journal->record_bytes_max()));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& waits = rig.append("waits");
  rig.settle(1);
  const Outcome& closing = rig.start_close();
  rig.settle(1);
  CHECK(waits.error == Errc::closed);
  rig.faults().release(hold);
  rig.wait(closing);
  // No room for the CLOSE commit and no segment to put it in: all is there, the next open recovers.
  CHECK(closing.ok());
  rig.reopen();
  CHECK(rig.read().size() == 1);
}

TEST_CASE("destroyed while a segment is prepared", "[rotation]") {
  JournalRig rig;
  const auto hold = rig.faults().hold(OpCode::sync_data, 1, kPrepared);
  rig.must_append(payload_of(0, rig.journal->record_bytes_max()));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& waits = rig.append("waits");
  rig.settle(1);
  rig.journal.reset();
  rig.wait(waits);
  CHECK(waits.error == Errc::closed);
  rig.faults().release(hold);
  rig.settle();
  rig.open();
  CHECK(rig.read().size() == 1);
  rig.must_append("goes on");
}

TEST_CASE("a full disk: no failure of the journal, and over when there is room", "[rotation]") {
  const auto code = GENERATE(OpCode::allocate, OpCode::write);
  JournalRig rig;
  rig.faults().fail(code, FaultDriver::kEvery, ENOSPC, kPrepared);
  rig.must_append(payload_of(0, rig.journal->record_bytes_max()));  // takes the spare
  rig.settle();
  // The one in front needs a segment; so does who comes behind it.
  const Outcome& first = rig.append(payload_of(1, 5000));
  const Outcome& second = rig.append_only(payload_of(2, 10));
  rig.wait_all();
  for (const Outcome* outcome : {&first, &second}) {
    CHECK(outcome->error == Errc::no_space);
    CHECK(outcome->error.text().find("the segment is full") != std::string::npos);
    CHECK(outcome->error.text().find(rig.dir.path()) != std::string::npos);
  }
  CHECK_FALSE(rig.journal->poison());
  const Outcome& again = rig.append(payload_of(3, 10));
  rig.wait(again);
  CHECK(again.error == Errc::no_space);
  CHECK(rig.journal->try_append(bytes_of("x")).error() == Errc::busy);
  rig.settle();

  rig.faults().clear_rules();
  const Outcome& later = rig.append(payload_of(4, 10));
  rig.wait(later);
  REQUIRE(later.ok());
  CHECK(later.ticket.record_no == 1);
  REQUIRE_FALSE(rig.close());
  rig.reopen();
  CHECK(rig.journal->recovery().verdict == JournalVerdict::clean);
  CHECK(rig.read().size() == 2);
}

TEST_CASE("on a full disk try_append alone finds the room again", "[rotation]") {
  JournalRig rig;
  rig.faults().fail(OpCode::allocate, FaultDriver::kEvery, ENOSPC, kPrepared);
  rig.must_append(payload_of(0, rig.journal->record_bytes_max()));
  rig.settle();
  CHECK(rig.journal->try_append(bytes_of("x")).error() == Errc::busy);
  rig.settle();
  rig.faults().clear_rules();
  rig.pump([&] { return static_cast<bool>(rig.journal->try_append(bytes_of("x"))); });
}

TEST_CASE("on a full disk what fits in the segment is appended, also behind what does not",
          "[rotation]") {
  JournalRig rig;
  const std::uint64_t limit = rig.journal->record_bytes_max();
  const auto hold = rig.faults().hold(OpCode::allocate, 1, kPrepared);
  rig.must_append(payload_of(3, 200000));
  rig.must_append(payload_of(0, limit - 100000));  // takes the spare, and leaves room
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& large = rig.append(payload_of(1, 200000));
  const Outcome& small = rig.append(payload_of(2, 1000));
  rig.settle(1);
  CHECK_FALSE(large.done());
  CHECK_FALSE(small.done());
  // The preparation under way comes to a bad end.
  rig.faults().fail(OpCode::write, FaultDriver::kEvery, ENOSPC, kPrepared);
  rig.faults().release(hold);
  rig.wait_all();
  CHECK(large.error == Errc::no_space);
  CHECK(small.ok());
}

TEST_CASE("who was kept waiting by its budget asks for a segment later", "[rotation]") {
  JournalOptions options = rig_options();
  options.buffered_bytes_max = 100000;
  options.in_flight_max = 1;
  JournalRig rig(options);
  const std::uint64_t limit = rig.journal->record_bytes_max();
  // The preparation that follows the first rotation fails, and is not tried again by itself.
  rig.faults().fail(OpCode::allocate, 1, ENOSPC, kPrepared);
  rig.must_append(payload_of(3, 200000));
  rig.must_append(payload_of(0, limit - 100000));
  rig.settle();
  const auto hold = rig.faults().hold(OpCode::write, 1, kCommits);
  rig.append(payload_of(1, 60000));
  rig.pump([&] { return rig.faults().is_held(hold); });
  const Outcome& waits = rig.append(payload_of(2, 60000));
  rig.settle(1);
  CHECK_FALSE(waits.done());
  rig.faults().release(hold);
  rig.wait(waits);
  CHECK(waits.ok());
  CHECK(rig.journal->stats().rotations == 2);
}

}  // namespace
}  // namespace diorite::test
