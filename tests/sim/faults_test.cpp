// Injected errors: which, how many, what they leave behind, and the end of them.

#include "sim/faults.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "sim/machine_rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;
using sim::Area;
using sim::detail::errors_of;

Profile failing(OpCode code, Chance chance = always()) {
  Profile profile = Profile::calm();
  profile.error(code) = chance;
  profile.half_done = never();
  profile.failed_sync_drops = never();
  profile.names_lost = never();
  profile.direct_reads_lie = never();
  profile.sizes_survive = never();
  profile.evicted = never();
  profile.budget = {1000, 1000, 1000, 1000, 1000};
  return profile;
}

/// One operation of the kind that would succeed.
std::int32_t attempt(Driver& driver, OpCode code, DriverFile file, int round) {
  static std::array<char, 4096> buffer;
  buffer.fill('e');
  const std::string name = "n" + std::to_string(round);
  switch (code) {
    case OpCode::read:
    case OpCode::write: {
      Op op = transfer(code, file, 0, buffer.data(), buffer.size());
      return run(driver, op);
    }
    case OpCode::allocate:
    case OpCode::truncate:
    case OpCode::info: {
      InfoOp op;
      op.code = code;
      op.file = file;
      op.length = 4096;
      return run(driver, op);
    }
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::try_lock:
    case OpCode::drop_cache:
    case OpCode::nop:
      return run_file(driver, code, file);
    case OpCode::close:
      return run_file(driver, code, file);
    case OpCode::open: {
      PathOp op = path_op(code, name, kOpenWrite | kOpenCreate);
      return run(driver, op);
    }
    case OpCode::list_dir: {
      ListOp op;
      op.code = code;
      op.path = "/";
      const std::int32_t result = run(driver, op);
      CHECK((op.entries != nullptr) == (result == 0));
      return result;
    }
    case OpCode::rename:
      return run_path(driver, code, "data", name);
    case OpCode::call: {
      bool called = false;
      CallOp op;
      op.code = code;
      op.function = [](void* context) noexcept { *static_cast<bool*>(context) = true; };
      op.context = &called;
      const std::int32_t result = run(driver, op);
      CHECK(called);
      return result;
    }
    case OpCode::sync_dir:
      return run_path(driver, code, "/");
    default:
      return run_path(driver, code, name);
  }
}

}  // namespace

TEST_CASE("every operation fails with each of its errors, and with no other", "[sim][faults]") {
  for (std::size_t i = 0; i < kOpCodeCount; ++i) {
    const auto code = static_cast<OpCode>(i);
    CAPTURE(to_string(code));
    for (const bool read_only : {false, true}) {
      Profile profile = failing(code);
      if (read_only) profile.read_only_after = Chance{1};
      std::set<int> seen;
      std::uint64_t injected = 0;
      for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        // The file is there before the faults begin to matter.
        Rig rig(seed, profile);
        DriverFile file;
        if (code != OpCode::open) file = open_file(*rig.driver, "data");
        const std::int32_t result = attempt(*rig.driver, code, file, 0);
        if (result < 0) seen.insert(-result);
        injected += rig.machine.counters().errors;
      }
      const auto expected = errors_of(code, kOpenCreate, read_only);
      CHECK(seen == std::set<int>(expected.begin(), expected.end()));
      CHECK(injected == (expected.empty() ? 0 : 40));
    }
  }
}

