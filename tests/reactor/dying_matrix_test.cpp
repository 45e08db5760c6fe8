// Coroutines that are destroyed in every state, of every operation, with every kind of buffer, on
// every driver. Every cell that is met is counted, and the counts are compared with a table of what
// each lane reaches: a cell that was not met in the state that it is about is a failure.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <ostream>

#include "reactor/dying_cell.hpp"

namespace diorite::test {
namespace {

/// Cells that were met, by what the operation is.
struct Counts {
  int reads = 0;
  int writes = 0;
  int syncs = 0;
  int calls = 0;
  int nops = 0;
  int others = 0;  ///< whatever else has to do with files and directories

  int& of(OpCode code) {
    switch (kind_of(code)) {
      case OpKind::read:
        return reads;
      case OpKind::write:
        return writes;
      case OpKind::sync:
        return syncs;
      case OpKind::other:
        break;
    }
    return code == OpCode::call ? calls : code == OpCode::nop ? nops : others;
  }
  friend bool operator==(const Counts&, const Counts&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Counts& counts) {
    return out << counts.reads << " reads, " << counts.writes << " writes, " << counts.syncs
               << " syncs, " << counts.calls << " calls, " << counts.nops << " nops, "
               << counts.others << " others";
  }
};

/// Three kinds of memory to read into and four ways to write; sync_data, sync_all and sync_dir.
constexpr Counts kEverything = {3, 4, 3, 1, 1, 11};
constexpr Counts kTransfersAndCalls = {3, 4, 0, 1, 0, 0};

/// What is met in flight without a FaultDriver, and why the rest is not. With one, and in every
/// other state, a lane without holes is asked for.
struct Plain {
  Base base;
  Counts submitted;
  const char* hole;
};
constexpr Plain kPlain[] = {
    {Base::uring, kTransfersAndCalls, "the others may have ended before they are looked at"},
    {Base::pool, kTransfersAndCalls, "the others may have ended before they are looked at"},
    {Base::pool_inline, {}, "what is not queued has ended"},
    {Base::sim, {3, 4, 3, 1, 0, 11}, "a nop ends in the poll that submits it"},
};

const Plain& plain(const Lane& lane) {
  return *std::find_if(std::begin(kPlain), std::end(kPlain),
                       [&](const Plain& each) { return each.base == lane.base; });
}
bool has_holes(const Lane& lane, State state) { return state == State::submitted && !lane.faults; }

/// How a cell is met.
enum class Reach : std::uint8_t {
  at_will,
  by_trying,  ///< a device has to be caught at it
  left_out,   ///< a hole: with bad luck it would be met, and nobody could tell what it left behind
  never,      ///< a hole that no luck can fill
};
Reach reach(const Lane& lane, const ActInfo& info, State state) {
  if (!has_holes(lane, state)) return Reach::at_will;
  Counts wanted = plain(lane).submitted;
  const bool is_wanted = wanted.of(info.code) > 0;
  const bool is_real = lane.base == Base::uring || lane.base == Base::pool;
  if (!is_real) return is_wanted ? Reach::at_will : Reach::never;
  if (!is_wanted) return Reach::left_out;
  return info.act == Act::offload ? Reach::at_will : Reach::by_trying;
}

constexpr std::size_t kLongTransfer = std::size_t{8} << 20;
constexpr int kTriesMax = 400;

/// Through the page cache a ring may end every transfer in the call that submits it.
bool can_be_caught(const Lane& lane) {
  if (lane.base != Base::uring) return true;
  DyingRig rig(lane);
  DirectFile file = open_file(rig.reactor(), rig.path("data"), writable());
  const bool is_direct = file.is_direct();
  close_file(rig.reactor(), std::move(file));
  if (!is_direct) std::fprintf(stderr, "skipped: transfers in flight on %s\n", lane.name);
  return is_direct;
}

/// True when the coroutine was in its state when it died.
bool run_cell(const Lane& lane, const ActInfo& info, State state, bool tries) {
  const int descriptors = open_descriptors();
  for (int i = 0; i < (tries ? kTriesMax : 1); ++i) {
    bool reached = false;
    {
      Cell cell(lane, info, state, tries ? kLongTransfer : kPage);
      if (lane.base == Base::sim) cell.set_patience(Duration(1));
      if (tries) cell.set_patience(std::chrono::microseconds(20) * (i % 16));
      reached = cell.run();
    }
    CHECK(open_descriptors() == descriptors);
    if (reached) return true;
  }
  return false;
}

/// What the cells of one state of one lane met.
Counts run_cells(const Lane& lane, State state, bool catches) {
  Counts met;
  for (const ActInfo& info : kActs) {
    INFO(info.name);
    const Reach reachable = reach(lane, info, state);
    if (reachable == Reach::left_out || (reachable == Reach::by_trying && !catches)) continue;
    const bool reached = run_cell(lane, info, state, reachable == Reach::by_trying);
    CHECK(reached == (reachable != Reach::never));
    if (reached) ++met.of(info.code);
  }
  return met;
}

}  // namespace

TEST_CASE("the matrix of dying coroutines: every state, operation, buffer and driver", "[dying]") {
  for (const Lane& lane : kLanes) {
    if (!is_here(lane)) continue;
    for (const State state : kStates) {
      DYNAMIC_SECTION(lane.name << ", " << kStateNames[static_cast<std::size_t>(state)]) {
        const bool holes = has_holes(lane, state);
        INFO("left out: " << (holes ? plain(lane).hole : "nothing"));
        Counts wanted = holes ? plain(lane).submitted : kEverything;
        const bool catches = !holes || can_be_caught(lane);
        if (!catches) wanted.reads = wanted.writes = 0;
        CHECK(run_cells(lane, state, catches) == wanted);
      }
    }
  }
}

TEST_CASE("the matrix has every kind of lane, and a FaultDriver before each", "[dying]") {
  // What a plain lane does not reach is met behind a FaultDriver on the same ground.
  for (const Plain& each : kPlain) {
    for (const RingKind ring : {RingKind::plain, RingKind::sq_poll}) {
      if (ring != RingKind::plain && each.base != Base::uring) continue;
      for (const bool faults : {false, true}) {
        CHECK(std::count_if(std::begin(kLanes), std::end(kLanes), [&](const Lane& lane) {
                return lane.base == each.base && lane.ring == ring && lane.faults == faults;
              }) == 1);
      }
    }
  }
}

TEST_CASE("an open that nobody waits for any more keeps no file on the simulated disk", "[dying]") {
  // A descriptor cannot be counted there, but a file that is open keeps its room when its name
  // goes.
  constexpr Lane kSim = {"sim", Base::sim, false};
  constexpr std::size_t kMostOfTheDisk = std::size_t{40} << 20;
  DyingRig rig(kSim);
  for (const State state : {State::submitted, State::completed}) {
    DirectFile file = open_file(rig.reactor(), rig.path("large"), writable());
    REQUIRE(wait(rig.reactor(), file.write_at(filled(kMostOfTheDisk, 7), 0)));
    close_file(rig.reactor(), std::move(file));
    Running<Result<DirectFile>> opening =
        start(rig.reactor(), DirectFile::open_rw(rig.reactor(), rig.path("large")));
    rig.watch->forget_ended();
    rig.pass(Duration(1));
    REQUIRE(rig.watch->state_of(OpCode::open) == OpState::in_flight);
    if (state == State::completed) {
      while (rig.watch->state_of(OpCode::open) != OpState::done) rig.reactor().turn(kNever);
    }
    opening = {};
    settle(rig.reactor());
    REQUIRE(run(rig.reactor(), diorite::remove(rig.reactor(), rig.path("large"))));
  }
  DirectFile next = open_file(rig.reactor(), rig.path("next"), writable());
  CHECK(wait(rig.reactor(), next.write_at(filled(kMostOfTheDisk, 8), 0)));
  close_file(rig.reactor(), std::move(next));
}

}  // namespace diorite::test
