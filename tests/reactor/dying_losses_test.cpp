// Operations that fail, or are given up, when their coroutine is gone and nobody is left to hear of
// it.

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "reactor/dying_cell.hpp"

namespace diorite::test {
namespace {

struct Loss {
  const char* name;
  State state;
  int cause;
};
constexpr Loss kLosses[] = {
    {"submitted, EIO", State::submitted, EIO},
    {"submitted, ENOSPC", State::submitted, ENOSPC},
    {"completed, EIO", State::completed, EIO},
    {"completed, ENOSPC", State::completed, ENOSPC},
};

/// Destroys the coroutine while its failing operation is in flight, or has just failed.
void lose(Cell& cell, const ActInfo& info, const Loss& loss) {
  DyingRig& rig = cell.rig();
  rig.fails->fail(info.code, 1, loss.cause);
  if (loss.state == State::submitted) {
    std::uint32_t rule = cell.hold();
    REQUIRE(rig.watch->state_of(info.code) == OpState::in_flight);
    struct Release {
      FaultDriver* faults;
      std::uint32_t rule;
    } release{rig.holds, rule};
    rig.watch->at_next_poll(
        [](void* context) {
          const auto& due = *static_cast<Release*>(context);
          due.faults->release(due.rule);
        },
        &release);
    cell.drop();
    settle(cell.reactor());
  } else {
    cell.begin();
    cell.reactor().turn(kAtOnce);
    while (rig.watch->state_of(info.code) != OpState::done) cell.reactor().turn(kNever);
    cell.drop();
    settle(cell.reactor());
  }
}

}  // namespace

TEST_CASE("what fails after its coroutine is gone: writes and syncs are counted and poison",
          "[dying]") {
  for (const Lane& lane : kLanes) {
    if (!is_here(lane) || !lane.faults) continue;
    for (const ActInfo& info : kActs) {
      if (!on_file(info.act) || info.act == Act::preallocate) continue;
      const bool is_loss = is_write(info.act) || is_sync(info.act);
      for (const Loss& loss : kLosses) {
        DYNAMIC_SECTION(lane.name << ", " << info.name << ", " << loss.name) {
          Cell cell(lane, info, loss.state);
          lose(cell, info, loss);
          CHECK(cell.since().orphan_errors == (is_loss ? 1 : 0));
          CHECK(cell.file().operations_in_flight() == 0);
          CHECK(cell.reactor().stats().in_flight == 0);
          if (is_loss) {
            CHECK(cell.file().poison().code().value() == loss.cause);
            CHECK(wait(cell.reactor(), cell.file().sync_data()).error() == Errc::poisoned);
            const BufIoResult next =
                wait(cell.reactor(), cell.file().write_at(filled(kPage, 1), 0));
            CHECK(next.error() == Errc::poisoned);
          } else if (info.act != Act::truncate) {
            CHECK_FALSE(static_cast<bool>(cell.file().poison()));
          }
        }
      }
    }
  }
}

TEST_CASE("an open that fails after its coroutine is gone leaves nothing behind", "[dying]") {
  for (const Lane& lane : kLanes) {
    if (!is_here(lane) || !lane.faults) continue;
    DYNAMIC_SECTION(lane.name) {
      const int descriptors = open_descriptors();
      {
        const ActInfo& open = *std::find_if(std::begin(kActs), std::end(kActs),
                                            [](const ActInfo& i) { return i.act == Act::open; });
        for (const Loss& loss : kLosses) {
          Cell cell(lane, open, loss.state);
          lose(cell, open, loss);
          CHECK(cell.since().orphan_errors == 0);
          CHECK_FALSE(cell.rig().has("opened"));
        }
      }
      CHECK(open_descriptors() == descriptors);
    }
  }
}

TEST_CASE("what is given up for a dying coroutine is no loss, and poisons nothing", "[dying]") {
  // A driver may still take back what it has begun: a ring does with syncs that wait for a thread.
  constexpr Lane kGivingUp = {"sim", Base::sim, false};
  for (const ActInfo& info : kActs) {
    if (!is_write(info.act) && !is_sync(info.act)) continue;
    DYNAMIC_SECTION(info.name) {
      Cell cell(kGivingUp, info, State::submitted, kPage, sim::always());
      cell.begin();
      cell.reactor().turn(kAtOnce);
      cell.rig().pass(Duration(1));
      REQUIRE(cell.rig().watch->state_of(info.code) == OpState::in_flight);
      cell.drop();
      CHECK(cell.since().removed == 0);
      cell.check_end(false);
    }
  }
}

}  // namespace diorite::test