TEST_CASE("errors end when their area's budget is spent", "[sim][faults]") {
  Profile profile = failing(OpCode::write);
  profile.error(OpCode::read) = always();
  profile.error(OpCode::truncate) = always();
  profile.budget = {};
  profile.budget[static_cast<std::size_t>(Area::writes)] = 3;
  profile.budget[static_cast<std::size_t>(Area::reads)] = 1;
  Rig rig(1, profile);
  const DriverFile file = open_file(*rig.driver, "data");
  CHECK(attempt(*rig.driver, OpCode::write, file, 0) < 0);
  CHECK(attempt(*rig.driver, OpCode::truncate, file, 0) < 0);
  CHECK(attempt(*rig.driver, OpCode::read, file, 0) < 0);
  CHECK(attempt(*rig.driver, OpCode::write, file, 0) < 0);
  for (int i = 0; i < 50; ++i) {
    CHECK(attempt(*rig.driver, OpCode::write, file, 0) == 4096);
    CHECK(attempt(*rig.driver, OpCode::truncate, file, 0) == 0);
    CHECK(attempt(*rig.driver, OpCode::read, file, 0) == 4096);
  }
  CHECK(rig.machine.counters().errors == 4);
}

TEST_CASE("healing ends everything at once", "[sim][faults]") {
  Profile profile = failing(OpCode::write);
  profile.interrupted = always();
  profile.short_transfer = always();
  profile.error(OpCode::sync_data) = always();
  profile.read_only_after = always();
  Rig rig(1, profile);
  const DriverFile file = open_file(*rig.driver, "data");
  const std::int32_t interrupted = attempt(*rig.driver, OpCode::write, file, 0);
  CHECK((interrupted == -EINTR || interrupted == -EAGAIN));
  CHECK(attempt(*rig.driver, OpCode::sync_data, file, 0) < 0);
  rig.machine.heal();
  for (int i = 0; i < 20; ++i) {
    CHECK(attempt(*rig.driver, OpCode::write, file, 0) == 4096);
    CHECK(attempt(*rig.driver, OpCode::sync_data, file, 0) == 0);
  }
}

TEST_CASE("an interrupted transfer has done nothing", "[sim][faults]") {
  Profile profile = Profile::calm();
  profile.interrupted = per_cent(50);
  std::set<std::int32_t> results;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rig rig(seed, profile);
    const DriverFile file = open_file(*rig.driver, "data");
    const std::int32_t result = attempt(*rig.driver, OpCode::write, file, 0);
    results.insert(result);
    CHECK(rig.machine.disk().bytes_of("data") == (result < 0 ? 0 : 4096));
  }
  CHECK(results == std::set<std::int32_t>{-EINTR, -EAGAIN, 4096});
}

TEST_CASE("a failed write leaves nothing, or some of its sectors", "[sim][faults]") {
  for (const bool half_done : {false, true}) {
    Profile profile = failing(OpCode::write);
    if (half_done) profile.half_done = always();
    std::set<std::size_t> landed;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      Rig rig(seed, profile);
      const DriverFile file = open_file(*rig.driver, "data");
      const std::int32_t result = attempt(*rig.driver, OpCode::write, file, 0);
      REQUIRE(result < 0);
      const std::string text = text_of(rig.machine, "data");
      const auto count = static_cast<std::size_t>(std::count(text.begin(), text.end(), 'e'));
      CHECK(count % 512 == 0);
      // A full disk refuses before anything is written.
      if (result == -ENOSPC) CHECK(count == 0);
      landed.insert(count);
    }
    if (half_done) {
      CHECK(landed.size() > 4);
    } else {
      CHECK(landed == std::set<std::size_t>{0});
    }
  }
}

TEST_CASE("a failed change of names took place, or did not; a failed open never", "[sim][faults]") {
  Profile profile = failing(OpCode::rename);
  profile.error(OpCode::open) = per_cent(50);
  profile.half_done = per_cent(50);
  std::set<bool> renamed;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rig rig(seed, profile);
    PathOp open = path_op(OpCode::open, "data", kOpenWrite | kOpenCreate | kOpenExclusive);
    if (run(*rig.driver, open) < 0) {
      CHECK_FALSE(rig.machine.disk().exists("data"));
      continue;
    }
    const std::int32_t result = attempt(*rig.driver, OpCode::rename, open.file, 1);
    REQUIRE(result < 0);
    if (result == -EIO) renamed.insert(rig.machine.disk().exists("n1"));
    if (result == -ENOSPC) CHECK(rig.machine.disk().exists("data"));
    CHECK(rig.machine.disk().exists("data") != rig.machine.disk().exists("n1"));
  }
  CHECK(renamed.size() == 2);
}

