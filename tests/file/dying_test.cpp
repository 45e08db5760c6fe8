// Coroutines that are destroyed in every state of the operation they await.

#include <cerrno>
#include <chrono>

#include <diorite/timer.hpp>

#include "file/forms.hpp"
#include "file/memory_driver.hpp"

namespace diorite::test {
namespace {

using std::chrono::hours;

ReactorOptions one_slot() {
  ReactorOptions options;
  options.driver.in_flight_max = 1;
  return options;
}

/// What can be awaited on a file, or without one.
enum class Act : std::uint8_t {
  read_owned,
  read_pinned,
  read_borrowed,
  write_owned,
  write_pinned,
  write_borrowed,
  sync,
  size,
  open,
  close,
  sleep,
};
constexpr Act kActs[] = {Act::read_owned,  Act::read_pinned,  Act::read_borrowed,
                         Act::write_owned, Act::write_pinned, Act::write_borrowed,
                         Act::sync,        Act::size,         Act::open,
                         Act::close,       Act::sleep};
constexpr const char* kActNames[] = {
    "read owned", "read pinned", "read borrowed", "write owned", "write pinned", "write borrowed",
    "sync",       "size",        "open",          "close",       "sleep"};
const char* name_of(Act act) { return kActNames[static_cast<std::size_t>(act)]; }

bool is_pinned(Act act) { return act == Act::read_pinned || act == Act::write_pinned; }
bool is_borrowed(Act act) { return act == Act::read_borrowed || act == Act::write_borrowed; }
bool is_write(Act act) {
  return act == Act::write_owned || act == Act::write_pinned || act == Act::write_borrowed;
}
OpCode code_of(Act act) {
  if (is_write(act)) return OpCode::write;
  switch (act) {
    case Act::sync:
      return OpCode::sync_data;
    case Act::size:
      return OpCode::info;
    case Act::open:
      return OpCode::open;
    case Act::close:
      return OpCode::close;
    case Act::sleep:
      return OpCode::nop;
    default:
      return OpCode::read;
  }
}

/// A file, a frame, and one task that may be dropped at any moment.
struct Stage {
  explicit Stage(ReactorOptions options = {})
      : on(make_fault_reactor(options)), file(open_file(*on.reactor, path, writable())) {
    fill(frame.bytes(), 50);
    REQUIRE(wait(reactor, file.write_at(filled(kPage, 7), 0)));
    REQUIRE(wait(reactor, file.sync_data()));
    settle(reactor);
    faults.clear_log();
    before = reactor.stats();
  }
  ~Stage() {
    file = DirectFile();
    settle(reactor);
    CHECK(frame.pins == 0);
    CHECK(reactor.stats().in_flight == 0);
    CHECK(descriptors_of(path) == 0);
    CHECK(descriptors_of(other) == 0);
  }

  static Task<> act(Stage& stage, Act act) {
    switch (act) {
      case Act::read_owned: {
        auto reading = stage.file.read_at(buffer(kPage), 0);
        static_cast<void>(co_await std::move(reading));
        break;
      }
      case Act::read_pinned: {
        auto reading = stage.file.read_at(stage.frame.pinned(), 0);
        static_cast<void>(co_await std::move(reading));
        break;
      }
      case Act::read_borrowed:
        static_cast<void>(co_await stage.file.read_at(stage.frame.raw(), 0));
        break;
      case Act::write_owned: {
        auto writing = stage.file.write_at(filled(kPage, 50), 0);
        static_cast<void>(co_await std::move(writing));
        break;
      }
      case Act::write_pinned: {
        auto writing = stage.file.write_at(stage.frame.pinned(), 0);
        static_cast<void>(co_await std::move(writing));
        break;
      }
      case Act::write_borrowed:
        static_cast<void>(co_await stage.file.write_at(stage.frame.raw(), 0));
        break;
      case Act::sync:
        static_cast<void>(co_await stage.file.sync_data());
        break;
      case Act::size:
        static_cast<void>(co_await stage.file.size());
        break;
      case Act::open:
        static_cast<void>(co_await DirectFile::open_rw(stage.reactor, stage.other));
        break;
      case Act::close:
        static_cast<void>(co_await std::move(stage.file).close());
        break;
      case Act::sleep:
        static_cast<void>(co_await sleep_for(hours(1)));
        break;
    }
    stage.ended = true;
  }
  void begin(Act what) { running = start(reactor, act(*this, what)); }

  std::string content() const { return dir.read("data"); }

