// Recovery of journals that were written byte by byte: where the log ends, and what is said of it.

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "journal/journal_builder.hpp"
#include "journal/open_support.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

using namespace diorite;
using namespace diorite::test;
using detail::LiveRange;
using detail::OpenedJournal;

namespace {

std::string big(char letter, std::size_t bytes) { return std::string(bytes, letter); }

}  // namespace

TEST_CASE("a journal that was closed goes on in the same segment") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one", "two"});
  log.append({"three"});
  log.close();
  log.save(dir);

  Opened opened = open_dir(*reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  const JournalRecovery& recovery = opened.journal.recovery;
  CHECK(recovery.verdict == JournalVerdict::clean);
  CHECK(recovery.end == Lsn{log.next_lsn});
  CHECK(recovery.durable == Lsn{log.next_lsn});
  CHECK(recovery.records == 3);
  CHECK(recovery.next_record_no == 3);
  CHECK(recovery.epoch == 2);
  CHECK(opened.journal.segment->header.segment_seq == 0);
  CHECK(opened.journal.next_commit_lsn == log.next_lsn);
  CHECK(opened.journal.link == log.link);
  CHECK(opened.journal.store->manifest().state == wal::ManifestState::dirty);
  CHECK(opened.journal.store->manifest().durable_floor == log.next_lsn);
  REQUIRE(opened.journal.store->live.size() == 1);
  CHECK(opened.journal.store->live[0].end == LiveRange::kOpen);
}

TEST_CASE("a journal that crashed is cut at its end, in a fresh segment") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one", "two"});
  log.append({big('x', 9000)});
  log.rotate();
  log.append({"three"});
  log.save(dir);

  Opened opened = open_dir(*reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  const OpenedJournal& journal = opened.journal;
  CHECK(journal.recovery.verdict == JournalVerdict::torn);
  CHECK(journal.recovery.end == Lsn{log.next_lsn});
  CHECK(journal.recovery.records == 4);
  CHECK(journal.recovery.torn_bytes == 0);
  CHECK(journal.segment->header.segment_seq == 2);
  CHECK(journal.link.next_record_no == 4);
  REQUIRE(journal.store->live.size() == 3);
  CHECK(journal.store->live[1].end == log.next_lsn);
  REQUIRE(journal.store->cuts.size() == 2);
  CHECK(journal.store->cuts[1].cut_lsn == log.next_lsn);
  CHECK(journal.store->cuts[1].epoch == 2);

  const ReadLog read = read_log(*reactor, opened);
  CHECK(read.error.text() == "no error");
  CHECK(read.payloads() == log.records);

  // Crashes without an append keep the log and its size.
  for (std::uint64_t round = 0; round < 4; ++round) {
    opened = Opened();
    opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.records == 4);
    CHECK(opened.journal.link.next_record_no == 4);
    CHECK(opened.journal.segment->header.segment_seq == 3 + round);
    CHECK(names_in(*reactor, dir.path()).size() == 6);
    CHECK(read_log(*reactor, opened).payloads() == log.records);
  }
}

TEST_CASE("a torn last commit is cut away, wherever it was torn") {
  auto reactor = make_test_reactor();
  for (const bool garbage : {false, true}) {
    const TempDir dir;
    JournalBuilder log;
    log.start();
    log.append({"one", "two"});
    const JournalBuilder::Commit last = log.append({big('y', 5000), big('z', 4000)});
    const std::uint64_t footprint = last.end - last.lsn;
    REQUIRE(footprint == 3 * 4096);
    for (std::uint64_t cut = 0; cut <= footprint; cut += 512) {
      JournalBuilder torn = log;
      const std::span<std::byte> lost = torn.at(last).subspan(cut);
      std::fill(lost.begin(), lost.end(), garbage ? std::byte{0x5A} : std::byte{0});
      // The last sectors of the padding are zeros anyhow.
      const bool whole = !garbage && cut > 64 + 2 * 16 + 9000;
      torn.save(dir);
      Opened opened = open_dir(*reactor, dir.path());
      INFO("cut at " << cut << " garbage " << garbage);
      REQUIRE(opened.error.text() == "no error");
      const JournalRecovery& recovery = opened.journal.recovery;
      CHECK(recovery.verdict == JournalVerdict::torn);
      const bool complete = whole || cut == footprint;
      CHECK(recovery.end == Lsn{complete ? last.end : last.lsn});
      CHECK(recovery.durable <= recovery.end);
      CHECK(recovery.records == (complete ? 4 : 2));
      if (complete) {
        CHECK(recovery.torn_bytes == 0);
      } else if (garbage) {
        CHECK(recovery.torn_bytes == footprint);
      } else {
        CHECK(recovery.torn_bytes <= cut);
        CHECK((recovery.torn_bytes > 0) == (cut > 0));
      }
      CHECK(recovery.zombies == (complete || cut == 0 ? 0 : 1));
      std::vector<std::string> expected = log.records;
      if (!complete) expected.resize(2);
      const ReadLog read = read_log(*reactor, opened);
      CHECK(read.error.text() == "no error");
      CHECK(read.payloads() == expected);
      opened = Opened();
      for (const std::string& name : names_in(*reactor, dir.path())) {
        CHECK(run(*reactor, remove(*reactor, dir.file(name))));
      }
    }
  }
}

