// How a reactor ends when a device does not answer: what cannot be waited for is leaked, all of it.

#include <cerrno>
#include <coroutine>
#include <memory>
#include <utility>

#include <diorite/call_on.hpp>
#include <diorite/timer.hpp>

#include "file/rig.hpp"

namespace diorite::test {
namespace {

/// Counts the frames that were destroyed, by their end or where they stood.
class Mark {
 public:
  explicit Mark(int& count) noexcept : count_(count) {}
  Mark(const Mark&) = delete;
  ~Mark() { ++count_; }

 private:
  int& count_;
};

struct Rig {
  explicit Rig(ReactorOptions options = {}) : Rig(make_fault_reactor(options)) {}
  explicit Rig(FaultReactor made) : faults(made.faults), reactor(std::move(made.reactor)) {
    REQUIRE(wait(*reactor, open_file(*reactor, path, writable()).write_at(filled(kPage, 7), 0)));
    settle(*reactor);
  }
  std::size_t shut_down_at_once() {
    const Instant present = reactor->now();
    return Reactor::shut_down(std::move(reactor), present);
  }
  void turn_until_held(std::uint32_t hold) {
    while (!faults.is_held(hold)) reactor->turn(kAtOnce);
  }
  /// The device answers after all. Nobody hears of it: the reactor is leaked.
  void answer(std::uint32_t hold, OpCode code) {
    const auto ended = [&] {
      for (const FaultDriver::Event& event : faults.log()) {
        if (event.kind == FaultDriver::Event::Kind::completed && event.code == code) return true;
      }
      return false;
    };
    faults.clear_log();
    faults.release(hold);
    OpList done;
    while (!ended()) faults.poll(done, kNever);
    // The reactor never hears of them; a leak checker shall see what they belong to.
    static OpList& unheard = *new OpList;
    unheard.splice_back(done);
  }

