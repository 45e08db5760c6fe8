// storm: a reactor under random work, cancels, deadlines, destroyed coroutines and posts.
//
//   test_storm --driver uring|pool|pool_inline|sim [--operations N] [--seed S]
//
// Clients read, write and sync three files, open others, sleep, wait for each other, call another
// reactor, and are stopped or destroyed at any moment: by the storm itself, by posts of four
// threads, by deadlines, by each other. Every block that is read is checked. Every few thousand
// operations all of them are destroyed at once, and nothing may be left. At the end no slot, no
// buffer, no descriptor and no block of memory is outstanding.
//
// The seed decides what is done; on real drivers the moments are the machine's. Whether a cancel
// comes in time is nobody's promise: either outcome is right, and the accounts must hold for both.
// On the simulator a run repeats itself, which is checked.
//
// Ends with 0; with a text and SIGABRT when something is wrong; with 77 where the driver is not to
// be had.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include <diorite/timer.hpp>

#include "reactor/storm_rig.hpp"
#include "support/alloc_counter.hpp"
#include "support/descriptors.hpp"
#include "support/kernel_ring.hpp"
#include "support/temp_dir.hpp"

namespace diorite::storm {
namespace {

constexpr int kNotHere = 77;
constexpr std::uint64_t kQuietEvery = 2048;

struct Options {
  Lane lane = Lane::pool;
  std::uint64_t operations = 50'000;
  std::uint64_t seed = 1;
};

struct Outcome {
  Tally tally;
  ReactorStats stats;
  std::uint64_t posted = 0;
  std::uint64_t posts_run = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t checked = 0;
  std::uint64_t races = 0;
  std::uint64_t unsure = 0;
};

/// Waits for work to have been done; the limit is for a moment when every client waits for another.
Task<> wait_for_progress(World& world) {
  const Instant limit = world.reactor.now() + std::chrono::microseconds(300);
  const Result<void> seen = co_await with_deadline(world.progress.wait(), limit);
  static_cast<void>(seen);
  world.progress.reset();
}

Task<> wait_until_idle(World& world) {
  while (world.reactor.stats().in_flight > 0) {
    const Result<void> slept = co_await sleep_for(std::chrono::microseconds(20));
    static_cast<void>(slept);
  }
}

void stir(World& world) {
  Random& random = world.random;
  if (!world.scope) world.scope.emplace(world.reactor);
  for (Slot& slot : world.slots) {
    if (!slot.running || slot.running.done()) world.start_client(slot);
  }
  while (world.scope->size() < 16) {
    world.scope->spawn(client(world, random.next()));
    ++world.tally.clients;
  }
  for (int i = 0; i < 3; ++i) {
    const std::uint32_t kind = random.below(12);
    const std::uint32_t where = random.below(1024);
    world.strike(kind, where);
  }
  // A scope that is left with everything in it.
  if (random.one_in(200)) world.scope.reset();
}

Task<> blow(World& world, Posters& posters, std::uint64_t operations) {
  std::uint64_t quiet_at = kQuietEvery;
  std::uint64_t round_at = 0;
  while (world.tally.operations < operations) {
    stir(world);
    if (world.tally.operations >= round_at) {
      posters.next_round();
      round_at = world.tally.operations + 64;
    }
    co_await wait_for_progress(world);
    if (world.tally.operations < quiet_at) continue;
    quiet_at = world.tally.operations + kQuietEvery;
    world.destroy_all();
    co_await wait_until_idle(world);
    world.check_quiet();
    if (world.tally.quiet_moments % 8 == 0) co_await world.read_everything();
  }
}

/// Stops everything, destroys some of it and waits for the rest.
Task<> calm_down(World& world) {
  for (Slot& slot : world.slots) {
    if (slot.stop != nullptr) slot.stop->request_stop();
  }
  if (world.scope) world.scope->request_stop();
  world.event.set();
  world.channel.close();
  for (std::size_t i = 0; i < world.slots.size(); ++i) {
    Slot& slot = world.slots[i];
    if (!slot.running) continue;
    if (i % 2 == 0) {
      world.destroy(slot);
    } else {
      co_await std::move(slot.running);
      slot.running = {};
    }
  }
  if (world.scope) {
    const Result<void> joined = co_await world.scope->join();
    require(static_cast<bool>(joined), "a scope failed by itself");
    world.scope.reset();
  }
  while (world.channel.try_receive()) {
  }
  co_await wait_until_idle(world);
  world.check_quiet();
  co_await world.read_everything();
  co_await world.close_files();
}

void storm_on(Reactor& reactor, Reactor& remote, std::string directory, bool has_threads,
              const Options& options, Outcome& outcome) {
  World world(reactor, remote, std::move(directory), options.seed);
  reactor.block_on(world.open_files());
  {
    Posters posters(world, has_threads, options.seed ^ 0xD10);
    reactor.block_on(blow(world, posters, options.operations));
    posters.stop();
    while (posters.ran() < posters.posted()) reactor.turn(kAtOnce);
    require(posters.ran() == posters.posted(), "a post ran twice");
    outcome.posted = posters.posted();
    outcome.posts_run = posters.ran();
    reactor.block_on(calm_down(world));
  }
  // Calls whose callers were destroyed are still to be answered; run() waits for them.
  reactor.request_shutdown();
  reactor.run();
  outcome.tally = world.tally;
  outcome.checked = world.blocks.checked;
  outcome.races = world.blocks.races;
  outcome.unsure = world.blocks.unsure;
  outcome.stats = reactor.stats();
  require(Token::alive == 0, "values are lost");
  require(outcome.stats.in_flight == 0, "slots are not given back");
  require(outcome.stats.completed + outcome.stats.removed == outcome.stats.submitted,
          "operations that were submitted neither ended nor were taken back");
  require(outcome.stats.orphan_errors == 0, "an orphan failed");
  require(outcome.stats.deferred_close_errors == 0, "a file was not closed");
}

std::unique_ptr<Reactor> make_reactor(std::unique_ptr<Driver> driver) {
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(std::move(driver));
  if (!reactor) fail("no reactor:", reactor.error().text());
  return std::move(*reactor);
}

Outcome storm_on_sim(const Options& options) {
  Outcome outcome;
  sim::Choices choices = sim::Choices::random(options.seed);
  sim::Profile profile = sim::Profile::calm();
  // What says that it was cancelled did not take place, not even in part. No short transfers: the
  // rest of a dying coroutine's write is lost, and poisons its file.
  profile.half_done = sim::never();
  sim::MachineOptions machine_options;
  machine_options.in_flight_max = 24;
  sim::Machine machine(choices, profile, machine_options);
  {
    const std::unique_ptr<Reactor> reactor = make_reactor(machine.make_driver());
    storm_on(*reactor, *reactor, "/", false, options, outcome);
  }
  if (!machine.violation().empty()) fail("the machine saw:", machine.violation());
  outcome.trace_hash = machine.trace_hash();
  return outcome;
}

DriverOptions driver_options(Lane lane) {
  DriverOptions driver;
  driver.choice = lane == Lane::uring ? DriverChoice::uring : DriverChoice::pool;
  driver.pool_inline = lane == Lane::pool_inline;
  driver.in_flight_max = 24;
  return driver;
}

Outcome storm_on_system(const Options& options) {
  Outcome outcome;
  const test::TempDir directory;
  Result<std::unique_ptr<Driver>> driver = make_driver(driver_options(options.lane));
  if (!driver) fail("no driver:", driver.error().text());
  const std::unique_ptr<Reactor> reactor = make_reactor(std::move(*driver));
  ReactorOptions remote_options;
  remote_options.driver = driver_options(options.lane);
  Result<std::unique_ptr<ReactorThread>> remote = ReactorThread::create(remote_options);
  if (!remote) fail("no other reactor:", remote.error().text());
  storm_on(*reactor, (*remote)->reactor(), directory.path(), true, options, outcome);
  (*remote)->stop();
  return outcome;
}

/// What belongs to a thread, such as its pool of frames, goes with the thread.
Outcome on_own_thread(const Options& options) {
  Outcome outcome;
  std::thread thread([&] {
    outcome = options.lane == Lane::sim ? storm_on_sim(options) : storm_on_system(options);
  });
  thread.join();
  return outcome;
}

void check_that_it_stormed(const Options& options, const Outcome& outcome) {
  if (options.operations < 10'000) return;
  const Tally& tally = outcome.tally;
  require(tally.cancelled > 0 && tally.deadlines > 0, "nothing was stopped");
  require(tally.destroyed > 0, "nothing was destroyed");
  require(outcome.stats.removed > 0, "nothing was taken back");
  require(outcome.posts_run > 0 && tally.calls > 0, "nothing came from outside");
  require(outcome.checked > 0 && tally.quiet_moments > 0, "nothing was looked at");
  require(outcome.stats.driver.backlog_max > 0 || options.lane == Lane::uring, "no backlog");
  if (options.lane == Lane::pool_inline) return;
  require(outcome.stats.orphans > 0, "no coroutine died with its operation in flight");
  require(outcome.stats.blocking_reaps > 0, "no destructor waited for borrowed memory");
}

void print(const Options& options, const Outcome& outcome, double seconds) {
  const Tally& t = outcome.tally;
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("storm on %s, seed %llu: %llu operations in %.2f s, %.0f per second\n",
              to_string(options.lane), n(options.seed), n(t.operations), seconds,
              static_cast<double>(t.operations) / seconds);
  std::printf("  ended %llu, cancelled %llu, too late %llu; clients %llu, destroyed %llu + %llu\n",
              n(t.ended), n(t.cancelled), n(t.deadlines), n(t.clients), n(t.destroyed),
              n(outcome.stats.abandoned_tasks));
  std::printf("  submitted %llu, taken back %llu, orphans %llu, waited for %llu, sent again %llu\n",
              n(outcome.stats.submitted), n(outcome.stats.removed), n(outcome.stats.orphans),
              n(outcome.stats.blocking_reaps), n(outcome.stats.resubmits));
  std::printf(
      "  blocks checked %llu, raced %llu, unsure %llu; posts %llu, calls %llu, quiet %llu\n",
      n(outcome.checked), n(outcome.races), n(outcome.unsure), n(outcome.posts_run), n(t.calls),
      n(t.quiet_moments));
}

bool parse(int count, char** words, Options& options) {
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view name = words[i];
    const std::string_view value = words[i + 1];
    if (name == "--operations") {
      options.operations = std::strtoull(words[i + 1], nullptr, 10);
    } else if (name == "--seed") {
      options.seed = std::strtoull(words[i + 1], nullptr, 10);
    } else if (name == "--driver") {
      bool found = false;
      for (const Lane lane : {Lane::uring, Lane::pool, Lane::pool_inline, Lane::sim}) {
        if (value != to_string(lane)) continue;
        options.lane = lane;
        found = true;
      }
      if (!found) return false;
    } else {
      return false;
    }
  }
  return count % 2 == 1;
}

int run(const Options& options) {
  if (options.lane == Lane::uring && !test::kernel_gives(test::RingKind::plain)) {
    std::puts("storm: no io_uring here");
    return kNotHere;
  }
  const int descriptors = test::open_descriptors();
  const std::int64_t memory = blocks_alive();
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = on_own_thread(options);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  print(options, outcome, took.count());
  check_that_it_stormed(options, outcome);
  if (options.lane == Lane::sim) {
    require(on_own_thread(options).trace_hash == outcome.trace_hash,
            "a seed did not repeat itself");
  }
  require(test::open_descriptors() == descriptors, "descriptors are left open");
  require(buffers_alive() == 0, "buffers are not given back");
  // A sanitizer counts the runtime's own blocks, too, and looks for leaks by itself.
  if (test::can_fail_allocs() && blocks_alive() != memory) {
    fail("memory is not given back, in blocks:", std::to_string(blocks_alive() - memory));
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace diorite::storm

int main(int count, char** words) {
  diorite::storm::Options options;
  if (!diorite::storm::parse(count, words, options)) {
    std::fputs("test_storm --driver uring|pool|pool_inline|sim [--operations N] [--seed S]\n",
               stderr);
    return 2;
  }
  return diorite::storm::run(options);
}
