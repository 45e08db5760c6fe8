// JournalOracle: what it accepts, and that it catches each violation that it claims to catch.

#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

/// A journal that lies as it is told: records of 100 positions each.
struct Fake {
  JournalOracle oracle;
  std::vector<FoundRecord> records;
  std::uint64_t epoch = 0;
  JournalVerdict verdict = JournalVerdict::torn;

  JournalRecovery recovery() const {
    JournalRecovery found;
    found.verdict = epoch == 1 ? JournalVerdict::created : verdict;
    found.end = Lsn{records.size() * 100};
    found.durable = found.end;
    found.records = found.next_record_no = records.size();
    found.epoch = epoch;
    return found;
  }
  std::string open(const Lsn* lost_above = nullptr) {
    ++epoch;
    oracle.opening();
    std::string wrong = oracle.opened(recovery(), lost_above);
    return wrong.empty() ? oracle.check(records) : wrong;
  }
  Ticket ticket(std::uint64_t number, std::uint64_t count = 1) const {
    return {Lsn{number * 100}, Lsn{(number + count) * 100}, number, epoch};
  }
  /// The record that stands where it should.
  void keep(std::string_view text, BatchPos batch = BatchPos::single) {
    const std::uint64_t number = records.size();
    records.push_back(
        {Lsn{number * 100}, Lsn{number * 100 + 100}, number, 1, batch, bytes_of(text)});
  }
  std::uint64_t append(std::string_view text) { return oracle.appending(bytes_of(text), 1); }
  /// One that is acknowledged and really there.
  void add(std::string_view text) {
    const std::uint64_t number = records.size();
    const std::uint64_t id = append(text);
    REQUIRE(oracle.acknowledged(id, ticket(number)).empty());
    keep(text);
  }
};

bool says(const std::string& wrong, std::string_view what) {
  INFO(wrong);
  return wrong.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("a journal that keeps its promises is found right") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  fake.add("b");
  REQUIRE(fake.open().empty());
  // Appended and not acknowledged: it may be there, or not.
  REQUIRE(fake.oracle.appended(fake.append("c"), fake.ticket(2)).empty());
  CHECK(fake.open().empty());
  fake.append("d");
  fake.keep("d");
  CHECK(fake.open().empty());
  CHECK(fake.oracle.acknowledged_count() == 2);
}

TEST_CASE("a lost record is a violation") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  fake.add("b");
  SECTION("acknowledged") {
    fake.records.pop_back();
    CHECK(says(fake.open(), "record 1 was acknowledged"));
  }
  SECTION("returned by an open before") {
    REQUIRE(fake.open().empty());
    fake.records.pop_back();
    CHECK(says(fake.open(), "record 1 was returned by an earlier open"));
  }
  SECTION("one before an acknowledged one") {
    REQUIRE(fake.open().empty());
    fake.append("c");
    REQUIRE(fake.oracle.acknowledged(fake.append("d"), fake.ticket(3)).empty());
    CHECK(says(fake.open(), "record 2 was acknowledged, or stood before"));
  }
  SECTION("between the open and the reader") {
    ++fake.epoch;
    fake.oracle.opening();
    REQUIRE(fake.oracle.opened(fake.recovery()).empty());
    fake.records.pop_back();
    CHECK(says(fake.oracle.check(fake.records), "a reader returned 1"));
  }
}

TEST_CASE("bytes, places and order must be those of the appends") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  fake.add("b");
  SECTION("other bytes") {
    fake.records[1].payload = bytes_of("x");
    CHECK(says(fake.open(), "not what was appended"));
  }
  SECTION("another tag") {
    fake.records[1].tag = 9;
    CHECK(says(fake.open(), "not what was appended"));
  }
  SECTION("another order") {
    std::swap(fake.records[0].payload, fake.records[1].payload);
    CHECK(says(fake.open(), "not what was appended"));
  }
  SECTION("another place") {
    fake.records[1].begin.value += 8;
    CHECK(says(fake.open(), "its ticket said"));
  }
  SECTION("a gap in the numbers") {
    fake.records[1].record_no = 2;
    CHECK(says(fake.open(), "in the place of number 1"));
  }
  SECTION("positions that go back") {
    fake.records[1].begin = Lsn{50};
    CHECK(says(fake.open(), "behind one that ends"));
  }
  SECTION("changed since the last open") {
    REQUIRE(fake.open().empty());
    fake.records[0].payload = bytes_of("x");
    CHECK(says(fake.open(), "not what the last open returned"));
  }
}

