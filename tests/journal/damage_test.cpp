// Every byte of a journal flipped, and every operation of an open failed: what must be noticed is
// noticed, and an open that fails changes nothing.

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "journal/journal_builder.hpp"
#include "journal/open_support.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"
#include "support/unsynced_driver.hpp"

using namespace diorite;
using namespace diorite::test;

namespace {

JournalOptions narrow_options() {
  JournalOptions options = small_options();
  options.pad_512 = true;
  options.direct = Direct::off;  // blocks of 512 bytes need no device that has them
  return options;
}

/// As make_fault_reactor, without waiting for the disk.
FaultReactor make_quiet_reactor() {
  auto owned = std::make_unique<FaultDriver>(
      std::make_unique<UnsyncedDriver>(make_test_driver(), UnsyncedDriver::Writes::as_asked));
  FaultDriver& faults = *owned;
  return FaultReactor{faults, make_reactor_on(std::move(owned))};
}

std::uint64_t changes(const FaultDriver& faults) {
  return faults.count(OpCode::write) + faults.count(OpCode::truncate) +
         faults.count(OpCode::allocate) + faults.count(OpCode::rename) +
         faults.count(OpCode::remove);
}

/// Two segments of a journal in units of 512 bytes, closed: every byte of it has been promised.
JournalBuilder closed_journal() {
  JournalBuilder log(512);
  log.start();
  log.append({"one", "two"});
  log.append({std::string(700, 'x')});
  log.rotate();
  log.append({"three", "", "five"});
  log.control(wal::CommitKind::confirm);
  log.append({"six"});
  log.close();
  return log;
}

class Flipper {
 public:
  Flipper(FaultReactor& rig, const TempDir& dir, const JournalBuilder& log)
      : rig_(rig), dir_(dir), log_(log) {
    log_.save(dir_);
  }

  /// Flips one bit of a byte, opens, and puts the byte back.
  Error open_flipped(const std::string& name, std::uint64_t offset) {
    const std::string path = dir_.file(name);
    const unsigned was = peek_byte(path, offset);
    poke_byte(path, offset, was ^ (1u << (offset % 8)));
    const std::uint64_t before = changes(rig_.faults);
    Opened opened = open_dir(*rig_.reactor, dir_.path(), narrow_options());
    opened.journal = detail::OpenedJournal();
    changed_ = changes(rig_.faults) != before;
    if (opened.error) {
      poke_byte(path, offset, was);
    } else {
      for (const std::string& made : names_in(*rig_.reactor, dir_.path())) {
        REQUIRE(run(*rig_.reactor, remove(*rig_.reactor, dir_.file(made))));
      }
      log_.save(dir_);
    }
    rig_.faults.clear_log();
    return opened.error;
  }
  bool changed() const { return changed_; }

 private:
  FaultReactor& rig_;
  const TempDir& dir_;
  const JournalBuilder& log_;
  bool changed_ = false;
};

}  // namespace

TEST_CASE("a flipped byte in a commit is found, named, and left alone") {
  FaultReactor rig = make_quiet_reactor();
  const TempDir dir;
  const JournalBuilder log = closed_journal();
  Flipper flipper(rig, dir, log);
  for (const JournalBuilder::Commit& commit : log.commits) {
    const std::uint64_t base = log.segments.at(commit.seq).header.base_lsn;
    const std::string name = segment_name(commit.seq);
    const std::uint64_t used = 64 + commit.header.body_bytes;
    for (std::uint64_t at = 0; at < commit.end - commit.lsn; at += at < used ? 1 : 7) {
      const std::uint64_t offset = commit.lsn - base + at;
      const Error error = flipper.open_flipped(name, offset);
      if (error == Errc::corrupt && !flipper.changed() &&
          error.text().find(name) != std::string::npos && error.a() >= commit.lsn - base &&
          error.a() < commit.end - base) {
        continue;
      }
      FAIL_CHECK(name << " offset " << offset << ": " << error.text());
    }
  }
  Opened opened = open_dir(*rig.reactor, dir.path(), narrow_options());
  CHECK(opened.error.text() == "no error");
  CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
}

TEST_CASE("a flipped byte in a segment header is found, named, and left alone") {
  FaultReactor rig = make_quiet_reactor();
  const TempDir dir;
  const JournalBuilder log = closed_journal();
  Flipper flipper(rig, dir, log);
  for (const std::uint64_t seq : {0u, 1u}) {
    // Most of the block is zeros of one kind; a part of them stands for all.
    for (std::uint64_t offset = 0; offset < 4096; offset += offset < 128 ? 1 : 97) {
      const Error error = flipper.open_flipped(segment_name(seq), offset);
      if (error == Errc::corrupt && error.a() == 0 && !flipper.changed() &&
          error.text().find(segment_name(seq)) != std::string::npos) {
        continue;
      }
      FAIL_CHECK(segment_name(seq) << " offset " << offset << ": " << error.text());
    }
  }
}