  const TempDir dir;
  const std::string path = dir.file("data");
  FaultDriver& faults;  ///< the reactor's, leaked with it
  std::unique_ptr<Reactor> reactor;
  Reactor& loop = *reactor;
  int frames_ended = 0;
  Error seen;
};

Task<> reads_owned(Rig& rig) {
  const Mark mark(rig.frames_ended);
  Result<DirectFile> file = co_await DirectFile::open(rig.loop, rig.path);
  if (!file) co_return;
  auto reading = file->read_at(buffer(kPage), 0);
  static_cast<void>(co_await std::move(reading));
}

Task<> reads_borrowed(Rig& rig, Frame& frame) {
  const Mark mark(rig.frames_ended);
  Result<DirectFile> file = co_await DirectFile::open(rig.loop, rig.path);
  if (!file) co_return;
  static_cast<void>(co_await file->read_at(frame.raw(), 0));
}

Task<> sleeps(Rig& rig) {
  const Mark mark(rig.frames_ended);
  const Result<void> slept = co_await sleep_for(std::chrono::hours(1));
  if (!slept) rig.seen = slept.error();
}

/// Waits for something that never comes, and does not care for stops.
Task<> hangs(Rig& rig, bool has_file) {
  const Mark mark(rig.frames_ended);
  DirectFile kept;
  if (has_file) {
    Result<DirectFile> file = co_await DirectFile::open(rig.loop, rig.path);
    if (!file) co_return;
    kept = std::move(*file);
  }
  co_await std::suspend_always();
}

Task<int> answers() { co_return 1; }
Task<> asks(Rig& rig, Reactor& target) {
  const Mark mark(rig.frames_ended);
  static_cast<void>(co_await call_on(target, &answers));
}

}  // namespace

TEST_CASE("a shutdown that finds everything ended destroys the reactor", "[shutdown]") {
  Rig rig;
  Frame frame(kPage);
  rig.reactor->spawn(sleeps(rig));
  rig.reactor->spawn(reads_owned(rig));
  rig.reactor->spawn(reads_borrowed(rig, frame));
  CHECK(Reactor::shut_down(std::move(rig.reactor), kNever) == 0);
  CHECK(rig.frames_ended == 3);
  CHECK(rig.seen == Errc::cancelled);
  CHECK(descriptors_of(rig.path) == 0);
}

TEST_CASE("tasks that do not heed a stop die where they stand, as with the destructor",
          "[shutdown]") {
  Rig rig;
  rig.reactor->spawn(hangs(rig, true));
  settle(*rig.reactor);
  REQUIRE(descriptors_of(rig.path) == 1);
  const Instant soon = rig.reactor->now();
  // The file is closed by the driver, which takes its time: nothing else may be waited for here.
  rig.faults.fail(OpCode::close, 1, EIO);
  CHECK(Reactor::shut_down(std::move(rig.reactor), soon) <= 1);
  CHECK(rig.frames_ended == 1);
}

TEST_CASE("an operation that never ends is leaked with all that it may still touch", "[shutdown]") {
  Rig rig;
  const std::uint32_t hold = rig.faults.hold(OpCode::read, 1);
  rig.reactor->spawn(reads_owned(rig));
  rig.turn_until_held(hold);
  CHECK(rig.shut_down_at_once() == 1);
  CHECK(rig.frames_ended == 0);
  CHECK(descriptors_of(rig.path) == 1);
  rig.answer(hold, OpCode::read);
}

TEST_CASE("memory that was lent is waited for no longer than anything else", "[shutdown]") {
  Rig rig;
  Frame frame(kPage);
  const std::uint32_t hold = rig.faults.hold(OpCode::read, 1);
  rig.reactor->spawn(reads_borrowed(rig, frame));
  rig.turn_until_held(hold);
  CHECK(rig.shut_down_at_once() == 1);
  CHECK(rig.frames_ended == 0);
  CHECK_FALSE(holds(frame.bytes(), 7));
  rig.answer(hold, OpCode::read);
  CHECK(holds(frame.bytes(), 7));
}

TEST_CASE("an orphan that never ends is counted as well", "[shutdown]") {
  Rig rig;
  const std::uint32_t hold = rig.faults.hold(OpCode::read, 1);
  {
    Running<> reading = start(*rig.reactor, reads_owned(rig));
    rig.turn_until_held(hold);
  }
  REQUIRE(rig.frames_ended == 1);
  REQUIRE(rig.reactor->stats().orphans == 1);
  CHECK(rig.shut_down_at_once() == 1);
  rig.faults.release(hold);
  OpList done;
  while (rig.loop.stats().in_flight > 0) rig.faults.poll(done, kNever);
  CHECK(done.empty());
}

TEST_CASE("what the end itself starts is waited for no longer either", "[shutdown]") {
  Rig rig;
  rig.reactor->spawn(hangs(rig, true));
  settle(*rig.reactor);
  const std::uint32_t hold = rig.faults.hold(OpCode::close, 1);
  CHECK(rig.shut_down_at_once() == 1);
  CHECK(rig.frames_ended == 1);
  CHECK(descriptors_of(rig.path) == 1);
  rig.answer(hold, OpCode::close);
  CHECK(descriptors_of(rig.path) == 0);
}

TEST_CASE("a call that is never answered is leaked, and may be answered later", "[shutdown]") {
  Rig rig;
  const auto target = make_test_reactor();
  rig.reactor->spawn(asks(rig, *target));
  rig.reactor->turn(kAtOnce);
  CHECK(rig.shut_down_at_once() == 1);
  while (target->turn(kAtOnce)) {
  }
  // The call, and that its caller is gone.
  CHECK(target->stats().posts == 2);
}

TEST_CASE("run() waits for its tasks as long as it is told, and again when it is called again",
          "[shutdown]") {
  ReactorOptions options;
  options.shutdown_wait = Duration::zero();
  Rig rig(options);
  Reactor& reactor = *rig.reactor;
  const std::uint32_t hold = rig.faults.hold(OpCode::read, 1);
  reactor.spawn(reads_owned(rig));
  rig.turn_until_held(hold);
  reactor.request_shutdown();
  CHECK_FALSE(reactor.run());
  CHECK_FALSE(reactor.run());
  CHECK(rig.frames_ended == 0);
  rig.faults.release(hold);
  settle(reactor);
  CHECK(rig.frames_ended == 1);
  CHECK(reactor.run());
  // The request has been served, and tasks that come later are not born stopped.
  reactor.spawn(reads_owned(rig));
  settle(reactor);
  CHECK(rig.frames_ended == 2);
}

}  // namespace diorite::test