TEST_CASE("commits behind a hole never come back") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"kept"});
  const std::uint64_t durable = log.next_lsn;
  const JournalBuilder::Commit hole = log.append({"in flight, lost"}, durable);
  log.append({"in flight, written"}, durable);
  log.rotate();
  log.append({"of the next segment, written"}, durable);
  std::span<std::byte> bytes = log.at(hole);
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  log.add_segment();
  log.add_segment();
  log.save(dir);

  std::vector<std::string> expected{"kept"};
  for (int round = 0; round < 4; ++round) {
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.verdict == JournalVerdict::torn);
    CHECK(opened.journal.recovery.zombies == (round == 0 ? 2 : 0));
    if (round == 0) {
      CHECK(opened.journal.recovery.end == Lsn{durable});
      CHECK(opened.journal.recovery.torn_bytes > 0);
      // Not in the segment that holds an intact commit of before.
      CHECK(opened.journal.segment->header.segment_seq == 2);
      CHECK_FALSE(dir.exists(segment_name(1)));
    }
    ReadLog read = read_log(*reactor, opened);
    CHECK(read.error.text() == "no error");
    CHECK(read.payloads() == expected);
    CHECK(is_dense(read));
    if (round != 1) {
      append_to(opened, {"round " + std::to_string(round)});
      expected.push_back("round " + std::to_string(round));
      read = read_log(*reactor, opened);
      CHECK(read.payloads() == expected);
    }
  }
}

TEST_CASE("damage below a promise is corruption, and nothing is changed") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  const JournalBuilder::Commit middle = log.append({"two"});
  log.append({"three"});
  log.append({"four"});
  log.at(middle)[64 + 16] ^= std::byte{1};
  log.save(dir);
  dir.write("something.tmp", "left by a crash");
  const auto before = snapshot(*reactor, dir);

  for (int round = 0; round < 2; ++round) {
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::corrupt);
    const std::uint64_t offset = middle.lsn + 64;
    CHECK(opened.error.a() == offset);
    const std::string text = opened.error.text();
    INFO(text);
    CHECK(text.find(segment_name(0)) != std::string::npos);
    CHECK(text.find("offset " + std::to_string(offset)) != std::string::npos);
    CHECK(text.find("frame checksum mismatch") != std::string::npos);
    CHECK(snapshot(*reactor, dir) == before);
  }
}

