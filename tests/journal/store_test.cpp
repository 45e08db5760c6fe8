// Creating a journal's files, reopening them, and preparing segments.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal/journal_builder.hpp"
#include "journal/open_support.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

using namespace diorite;
using namespace diorite::test;
using detail::JournalStore;
using detail::OpenedJournal;

namespace {

using Kind = FaultDriver::Event::Kind;

/// The place in the log of the first completed operation of this kind on such a path, from `from`
/// on.
std::size_t find_event(const FaultDriver& faults, OpCode code, std::string_view suffix,
                       std::size_t from = 0) {
  const auto& log = faults.log();
  for (std::size_t i = from; i < log.size(); ++i) {
    const bool matches = log[i].kind == Kind::completed && log[i].code == code &&
                         log[i].result >= 0 && std::string_view(log[i].path).ends_with(suffix);
    if (matches) return i;
  }
  return log.size();
}

}  // namespace

TEST_CASE("an empty directory becomes a journal") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  Opened opened = open_dir(*reactor, dir.file("wal"));
  REQUIRE(opened.error.text() == "no error");
  const OpenedJournal& journal = opened.journal;
  CHECK(journal.recovery.verdict == JournalVerdict::created);
  CHECK(journal.recovery.end == Lsn{0});
  CHECK(journal.recovery.epoch == 1);
  CHECK(journal.store->head_seq == 0);
  REQUIRE(journal.segment != nullptr);
  CHECK(journal.segment->header.segment_seq == 0);
  CHECK(journal.next_commit_lsn == journal.segment->data_begin() + journal.store->pad_unit);
  REQUIRE(journal.spares.size() == 1);
  CHECK(journal.spares[0]->header.base_lsn == kTestSegmentBytes);
  CHECK(journal.store->manifest().state == wal::ManifestState::dirty);
  CHECK(journal.store->manifest().durable_floor == journal.next_commit_lsn);
  CHECK(names_in(*reactor, dir.file("wal")) ==
        std::vector<std::string>{segment_name(0), segment_name(1), "LOCK", "MANIFEST"});
}

TEST_CASE("a journal that nobody closed opens again, and does not grow") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  for (std::uint64_t round = 0; round < 6; ++round) {
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.epoch == round + 1);
    CHECK(opened.journal.recovery.records == 0);
    CHECK(opened.journal.segment->header.segment_seq == round);
    CHECK(names_in(*reactor, dir.path()).size() == 4);
  }
}

TEST_CASE("a segment is durable before it has a name, and its name before it is used") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  JournalOptions options = small_options();
  options.sync = JournalSync::flush;
  Opened opened = open_dir(*rig.reactor, dir.path(), options);
  REQUIRE(opened.error.text() == "no error");
  const FaultDriver& faults = rig.faults;
  const std::size_t none = faults.log().size();

  for (const std::uint64_t seq : {0u, 1u}) {
    const std::string name = segment_name(seq);
    const std::size_t written = find_event(faults, OpCode::write, name + ".tmp");
    const std::size_t synced = find_event(faults, OpCode::sync_data, name + ".tmp", written);
    const std::size_t named = find_event(faults, OpCode::rename, name + ".tmp", synced);
    const std::size_t found = find_event(faults, OpCode::sync_dir, dir.path(), named);
    REQUIRE(found < none);
    CHECK(found < find_event(faults, OpCode::write, "", named));
    // No write between the sync and the name, nor to the segment before its name is durable.
    CHECK(find_event(faults, OpCode::write, name + ".tmp", synced) == none);
    CHECK(find_event(faults, OpCode::write, name) > found);
  }
  const std::size_t last_dir_sync = find_event(faults, OpCode::sync_dir, dir.path(),
                                               find_event(faults, OpCode::rename, "MANIFEST.tmp"));
  const std::size_t epoch = find_event(faults, OpCode::write, segment_name(0));
  const std::size_t epoch_synced = find_event(faults, OpCode::sync_data, segment_name(0), epoch);
  const std::size_t manifest = find_event(faults, OpCode::write, "MANIFEST");
  const std::size_t manifest_synced = find_event(faults, OpCode::sync_data, "MANIFEST", manifest);
  CHECK(last_dir_sync < epoch);
  CHECK(epoch < epoch_synced);
  CHECK(epoch_synced < manifest);
  CHECK(manifest < manifest_synced);
  CHECK(manifest_synced < none);
}