TEST_CASE("what nobody appended is never found") {
  Fake fake;
  REQUIRE(fake.open().empty());
  SECTION("invented") {
    fake.append("a");
    fake.keep("x");
    CHECK(says(fake.open(), "was never appended"));
  }
  SECTION("more than there can be") {
    fake.keep("x");
    CHECK(says(fake.open(), "at most 0 were appended"));
  }
  SECTION("refused") {
    fake.oracle.refused(fake.append("a"));
    fake.append("b");
    fake.keep("a");
    CHECK(says(fake.open(), "was refused"));
  }
  SECTION("gone once, and back again") {
    REQUIRE(fake.oracle.appended(fake.append("zombie"), fake.ticket(0)).empty());
    REQUIRE(fake.open().empty());
    fake.append("b");
    fake.keep("zombie");
    CHECK(says(fake.open(), "an open had not returned it"));
  }
  SECTION("back between two opens, without an append") {
    fake.append("zombie");
    ++fake.epoch;
    fake.oracle.opening();
    REQUIRE(fake.oracle.opened(fake.recovery()).empty());  // and the power goes before the read
    fake.keep("zombie");
    CHECK(says(fake.open(), "an open returned 0 records and the next one 1"));
  }
}

TEST_CASE("a batch is there as a whole") {
  Fake fake;
  REQUIRE(fake.open().empty());
  const std::uint64_t id = fake.oracle.appending({bytes_of("a"), bytes_of("b")}, 1);
  REQUIRE(fake.oracle.appended(id, fake.ticket(0, 2)).empty());
  fake.keep("a", BatchPos::first);
  SECTION("whole") {
    fake.keep("b", BatchPos::last);
    CHECK(fake.open().empty());
  }
  SECTION("in part") { CHECK(says(fake.open(), "of a batch of 2")); }
  SECTION("with wrong marks") {
    fake.keep("b", BatchPos::single);
    CHECK(says(fake.open(), "not what was appended"));
  }
}

TEST_CASE("tickets must fit together") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  const std::uint64_t id = fake.append("b");
  CHECK(says(fake.oracle.appended(id, fake.ticket(0)), "does not fit"));
  Ticket stale = fake.ticket(1);
  stale.epoch = 0;
  CHECK(says(fake.oracle.appended(id, stale), "a ticket of epoch 0"));
  CHECK(fake.oracle.appended(id, fake.ticket(1)).empty());
  CHECK(says(fake.oracle.acknowledged(id, fake.ticket(2)), "and then at 200"));
}

TEST_CASE("what an open says of itself must be consistent") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  SECTION("made anew") {
    fake.epoch = 0;
    CHECK(says(fake.open(), "a second time"));
  }
  SECTION("an old epoch") {
    REQUIRE(fake.open().empty());
    fake.add("b");
    --fake.epoch;
    CHECK(says(fake.open(), "the epoch went from 2 to 2"));
  }
  SECTION("an old epoch, and nothing was appended in it") {
    REQUIRE(fake.open().empty());
    --fake.epoch;
    CHECK(says(fake.open(), "the epoch went from 2 to 2"));
  }
  SECTION("the epoch of an open that could write nothing") {
    REQUIRE(fake.open().empty());
    fake.oracle.read_only();
    --fake.epoch;
    CHECK(fake.open().empty());
    --fake.epoch;
    CHECK(says(fake.open(), "the epoch went from 2 to 2"));
  }
  SECTION("closed, and found torn") {
    fake.oracle.closed(true);
    CHECK(says(fake.open(), "closed, and then found"));
  }
  SECTION("closed, and found clean") {
    fake.oracle.closed(true);
    fake.verdict = JournalVerdict::clean;
    CHECK(fake.open().empty());
  }
  SECTION("durable beyond the end") {
    JournalRecovery recovery = fake.recovery();
    recovery.durable.value += 1;
    fake.oracle.opening();
    CHECK(says(fake.oracle.opened(recovery), "but the log ends"));
  }
}