TEST_CASE("a promise far behind a damaged first commit is found") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.rotate();
  // Only the commit behind it says that it had been durable, and it is large.
  const JournalBuilder::Commit first = log.append({big('a', 700'000)});
  log.append({"last"});
  log.at(first)[0] ^= std::byte{1};
  log.save(dir);
  Opened opened = open_dir(*reactor, dir.path());
  CHECK(opened.error == Errc::corrupt);
  const std::string text = opened.error.text();
  INFO(text);
  CHECK(text.find(segment_name(1)) != std::string::npos);
  CHECK(opened.error.a() == 4096);
}

TEST_CASE("a missing segment is named") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  for (int i = 0; i < 4; ++i) {
    log.append({"of segment " + std::to_string(i)});
    log.rotate();
  }
  log.append({"last"});
  log.save(dir);

  SECTION("in the middle") {
    REQUIRE(run(*reactor, remove(*reactor, dir.file(segment_name(2)))));
    const auto before = snapshot(*reactor, dir);
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::missing_segment);
    CHECK(opened.error.a() == 2);
    INFO(opened.error.text());
    CHECK(opened.error.text().find(segment_name(2)) != std::string::npos);
    CHECK(snapshot(*reactor, dir) == before);
  }
  SECTION("the first") {
    REQUIRE(run(*reactor, remove(*reactor, dir.file(segment_name(0)))));
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::missing_segment);
    CHECK(opened.error.a() == 0);
  }
  SECTION("the newest, of which MANIFEST knows") {
    log.manifest.tail_seq_floor = 4;
    log.save(dir);
    REQUIRE(run(*reactor, remove(*reactor, dir.file(segment_name(4)))));
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::missing_segment);
    CHECK(opened.error.a() == 4);
  }
  SECTION("all of them") {
    for (int i = 0; i < 5; ++i) {
      REQUIRE(run(*reactor, remove(*reactor, dir.file(segment_name(static_cast<unsigned>(i))))));
    }
    CHECK(open_dir(*reactor, dir.path()).error == Errc::missing_segment);
  }
  SECTION("cut short") {
    const std::string path = dir.file(segment_name(3));
    dir.write(segment_name(3), dir.read(segment_name(3)).substr(0, 65536));
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::corrupt);
    CHECK(opened.error.a() == 65536);
  }
}

TEST_CASE("a clean journal ends exactly where MANIFEST says") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.close();
  const wal::ManifestSlot closed = log.manifest;

  SECTION("a commit behind the end") {
    log.append({"more"});
    log.manifest = closed;
    log.save(dir);
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::corrupt);
    CHECK(opened.error.a() == closed.end_lsn);
    CHECK(opened.error.text().find(segment_name(0)) != std::string::npos);
  }
  SECTION("the CLOSE commit is damaged") {
    log.at(log.commits.back())[20] ^= std::byte{4};
    log.save(dir);
    Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::corrupt);
    CHECK(opened.error.a() == log.commits.back().lsn);
  }
  SECTION("bytes behind the end that are no commit") {
    log.segments[0].bytes[300'000] = std::byte{0x77};
    log.save(dir);
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.verdict == JournalVerdict::clean);
  }
}

TEST_CASE("a newest segment that holds no records is left out of the log") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  const JournalBuilder::Commit last = log.commits.back();
  // It began by rotation, so no cut says what comes before it.
  log.rotate();
  log.control(wal::CommitKind::confirm);
  log.save(dir);
  for (std::uint64_t round = 0; round < 3; ++round) {
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.segment->header.segment_seq == 2 + round);
    REQUIRE(opened.journal.store->cuts.size() == 2);
    CHECK(opened.journal.store->cuts[1].cut_lsn == last.end);
    CHECK(opened.journal.store->live.size() == 2);
    CHECK_FALSE(dir.exists(segment_name(1 + round)));
    CHECK(read_log(*reactor, opened).payloads() == log.records);
  }
}

TEST_CASE("a journal that was never closed keeps its oldest segment when it holds no records") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  // What truncation leaves: the log begins with a segment that began by rotation.
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.rotate();
  log.control(wal::CommitKind::confirm);
  log.segments.erase(0);
  log.manifest.head_seq = 1;
  log.manifest.head_lsn = log.commits[1].end;
  log.save(dir);
  for (int round = 0; round < 3; ++round) {
    const Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.records == 0);
    CHECK(opened.journal.link.next_record_no == 1);
    CHECK(dir.exists(segment_name(1)));
  }
}

