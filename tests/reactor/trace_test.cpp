// The trace: what is told, in which order; stalls and whose they are.

#include <diorite/trace.hpp>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <diorite/file.hpp>
#include <diorite/io.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "reactor/rig.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {
namespace {

using Kind = TraceKind;
constexpr std::size_t kPage = 4096;
constexpr Duration kLimit = std::chrono::milliseconds(5);

/// Everything that was told, but the turns where these are not asked for.
struct Events {
  explicit Events(bool turns_too = false) : with_turns(turns_too) {}
  TraceHook hook() noexcept { return {&Events::keep, this}; }
  static void keep(void* context, const TraceEvent& event) noexcept {
    auto& self = *static_cast<Events*>(context);
    const bool is_turn = event.kind == Kind::turn_begin || event.kind == Kind::turn_end;
    if (!is_turn || self.with_turns) self.list.push_back(event);
  }
  /// The kinds in their order, since the last call.
  std::vector<Kind> take() {
    std::vector<Kind> kinds;
    for (const TraceEvent& event : list) kinds.push_back(event.kind);
    last.swap(list);
    list.clear();
    return kinds;
  }
  std::vector<TraceEvent> list;
  std::vector<TraceEvent> last;
  bool with_turns;
};

ReactorOptions traced(Events& events, Duration stall_after = Duration::zero()) {
  ReactorOptions options;
  options.trace = events.hook();
  options.stall_after = stall_after;
  return options;
}

/// The addresses that a frame begins with, seen while its coroutine is suspended.
struct Code {
  const void* resume = nullptr;
  const void* destroy = nullptr;
};
class Own {
 public:
  explicit Own(Code& code) noexcept : code_(code) {}
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> frame) const noexcept {
    void* const* const words = static_cast<void* const*>(frame.address());
    code_ = Code{words[0], words[1]};
    return false;
  }
  void await_resume() const noexcept {}

 private:
  Code& code_;
};

Task<> hogs_first(Reactor& reactor, ManualDriver& clock, Duration time, Code& code) {
  co_await Own(code);
  clock.advance(time);
  static_cast<void>(co_await nop(reactor));
}
Task<> hogs_last(Reactor& reactor, ManualDriver& clock, Duration time, Code& code) {
  co_await Own(code);
  static_cast<void>(co_await nop(reactor));
  clock.advance(time);
}
Task<> caller_hogs(Reactor& reactor, ManualDriver& clock, Duration time, Code& code) {
  co_await Own(code);
  co_await one_nop(reactor);
  clock.advance(time);
  static_cast<void>(co_await nop(reactor));
}

}  // namespace

TEST_CASE("turns and operations are traced in order", "[trace]") {
  Events events(true);
  ManualReactor rig = make_manual_reactor(traced(events));
  Reactor& reactor = *rig.reactor;
  const Instant begun = reactor.now();
  reactor.spawn(one_nop(reactor));
  CHECK(events.take().empty());
  reactor.turn(kAtOnce);
  const std::vector<Kind> first{Kind::turn_begin, Kind::submit, Kind::complete, Kind::turn_end};
  CHECK(events.take() == first);
  CHECK(events.last[0].value == 0);
  CHECK(events.last[0].at == begun);
  CHECK(events.last[1].code == OpCode::nop);
  CHECK(events.last[1].op != nullptr);
  CHECK(events.last[2].op == events.last[1].op);
  CHECK(events.last[2].value == 0);
  CHECK(events.last[3].value == 0);
  reactor.turn(kAtOnce);
  const std::vector<Kind> second{Kind::turn_begin, Kind::turn_end};
  CHECK(events.take() == second);
  CHECK(events.last[0].value == 1);
}

