// Killed processes: what they leave behind, and the locks that outlast them.

#include <set>

#include "sim/machine_rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

Profile with_zombies(Chance zombie) {
  Profile profile = Profile::calm();
  profile.zombie = zombie;
  return profile;
}

/// Leaves a write of "new" in flight, and kills.
void kill_while_writing(Rig& rig, DriverFile file, std::string& text) {
  Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
  rig.driver->submit(write);
  rig.machine.kill();
  collect(*rig.driver, 1);
  CHECK(write.result == -EIO);
  // The process's memory is gone; nothing may look at it again.
  text.assign(text.size(), '?');
}

void pass_time(Rig& rig, Duration duration) { rig.machine.advance(rig.machine.now() + duration); }

}  // namespace

TEST_CASE("what a killed process wrote is in the page cache, and goes with the power",
          "[sim][kill]") {
  bool lost = false;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rig rig(seed);
    make_durable(*rig.driver, "data", "old");
    const DriverFile file = open_file(*rig.driver, "data");
    REQUIRE(write_at(*rig.driver, file, 0, "new") == 3);
    rig.machine.kill();
    CHECK(is_dead(*rig.driver));
    CHECK(text_of(rig.machine, "data") == "new");
    CHECK_FALSE(rig.machine.disk().all_durable());
    rig.restart();
    rig.machine.power_cut();
    lost |= text_of(rig.machine, "data") == "old";
  }
  CHECK(lost);
}

TEST_CASE("an operation of a killed process takes place later, or never", "[sim][kill]") {
  std::string text = "new";
  Rig never_later(1, with_zombies(never()));
  make_durable(*never_later.driver, "data", "old");
  kill_while_writing(never_later, open_file(*never_later.driver, "data"), text);
  pass_time(never_later, std::chrono::seconds(1));
  CHECK(text_of(never_later.machine, "data") == "old");
  CHECK(never_later.machine.counters().zombies == 0);

  std::set<bool> late;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rig rig(seed, with_zombies(always()));
    make_durable(*rig.driver, "data", "old");
    text = "new";
    kill_while_writing(rig, open_file(*rig.driver, "data"), text);
    CHECK(text_of(rig.machine, "data") == "old");
    // The new process is there while the old one's write is still on its way.
    rig.restart();
    pass_time(rig, std::chrono::microseconds(500));
    late.insert(text_of(rig.machine, "data") == "old");
    pass_time(rig, std::chrono::milliseconds(200));
    CHECK(text_of(rig.machine, "data") == "new");
    CHECK(rig.machine.counters().zombies == 1);
    CHECK(rig.machine.violation().empty());
  }
  CHECK(late.size() == 2);
}

TEST_CASE("a zombie uses a file that has lost its name, and dies with the power", "[sim][kill]") {
  std::string text = "new";
  Rig rig(1, with_zombies(always()));
  make_durable(*rig.driver, "data", "old");
  kill_while_writing(rig, open_file(*rig.driver, "data"), text);
  rig.restart();
  REQUIRE(run_path(*rig.driver, OpCode::remove, "data") == 0);
  pass_time(rig, std::chrono::seconds(1));
  CHECK(rig.machine.counters().zombies == 1);
  CHECK_FALSE(rig.machine.disk().exists("data"));

  Rig cut(2, with_zombies(always()));
  make_durable(*cut.driver, "data", "old");
  text = "new";
  kill_while_writing(cut, open_file(*cut.driver, "data"), text);
  cut.machine.power_cut();
  CHECK(cut.machine.next_event() == kNever);
  pass_time(cut, std::chrono::seconds(1));
  CHECK(cut.machine.counters().zombies == 0);
}

TEST_CASE("a lock ends with its process, even while its writes go on", "[sim][kill]") {
  int early = 0;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::string text = "new";
    Rig rig(seed, with_zombies(always()));
    const DriverFile lock = open_file(*rig.driver, "LOCK");
    REQUIRE(run_file(*rig.driver, OpCode::try_lock, lock) == 0);
    kill_while_writing(rig, open_file(*rig.driver, "data"), text);
    rig.restart();
    const DriverFile again = open_file(*rig.driver, "LOCK");
    CHECK(run_file(*rig.driver, OpCode::try_lock, again) == 0);
    if (text_of(rig.machine, "data").empty()) ++early;
  }
  // Why a lock file is registered: its new owner would read, and then the old write lands.
  CHECK(early > 10);
}