TEST_CASE("a hole below a spare is a missing segment; one that a cut explains is none") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.restart(3);
  log.append({"two"});
  log.add_segment();
  log.add_segment();
  for (const std::uint64_t dead : {1u, 2u, 3u}) log.segments.erase(dead);

  SECTION("explained") {
    log.save(dir);
    const Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(read_log(*reactor, opened).payloads() == log.records);
  }
  SECTION("below a spare") {
    log.segments.erase(5);
    log.save(dir);
    const Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::missing_segment);
    CHECK(opened.error.a() == 5);
  }
  SECTION("the cut is damaged") {
    const JournalBuilder::Commit& epoch = log.commits[2];
    REQUIRE(epoch.seq == 4);
    log.at(epoch)[64 + 16 + 8] ^= std::byte{1};
    log.save(dir);
    const auto before = snapshot(*reactor, dir);
    const Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::corrupt);
    CHECK(opened.error.a() == 4096 + 64);
    CHECK(opened.error.text().find(segment_name(4)) != std::string::npos);
    CHECK(snapshot(*reactor, dir) == before);
  }
  SECTION("the segment that it cuts is gone") {
    log.segments.erase(0);
    log.save(dir);
    const Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::missing_segment);
    CHECK(opened.error.a() == 0);
  }
  SECTION("the commit that it names is damaged") {
    log.at(log.commits[1])[81] ^= std::byte{1};
    log.save(dir);
    const Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::corrupt);
    CHECK(opened.error.text().find(segment_name(0)) != std::string::npos);
    CHECK(opened.error.a() == 8192 + 64);
  }
  SECTION("zombies behind the cut stay dead") {
    CommitPlan plan;
    plan.lsn = log.commits[1].end;
    plan.prev_lsn = log.commits[1].lsn;
    plan.prev_crc = log.commits[1].header.header_crc;
    plan.first_record_no = 1;
    plan.durable_lsn = log.commits[1].end;
    plan.records = {{"zombie"}};
    log.put(0, plan.lsn, log.forge(0, plan));
    log.save(dir);
    const Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(read_log(*reactor, opened).payloads() == log.records);
  }
}

TEST_CASE("a first commit that was torn is followed by one in the next segment") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.manifest.epoch = 0;
  log.manifest.durable_floor = 0;
  const bool header_intact = GENERATE(false, true);
  log.at(log.commits[0])[header_intact ? 100 : 10] ^= std::byte{1};
  log.save(dir);
  for (std::uint64_t round = 0; round < 3; ++round) {
    const Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.records == 0);
    CHECK(opened.journal.segment->header.segment_seq == (header_intact ? 1 : 0) + round);
    if (round == 0) CHECK(opened.journal.recovery.verdict == JournalVerdict::created);
  }
}

TEST_CASE("blocks that cannot be read are a torn tail behind the end, and damage before it") {
  JournalBuilder log;
  log.start();
  log.append({"one"});
  const auto reads_of = [](const FaultDriver& faults, const std::string& name) {
    std::uint32_t reads = 0;
    for (const FaultDriver::Event& event : faults.log()) {
      const bool matches = event.kind == FaultDriver::Event::Kind::completed &&
                           event.code == OpCode::read && event.path.ends_with(name);
      if (matches) ++reads;
    }
    return reads;
  };
  const TempDir dir;
  log.save(dir);
  FaultReactor rig = make_fault_reactor();
  JournalOptions options = small_options();
  const std::string spare = segment_name(1);

  SECTION("of the spare") {
    // Its header, its first block, and again to see whether the log goes on there; then all of it:
    // three tries, then block by block.
    for (std::uint32_t nth = 4; nth <= 9; ++nth) rig.faults.fail(OpCode::read, nth, EIO, spare);
    SECTION("goes on above it") {
      const Opened opened = open_dir(*rig.reactor, dir.path(), options);
      REQUIRE(opened.error.text() == "no error");
      CHECK(opened.journal.recovery.verdict == JournalVerdict::torn_unreadable);
      CHECK(reads_of(rig.faults, spare) > 9);
      CHECK(opened.journal.segment->header.segment_seq == 2);
      CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
    }
    SECTION("is refused where the options say so") {
      options.refuse_unreadable_tail = true;
      const auto before = snapshot(*rig.reactor, dir);
      const Opened opened = open_dir(*rig.reactor, dir.path(), options);
      CHECK(opened.error == Errc::tail_unreadable);
      CHECK(snapshot(*rig.reactor, dir) == before);
    }
  }
  SECTION("passing errors are no errors") {
    for (std::uint32_t nth = 1; nth <= 2; ++nth) rig.faults.fail(OpCode::read, nth, EIO, spare);
    const Opened opened = open_dir(*rig.reactor, dir.path(), options);
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.verdict == JournalVerdict::torn);
  }
  SECTION("of a commit that had been durable") {
    // Reads of the segment: header, first commit, then the walk: the chunk and its blocks.
    for (std::uint32_t nth = 3; nth <= 8; ++nth) {
      rig.faults.fail(OpCode::read, nth, ENODATA, segment_name(0));
    }
    const auto before = snapshot(*rig.reactor, dir);
    const Opened opened = open_dir(*rig.reactor, dir.path(), options);
    CHECK(opened.error.code() == std::error_code(ENODATA, std::generic_category()));
    INFO(opened.error.text());
    CHECK(opened.error.text().find("the device cannot read the commit") != std::string::npos);
    CHECK(opened.error.text().find(segment_name(0)) != std::string::npos);
    CHECK(snapshot(*rig.reactor, dir) == before);
  }
  SECTION("of a segment header") {
    rig.faults.fail(OpCode::read, FaultDriver::kEvery, EIO, segment_name(0));
    const Opened opened = open_dir(*rig.reactor, dir.path(), options);
    CHECK(opened.error == std::errc::io_error);
    INFO(opened.error.text());
    CHECK(opened.error.text().find(segment_name(0)) != std::string::npos);
    CHECK(opened.error.text().find("offset 0") != std::string::npos);
  }
}