TEST_CASE("what a crash has left is durable before it is believed") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.save(dir);
  Opened opened = open_dir(*rig.reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  const FaultDriver& faults = rig.faults;
  const std::size_t none = faults.log().size();
  for (const std::string& name : {std::string("MANIFEST"), segment_name(0), segment_name(1)}) {
    const std::size_t synced = find_event(faults, OpCode::sync_data, name);
    CHECK(synced < find_event(faults, OpCode::read, name));
    CHECK(synced < none);
    CHECK(find_event(faults, OpCode::sync_dir, dir.path()) < synced);
  }
  CHECK(find_event(faults, OpCode::sync_dir, parent_path(dir.path())) < none);
}

TEST_CASE("MANIFEST says DIRTY before a closed journal is written to") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  JournalBuilder log(512);
  log.start();
  log.append({"one"});
  log.close();
  log.save(dir);
  JournalOptions options = small_options();
  options.direct = Direct::off;
  SECTION("in the same segment") {
    options.pad_512 = true;
    Opened opened = open_dir(*rig.reactor, dir.path(), options);
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.store->pad_unit == 512);
    CHECK(opened.journal.segment->header.segment_seq == 0);
    CHECK(opened.journal.spares.size() == 1);
  }
  SECTION("in a fresh one, since the blocks have become larger") {
    Opened opened = open_dir(*rig.reactor, dir.path(), options);
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.verdict == JournalVerdict::clean);
    CHECK(opened.journal.store->pad_unit == 4096);
    // The spare was made for the smaller ones.
    CHECK(opened.journal.segment->header.segment_seq == 2);
    CHECK_FALSE(dir.exists(segment_name(1)));
    CHECK(opened.journal.segment->header.pad_unit == 4096);
    for (const auto& spare : opened.journal.spares) CHECK(spare->header.pad_unit == 4096);
    CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
    const std::size_t dirty = find_event(rig.faults, OpCode::sync_data, "MANIFEST",
                                         find_event(rig.faults, OpCode::write, "MANIFEST"));
    CHECK(dirty < find_event(rig.faults, OpCode::write, segment_name(2)));
    CHECK(find_event(rig.faults, OpCode::write, segment_name(2)) < rig.faults.log().size());
    opened = Opened();
    opened = open_dir(*rig.reactor, dir.path(), options);
    REQUIRE(opened.error.text() == "no error");
    CHECK(read_log(*rig.reactor, opened).payloads() == log.records);
  }
}

TEST_CASE("segments are prepared on top of each other") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  Opened opened = open_dir(*rig.reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  JournalStore& store = *opened.journal.store;
  CHECK(store.tail_seq() == 1);
  Result<detail::SegmentRef> next = run(*rig.reactor, store.prepare_next());
  REQUIRE(next);
  CHECK((*next)->header.segment_seq == 2);
  CHECK((*next)->header.base_lsn == 2 * kTestSegmentBytes);
  CHECK((*next)->header.epoch == store.epoch);
  const std::string bytes = dir.read(segment_name(2));
  CHECK(bytes.size() == kTestSegmentBytes);
  CHECK(bytes.find_first_not_of('\0', 4096) == std::string::npos);
  const std::vector<std::string> names = names_in(*rig.reactor, dir.path());

  SECTION("a full disk leaves nothing behind, and passes") {
    for (const OpCode code : {OpCode::allocate, OpCode::write}) {
      rig.faults.fail(code, code == OpCode::write ? 3 : 1, ENOSPC);
      next = run(*rig.reactor, store.prepare_next());
      REQUIRE_FALSE(next);
      CHECK(is_no_space(next.error()));
      CHECK(names_in(*rig.reactor, dir.path()) == names);
      rig.faults.clear_rules();
    }
    next = run(*rig.reactor, store.prepare_next());
    REQUIRE(next);
    CHECK((*next)->header.segment_seq == 3);
  }
  SECTION("a file system that cannot allocate") {
    rig.faults.fail(OpCode::allocate, 1, EOPNOTSUPP);
    CHECK(run(*rig.reactor, store.prepare_next()));
  }
  SECTION("a failed sync of the directory is never tried again") {
    rig.faults.fail(OpCode::sync_dir, 1, EIO);
    next = run(*rig.reactor, store.prepare_next());
    REQUIRE_FALSE(next);
    CHECK(next.error() == std::errc::io_error);
    CHECK(names_in(*rig.reactor, dir.path()) == names);
    next = run(*rig.reactor, store.prepare_next());
    REQUIRE_FALSE(next);
    CHECK(next.error() == Errc::poisoned);
  }
}