TEST_CASE("a flipped byte in a MANIFEST slot leaves the other slot") {
  FaultReactor rig = make_quiet_reactor();
  const TempDir dir;
  const JournalBuilder log = closed_journal();
  Flipper flipper(rig, dir, log);
  for (std::uint64_t offset = 0; offset < 4096; offset += offset < 160 ? 3 : 97) {
    // The older slot knows of no end, so the journal is one that crashed: nothing of it is lost.
    CHECK(flipper.open_flipped("MANIFEST", offset).text() == "no error");
    CHECK(flipper.open_flipped("MANIFEST", wal::kManifestSlotOffsets[1] + offset).text() ==
          "no error");
  }
  // Both.
  poke_byte(dir.file("MANIFEST"), 1, 0);
  const Error error = flipper.open_flipped("MANIFEST", wal::kManifestSlotOffsets[1] + 50);
  CHECK(error == Errc::manifest_lost);
  CHECK_FALSE(flipper.changed());
  INFO(error.text());
  CHECK(error.text().find("wrong magic number; checksum mismatch") != std::string::npos);
}

TEST_CASE("an unknown version or feature is refused before anything is touched") {
  FaultReactor rig = make_quiet_reactor();
  const TempDir dir;
  const JournalBuilder log = closed_journal();
  log.save(dir);
  const auto reseal = [&](const std::string& name, std::uint64_t at, std::uint64_t offset) {
    std::string block = dir.read(name).substr(at, 4096);
    block[offset] = '\x02';
    const std::uint32_t crc = wal::crc32c(0, block.data() + 12, 4096 - 12);
    for (std::size_t i = 0; i < 4; ++i) block[8 + i] = static_cast<char>(crc >> (8 * i));
    poke(dir.file(name), at, as_bytes(block));
  };
  std::string name;
  SECTION("version of the older MANIFEST slot") {
    name = "MANIFEST";
    reseal(name, wal::kManifestSlotOffsets[1], wal::manifest_at::kVersionMajor);
  }
  SECTION("feature of the newer MANIFEST slot") {
    name = "MANIFEST";
    reseal(name, 0, wal::manifest_at::kIncompat);
  }
  SECTION("version of a segment") {
    name = segment_name(1);
    reseal(name, 0, wal::segment_at::kVersionMajor);
  }
  SECTION("feature of a segment") {
    name = segment_name(0);
    reseal(name, 0, wal::segment_at::kIncompat + 3);
  }
  dir.write("x.tmp", "");
  const std::uint64_t before = changes(rig.faults);
  const Error error = open_dir(*rig.reactor, dir.path(), narrow_options()).error;
  CHECK(error == Errc::bad_format);
  INFO(error.text());
  CHECK(error.text().find(name) != std::string::npos);
  CHECK(error.text().find("unknown") != std::string::npos);
  CHECK(changes(rig.faults) == before);
}

namespace {

/// Opens with the n-th operation of each kind failing, for every n until a run sees no fault; after
/// each failure opens again, undisturbed. `prepare` sets the directory up, `check` judges the
/// second open.
template <class Prepare, class Check>
std::uint32_t sweep(OpCode code, int error, Prepare prepare, Check check) {
  for (std::uint32_t nth = 1;; ++nth) {
    FaultReactor rig = make_quiet_reactor();
    const TempDir dir;
    prepare(dir);
    const std::uint64_t seen = rig.faults.count(code);
    rig.faults.fail(code, nth, error);
    Opened first = open_dir(*rig.reactor, dir.path());
    const bool faulted = rig.faults.count(code) - seen >= nth;
    rig.faults.clear_rules();
    INFO(to_string(code) << " number " << nth << " fails: " << first.error.text());
    first = Opened();
    Opened second = open_dir(*rig.reactor, dir.path());
    CHECK(second.error.text() == "no error");
    if (!second.error) check(*rig.reactor, second);
    if (!faulted) return nth - 1;
  }
}

constexpr OpCode kFaulty[] = {OpCode::open,      OpCode::write,     OpCode::read,
                              OpCode::sync_data, OpCode::rename,    OpCode::sync_dir,
                              OpCode::remove,    OpCode::info,      OpCode::allocate,
                              OpCode::list_dir,  OpCode::drop_cache};

}  // namespace

TEST_CASE("recovery that fails at any step is recovered from") {
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.rotate();
  log.append({"two", "three"});
  const std::uint64_t durable = log.next_lsn;
  const std::vector<std::string> expected = log.records;
  const JournalBuilder::Commit hole = log.append({"lost"}, durable);
  log.append({"zombie"}, durable);
  std::span<std::byte> bytes = log.at(hole);
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  for (const OpCode code : kFaulty) {
    for (const int error : {EIO, ENOSPC}) {
      const std::uint32_t faults = sweep(
          code, error, [&](const TempDir& dir) { log.save(dir); },
          [&](Reactor& reactor, const Opened& opened) {
            CHECK(opened.journal.recovery.next_record_no == 3);
            const ReadLog read = read_log(reactor, opened);
            CHECK(read.error.text() == "no error");
            CHECK(read.payloads() == expected);
          });
      if (code == OpCode::write || code == OpCode::sync_data) CHECK(faults > 3);
    }
  }
}

TEST_CASE("a creation that fails at any step starts over, or is finished") {
  for (const OpCode code : kFaulty) {
    sweep(
        code, EIO, [](const TempDir&) {},
        [](Reactor&, const Opened& opened) {
          CHECK(opened.journal.recovery.records == 0);
          CHECK(opened.journal.segment != nullptr);
        });
  }
}

TEST_CASE("opening a closed journal that fails at any step loses nothing") {
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.rotate();
  log.append({"two"});
  log.close();
  for (const OpCode code : kFaulty) {
    sweep(
        code, EIO, [&](const TempDir& dir) { log.save(dir); },
        [&](Reactor& reactor, const Opened& opened) {
          CHECK(read_log(reactor, opened).payloads() == log.records);
        });
  }
}
