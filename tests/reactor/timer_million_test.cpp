// A million timers at once: their order, their memory, and those that are taken back.

#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "support/alloc_counter.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

constexpr std::size_t kTimers = 1'000'000;
// One timer costs the reactor an entry of a key and a pointer. They stand in groups of four in an
// array that doubles: up to twice as many as are needed, and as much again in outgrown arrays.
constexpr std::uint64_t kBytesEachMax = 4 * 16;

/// What came last, and whether it came in its place.
struct Order {
  Reactor* reactor = nullptr;
  Instant due{};
  std::size_t number = 0;
  std::size_t fired = 0;
  std::size_t wrong = 0;
};

/// A timer of which the reactor knows no more than its node.
class Alarm : public ReadyCall {
 public:
  Alarm() noexcept : ReadyCall(&Alarm::rang) {}
  bool set(Order& order, std::size_t number, Instant due) noexcept {
    order_ = &order;
    number_ = number;
    timer_.set_call(*this);
    timer_.set_due(due);
    return detail::ReactorAccess::add_timer(*order.reactor, timer_);
  }
  void take_back() noexcept { detail::ReactorAccess::remove_timer(*order_->reactor, timer_); }
  bool is_set() const noexcept { return timer_.armed(); }

 private:
  static void rang(ReadyCall& call) noexcept {
    auto& self = static_cast<Alarm&>(call);
    Order& order = *self.order_;
    const Instant due = self.timer_.due();
    const bool behind =
        due > order.due || (due == order.due && (order.fired == 0 || self.number_ > order.number));
    if (!behind || order.reactor->now() < due) ++order.wrong;
    order.due = due;
    order.number = self.number_;
    ++order.fired;
  }

  Order* order_ = nullptr;
  std::size_t number_ = 0;
  detail::TimerNode timer_;
};

}  // namespace

TEST_CASE("a million timers fire in order, and those that were taken back do not", "[timer]") {
  ManualReactor rig = make_manual_reactor();
  const auto alarms = std::make_unique<Alarm[]>(kTimers);
  std::mt19937_64 random(7);
  for (int round = 0; round < 2; ++round) {
    Order order;
    order.reactor = rig.reactor.get();
    const Instant begin = rig.reactor->now();
    const AllocCount count;
    std::size_t refused = 0;
    for (std::size_t i = 0; i < kTimers; ++i) {
      // A thousand of them for each moment.
      const auto delay = std::chrono::milliseconds(1 + random() % 1000);
      refused += alarms[i].set(order, i, begin + delay) ? 0 : 1;
    }
    CHECK(refused == 0);
    if (round == 0) {
      CHECK(count.here().bytes <= kTimers * kBytesEachMax);
    } else {
      CHECK(count.here().news == 0);
    }
    std::size_t taken_back = 0;
    for (std::size_t i = 0; i < kTimers; ++i) {
      if (random() % 4 != 0) continue;
      alarms[i].take_back();
      ++taken_back;
    }
    while (rig.reactor->next_deadline() != kNever || rig.reactor->turn(kAtOnce)) {
      rig.reactor->turn(kNever);
      // Some more while others have fired.
      const std::size_t i = random() % kTimers;
      if (!alarms[i].is_set()) continue;
      alarms[i].take_back();
      ++taken_back;
    }
    CHECK(order.fired == kTimers - taken_back);
    CHECK(order.wrong == 0);
    CHECK(rig.reactor->now() <= begin + std::chrono::seconds(1));
    if (round == 1) CHECK(count.here().news == 0);
  }
}

TEST_CASE("a hundred thousand sleeping coroutines, of which every third dies", "[timer]") {
  constexpr std::size_t kSleepers = 100'000;
  ManualReactor rig = make_manual_reactor();
  std::mt19937_64 random(7);
  std::size_t woke = 0;
  Instant last{};
  auto sleeps = [&](Duration delay) -> Task<> {
    const Instant due = rig.reactor->now() + delay;
    const Result<void> slept = co_await sleep_for(delay);
    if (slept && due >= last && rig.reactor->now() >= due) ++woke;
    last = due;
  };
  std::vector<Running<>> all;
  all.reserve(kSleepers);
  for (std::size_t i = 0; i < kSleepers; ++i) {
    all.push_back(start(*rig.reactor, sleeps(std::chrono::microseconds(1 + random() % 100'000))));
  }
  while (rig.reactor->turn(kAtOnce)) {
  }
  std::size_t died = 0;
  for (std::size_t i = 0; i < kSleepers; i += 3) {
    all[i] = {};
    ++died;
  }
  while (rig.reactor->next_deadline() != kNever || rig.reactor->turn(kAtOnce)) {
    rig.reactor->turn(kNever);
  }
  CHECK(woke == kSleepers - died);
}

}  // namespace diorite::test