TEST_CASE("a MANIFEST slot is written once, and a failure is final") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  Opened opened = open_dir(*rig.reactor, dir.path());
  REQUIRE(opened.error.text() == "no error");
  JournalStore& store = *opened.journal.store;
  const std::uint64_t generation = store.manifest().generation;
  rig.faults.clear_log();
  for (int i = 0; i < 2; ++i) CHECK(run(*rig.reactor, store.write_manifest(store.manifest())));
  CHECK(store.manifest().generation == generation + 2);
  std::vector<std::uint64_t> offsets;
  for (const FaultDriver::Event& event : rig.faults.log()) {
    if (event.kind == Kind::completed && event.code == OpCode::write)
      offsets.push_back(event.offset);
  }
  REQUIRE(offsets.size() == 2);
  CHECK(offsets[0] + offsets[1] == wal::kManifestSlotOffsets[1]);
  CHECK(offsets[0] != offsets[1]);

  const OpCode code = GENERATE(OpCode::write, OpCode::sync_data);
  // No device error, after which the file itself would refuse; the slot is torn all the same.
  rig.faults.fail(code, 1, code == OpCode::write ? ENOSPC : EIO);
  Result<void> written = run(*rig.reactor, store.write_manifest(store.manifest()));
  CHECK_FALSE(written);
  CHECK(store.manifest().generation == generation + 2);
  written = run(*rig.reactor, store.write_manifest(store.manifest()));
  CHECK(written.error() == Errc::poisoned);
}

TEST_CASE("a torn write of MANIFEST leaves the slot before it") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.start();
  log.append({"one"});
  log.save(dir);
  // The newer slot is the first. All of its sectors but one are of a write that never finished.
  for (std::uint64_t sector = 0; sector < 8; ++sector) {
    const Bytes garbage(512, std::byte{0xC3});
    poke(dir.file("MANIFEST"), sector * 512, garbage);
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.records == 1);
    opened = Opened();
    for (const std::string& name : names_in(*reactor, dir.path())) {
      REQUIRE(run(*reactor, remove(*reactor, dir.file(name))));
    }
    log.save(dir);
  }
}

TEST_CASE("without MANIFEST there is a journal only if there are commits") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  JournalBuilder log;
  log.has_manifest = false;
  SECTION("commits") {
    log.start();
    log.append({"one"});
    log.save(dir);
    const auto before = snapshot(*reactor, dir);
    const Opened opened = open_dir(*reactor, dir.path());
    CHECK(opened.error == Errc::manifest_lost);
    CHECK(opened.error.text().find(segment_name(0)) == std::string::npos);
    CHECK(opened.error.text().find("segment 0000000000000000 holds commits") != std::string::npos);
    CHECK(snapshot(*reactor, dir) == before);
  }
  SECTION("commits behind damage") {
    log.start();
    log.append({"one"});
    log.at(log.commits[0])[0] ^= std::byte{1};
    log.save(dir);
    CHECK(open_dir(*reactor, dir.path()).error == Errc::manifest_lost);
  }
  SECTION("a damaged segment") {
    log.add_segment().bytes[40] = std::byte{9};
    log.save(dir);
    CHECK(open_dir(*reactor, dir.path()).error == Errc::manifest_lost);
  }
  SECTION("prepared segments: a creation that was interrupted") {
    log.add_segment();
    log.add_segment();
    log.add_segment();
    log.save(dir);
    dir.write("MANIFEST.tmp", "half");
    dir.write("0000000000000003.seg.tmp", "half");
    dir.write("README", "somebody else's");
    dir.write("0000000000000003.segment", "somebody else's");
    Opened opened = open_dir(*reactor, dir.path());
    REQUIRE(opened.error.text() == "no error");
    CHECK(opened.journal.recovery.verdict == JournalVerdict::created);
    CHECK(opened.journal.store->uuid != test_uuid());
    CHECK(names_in(*reactor, dir.path()) ==
          std::vector<std::string>{segment_name(0), segment_name(1), "0000000000000003.segment",
                                   "LOCK", "MANIFEST", "README"});
  }
}