TEST_CASE("after damage only what is still promised must be there") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  fake.add("b");
  fake.records.pop_back();
  const Lsn low{100};
  const Lsn high{200};
  SECTION("what no promise covers may be lost") {
    REQUIRE(fake.open(&low).empty());
    // And stays lost.
    fake.append("c");
    fake.keep("b");
    CHECK(says(fake.open(), "was never appended"));
  }
  SECTION("what a promise covers may not") {
    CHECK(says(fake.open(&high), "undamaged bytes promise"));
  }
}

TEST_CASE("a journal without room for its first commit is made a second time") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.epoch = 0;
  SECTION("which it could not write") {
    fake.oracle.read_only();
    CHECK(fake.open().empty());
  }
  SECTION("which it had") { CHECK(says(fake.open(), "a second time")); }
}

TEST_CASE("records whose bytes were damaged are not found") {
  Fake fake;
  REQUIRE(fake.open().empty());
  for (const char* const text : {"a", "b", "c"}) fake.add(text);
  const Lsn promised{300};
  SECTION("their own") {
    fake.oracle.damaged({Lsn{199}, Lsn{200}});
    CHECK(says(fake.open(&promised), "bytes of record 1, or of its commit"));
  }
  SECTION("those of the header that stands before them") {
    fake.oracle.damaged({Lsn{300}, Lsn{301}});
    Ticket ticket = fake.ticket(3);
    ticket.begin.value += 64;
    REQUIRE(fake.oracle.acknowledged(fake.append("d"), ticket).empty());
    fake.keep("d");
    fake.records[3].begin = ticket.begin;
    CHECK(says(fake.open(&promised), "bytes of record 3, or of its commit"));
  }
  SECTION("behind all of them") {
    fake.oracle.damaged({Lsn{300}, Lsn{812}});
    CHECK(fake.open(&promised).empty());
  }
  SECTION("and were cut off") {
    fake.oracle.damaged({Lsn{250}, Lsn{251}});
    fake.records.pop_back();
    const Lsn kept{200};
    CHECK(fake.open(&kept).empty());
  }
}

TEST_CASE("damage is where it is in the log") {
  Damage damage;
  damage.path = "wal/0000000000000002.seg";
  damage.offset = 8192;
  damage.bytes = 512;
  LsnRange range = damaged_range(damage, "/wal/", 65536);
  CHECK(range.begin == Lsn{2 * 65536 + 8192});
  CHECK(range.end == Lsn{2 * 65536 + 8704});
  // Of a header, or in no segment, or in none of this journal.
  const auto is_empty = [&](const std::string& path, std::uint64_t offset, std::uint64_t bytes) {
    damage.path = path;
    damage.offset = offset;
    damage.bytes = bytes;
    range = damaged_range(damage, "wal", 65536);
    return range.begin >= range.end;
  };
  CHECK(is_empty("wal/0000000000000002.seg", 100, 1));
  CHECK(is_empty("wal/MANIFEST", 70'000, 512));
  CHECK(is_empty("other/0000000000000002.seg", 8192, 512));
  CHECK_FALSE(is_empty("wal/0000000000000000.seg", 0, 65536));
  CHECK(range.begin == Lsn{4096});
  CHECK(range.end == Lsn{65536});
}

TEST_CASE("a reader returns nothing that is not durable, and nothing else than was appended") {
  Fake fake;
  REQUIRE(fake.open().empty());
  fake.add("a");
  const std::vector<std::byte> right = bytes_of("a");
  const std::vector<std::byte> wrong = bytes_of("x");
  Record record{Lsn{0}, Lsn{100}, 0, 1, BatchPos::single, right};
  CHECK(fake.oracle.read(record, Lsn{100}).empty());
  CHECK(says(fake.oracle.read(record, Lsn{99}), "only 99 is durable"));
  record.payload = wrong;
  CHECK(says(fake.oracle.read(record, Lsn{100}), "with other bytes"));
}

}  // namespace diorite::sim