TEST_CASE("what seems to be lost because the device cannot read is the device's error") {
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.restart(3);
  log.append({"two"});
  for (const std::uint64_t dead : {1u, 2u, 3u}) log.segments.erase(dead);
  const TempDir dir;
  FaultReactor rig = make_fault_reactor();
  const auto open_and_expect = [&](const std::string& name, const char* without) {
    const auto before = snapshot(*rig.reactor, dir);
    const Opened opened = open_dir(*rig.reactor, dir.path());
    CHECK(opened.error == std::errc::io_error);
    INFO(opened.error.text());
    CHECK(opened.error.text().find(name) != std::string::npos);
    CHECK(opened.error.text().find(without) != std::string::npos);
    rig.faults.clear_rules();
    CHECK(snapshot(*rig.reactor, dir) == before);
    const Opened again = open_dir(*rig.reactor, dir.path());
    CHECK(again.error.text() == "no error");
    CHECK(read_log(*rig.reactor, again).payloads() == log.records);
  };
  SECTION("MANIFEST") {
    log.save(dir);
    rig.faults.fail(OpCode::read, FaultDriver::kEvery, EIO, "MANIFEST");
    open_and_expect("MANIFEST", "neither slot is valid");
  }
  SECTION("the newer slot, and the older one tells of a close that is long past") {
    log.manifest.generation = 2;
    wal::ManifestSlot older = log.manifest;
    older.generation = 1;
    older.state = wal::ManifestState::clean;
    older.durable_floor = older.end_lsn = log.commits[1].end;
    older.tail_seq_floor = 0;
    log.save(dir);
    Bytes slot(wal::kManifestSlotBytes);
    wal::encode_manifest_slot(slot, older);
    poke(dir.file("MANIFEST"), wal::kManifestSlotOffsets[1], slot);
    for (std::uint32_t nth = 1; nth <= 3; ++nth) {
      rig.faults.fail(OpCode::read, nth, EIO, "MANIFEST");
    }
    open_and_expect("MANIFEST", "goes on to");
  }
  SECTION("the cut that accounts for missing segments") {
    log.save(dir);
    // The header, then the first commit: the chunk, and block by block.
    for (std::uint32_t nth = 2; nth <= 7; ++nth) {
      rig.faults.fail(OpCode::read, nth, EIO, segment_name(4));
    }
    open_and_expect(segment_name(4), "no cut accounts for the gap");
  }
}

TEST_CASE("MANIFEST's promises hold also where no commit is found") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  std::span<std::byte> epoch = log.at(log.commits[0]);
  SECTION("it was closed") {
    log.close();
    epoch[70] ^= std::byte{1};
  }
  SECTION("records were truncated") {
    log.manifest.head_lsn = log.next_lsn + 4096;
    log.manifest.durable_floor = 0;
  }
  log.save(dir);
  const auto before = snapshot(*reactor, dir);
  const Opened opened = open_dir(*reactor, dir.path());
  CHECK(opened.error == Errc::corrupt);
  CHECK(snapshot(*reactor, dir) == before);
}