TEST_CASE("a failed close has closed", "[sim][faults]") {
  Rig rig(1, failing(OpCode::close));
  const DriverFile file = open_file(*rig.driver, "LOCK");
  REQUIRE(run_file(*rig.driver, OpCode::try_lock, file) == 0);
  CHECK(run_file(*rig.driver, OpCode::close, file) == -EIO);
  CHECK(run_file(*rig.driver, OpCode::sync_data, file) == -EBADF);
  CHECK(run_file(*rig.driver, OpCode::try_lock, open_file(*rig.driver, "LOCK")) == 0);
}

TEST_CASE("a failed sync may drop what it covered, and the next one succeeds", "[sim][faults]") {
  for (const bool lies : {false, true}) {
    Profile profile = failing(OpCode::sync_data);
    profile.budget = {1, 1, 1, 1, 1};
    profile.failed_sync_drops = always();
    profile.reads_lie = lies ? always() : never();
    Rig rig(1, profile);
    const DriverFile file = open_file(*rig.driver, "data");
    REQUIRE(write_at(*rig.driver, file, 0, std::string(512, 'o')) == 512);
    REQUIRE(run_file(*rig.driver, OpCode::sync_all, file) == 0);
    REQUIRE(run_path(*rig.driver, OpCode::sync_dir, "/") == 0);
    REQUIRE(write_at(*rig.driver, file, 0, std::string(512, 'n')) == 512);
    CHECK(run_file(*rig.driver, OpCode::sync_data, file) < 0);
    CHECK(text_of(rig.machine, "data") == std::string(512, lies ? 'n' : 'o'));
    CHECK(run_file(*rig.driver, OpCode::sync_data, file) == 0);
    rig.machine.power_cut();
    CHECK(text_of(rig.machine, "data") == std::string(512, 'o'));
  }
}

TEST_CASE("once the cached pages are dropped, reads show what is on the device", "[sim][faults]") {
  Profile profile = Profile::calm();
  profile.error(OpCode::sync_data) = always();
  profile.budget.fill(1);
  profile.failed_sync_drops = always();
  profile.reads_lie = always();
  profile.direct_reads_lie = never();
  profile.sizes_survive = never();
  profile.evicted = never();
  Rig rig(1, profile);
  const DriverFile file = open_file(*rig.driver, "data");
  REQUIRE(write_at(*rig.driver, file, 0, std::string(1024, 'o')) == 1024);
  REQUIRE(run_file(*rig.driver, OpCode::sync_all, file) == 0);
  REQUIRE(run_path(*rig.driver, OpCode::sync_dir, "/") == 0);
  REQUIRE(run_path(*rig.driver, OpCode::sync_dir, "/") == 0);
  REQUIRE(write_at(*rig.driver, file, 0, std::string(512, 'n')) == 512);
  // What a sync has not been asked for yet stays, and so does the size.
  CHECK(run_file(*rig.driver, OpCode::sync_data, file) < 0);
  REQUIRE(write_at(*rig.driver, file, 512, std::string(512, 'm')) == 512);
  CHECK(text_of(rig.machine, "data") == std::string(512, 'n') + std::string(512, 'm'));
  CHECK(run_file(*rig.driver, OpCode::drop_cache, file) == 0);
  CHECK(text_of(rig.machine, "data") == std::string(512, 'o') + std::string(512, 'm'));
  CHECK(run_file(*rig.driver, OpCode::sync_data, file) == 0);
  rig.machine.power_cut();
  CHECK(text_of(rig.machine, "data") == std::string(512, 'o') + std::string(512, 'm'));
}

