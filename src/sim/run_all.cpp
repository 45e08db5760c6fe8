// Turning reactors on virtual time.

#include <algorithm>

#include "sim/life.hpp"

#include <diorite/assert.hpp>

namespace diorite::sim {
namespace {

using detail::DriveEnd;

// Far above what any life needs: a life has some thousands of events, and each takes a few turns.
constexpr std::uint64_t kTurnsMax = 1'000'000;

/// Access to a list of reactors, whoever owns them.
struct OwnedReactors {
  const std::vector<std::unique_ptr<Reactor>>& list;  ///< may grow during a turn
  std::size_t size() const noexcept { return list.size(); }
  Reactor& operator[](std::size_t index) const noexcept { return *list[index]; }
};
struct BorrowedReactors {
  std::span<Reactor* const> list;
  std::size_t size() const noexcept { return list.size(); }
  Reactor& operator[](std::size_t index) const noexcept { return *list[index]; }
};

template <class R>
Instant next_moment(const Machine& machine, const R& reactors) noexcept {
  Instant next = machine.next_event();
  for (std::size_t i = 0; i < reactors.size(); ++i) {
    next = std::min(next, reactors[i].next_deadline());
  }
  return next;
}

/// Grows with everything that a reactor does. What one reactor posts to another makes the first
/// look idle while there is work, so its own word is not enough.
template <class R>
std::uint64_t work_done(const R& reactors) noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < reactors.size(); ++i) {
    const ReactorStats stats = reactors[i].stats();
    sum += stats.resumes + stats.posts + stats.completed;
  }
  return sum;
}

/// Every reactor once, the first of them by choice. True when any has done something or could.
template <class R>
bool turn_round(Machine& machine, const R& reactors) {
  const auto count = static_cast<std::uint32_t>(reactors.size());
  const std::uint64_t before = work_done(reactors);
  bool busy = false;
  const std::uint32_t first = machine.choices().pick(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    busy |= reactors[(first + i) % count].turn(kAtOnce);
  }
  return busy || work_done(reactors) != before;
}

/// Every reactor in turn; time passes when all of them wait.
template <class R, class F>
DriveEnd drive_rounds(Machine& machine, const R& reactors, F finished) {
  for (std::uint64_t rounds = 0; !finished(); ++rounds) {
    if (rounds == kTurnsMax) return DriveEnd::endless;
    if (turn_round(machine, reactors) || finished()) continue;
    const Instant next = next_moment(machine, reactors);
    if (next == kNever) return DriveEnd::nothing_left;
    machine.advance(std::max(next, machine.now()));
  }
  return DriveEnd::done;
}

}  // namespace

namespace detail {

DriveEnd drive(Machine& machine, const std::vector<std::unique_ptr<Reactor>>& reactors,
               diorite::detail::RootTask& until) {
  // Alone, a reactor lets time pass by itself, as block_on() does.
  Reactor& first = *reactors.front();
  DriveEnd end = DriveEnd::done;
  diorite::detail::ReactorAccess::set_awaited(first, &until);
  bool busy = true;
  for (std::uint64_t turns = 0; !until.finished() && reactors.size() == 1; ++turns) {
    const OwnedReactors alone{reactors};
    if (turns == kTurnsMax) end = DriveEnd::endless;
    if (!busy && next_moment(machine, alone) == kNever) end = DriveEnd::nothing_left;
    if (end != DriveEnd::done) break;
    busy = first.turn(kNever);
  }
  diorite::detail::ReactorAccess::set_awaited(first, nullptr);
  if (end != DriveEnd::done || until.finished()) return end;
  return drive_rounds(machine, OwnedReactors{reactors}, [&] { return until.finished(); });
}

}  // namespace detail

bool run_all(Machine& machine, std::span<Reactor* const> reactors, Running<void>& until) {
  DIORITE_ASSERT(!reactors.empty(), "no reactor to turn");
  return drive_rounds(machine, BorrowedReactors{reactors}, [&] { return until.done(); }) ==
         DriveEnd::done;
}

}  // namespace diorite::sim