TEST_CASE("a registered lock lasts until the last write of its process", "[sim][kill]") {
  int refused = 0;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::string text = "new";
    Rig rig(seed, with_zombies(always()));
    DriverFile lock = open_file(*rig.driver, "LOCK");
    const Result<DriverFile> registered = rig.driver->caps().files->register_file(lock);
    REQUIRE(registered);
    CHECK(registered->value != lock.value);
    lock = *registered;
    REQUIRE(run_file(*rig.driver, OpCode::try_lock, lock) == 0);
    kill_while_writing(rig, open_file(*rig.driver, "data"), text);
    rig.restart();
    const DriverFile again = open_file(*rig.driver, "LOCK");
    for (;;) {
      const std::int32_t result = run_file(*rig.driver, OpCode::try_lock, again);
      if (result == 0) break;
      REQUIRE(result == -EAGAIN);
      ++refused;
      pass_time(rig, std::chrono::milliseconds(1));
    }
    // Whoever has the lock hears nothing of the old process any more.
    CHECK(text_of(rig.machine, "data") == "new");
    CHECK(rig.machine.next_event() == kNever);
  }
  CHECK(refused > 50);
}

TEST_CASE("a registered lock of a process with nothing in flight is free at once", "[sim][kill]") {
  Rig rig(4);
  const DriverFile lock = open_file(*rig.driver, "LOCK");
  const Result<DriverFile> registered = rig.driver->caps().files->register_file(lock);
  REQUIRE(registered);
  REQUIRE(run_file(*rig.driver, OpCode::try_lock, *registered) == 0);
  rig.machine.kill();
  rig.restart();
  CHECK(run_file(*rig.driver, OpCode::try_lock, open_file(*rig.driver, "LOCK")) == 0);
}

TEST_CASE("locks exclude other open files until close, of any process", "[sim][kill]") {
  Rig rig(5);
  const std::unique_ptr<Driver> other = rig.machine.make_driver();
  const DriverFile first = open_file(*rig.driver, "LOCK");
  const DriverFile second = open_file(*rig.driver, "LOCK");
  const DriverFile third = open_file(*other, "LOCK");
  CHECK(run_file(*rig.driver, OpCode::try_lock, first) == 0);
  CHECK(run_file(*rig.driver, OpCode::try_lock, first) == 0);
  CHECK(run_file(*rig.driver, OpCode::try_lock, second) == -EAGAIN);
  CHECK(run_file(*other, OpCode::try_lock, third) == -EAGAIN);
  close_file(*rig.driver, second);
  CHECK(run_file(*other, OpCode::try_lock, third) == -EAGAIN);
  close_file(*rig.driver, first);
  CHECK(run_file(*other, OpCode::try_lock, third) == 0);
  close_file(*other, third);
}

TEST_CASE("the table of registered files fills up, and closing makes room", "[sim][kill]") {
  Rig rig(6);
  FileRegistrar& files = *rig.driver->caps().files;
  std::vector<DriverFile> registered;
  for (;;) {
    const DriverFile file = open_file(*rig.driver, "data");
    const Result<DriverFile> place = files.register_file(file);
    if (!place) {
      CHECK(place.error() == Errc::limit);
      close_file(*rig.driver, file);
      break;
    }
    registered.push_back(*place);
  }
  CHECK(registered.size() == 64);
  close_file(*rig.driver, registered.back());
  const DriverFile file = open_file(*rig.driver, "data");
  const Result<DriverFile> place = files.register_file(file);
  REQUIRE(place);
  registered.back() = *place;
  files.release_file(registered.front());
  for (const DriverFile each : registered) close_file(*rig.driver, each);
  CHECK_FALSE(files.register_file(registered.front()));
}

TEST_CASE("a driver that goes takes its files and locks along", "[sim][kill]") {
  Rig rig(7);
  std::unique_ptr<Driver> other = rig.machine.make_driver();
  const DriverFile theirs = open_file(*other, "LOCK");
  REQUIRE(run_file(*other, OpCode::try_lock, theirs) == 0);
  const DriverFile mine = open_file(*rig.driver, "LOCK");
  CHECK(run_file(*rig.driver, OpCode::try_lock, mine) == -EAGAIN);
  other.reset();
  CHECK(run_file(*rig.driver, OpCode::try_lock, mine) == 0);
  close_file(*rig.driver, mine);
}