TEST_CASE("a MANIFEST of extreme values is refused or obeyed, and nothing else") {
  auto reactor = make_test_reactor();
  for (const bool closed : {false, true}) {
    JournalBuilder log;
    log.start();
    log.append({"one"});
    log.rotate();
    log.append({"two"});
    if (closed) log.close();
    constexpr std::uint64_t kHuge = ~std::uint64_t{0};
    for (std::uint64_t wal::ManifestSlot::* const field :
         {&wal::ManifestSlot::generation, &wal::ManifestSlot::epoch, &wal::ManifestSlot::head_lsn,
          &wal::ManifestSlot::head_seq, &wal::ManifestSlot::tail_seq_floor,
          &wal::ManifestSlot::durable_floor, &wal::ManifestSlot::end_lsn}) {
      for (const std::uint64_t value :
           {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, log.next_lsn - 1,
            log.next_lsn + 1, kHuge / 2, kHuge - 1, kHuge}) {
        const TempDir dir;
        log.save(dir);
        wal::ManifestSlot manifest = log.manifest;
        manifest.generation = 7;
        manifest.*field = value;
        // What no writer could have encoded was refused when it was read; see manifest_slot_test.
        const bool legal =
            manifest.head_seq != kHuge && manifest.tail_seq_floor != kHuge &&
            (closed ? manifest.end_lsn != 0 && manifest.durable_floor <= manifest.end_lsn
                    : manifest.end_lsn == 0);
        if (!legal) continue;
        Bytes slot(wal::kManifestSlotBytes);
        wal::encode_manifest_slot(slot, manifest);
        poke(dir.file("MANIFEST"), wal::kManifestSlotOffsets[0], slot);
        const Opened opened = open_dir(*reactor, dir.path());
        INFO(opened.error.text());
        if (opened.error) {
          const bool clear = opened.error == Errc::corrupt ||
                             opened.error == Errc::missing_segment || opened.error == Errc::limit;
          CHECK(clear);
        } else {
          CHECK(opened.journal.store->head_lsn <= opened.journal.next_commit_lsn);
          CHECK(read_log(*reactor, opened, opened.journal.store->head_lsn).error.text() ==
                "no error");
        }
      }
    }
  }
}

TEST_CASE("a journal of large units is not given segments that are too small for them") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log(65536);
  log.start();
  log.append({"one"});
  log.save(dir);
  JournalOptions options = small_options();
  options.segment_bytes = 512_KiB;
  const auto before = snapshot(*reactor, dir);
  {
    const Opened opened = open_dir(*reactor, dir.path(), options);
    CHECK(opened.error == Errc::out_of_range);
    CHECK(opened.error.b() == 1_MiB);
  }
  CHECK(snapshot(*reactor, dir) == before);
  const Opened opened = open_dir(*reactor, dir.path());
  CHECK(opened.error.text() == "no error");
}

TEST_CASE("a read that is cut short is no end of a file") {
  JournalBuilder log;
  log.start();
  log.append({"one"});
  const TempDir dir;
  log.save(dir);
  FaultReactor rig = make_fault_reactor();
  rig.faults.shorten(OpCode::read, 1, 512, "MANIFEST");
  rig.faults.shorten(OpCode::read, 1, 1024, segment_name(0));
  rig.faults.shorten(OpCode::read, 2, 512, segment_name(0));
  rig.faults.shorten(OpCode::read, 1, 512, segment_name(1));
  const Opened opened = open_dir(*rig.reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  CHECK(opened.journal.recovery.verdict == JournalVerdict::torn);
  CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
}

TEST_CASE("without room for a segment the journal opens to be read") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.segments.erase(1);
  log.save(dir);
  rig.faults.fail(OpCode::write, FaultDriver::kEvery, ENOSPC, ".tmp");
  {
    const Opened opened = open_dir(*rig.reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.store->read_only);
    CHECK(opened.journal.segment == nullptr);
    CHECK(opened.journal.next_commit_lsn == log.next_lsn);
    CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
  }
  rig.faults.clear_rules();
  const Opened opened = open_dir(*rig.reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  CHECK_FALSE(opened.journal.store->read_only);
  CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
}

TEST_CASE("with room for one segment only, it serves the recovery") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.save(dir);
  rig.faults.fail(OpCode::allocate, FaultDriver::kEvery, ENOSPC);
  const Opened opened = open_dir(*rig.reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  CHECK_FALSE(opened.journal.store->read_only);
  CHECK(opened.journal.segment->header.segment_seq == 1);
  CHECK(opened.journal.spares.empty());
}
