// Where the time of operations goes, told exactly on clocks that the tests move, and counted on
// every driver.

#include <diorite/latency.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/io.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/sim/machine.hpp>
#include <diorite/stop.hpp>
#include <diorite/timer.hpp>
#include <diorite/trace.hpp>

#include "driver/slots.hpp"
#include "reactor/rig.hpp"
#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {
namespace {

constexpr std::size_t kPage = 4096;

Duration ns(std::int64_t count) { return Duration(count); }

ReactorOptions measured(std::uint32_t in_flight_max = 1024) {
  ReactorOptions options;
  options.measure_latency = true;
  options.driver.in_flight_max = in_flight_max;
  return options;
}

const OpLatencies& others(const Reactor& reactor) { return reactor.latencies()->of(OpKind::other); }

bool holds_one(const Histogram& histogram, Duration value) {
  return histogram.count() == 1 && histogram.min() == value && histogram.max() == value;
}
bool holds_two(const Histogram& histogram, Duration least, Duration greatest) {
  return histogram.count() == 2 && histogram.min() == least && histogram.max() == greatest;
}

std::uint64_t count_near(const Histogram& histogram, Duration value) {
  std::size_t bucket = 0;
  while (Histogram::upper_end_of(bucket) < value) ++bucket;
  return histogram.count_in(bucket);
}

Task<> lets_pass(ManualDriver& clock, Duration time) {
  clock.advance(time);
  co_return;
}

Task<> nop_and_more(Reactor& reactor, ManualDriver& clock, Duration before, Duration after) {
  clock.advance(before);
  static_cast<void>(co_await nop(reactor));
  clock.advance(after);
}

class NotMeasuring final : public DriverDecorator {
 public:
  using DriverDecorator::DriverDecorator;
  bool measure(OpMeter* meter) noexcept override { return meter == nullptr; }
};

}  // namespace

TEST_CASE("nothing is measured unless it is asked for", "[latency]") {
  auto reactor = make_test_reactor();
  run(*reactor, one_nop(*reactor));
  CHECK(reactor->latencies() == nullptr);
}

TEST_CASE("a driver that does not measure is refused, not passed over", "[latency]") {
  const Result<std::unique_ptr<Reactor>> refused =
      Reactor::create(std::make_unique<NotMeasuring>(make_test_driver()), measured());
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == Errc::unsupported);
  CHECK(refused.error().text().find("measure") != std::string::npos);
  CHECK(Reactor::create(std::make_unique<NotMeasuring>(make_test_driver())));
}

TEST_CASE("the three parts of a latency are told apart", "[latency]") {
  ManualReactor rig = make_manual_reactor(measured(1));
  Reactor& reactor = *rig.reactor;
  reactor.spawn(one_nop(reactor));                // a: gets the only slot at once
  reactor.spawn(one_nop(reactor));                // b: waits for it
  reactor.spawn(lets_pass(rig.clock, ns(1600)));  // both are submitted, and time passes
  reactor.turn(kAtOnce);
  // a has ended and b has its slot.
  CHECK(holds_one(others(reactor).queued, ns(0)));
  CHECK(holds_one(others(reactor).device, ns(1600)));
  CHECK(others(reactor).ready.empty());

  rig.clock.advance(ns(640));
  reactor.turn(kAtOnce);
  CHECK(holds_two(others(reactor).queued, ns(0), ns(1600)));
  CHECK(holds_two(others(reactor).device, ns(640), ns(1600)));
  CHECK(holds_one(others(reactor).ready, ns(640)));

  reactor.turn(kAtOnce);
  CHECK(holds_two(others(reactor).ready, ns(0), ns(640)));
  for (const OpKind kind : {OpKind::read, OpKind::write, OpKind::sync}) {
    CHECK(reactor.latencies()->of(kind).device.empty());
  }
  OpLatencies sum;
  reactor.latencies()->merge_into(sum);
  CHECK(sum.device.count() == 2);
}

TEST_CASE("what is ready waits for the coroutines before it", "[latency]") {
  ManualReactor rig = make_manual_reactor(measured());
  Reactor& reactor = *rig.reactor;
  for (int i = 0; i < 3; ++i) {
    reactor.spawn(nop_and_more(reactor, rig.clock, ns(0), ns(3200)));
  }
  reactor.turn(kAtOnce);
  reactor.turn(kAtOnce);
  // The second waits for the first, and the third for both.
  const Histogram& ready = others(reactor).ready;
  CHECK(ready.count() == 3);
  CHECK(ready.min() == ns(0));
  CHECK(ready.max() == ns(6400));
  CHECK(ready.mean() == ns(3200));
}