  TempDir dir;
  std::string path = dir.write("data", "");
  std::string other = dir.file("other");
  FaultReactor on;
  FaultDriver& faults = on.faults;
  Reactor& reactor = *on.reactor;
  Frame frame{kPage};
  DirectFile file;
  ReactorStats before;
  Running<> running;
  bool ended = false;
};

template <class F>
void for_every_act(F body) {
  for (const Act act : kActs) {
    DYNAMIC_SECTION(name_of(act)) { body(act); }
  }
}

}  // namespace

TEST_CASE("dropped before it ran: nothing happens") {
  for_every_act([](Act act) {
    Stage stage;
    stage.begin(act);
    stage.running = {};
    settle(stage.reactor);
    CHECK_FALSE(stage.ended);
    CHECK(stage.reactor.stats().submitted == stage.before.submitted);
    CHECK(stage.frame.releases == 0);
    CHECK(holds(as_bytes(stage.content()), 7));
  });
}

TEST_CASE("dropped in the backlog: taken back, and it never reaches the file") {
  for_every_act([](Act act) {
    if (act == Act::sleep) return;
    Stage stage(one_slot());
    BlockedOpen blocker(stage.reactor, stage.dir);
    const ReactorStats before = stage.reactor.stats();
    stage.begin(act);
    stage.reactor.turn(kAtOnce);
    CHECK(stage.reactor.stats().in_flight == before.in_flight + 1);
    stage.running = {};
    CHECK(stage.reactor.stats().removed == before.removed + 1);
    CHECK(stage.reactor.stats().in_flight == before.in_flight);
    CHECK(stage.reactor.stats().orphans == 0);
    CHECK(stage.reactor.stats().blocking_reaps == 0);
    CHECK(stage.frame.pins == 0);
    CHECK(stage.frame.releases == (is_pinned(act) ? 1 : 0));
    if (act != Act::close) {
      CHECK(stage.file.operations_in_flight() == 0);
      CHECK_FALSE(stage.file.is_dirty());
      CHECK_FALSE(static_cast<bool>(stage.file.poison()));
    }
    blocker.finish(stage.reactor);
    settle(stage.reactor);
    CHECK_FALSE(stage.ended);
    CHECK(holds(as_bytes(stage.content()), 7));
    CHECK_FALSE(stage.dir.exists("other"));
  });
}

TEST_CASE("dropped in flight, the driver keeps what the device may touch until the completion") {
  for_every_act([](Act act) {
    if (act == Act::sleep || is_borrowed(act)) return;
    Stage stage;
    const std::uint32_t hold = stage.faults.hold(code_of(act), 1);
    stage.begin(act);
    while (!stage.faults.is_held(hold)) stage.reactor.turn(kAtOnce);
    if (is_pinned(act)) CHECK(stage.frame.pins == 1);
    stage.running = {};
    CHECK(stage.reactor.stats().orphans == 1);
    CHECK(stage.reactor.stats().blocking_reaps == 0);
    CHECK(stage.reactor.stats().in_flight == 1);
    if (act != Act::close && act != Act::open) CHECK(stage.file.operations_in_flight() == 1);
    for (int i = 0; i < 3; ++i) stage.reactor.turn(kAtOnce);
    CHECK(stage.frame.releases == 0);
    stage.faults.release(hold);
    settle(stage.reactor);
    CHECK_FALSE(stage.ended);
    CHECK(stage.frame.releases == (is_pinned(act) ? 1 : 0));
    CHECK(stage.reactor.stats().orphan_errors == 0);
    CHECK(holds(as_bytes(stage.content()), is_write(act) ? 50 : 7));
    // An open that nobody waits for any more is closed again.
    CHECK(descriptors_of(stage.other) == 0);
    if (act == Act::open) CHECK(stage.dir.exists("other"));
    if (act == Act::close) CHECK(descriptors_of(stage.path) == 0);
    if (is_write(act)) CHECK(stage.file.is_dirty());
  });
}

TEST_CASE("dropped when it had completed and its coroutine had not run yet") {
  for_every_act([](Act act) {
    if (act == Act::sleep) return;
    Stage stage;
    stage.begin(act);
    const std::uint64_t completed = stage.reactor.stats().completed;
    stage.reactor.turn(kAtOnce);
    while (stage.reactor.stats().completed == completed) stage.reactor.turn(kNever);
    stage.running = {};
    CHECK_FALSE(stage.ended);
    CHECK(stage.reactor.stats().orphans == 0);
    CHECK(stage.reactor.stats().blocking_reaps == 0);
    CHECK(stage.frame.releases == (is_pinned(act) ? 1 : 0));
    if (act != Act::close) {
      CHECK(stage.file.operations_in_flight() == 0);
      CHECK(stage.file.is_dirty() == is_write(act));
    }
    settle(stage.reactor);
    CHECK(descriptors_of(stage.other) == 0);
    if (act == Act::close) CHECK(descriptors_of(stage.path) == 0);
    CHECK(holds(as_bytes(stage.content()), is_write(act) ? 50 : 7));
  });
}

TEST_CASE("dropped while it sleeps, or when it is due") {
  Stage stage;
  stage.begin(Act::sleep);
  stage.reactor.turn(kAtOnce);
  CHECK(stage.reactor.next_deadline() != kNever);
  stage.running = {};
  CHECK(stage.reactor.next_deadline() == kNever);

  const auto napping = [](bool& woke) -> Task<> {
    static_cast<void>(co_await sleep_for(std::chrono::nanoseconds(10)));
    woke = true;
  };
  bool woke = false;
  const auto reactor = make_reactor_on(std::make_unique<MemoryDriver>());
  Running<> nap = start(*reactor, napping(woke));
  reactor->turn(kAtOnce);
  CHECK(reactor->next_deadline() != kNever);
  reactor->turn(kNever);
  CHECK(reactor->next_deadline() == kNever);
  CHECK_FALSE(nap.done());
  nap = {};
  CHECK_FALSE(reactor->turn(kAtOnce));
  CHECK_FALSE(woke);
}

TEST_CASE("a dying coroutine on borrowed memory waits for the device, and is counted") {
  const Act act = GENERATE(Act::read_borrowed, Act::write_borrowed);
  auto owned = std::make_unique<MemoryDriver>();
  MemoryDriver& driver = *owned;
  const auto reactor = make_reactor_on(std::move(owned));
  DirectFile file = open_file(*reactor, "data", writable());
  driver.content.resize(2 * kPage);
  auto memory = std::make_unique<Frame>(2 * kPage);
  fill(memory->bytes(), 50);
  driver.script = {kPage};
  Running<IoResult> running =
      act == Act::read_borrowed
          ? start(*reactor, awaiting(file.read_at(memory->raw(), 0)))
          : start(*reactor, awaiting(file.write_at(ConstIoBuf(memory->raw()), 0)));
  // Somebody else's operation that completes meanwhile is not lost.
  Running<Result<void>> syncing = start(*reactor, awaiting(file.sync_data()));
  reactor->turn(kAtOnce);
  REQUIRE(driver.in_flight() == 2);
  running = {};
  // The destructor came back after the completion: the memory may go, and nobody touches it later.
  CHECK(driver.in_flight() == 0);
  memory.reset();
  CHECK(reactor->stats().blocking_reaps == 1);
  CHECK(reactor->stats().orphans == 0);
  CHECK(reactor->stats().in_flight == 0);
  // It was cut short, and nobody was left to want the rest: a write has failed by that.
  const bool is_loss = act == Act::write_borrowed;
  CHECK(reactor->stats().resubmits == 0);
  CHECK(reactor->stats().orphan_errors == (is_loss ? 1 : 0));
  CHECK(static_cast<bool>(file.poison()) == is_loss);
  const Result<void> synced = finish(*reactor, syncing);
  CHECK(static_cast<bool>(synced) == !is_loss);
  if (is_loss) CHECK(synced.error() == Errc::poisoned);
  if (act == Act::write_borrowed) {
    CHECK(holds(std::span(driver.content).first(kPage), 50));
    CHECK(file.is_dirty());
  }
  CHECK(file.operations_in_flight() == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("a pinned buffer without a pin is borrowed") {
  auto owned = std::make_unique<MemoryDriver>();
  MemoryDriver& driver = *owned;
  const auto reactor = make_reactor_on(std::move(owned));
  DirectFile file = open_file(*reactor, "data", writable());
  Frame frame(kPage);
  Running<PinIoResult> running =
      start(*reactor, awaiting(file.write_at(PinnedBuf(frame.raw(), Pin()), 0)));
  reactor->turn(kAtOnce);
  REQUIRE(driver.in_flight() == 1);
  running = {};
  CHECK(driver.in_flight() == 0);
  CHECK(reactor->stats().blocking_reaps == 1);
  close_file(*reactor, std::move(file));
}

TEST_CASE("an owned buffer of a dead coroutine stays valid until the device is done with it") {
  const bool is_read = GENERATE(true, false);
  auto owned = std::make_unique<MemoryDriver>();
  MemoryDriver& driver = *owned;
  const auto reactor = make_reactor_on(std::move(owned));
  DirectFile file = open_file(*reactor, "data", writable());
  driver.content.resize(16 * kPage);
  // The driver reads or writes the buffer only now, long after the frame: a sanitizer sees a buffer
  // that was freed with it.
  Running<BufIoResult> running =
      is_read ? start(*reactor, awaiting(file.read_at(buffer(16 * kPage), 0)))
              : start(*reactor, awaiting(file.write_at(filled(16 * kPage, 50), 0)));
  reactor->turn(kAtOnce);
  running = {};
  REQUIRE(driver.in_flight() == 1);
  std::vector<AlignedBuf> others;
  for (int i = 0; i < 64; ++i) others.push_back(filled(16 * kPage, 200));
  settle(*reactor);
  for (AlignedBuf& other : others) CHECK(holds(other.bytes(), 200));
  if (!is_read) CHECK(holds(driver.content, 50));
  CHECK(reactor->stats().orphans == 1);
  close_file(*reactor, std::move(file));
}

TEST_CASE(
    "a write or sync that fails after its coroutine is gone poisons the file and is counted") {
  const Act act = GENERATE(Act::write_owned, Act::write_pinned, Act::write_borrowed, Act::sync);
  const bool heard_by_driver = GENERATE(true, false);
  const int cause = GENERATE(EIO, ENOSPC);
  auto owned = std::make_unique<MemoryDriver>();
  MemoryDriver& driver = *owned;
  const auto reactor = make_reactor_on(std::move(owned));
  DirectFile file = open_file(*reactor, "data", writable());
  Frame frame(kPage);
  driver.sync_result = -cause;
  driver.script = {-cause};
  Running<BufIoResult> owning;
  Running<PinIoResult> pinning;
  Running<IoResult> borrowing;
  Running<Result<void>> syncing;
  if (act == Act::write_owned) {
    owning = start(*reactor, awaiting(file.write_at(filled(kPage, 1), 0)));
  } else if (act == Act::write_pinned) {
    pinning = start(*reactor, awaiting(file.write_at(frame.pinned(), 0)));
  } else if (act == Act::write_borrowed) {
    borrowing = start(*reactor, awaiting(file.write_at(ConstIoBuf(frame.raw()), 0)));
  } else {
    syncing = start(*reactor, awaiting(file.sync_data()));
  }
  // Either it dies in flight, or when it has failed and could not yet hear of it.
  reactor->turn(heard_by_driver ? kAtOnce : kNever);
  CHECK(driver.in_flight() == (heard_by_driver ? 1U : 0U));
  owning = {};
  pinning = {};
  borrowing = {};
  syncing = {};
  settle(*reactor);
  CHECK(reactor->stats().orphan_errors == 1);
  CHECK(file.poison().code().value() == cause);
  CHECK(says(file.poison(), (act == Act::sync ? "sync_data" : "write") + std::string(" data: ")));
  const BufIoResult next = wait(*reactor, file.write_at(filled(kPage, 1), 0));
  CHECK(next.error() == Errc::poisoned);
  CHECK(wait(*reactor, file.sync_data()).error() == Errc::poisoned);
  CHECK(file.operations_in_flight() == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("a read that fails after its coroutine is gone is nobody's loss") {
  FaultReactor rig = make_fault_reactor();
  const TempDir dir;
  DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
  rig.faults.fail(OpCode::read, 1, EIO);
  Running<BufIoResult> running = start(*rig.reactor, awaiting(file.read_at(buffer(kPage), 0)));
  settle(*rig.reactor);
  running = {};
  CHECK(rig.reactor->stats().orphan_errors == 0);
  CHECK_FALSE(static_cast<bool>(file.poison()));
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("G3: 200 writes dropped before they are submitted, and none reaches the file") {
  const TempDir dir;
  SECTION("in the backlog") {
    FaultReactor rig = make_fault_reactor(one_slot());
    DirectFile file = open_file(*rig.reactor, dir.file("data"), writable());
    BlockedOpen blocker(*rig.reactor, dir);
    std::vector<Running<BufIoResult>> writes;
    for (std::uint64_t i = 0; i < 200; ++i) {
      writes.push_back(start(*rig.reactor, awaiting(file.write_at(filled(kPage, 1), i * kPage))));
    }
    rig.reactor->turn(kAtOnce);
    CHECK(file.operations_in_flight() == 200);
    CHECK(file.is_dirty());
    writes.clear();
    CHECK(rig.reactor->stats().removed == 200);
    CHECK_FALSE(file.is_dirty());
    blocker.finish(*rig.reactor);
    close_file(*rig.reactor, std::move(file));
  }
  SECTION("in the turn that started them") {
    ReactorOptions options;
    options.driver.pool_inline = true;  // a thread of the pool would take them at once
    const auto reactor = make_test_reactor(options);
    DirectFile file = open_file(*reactor, dir.file("data"), writable());
    const auto start_and_drop = [](Reactor& on, DirectFile& target) -> Task<> {
      std::vector<Running<BufIoResult>> writes;
      for (std::uint64_t i = 0; i < 200; ++i) {
        writes.push_back(start(on, awaiting(target.write_at(filled(kPage, 1), i * kPage))));
      }
      Yield all_have_started;
      co_await all_have_started;
      CHECK(target.operations_in_flight() == 200);
      writes.clear();
    };
    run(*reactor, start_and_drop(*reactor, file));
    CHECK(reactor->stats().removed == 200);
    CHECK_FALSE(file.is_dirty());
    close_file(*reactor, std::move(file));
  }
  CHECK(dir.read("data").empty());
}

TEST_CASE("a write that was cut short and is then taken back leaves the file dirty") {
  const TempDir dir;
  FaultReactor rig = make_fault_reactor(one_slot());
  DirectFile file = open_file(*rig.reactor, dir.file("data"), writable(Direct::off));
  rig.faults.shorten(OpCode::write, 1, 100);
  Running<BufIoResult> writing = start(*rig.reactor, awaiting(file.write_at(filled(kPage, 1), 0)));
  // The open takes the only slot between the two steps of the write.
  const bool stopped = GENERATE(false, true);
  StopSource stop;
  if (stopped) {
    writing = start(*rig.reactor, awaiting(file.write_at(filled(kPage, 1), 0)), stop.token());
  }
  rig.reactor->turn(kAtOnce);
  std::string fifo = dir.file("fifo");
  BlockedOpen blocker(*rig.reactor, dir);
  while (rig.faults.count(OpCode::write) < 2) rig.reactor->turn(kNever);
  if (rig.reactor->stats().in_flight == 2) {
    if (stopped) {
      stop.request_stop();
      const BufIoResult result = finish(*rig.reactor, writing);
      CHECK(result.error() == Errc::cancelled);
      CHECK(result.bytes() == 100);
    }
    writing = {};
    CHECK(file.is_dirty());
  }
  writing = {};
  blocker.finish(*rig.reactor);
  close_file(*rig.reactor, std::move(file));
}

TEST_CASE("many coroutines in every form, dropped wherever they stand") {
  constexpr std::size_t kBytes = 64 * kPage;
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  REQUIRE(wait(*reactor, file.write_at(filled(kBytes, 7), 0)));
  for (int round = 0; round < 20; ++round) {
    Memory owned(Form::owned, kBytes);
    Memory pinned(Form::pinned, kBytes);
    Memory borrowed(Form::borrowed, kBytes);
    std::vector<Running<IoResult>> all;
    for (Memory* const memory : {&owned, &pinned, &borrowed}) {
      fill(memory->bytes(), 7);
      const Way way = round % 2 == 0 ? Way::read_at : Way::write_at;
      all.push_back(start(*reactor, memory->transfer(file, way, 0, kBytes)));
    }
    for (int turns = 0; turns < round % 4; ++turns) reactor->turn(kAtOnce);
    all.clear();
    settle(*reactor);
    CHECK(pinned.frame().pins == 0);
    CHECK(file.operations_in_flight() == 0);
  }
  CHECK_FALSE(static_cast<bool>(file.poison()));
  const BufIoResult read = wait(*reactor, file.read_at(buffer(kBytes), 0));
  REQUIRE(read);
  CHECK(holds(read.buf().bytes(), 7));
  close_file(*reactor, std::move(file));
}

TEST_CASE("a reactor that is destroyed with orphans waits for them and closes their files") {
  const TempDir dir;
  Frame frame(kPage);
  {
    const auto reactor = make_test_reactor();
    DirectFile file = open_file(*reactor, dir.file("data"), writable());
    std::vector<Running<PinIoResult>> all;
    for (std::uint64_t i = 0; i < 50; ++i) {
      all.push_back(start(*reactor, awaiting(file.write_at(frame.pinned(), i * kPage))));
    }
    reactor->turn(kAtOnce);
  }
  CHECK(frame.pins == 0);
  CHECK(frame.releases == 50);
  CHECK(descriptors_of(dir.file("data")) == 0);
}

}  // namespace diorite::test