TEST_CASE("a failed write or sync may leave the file system read-only", "[sim][faults]") {
  Profile profile = failing(OpCode::sync_data);
  profile.read_only_after = always();
  profile.budget = {1, 1, 1, 1, 1};
  int aborted = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Rig rig(seed, profile);
    make_durable(*rig.driver, "data", "content");
    const DriverFile file = open_file(*rig.driver, "data", kOpenWrite);
    if (run_file(*rig.driver, OpCode::sync_data, file) != -EIO) continue;
    ++aborted;
    CHECK(attempt(*rig.driver, OpCode::write, file, 0) == -EROFS);
    CHECK(attempt(*rig.driver, OpCode::make_dir, file, 1) == -EROFS);
    CHECK(attempt(*rig.driver, OpCode::rename, file, 2) == -EROFS);
    char byte = 0;
    Op read = transfer(OpCode::read, file, 0, &byte, 1);
    CHECK(run(*rig.driver, read) == 1);
    if (seed % 2 == 0) {
      rig.machine.heal();
      CHECK(attempt(*rig.driver, OpCode::write, file, 0) == 4096);
    } else {
      rig.machine.power_cut();
      rig.restart();
      CHECK(run_path(*rig.driver, OpCode::make_dir, "d") == 0);
    }
  }
  CHECK(aborted > 0);
}

TEST_CASE("a lying sync and a lying durable write promise what they do not keep", "[sim][faults]") {
  for (const bool by_sync : {false, true}) {
    bool lost = false;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
      Profile profile = Profile::standard();
      Choices choices = Choices::random(seed);
      Machine honest(choices, profile);
      {
        const std::unique_ptr<Driver> driver = honest.make_driver();
        make_durable(*driver, "data", std::string(512, 'o'));
      }
      profile.lying_sync = always();
      Machine liar(choices, profile);
      liar.disk() = honest.disk();
      const std::unique_ptr<Driver> driver = liar.make_driver();
      const DriverFile file = open_file(*driver, "data", kOpenWrite);
      REQUIRE(write_at(*driver, file, 0, std::string(512, 'n'), by_sync ? 0 : kOpDsync) == 512);
      if (by_sync) REQUIRE(run_file(*driver, OpCode::sync_data, file) == 0);
      liar.power_cut();
      lost |= text_of(liar, "data")[0] == 'o';
    }
    CHECK(lost);
  }
}

TEST_CASE("hostile machines show every kind of trouble", "[sim][faults]") {
  Profile profile = Profile::hostile();
  std::map<std::int32_t, int> results;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rig rig(seed, profile);
    PathOp open = path_op(OpCode::open, "data", kOpenWrite | kOpenCreate);
    if (run(*rig.driver, open) < 0) continue;
    for (int round = 0; round < 40; ++round) {
      const std::array<OpCode, 6> codes = {OpCode::write, OpCode::read,     OpCode::sync_data,
                                           OpCode::open,  OpCode::make_dir, OpCode::list_dir};
      ++results[attempt(*rig.driver, codes[static_cast<std::size_t>(round) % 6], open.file, round)];
    }
  }
  for (const int error : {EIO, ENODATA, ENOSPC, EROFS, EINTR, EAGAIN, EMFILE}) {
    CAPTURE(error);
    CHECK(results[-error] > 0);
  }
  CHECK(results[4096] > 0);
  CHECK(std::any_of(results.begin(), results.end(),
                    [](const auto& pair) { return pair.first > 0 && pair.first < 4096; }));
}

namespace {

constexpr std::uint32_t kForDirect = kOpenWrite | kOpenDirect;

/// The first sync of a file fails and drops what it covered; the rest of the machine is calm.
Profile dropping() {
  Profile profile = failing(OpCode::sync_data);
  profile.budget.fill(1);
  profile.failed_sync_drops = always();
  profile.reads_lie = always();
  return profile;
}

char first_byte(Driver& driver, DriverFile file) {
  alignas(4096) std::array<char, 512> buffer{};
  Op op = transfer(OpCode::read, file, 0, buffer.data(), buffer.size());
  return run(driver, op) == 512 ? buffer[0] : '!';
}

/// A durable sector of 'o', a new one of 'n' over it, and a sync that fails.
DriverFile fail_to_sync(Driver& driver) {
  make_durable(driver, "data", std::string(512, 'o'));
  const DriverFile file = open_file(driver, "data", kOpenWrite);
  REQUIRE(write_at(driver, file, 0, std::string(512, 'n')) == 512);
  REQUIRE(run_file(driver, OpCode::sync_data, file) < 0);
  return file;
}

}  // namespace

