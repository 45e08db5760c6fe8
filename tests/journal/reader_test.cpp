// Reading a log: from any position, across rotations and cuts, and never beyond what is durable.

#include <string>
#include <vector>

#include "journal/journal_builder.hpp"
#include "journal/open_support.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

using namespace diorite;
using namespace diorite::test;

namespace {

std::string numbered(int number, std::size_t bytes) {
  std::string text = std::to_string(number) + ':';
  text.resize(text.size() + bytes, static_cast<char>('a' + number % 26));
  return text;
}

/// Three segments, a crash, and two segments more; commits of all sizes.
JournalBuilder long_journal() {
  JournalBuilder log;
  log.start();
  int number = 0;
  const auto fill = [&](std::uint64_t bytes) {
    const std::uint64_t end = log.next_lsn + bytes;
    while (log.next_lsn < end) {
      const std::size_t size =
          static_cast<std::size_t>(number % 7 == 0 ? 90'000 : number * 13 % 5000);
      log.append({numbered(number, size), numbered(number + 1, 3), ""});
      number += 2;
    }
  };
  fill(800'000);
  log.rotate();
  fill(850'000);
  log.rotate();
  fill(300'000);
  log.restart(3);
  fill(500'000);
  log.rotate();
  // A commit that is larger than what a reader reads at once can still be carried over.
  log.append({numbered(1, 400'000)});
  log.append({numbered(2, 300'000), "end"});
  log.close();
  return log;
}

struct Marks {
  std::uint64_t durable;
};
detail::LogEnd end_at_mark(const void* owner) {
  const auto& marks = *static_cast<const Marks*>(owner);
  return {marks.durable, marks.durable};
}

}  // namespace

TEST_CASE("a reader yields every record once, across segments and cuts") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  const JournalBuilder log = long_journal();
  log.save(dir);
  Opened opened = open_dir(*reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  REQUIRE(opened.journal.store->live.size() == 5);
  const ReadLog read = read_log(*reactor, opened);
  REQUIRE(read.error.text() == "no error");
  REQUIRE(read.payloads() == log.records);
  CHECK(is_dense(read));
  CHECK(read.records.front().number == 0);
  CHECK(opened.journal.recovery.records == log.records.size());

  SECTION("from any position") {
    for (std::size_t i = 0; i < read.records.size(); i += 5) {
      // Its own begin, a byte behind, and its end: the first record at or above each.
      for (const std::uint64_t from :
           {read.records[i].begin, read.records[i].begin + 1, read.records[i].end}) {
        const ReadLog part = read_log(*reactor, opened, from);
        REQUIRE(part.error.text() == "no error");
        const std::size_t first = from == read.records[i].begin ? i : i + 1;
        REQUIRE(part.records.size() == read.records.size() - first);
        if (!part.records.empty()) CHECK(part.records.front() == read.records[first]);
      }
    }
  }
  SECTION("beyond the end") {
    CHECK(read_log(*reactor, opened, opened.journal.next_commit_lsn).records.empty());
    CHECK(read_log(*reactor, opened, opened.journal.next_commit_lsn + 1).error ==
          Errc::out_of_range);
  }
  SECTION("below the head") {
    opened.journal.store->head_lsn = read.records[4].begin;
    const Error error = read_log(*reactor, opened, read.records[3].end - 1).error;
    CHECK(error == Errc::truncated);
    CHECK(error.a() == read.records[4].begin);
  }
}

TEST_CASE("a reader stops at the durable mark, and goes on when it moves") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  const JournalBuilder log = long_journal();
  log.save(dir);
  Opened opened = open_dir(*reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  Marks marks{0};
  detail::ReaderCore reader(*opened.journal.store, &end_at_mark, &marks);
  REQUIRE(reader.seek(Lsn{0}));
  std::vector<std::string> seen;
  for (const JournalBuilder::Commit& commit : log.commits) {
    marks.durable = commit.end;
    const ReadLog part = run(*reactor, read_with(reader));
    REQUIRE(part.error.text() == "no error");
    CHECK(part.records.size() == commit.header.record_count);
    for (const ReadRecord& record : part.records) {
      CHECK(record.end <= marks.durable);
      seen.push_back(record.payload);
    }
    CHECK(reader.next_buffered() == nullptr);
  }
  CHECK(seen == log.records);
}

TEST_CASE("a reader finds the commits that were written after it had come to the end") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  Opened opened = open_dir(*reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  detail::ReaderCore reader(*opened.journal.store, &end_of_opened, &opened.journal);
  REQUIRE(reader.seek(Lsn{0}));
  for (int i = 0; i < 20; ++i) {
    append_to(opened, {numbered(i, 100), numbered(i, 6000)});
    const ReadLog part = run(*reactor, read_with(reader));
    REQUIRE(part.error.text() == "no error");
    CHECK(part.payloads() == std::vector<std::string>{numbered(i, 100), numbered(i, 6000)});
  }
}

TEST_CASE("a reader keeps to the records that a cut inside a commit has kept") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one", "two"});
  const JournalBuilder::Commit cut_commit = log.append({"three", "cut", "cut too"});
  wal::Cut cut;
  cut.pred_seq = 0;
  cut.cut_lsn = cut_commit.lsn + 64 + 24;
  cut.pred_last_commit_lsn = cut_commit.lsn;
  cut.pred_last_commit_crc = cut_commit.header.header_crc;
  cut.records_kept = 1;
  cut.next_record_no = 3;
  log.restart_with(cut, 0);
  log.save(dir);
  const std::vector<std::string> expected{"one", "two", "three"};
  // The cut is repeated while nothing is appended behind it, and then stays.
  std::vector<std::string> after = expected;
  for (int round = 0; round < 4; ++round) {
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.records == after.size());
    CHECK(opened.journal.link.next_record_no == after.size());
    if (round >= 2) {
      append_to(opened, {"four"});
      after.push_back("four");
    }
    const ReadLog read = read_log(*reactor, opened);
    CHECK(read.error.text() == "no error");
    CHECK(read.payloads() == after);
    CHECK(is_dense(read));
  }
}

TEST_CASE("a reader names the damage that it meets") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  const JournalBuilder::Commit second = log.append({"two"});
  log.append({"three"});
  log.close();
  log.save(dir);
  Opened opened = open_dir(*reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  // After the open: its own look at the commit was a good one.
  const std::uint64_t offset = second.lsn + 64 + 17;
  poke_byte(dir.file(segment_name(0)), offset, 'x');
  for (int round = 0; round < 2; ++round) {
    const ReadLog read = read_log(*reactor, opened);
    CHECK(read.payloads() == std::vector<std::string>{"one"});
    CHECK(read.error == Errc::corrupt);
    CHECK(read.error.a() == second.lsn + 64);
    INFO(read.error.text());
    CHECK(read.error.text().find(segment_name(0)) != std::string::npos);
    CHECK(read.error.text().find("frame checksum mismatch") != std::string::npos);
  }
}

TEST_CASE("a read-only open changes nothing and needs no lock") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  JournalOptions options = small_options();
  options.read_only = true;
  CHECK(is_not_found(open_dir(*rig.reactor, dir.file("nowhere"), options).error));
  CHECK(is_not_found(open_dir(*rig.reactor, dir.path(), options).error));

  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.append({"two"});
  log.save(dir);
  dir.write("x.tmp", "left");
  const auto before = snapshot(*rig.reactor, dir);
  const auto names = names_in(*rig.reactor, dir.path());
  {
    const Opened opened = open_dir(*rig.reactor, dir.path(), options);
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.store->read_only);
    CHECK(opened.journal.segment == nullptr);
    CHECK(opened.journal.recovery.end == Lsn{log.next_lsn});
    CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
  }
  CHECK(snapshot(*rig.reactor, dir) == before);
  CHECK(names_in(*rig.reactor, dir.path()) == names);
  CHECK(rig.faults.count(OpCode::write) == 0);
  CHECK(rig.faults.count(OpCode::make_dir) == 0);
  CHECK(rig.faults.count(OpCode::remove) == 0);

  // Beside a writer, only what somebody has promised.
  Opened writer = open_dir(*rig.reactor, dir.path());
  REQUIRE(writer.error.text() == "no error");
  append_to(writer, {"promised by the next"});
  const std::uint64_t promised = writer.journal.next_commit_lsn;
  append_to(writer, {"perhaps still on its way"});
  const Opened opened = open_dir(*rig.reactor, dir.path(), options);
  REQUIRE(opened.error.text() == "no error");
  CHECK(opened.journal.next_commit_lsn == promised);
  CHECK(read_log(*rig.reactor, opened).payloads() ==
        std::vector<std::string>{"one", "two", "promised by the next"});
}