TEST_CASE("options beyond their limits are refused by name") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  const auto refused = [&](auto change, std::string_view field) {
    JournalOptions options = small_options();
    change(options);
    const Opened opened = open_dir(*reactor, dir.file("never"), options);
    CHECK(opened.error == Errc::out_of_range);
    INFO(opened.error.text());
    CHECK(opened.error.text().find(field) != std::string::npos);
    CHECK_FALSE(dir.exists("never"));
  };
  refused([](JournalOptions& o) { o.segment_bytes = 0; }, "segment_bytes");
  refused([](JournalOptions& o) { o.segment_bytes = 4_GiB + 64_KiB; }, "segment_bytes");
  refused([](JournalOptions& o) { o.segment_bytes = 1_MiB + 4096; }, "segment_bytes");
  refused([](JournalOptions& o) { o.in_flight_max = 0; }, "in_flight_max");
  refused([](JournalOptions& o) { o.in_flight_max = 65; }, "in_flight_max");
  refused([](JournalOptions& o) { o.commit_bytes_max = 4096; }, "commit_bytes_max");
  refused([](JournalOptions& o) { o.commit_bytes_max = 8 << 20; }, "commit_bytes_max");
  refused([](JournalOptions& o) { o.fill_bytes = o.commit_bytes_max + 1; }, "fill_bytes");
  refused([](JournalOptions& o) { o.buffered_bytes_max = 0; }, "buffered_bytes_max");
  refused([](JournalOptions& o) { o.spares = 0; }, "spares");
  refused([](JournalOptions& o) { o.spares = 17; }, "spares");
}

TEST_CASE("a journal that another process has open is locked") {
  const TempDir dir;
  std::array<int, 2> opened_pipe{};
  std::array<int, 2> end_pipe{};
  REQUIRE(::pipe(opened_pipe.data()) == 0);
  REQUIRE(::pipe(end_pipe.data()) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto reactor = make_test_reactor();
    const Opened opened = open_dir(*reactor, dir.path());
    const char said = opened.error ? 'n' : 'y';
    char answer = 0;
    if (::write(opened_pipe[1], &said, 1) != 1 || ::read(end_pipe[0], &answer, 1) < 0) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  char said = 0;
  REQUIRE(::read(opened_pipe[0], &said, 1) == 1);
  REQUIRE(said == 'y');
  auto reactor = make_test_reactor();
  const auto before = snapshot(*reactor, dir);
  JournalOptions options = small_options();
  options.lock_wait_ms = 30;
  const Opened refused = open_dir(*reactor, dir.path(), options);
  CHECK(refused.error == Errc::locked);
  CHECK(refused.error.a() >= 30);
  CHECK(refused.error.text().find("LOCK") != std::string::npos);
  CHECK(snapshot(*reactor, dir) == before);
  REQUIRE(::kill(child, SIGKILL) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  const Opened opened = open_dir(*reactor, dir.path());
  CHECK(opened.error.text() == "no error");
  for (const int descriptor : {opened_pipe[0], opened_pipe[1], end_pipe[0], end_pipe[1]}) {
    ::close(descriptor);
  }
}

TEST_CASE("a closed store lets go of its lock") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  Opened first = open_dir(*reactor, dir.path());
  REQUIRE(first.error.text() == "no error");
  JournalOptions options = small_options();
  options.lock_wait_ms = 0;
  CHECK(open_dir(*reactor, dir.path(), options).error == Errc::locked);
  first.journal.segment.reset();
  first.journal.spares.clear();
  REQUIRE(run(*reactor, first.journal.store->close()));
  options.lock_wait_ms = 1000;  // the segments' own locks go with their last operations
  CHECK(open_dir(*reactor, dir.path(), options).error.text() == "no error");
}

TEST_CASE("a poisoned buffered journal is not believed in the same boot") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  const auto& boot = reactor->driver().boot_id;
  if (std::all_of(boot.begin(), boot.end(), [](std::uint8_t byte) { return byte == 0; })) return;
  JournalBuilder log;
  log.start();
  log.append({"one"});
  std::transform(boot.begin(), boot.end(), log.manifest.poison_boot.begin(),
                 [](std::uint8_t byte) { return std::byte{byte}; });
  log.save(dir);
  const auto before = snapshot(*reactor, dir);
  JournalOptions options = small_options();
  CHECK(open_dir(*reactor, dir.path(), options).error == Errc::poisoned);
  CHECK(snapshot(*reactor, dir) == before);
  options.force_after_poison = true;
  Opened opened = open_dir(*reactor, dir.path(), options);
  REQUIRE(opened.error.text() == "no error");
  CHECK(opened.journal.store->manifest().poison_boot == wal::Uuid{});

  log.manifest.poison_boot[3] ^= std::byte{1};
  opened = Opened();
  for (const std::string& name : names_in(*reactor, dir.path())) {
    REQUIRE(run(*reactor, remove(*reactor, dir.file(name))));
  }
  log.save(dir);
  CHECK(open_dir(*reactor, dir.path()).error.text() == "no error");
}