TEST_CASE("what reads past the page cache show after a failed sync", "[sim][faults]") {
  enum class Way { cache_lies, log_lost, disk_lies };
  for (const Way way : {Way::cache_lies, Way::log_lost, Way::disk_lies}) {
    CAPTURE(static_cast<int>(way));
    Profile profile = dropping();
    if (way == Way::log_lost) profile.direct_reads_lie = always();
    if (way == Way::disk_lies) profile.disk_lies = always();
    Rig rig(1, profile);
    Driver& driver = *rig.driver;
    const DriverFile cached = fail_to_sync(driver);
    const DriverFile direct = open_file(driver, "data", kOpenDirect);
    CHECK(first_byte(driver, cached) == 'n');
    CHECK(first_byte(driver, direct) == (way == Way::cache_lies ? 'o' : 'n'));
    const std::int32_t written = write_at(driver, cached, 512, std::string(512, 'm'));
    if (way == Way::log_lost) {
      CHECK(written == -EROFS);
    } else {
      CHECK(written == 512);
      CHECK(run_file(driver, OpCode::sync_data, cached) == 0);
    }
    rig.machine.power_cut();
    CHECK(text_of(rig.machine, "data")[0] == 'o');
  }
}

TEST_CASE("a failed sync may lose the bytes and keep the size", "[sim][faults]") {
  for (const bool survives : {false, true}) {
    Profile profile = dropping();
    if (survives) profile.sizes_survive = always();
    Rig rig(1, profile);
    make_durable(*rig.driver, "data", std::string(512, 'o'));
    const DriverFile file = open_file(*rig.driver, "data", kOpenWrite);
    REQUIRE(write_at(*rig.driver, file, 512, std::string(512, 'n')) == 512);
    CHECK(run_file(*rig.driver, OpCode::sync_data, file) < 0);
    CHECK(text_of(rig.machine, "data") == std::string(512, 'o') + std::string(512, 'n'));
    CHECK(run_file(*rig.driver, OpCode::sync_data, file) == 0);
    rig.machine.power_cut();
    CHECK(text_of(rig.machine, "data") ==
          std::string(512, 'o') + (survives ? std::string(512, '\0') : std::string()));
  }
}

TEST_CASE("a truncation that a failed sync drops is seen until the power goes", "[sim][faults]") {
  Rig rig(1, dropping());
  make_durable(*rig.driver, "data", std::string(1024, 'o'));
  const DriverFile file = open_file(*rig.driver, "data", kForDirect);
  InfoOp cut;
  cut.code = OpCode::truncate;
  cut.file = file;
  cut.length = 512;
  REQUIRE(run(*rig.driver, cut) == 0);
  CHECK(run_file(*rig.driver, OpCode::sync_data, file) < 0);
  CHECK(text_of(rig.machine, "data").size() == 512);
  CHECK(run_file(*rig.driver, OpCode::sync_data, file) == 0);
  CHECK(text_of(rig.machine, "data").size() == 512);
  rig.machine.power_cut();
  CHECK(text_of(rig.machine, "data") == std::string(1024, 'o'));
}

TEST_CASE("pages that lie may be evicted at any read", "[sim][faults]") {
  for (const bool evicts : {false, true}) {
    Profile profile = dropping();
    if (evicts) profile.evicted = per_cent(50);
    Rig rig(1, profile);
    const DriverFile file = fail_to_sync(*rig.driver);
    std::string seen;
    for (int i = 0; i < 20; ++i) seen += first_byte(*rig.driver, file);
    const std::size_t evicted = seen.find('o');
    CHECK((evicted != std::string::npos) == evicts);
    if (evicts) CHECK(seen.find('n', evicted) == std::string::npos);
  }
}