TEST_CASE("the steps of an exact transfer are traced with what each moves", "[trace]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events));
  Reactor& reactor = *rig.reactor;
  const TempDir dir;
  const std::string path = dir.write("data", std::string(3 * kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(reactor, path);
  events.take();
  rig.faults.shorten(OpCode::read, 1, kPage);
  auto reads = [&]() -> Task<> {
    Result<AlignedBuf> buf = AlignedBuf::with_cap(2 * kPage);
    static_cast<void>(co_await file->read_at(std::move(*buf), kPage));
  };
  run(reactor, reads());
  const std::vector<Kind> kinds{Kind::submit, Kind::complete, Kind::resubmit, Kind::complete};
  REQUIRE(events.take() == kinds);
  const std::vector<TraceEvent>& told = events.last;
  CHECK(told[0].code == OpCode::read);
  CHECK(told[0].offset == kPage);
  CHECK(told[0].bytes == 2 * kPage);
  CHECK(told[0].file != DriverFile::kNone);
  CHECK(told[1].value == kPage);
  CHECK(told[2].offset == 2 * kPage);
  CHECK(told[2].bytes == kPage);
  CHECK(told[3].value == kPage);
  CHECK(told[3].op == told[0].op);
  file.reset();
  reactor.drain(kNever);
}

TEST_CASE("what becomes of the operations of dying coroutines is traced", "[trace]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events));
  Reactor& reactor = *rig.reactor;
  const TempDir dir;
  const std::string path = dir.write("data", std::string(kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(reactor, path);
  Result<AlignedBuf> lent = AlignedBuf::page();
  REQUIRE(lent);
  auto writes_owned = [&]() -> Task<> {
    Result<AlignedBuf> page = AlignedBuf::page();
    static_cast<void>(co_await file->write_at(std::move(*page), 0));
  };
  auto reads_lent = [&]() -> Task<> {
    static_cast<void>(co_await file->read_at(lent->as_raw(), 0));
  };
  auto scope = std::make_unique<TaskScope>(reactor);
  auto ends_scope = [&]() -> Task<> {
    scope.reset();
    co_return;
  };
  events.take();

  // Taken back from the pool's list.
  scope->spawn(reads_lent());
  reactor.spawn(ends_scope());
  reactor.turn(kAtOnce);
  const std::vector<Kind> removed{Kind::submit, Kind::removed};
  CHECK(events.take() == removed);

  // Held by the device, and failing after its coroutine is gone.
  scope = std::make_unique<TaskScope>(reactor);
  const std::uint32_t first = rig.faults.hold(OpCode::write, 1);
  rig.faults.fail(OpCode::write, 2, EIO);
  const std::uint32_t third = rig.faults.hold(OpCode::write, 3);
  scope->spawn(writes_owned());
  scope->spawn(writes_owned());
  scope->spawn(writes_owned());
  reactor.spawn(ends_scope());
  reactor.turn(kAtOnce);
  rig.faults.release(first);
  rig.faults.release(third);
  reactor.drain(kNever);
  events.take();
  std::size_t orphans = 0;
  std::size_t ends = 0;
  std::size_t errors = 0;
  for (const TraceEvent& event : events.last) {
    orphans += event.kind == Kind::orphan ? 1 : 0;
    ends += event.kind == Kind::orphan_end ? 1 : 0;
    if (event.kind == Kind::orphan_error) {
      ++errors;
      CHECK(event.code == OpCode::write);
      CHECK(event.value == -EIO);
      CHECK(event.op == nullptr);
    }
  }
  CHECK(orphans == 3);
  CHECK(reactor.stats().orphans == 3);
  CHECK(errors == 1);
  CHECK(ends + errors == orphans);
  CHECK(reactor.stats().orphan_errors == 1);
  file.reset();
  reactor.drain(kNever);
}

TEST_CASE("a destructor that waits for the device is traced", "[trace]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events));
  Reactor& reactor = *rig.reactor;
  const TempDir dir;
  const std::string path = dir.write("data", std::string(kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(reactor, path);
  Result<AlignedBuf> lent = AlignedBuf::page();
  REQUIRE(lent);
  auto reads_lent = [&]() -> Task<> {
    static_cast<void>(co_await file->read_at(lent->as_raw(), 0));
  };
  auto scope = std::make_unique<TaskScope>(reactor);
  auto ends_scope = [&]() -> Task<> {
    scope.reset();
    co_return;
  };
  events.take();
  rig.faults.reorder(OpCode::read, 2);  // held until somebody waits for it
  scope->spawn(reads_lent());
  reactor.turn(kAtOnce);
  events.take();
  reactor.spawn(ends_scope());
  reactor.turn(kAtOnce);
  const std::vector<Kind> reaped{Kind::cancel, Kind::reap, Kind::complete};
  CHECK(events.take() == reaped);
  CHECK(events.last[0].code == OpCode::read);
  CHECK(events.last[2].value == kPage);
  CHECK(reactor.stats().blocking_reaps == 1);
  file.reset();
  reactor.drain(kNever);
}

TEST_CASE("timers are traced with how late they are, posts with what they run", "[trace]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events));
  Reactor& reactor = *rig.reactor;
  auto sleeps = []() -> Task<> {
    static_cast<void>(co_await sleep_for(std::chrono::nanoseconds(100)));
  };
  reactor.spawn(sleeps());
  reactor.turn(kAtOnce);
  rig.clock.advance(std::chrono::nanoseconds(350));
  reactor.turn(kAtOnce);
  const std::vector<Kind> timer{Kind::timer};
  CHECK(events.take() == timer);
  CHECK(events.last[0].value == 250);

  PostNode node([](PostNode&) noexcept {});
  reactor.post(node);
  reactor.turn(kAtOnce);
  const std::vector<Kind> post{Kind::post};
  CHECK(events.take() == post);
  CHECK(events.last[0].where == reinterpret_cast<const void*>(node.function));
  reactor.turn(kAtOnce);
}

TEST_CASE("a coroutine that held the reactor is told of with its place", "[trace][stall]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events, kLimit));
  Reactor& reactor = *rig.reactor;
  Code code;
  const auto stall = [&] {
    reactor.turn(kAtOnce);
    reactor.turn(kAtOnce);
    reactor.turn(kAtOnce);
    events.take();
    std::vector<TraceEvent> stalls;
    for (const TraceEvent& event : events.last) {
      if (event.kind == Kind::stall) stalls.push_back(event);
    }
    return stalls;
  };

  // Held as long as it is allowed to, less one nanosecond.
  reactor.spawn(hogs_first(reactor, rig.clock, kLimit - Duration(1), code));
  CHECK(stall().empty());
  CHECK(reactor.stats().stalls == 0);

  // Before its first suspension.
  reactor.spawn(hogs_first(reactor, rig.clock, kLimit, code));
  std::vector<TraceEvent> told = stall();
  REQUIRE(told.size() == 1);
  CHECK(told[0].value == kLimit.count());
  CHECK(told[0].where == code.resume);
  const void* const first = code.resume;

  // After its last one: it has ended meanwhile.
  reactor.spawn(hogs_last(reactor, rig.clock, kLimit + Duration(7), code));
  told = stall();
  REQUIRE(told.size() == 1);
  CHECK(told[0].value == kLimit.count() + 7);
  CHECK(told[0].where == code.destroy);
  CHECK(code.resume != first);

  // The caller that a resumed coroutine returned to.
  reactor.spawn(caller_hogs(reactor, rig.clock, 2 * kLimit, code));
  told = stall();
  REQUIRE(told.size() == 1);
  CHECK(told[0].where == code.resume);
  CHECK(code.resume != first);

  // The longest is kept, not the last.
  const void* const longest = code.resume;
  reactor.spawn(hogs_first(reactor, rig.clock, kLimit, code));
  CHECK(stall().size() == 1);
  const ReactorStats stats = reactor.stats();
  CHECK(stats.stalls == 4);
  CHECK(stats.longest_stall == 2 * kLimit);
  CHECK(stats.longest_stall_where == longest);
}

TEST_CASE("a stall is one coroutine's, not that of the turn", "[trace][stall]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events, kLimit));
  Reactor& reactor = *rig.reactor;
  Code code;
  const Duration most = kLimit * 2 / 3;
  for (int i = 0; i < 4; ++i) reactor.spawn(hogs_first(reactor, rig.clock, most, code));
  reactor.turn(kAtOnce);
  CHECK(reactor.now() - Instant(std::chrono::hours(1)) == 4 * most);
  CHECK(reactor.stats().stalls == 0);
  // Time that passes between turns, and in polls, is nobody's.
  rig.clock.advance(kLimit);
  reactor.turn(kAtOnce);
  CHECK(reactor.stats().stalls == 0);
  CHECK(reactor.stats().longest_stall == Duration::zero());
}

TEST_CASE("a post that held the reactor is a stall, too", "[trace][stall]") {
  Events events;
  ManualReactor rig = make_manual_reactor(traced(events, kLimit));
  struct Slow : PostNode {
    explicit Slow(ManualDriver& clock_) noexcept : PostNode(&run), clock(clock_) {}
    static void run(PostNode& node) noexcept { static_cast<Slow&>(node).clock.advance(kLimit); }
    ManualDriver& clock;
  } slow(rig.clock);
  rig.reactor->post(slow);
  rig.reactor->turn(kAtOnce);
  const std::vector<Kind> kinds{Kind::post, Kind::stall};
  CHECK(events.take() == kinds);
  CHECK(events.last[1].where == reinterpret_cast<const void*>(slow.function));
  CHECK(events.last[1].value == kLimit.count());
  CHECK(rig.reactor->stats().longest_stall_where == events.last[1].where);
}

TEST_CASE("stalls are counted without a hook, and not at all without a limit", "[trace][stall]") {
  ReactorOptions options;
  options.stall_after = kLimit;
  ManualReactor counted = make_manual_reactor(options);
  ManualReactor blind = make_manual_reactor();
  Code code;
  for (ManualReactor* const rig : {&counted, &blind}) {
    rig->reactor->spawn(hogs_first(*rig->reactor, rig->clock, kLimit, code));
    rig->reactor->turn(kAtOnce);
    rig->reactor->turn(kAtOnce);
  }
  CHECK(counted.reactor->stats().stalls == 1);
  CHECK(counted.reactor->stats().longest_stall_where == code.resume);
  CHECK(blind.reactor->stats().stalls == 0);
}

TEST_CASE("a ring keeps the last events", "[trace][ring]") {
  TraceRing ring(4);
  const TraceHook hook = ring.hook();
  CHECK(ring.size() == 0);
  for (std::int64_t i = 0; i < 11; ++i) {
    TraceEvent event;
    event.value = i;
    hook.function(hook.context, event);
    const std::size_t expected = i < 4 ? static_cast<std::size_t>(i + 1) : 4;
    REQUIRE(ring.size() == expected);
    CHECK(ring[0].value == (i < 4 ? 0 : i - 3));
    CHECK(ring[ring.size() - 1].value == i);
  }
  CHECK(ring.total() == 11);
  ring.clear();
  CHECK(ring.size() == 0);
  CHECK(run_in_child([&] { static_cast<void>(ring[0]); }).aborted());
  CHECK(run_in_child([] { const TraceRing none(0); }).aborted());
}

TEST_CASE("every event has a line of text", "[trace][print]") {
  char text[kTraceTextMax];
  TraceEvent event;
  event.at = Instant(Duration(1250));
  event.kind = Kind::complete;
  event.code = OpCode::read;
  event.op = &event;
  event.file = 7;
  event.offset = 8192;
  event.bytes = 4096;
  event.value = -5;
  const std::string line = print(event, text);
  CHECK(line.find("1250 complete read ") == 0);
  CHECK(line.find(" file 7 at 8192, 4096 bytes: -5") != std::string::npos);
  event = TraceEvent();
  event.kind = Kind::orphan_error;
  event.code = OpCode::write;
  event.value = -28;
  CHECK(print(event, text) == std::string("0 orphan_error write: -28"));
  event = TraceEvent();
  event.kind = Kind::timer;
  event.value = 250;
  CHECK(print(event, text) == std::string("0 timer: 250"));
  event.kind = Kind::stall;
  event.where = text;
  CHECK(std::string(print(event, text)).find("0 stall: 250, code ") == 0);

  // The longest of all.
  event.at = Instant::min();
  event.op = reinterpret_cast<const void*>(~std::uintptr_t{0});
  event.kind = Kind::orphan_error;
  event.code = OpCode::drop_cache;
  event.file = event.offset = ~std::uint64_t{0} >> 1;
  event.bytes = ~std::uint32_t{0};
  event.value = INT64_MIN;
  CHECK(std::strlen(print(event, text)) < kTraceTextMax - 1);
  for (std::size_t i = 0; i < kTraceKindCount; ++i) {
    CHECK(std::string(to_string(static_cast<Kind>(i))) != "unknown");
  }
}

#ifndef NDEBUG
TEST_CASE("a hook must not call the reactor", "[trace][death]") {
  const Death death = run_in_child([] {
    static Reactor* reactor = nullptr;
    ReactorOptions options;
    options.trace.function = [](void*, const TraceEvent&) noexcept {
      reactor->spawn(one_nop(*reactor));
    };
    auto owned = make_test_reactor(options);
    reactor = owned.get();
    reactor->turn(kAtOnce);
  });
  CHECK(death.aborted());
  CHECK(death.said("a trace hook must not call the reactor"));
}
#endif

TEST_CASE("operations that a ring leaves to workers are traced as fallbacks", "[trace]") {
  Events events;
  auto reactor = make_test_reactor(traced(events));
  const TempDir dir;
  const std::string path = dir.write("data", std::string(kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(*reactor, path);
  file.reset();
  reactor->drain(kNever);
  const DriverCounters counters = reactor->stats().driver;
  std::uint64_t counted = counters.dsync_emulated;
  if (reactor->driver().kind == DriverKind::uring) counted += counters.pool_ops;
  for (const std::uint64_t times : counters.fallbacks) counted += times;
  std::int64_t told = 0;
  reactor->turn(kAtOnce);  // tells of what the drain met
  for (const TraceEvent& event : events.list) {
    if (event.kind == Kind::fallback) told += event.value;
  }
  CHECK(told == static_cast<std::int64_t>(counted));
}

}  // namespace diorite::test