TEST_CASE("a wait longer than a stamp's 32 bits of nanoseconds is told", "[latency]") {
  ManualReactor rig = make_manual_reactor(measured(1));
  Reactor& reactor = *rig.reactor;
  reactor.spawn(one_nop(reactor));
  reactor.spawn(one_nop(reactor));
  reactor.spawn(lets_pass(rig.clock, std::chrono::minutes(50)));
  reactor.turn(kAtOnce);
  rig.clock.advance(std::chrono::minutes(2));
  reactor.turn(kAtOnce);
  reactor.turn(kAtOnce);
  CHECK(others(reactor).queued.max() == std::chrono::minutes(50));
  CHECK(others(reactor).device.max() == std::chrono::minutes(50));
  CHECK(others(reactor).ready.max() == std::chrono::minutes(2));
}

TEST_CASE("every step of an exact transfer counts, and its coroutine once", "[latency][stats]") {
  ManualReactor rig = make_manual_reactor(measured());
  Reactor& reactor = *rig.reactor;
  const TempDir dir;
  const std::string path = dir.write("data", std::string(4 * kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(reactor, path);
  auto work = [&]() -> Task<> {
    Result<AlignedBuf> buf = AlignedBuf::with_cap(4 * kPage);
    REQUIRE(buf);
    rig.faults.shorten(OpCode::read, 1, kPage);
    rig.faults.shorten(OpCode::read, 2, kPage);
    BufIoResult read = co_await file->read_at(std::move(*buf), 0);
    CHECK(read);
    CHECK(read.bytes() == 4 * kPage);
  };
  run(reactor, work());
  const OpLatencies& reads = reactor.latencies()->of(OpKind::read);
  CHECK(reads.queued.count() == 3);
  CHECK(reads.device.count() == 3);
  CHECK(reads.ready.count() == 1);
  const ReactorStats stats = reactor.stats();
  CHECK(stats.reads == 3);
  CHECK(stats.bytes_read == 4 * kPage);
  CHECK(stats.short_ops == 2);
  CHECK(stats.resubmits == 2);
  CHECK(stats.writes == 0);
  CHECK(stats.syncs == 0);
  file.reset();
  reactor.drain(kNever);
}

TEST_CASE("what is removed counts nowhere, and an orphan is ready for nobody", "[latency][stats]") {
  ManualReactor rig = make_manual_reactor(measured(1));
  Reactor& reactor = *rig.reactor;
  const TempDir dir;
  const std::string path = dir.write("data", std::string(kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(reactor, path);
  auto reads = [&]() -> Task<> {
    Result<AlignedBuf> page = AlignedBuf::page();
    static_cast<void>(co_await file->read_at(std::move(*page), 0));
  };
  const std::uint32_t held = rig.faults.hold(OpCode::read, 1);
  auto scope = std::make_unique<TaskScope>(reactor);
  auto ends_scope = [&]() -> Task<> {
    scope.reset();
    co_return;
  };
  scope->spawn(reads());  // held: an orphan
  scope->spawn(reads());  // on the pool's list: taken back
  reactor.spawn(ends_scope());
  reactor.turn(kAtOnce);
  CHECK(reactor.stats().orphans == 1);
  CHECK(reactor.stats().removed == 1);
  CHECK(reactor.latencies()->of(OpKind::read).device.empty());

  rig.faults.release(held);
  CHECK(reactor.drain(kNever) == 0);
  const OpLatencies& all = reactor.latencies()->of(OpKind::read);
  CHECK(holds_one(all.queued, ns(0)));
  CHECK(holds_one(all.device, ns(0)));
  CHECK(all.ready.empty());
  CHECK(reactor.stats().reads == 1);
  CHECK(reactor.stats().bytes_read == kPage);
  file.reset();
  reactor.drain(kNever);
}

TEST_CASE("on a simulated machine the parts make up the whole, exactly", "[latency]") {
  sim::Choices choices = sim::Choices::random(7);
  sim::Machine machine(choices, sim::Profile::calm());
  auto reactor = make_reactor_on(machine.make_driver(), measured());
  Duration whole{};
  auto work = [&]() -> Task<> {
    OpenOptions options;
    options.write = options.create = true;
    Result<DirectFile> file = co_await DirectFile::open_with(*reactor, "data", options);
    REQUIRE(file);
    Result<AlignedBuf> page = AlignedBuf::zeroed(kPage);
    REQUIRE(page);
    const Instant begun = reactor->now();
    BufIoResult written = co_await file->write_at(std::move(*page), 0);
    CHECK(written);
    whole = reactor->now() - begun;
    const Result<void> synced = co_await file->sync_data();
    CHECK(synced);
    const Result<void> closed = co_await std::move(*file).close();
    CHECK(closed);
  };
  run(*reactor, work());
  const OpLatencies& writes = reactor->latencies()->of(OpKind::write);
  CHECK(whole > ns(0));
  CHECK(holds_one(writes.device, whole));
  CHECK(holds_one(writes.queued, ns(0)));
  CHECK(holds_one(writes.ready, ns(0)));
  CHECK(reactor->latencies()->of(OpKind::sync).device.count() == 1);
  CHECK(reactor->latencies()->of(OpKind::sync).device.min() > ns(0));
}

TEST_CASE("what a turn started is queued until its end where a ring takes it", "[latency]") {
  auto manual = std::make_unique<ManualDriver>(make_test_driver());
  ManualDriver& clock = *manual;
  auto reactor = make_reactor_on(std::move(manual), measured());
  const TempDir dir;
  const std::string path = dir.write("data", std::string(kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(*reactor, path);
  auto reads = [&]() -> Task<> {
    Result<AlignedBuf> page = AlignedBuf::page();
    static_cast<void>(co_await file->read_at(std::move(*page), 0));
  };
  auto syncs = [&]() -> Task<> { static_cast<void>(co_await file->sync_all()); };
  auto opens = [&]() -> Task<> {
    OpenOptions options;
    options.direct = Direct::off;
    Result<DirectFile> other = co_await DirectFile::open_with(*reactor, path, options);
    CHECK(other);
  };
  reactor->spawn(reads());
  reactor->spawn(one_nop(*reactor));
  reactor->spawn(syncs());
  reactor->spawn(opens());
  reactor->spawn(lets_pass(clock, ns(4096)));
  reactor->turn(kAtOnce);
  while (reactor->stats().in_flight > 0) reactor->turn(kNever);
  reactor->turn(kAtOnce);
  // Workers get it at once.
  const bool has_ring = reactor->driver().kind == DriverKind::uring;
  const Histogram& queued = reactor->latencies()->of(OpKind::read).queued;
  CHECK(holds_one(queued, has_ring ? ns(4096) : ns(0)));
  CHECK(holds_one(reactor->latencies()->of(OpKind::sync).queued, has_ring ? ns(4096) : ns(0)));
  // The no-op and the open, and nothing of what came before or after them.
  CHECK(count_near(others(*reactor).queued, ns(4096)) == (has_ring ? 2 : 0));
  CHECK(others(*reactor).queued.max() == (has_ring ? ns(4096) : ns(0)));
  file.reset();
  reactor->drain(kNever);
}

TEST_CASE("every driver tells of every operation once", "[latency][stats]") {
  // Few slots, so that most wait in the backlog.
  auto reactor = make_test_reactor(measured(4));
  const TempDir dir;
  const std::string path = dir.write("data", std::string(64 * kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(*reactor, path);
  constexpr std::uint64_t kPages = 64;
  auto page_work = [&](std::uint64_t index) -> Task<> {
    Result<AlignedBuf> page = AlignedBuf::page();
    REQUIRE(page);
    BufIoResult read = co_await file->read_at(std::move(*page), index * kPage);
    REQUIRE(read);
    AlignedBuf buf = std::move(read).buf();
    BufIoResult written = co_await file->write_at(std::move(buf), index * kPage);
    CHECK(written);
    static_cast<void>(co_await nop(*reactor));
  };
  auto all = [&]() -> Task<> {
    TaskScope scope(*reactor);
    for (std::uint64_t i = 0; i < kPages; ++i) scope.spawn(page_work(i));
    const Result<void> joined = co_await scope.join();
    CHECK(joined);
    const Result<void> synced = co_await file->sync_all();
    CHECK(synced);
  };
  const ReactorStats before = reactor->stats();
  const std::uint64_t others_before = others(*reactor).device.count();
  run(*reactor, all());
  const ReactorStats stats = reactor->stats();
  CHECK(stats.reads == kPages);
  CHECK(stats.writes == kPages);
  CHECK(stats.syncs == 1);
  CHECK(stats.bytes_read == kPages * kPage);
  CHECK(stats.bytes_written == kPages * kPage);
  CHECK(stats.short_ops == 0);
  CHECK(stats.in_flight == 0);
  CHECK(stats.in_flight_max == kPages);
  CHECK(stats.driver.backlog_max >= kPages - 4);
  CHECK(stats.completed - before.completed == 3 * kPages + 1);

  const Latencies& told = *reactor->latencies();
  for (const OpKind kind : {OpKind::read, OpKind::write}) {
    CHECK(told.of(kind).queued.count() == kPages);
    CHECK(told.of(kind).device.count() == kPages);
    CHECK(told.of(kind).ready.count() == kPages);
    // The last ones waited for the slots of the first, and nothing was done in no time.
    CHECK(told.of(kind).queued.max() > ns(0));
    CHECK(told.of(kind).device.min() > ns(0));
  }
  CHECK(told.of(OpKind::sync).device.count() == 1);
  CHECK(told.of(OpKind::sync).ready.count() == 1);
  CHECK(told.of(OpKind::other).device.count() - others_before == kPages);
  file.reset();
  reactor->drain(kNever);
}

TEST_CASE("seeing everything allocates nothing", "[latency][trace][alloc]") {
  TraceRing ring(256);
  ReactorOptions options = measured(4);
  options.stall_after = std::chrono::hours(1);
  options.trace = ring.hook();
  auto reactor = make_test_reactor(options);
  const TempDir dir;
  const std::string path = dir.write("data", std::string(kPage, 'x'));
  std::unique_ptr<DirectFile> file = open_buffered(*reactor, path);
  Result<AlignedBuf> page = AlignedBuf::page();
  REQUIRE(page);
  std::uint64_t news = 1;
  auto work = [&]() -> Task<> {
    // Whatever grows once does it in the first rounds.
    for (int i = 0; i < 64; ++i) {
      static_cast<void>(co_await file->read_at(page->as_raw(), 0));
      static_cast<void>(co_await sleep_for(Duration::zero()));
    }
    const AllocCount count;
    for (int i = 0; i < 256; ++i) {
      const IoResult read = co_await file->read_at(page->as_raw(), 0);
      CHECK_FALSE(!read);
      static_cast<void>(co_await sleep_for(Duration::zero()));
    }
    news = count.everywhere().news;
  };
  run(*reactor, work());
  CHECK(news == 0);
  CHECK(ring.size() == 256);
  CHECK(ring.total() > 256 * 4);
  CHECK(reactor->stats().stalls == 0);
  CHECK(reactor->latencies()->of(OpKind::read).device.count() == 320);
  file.reset();
  reactor->drain(kNever);
}

TEST_CASE("a slot counts what became of its cancel", "[latency][slots]") {
  detail::SlotTable<int> slots(4);
  const auto end_cancelled = [&](std::int32_t result) {
    Op op;
    auto& slot = slots.acquire(op);
    slots.cancel_sent(slot);
    OpList done;
    slots.finish(slot, result, done);
    REQUIRE(done.pop_front() == &op);
    CHECK(op.result == result);
  };
  end_cancelled(-ECANCELED);
  end_cancelled(-ECANCELED);
  end_cancelled(4096);
  end_cancelled(-EIO);
  end_cancelled(0);
  CHECK(slots.cancels().sent == 5);
  CHECK(slots.cancels().won == 2);
  CHECK(slots.cancels().late == 3);

  // Nobody sent a cancel for the next one that gets such a slot.
  Op op;
  OpList done;
  slots.finish(slots.acquire(op), -ECANCELED, done);
  done.pop_front();
  CHECK(slots.cancels().sent == 5);
  CHECK(slots.cancels().won == 2);
}

TEST_CASE("a slot's entry begins its time with the system", "[latency][slots]") {
  DriverOptions options;
  options.choice = DriverChoice::pool;
  options.pool_inline = true;
  ManualDriver clock(make_test_driver(options));
  Latencies latencies;
  OpMeter meter(clock, latencies);
  detail::SlotTable<int> slots(4);
  slots.set_meter(&meter);
  OpList done;
  const auto acquire = [&](Op& op) -> detail::SlotTable<int>::Slot& {
    slots.submitted(op);
    return slots.acquire(op);
  };
  Op first;
  Op second;
  Op at_once;
  Op removed;
  first.code = second.code = at_once.code = removed.code = OpCode::read;
  auto& one = acquire(first);
  slots.wait_for_entry(one);
  clock.advance(ns(100));
  auto& two = acquire(second);
  slots.wait_for_entry(two);
  auto& gone = acquire(removed);
  slots.wait_for_entry(gone);
  auto& worker = acquire(at_once);
  slots.detach(gone);
  CHECK(removed.state == OpState::idle);
  clock.advance(ns(10));
  slots.entering();
  slots.entering();
  clock.advance(ns(1000));
  slots.entering();
  slots.finish(one, 1, done);
  slots.finish(two, 1, done);
  slots.finish(gone, 0, done);
  slots.finish(worker, 1, done);
  const OpLatencies& reads = latencies.of(OpKind::read);
  CHECK(reads.queued.count() == 3);
  CHECK(reads.queued.count_in(0) == 1);
  CHECK(reads.queued.count_in(10) == 1);
  CHECK(reads.queued.max() == ns(110));
  CHECK(reads.device.count() == 3);
  CHECK(reads.device.min() == ns(1000));
  CHECK(reads.device.max() == ns(1010));
  while (done.pop_front() != nullptr) {
  }
}

}  // namespace diorite::test