TEST_CASE("a failed sync of a directory may lose its names, and the next one succeeds",
          "[sim][faults]") {
  enum class Way { kept, lost, disk_lies };
  for (const Way way : {Way::kept, Way::lost, Way::disk_lies}) {
    CAPTURE(static_cast<int>(way));
    Profile profile = failing(OpCode::sync_dir);
    profile.budget.fill(1);
    profile.reads_lie = always();
    if (way != Way::kept) profile.names_lost = always();
    if (way == Way::disk_lies) profile.disk_lies = always();
    int succeeded = 0;
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      Rig rig(seed, profile);
      Driver& driver = *rig.driver;
      close_file(driver, open_file(driver, "made"));
      CHECK(run_path(driver, OpCode::sync_dir, "/") == -EIO);
      const std::int32_t again = run_path(driver, OpCode::sync_dir, "/");
      succeeded += again == 0 ? 1 : 0;
      CHECK(rig.machine.disk().exists("made"));
      CHECK(run_path(driver, OpCode::make_dir, "d") == (way == Way::lost ? -EROFS : 0));
      rig.machine.power_cut();
      CHECK(rig.machine.disk().exists("made") == (way == Way::kept));
    }
    CHECK(succeeded > 0);
    CHECK((succeeded == 10) == (way != Way::lost));
  }
}

TEST_CASE("a file system that shuts down answers EIO until a power cut", "[sim][faults]") {
  for (const bool heals : {false, true}) {
    Profile profile = dropping();
    profile.direct_reads_lie = always();
    profile.shut_down_after = always();
    Rig rig(1, profile);
    Driver& driver = *rig.driver;
    const DriverFile file = fail_to_sync(driver);
    CHECK(first_byte(driver, file) == '!');
    for (const OpCode code : {OpCode::write, OpCode::sync_all, OpCode::info, OpCode::open,
                              OpCode::list_dir, OpCode::make_dir, OpCode::sync_dir}) {
      CAPTURE(to_string(code));
      CHECK(attempt(driver, code, file, 1) == -EIO);
    }
    CHECK(run_file(driver, OpCode::close, file) == 0);
    if (heals) {
      rig.machine.heal();
    } else {
      rig.machine.power_cut();
      rig.restart();
    }
    CHECK(run_path(*rig.driver, OpCode::make_dir, "d") == 0);
  }
}

TEST_CASE("a write that lacks room takes what is left, or nothing", "[sim][faults]") {
  for (const bool takes : {false, true}) {
    Profile profile = Profile::calm();
    profile.short_when_full = takes ? always() : never();
    MachineOptions options;
    options.disk.capacity_bytes = 3 * 4096;
    Rig rig(1, profile, options);
    const DriverFile file = open_file(*rig.driver, "data");
    const std::string text(4 * 4096, 'n');
    CHECK(write_at(*rig.driver, file, 4096, text) == (takes ? 3 * 4096 : -ENOSPC));
    CHECK(text_of(rig.machine, "data").size() == (takes ? 4 * 4096 : 0));
    if (takes) CHECK(write_at(*rig.driver, file, 4 * 4096, text) == -ENOSPC);
  }
}

TEST_CASE("a durable write that fails may have taken place as a whole", "[sim][faults]") {
  Profile profile = failing(OpCode::write);
  profile.half_done = always();
  bool whole = false;
  bool in_part = false;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Rig rig(seed, profile);
    const DriverFile file = open_file(*rig.driver, "data");
    if (write_at(*rig.driver, file, 0, std::string(8192, 'n'), kOpDsync) != -EIO) continue;
    const std::string text = text_of(rig.machine, "data");
    whole |= text == std::string(8192, 'n');
    in_part |= !text.empty() && text != std::string(8192, 'n');
  }
  CHECK(whole);
  CHECK(in_part);
}
