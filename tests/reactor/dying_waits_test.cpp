// Coroutines that are destroyed while they wait for something that is no operation: a moment,
// another coroutine, another reactor. Before the wait, in it, and between the wake-up and the
// resumption; on every driver. Whoever stands behind the dead one is served.

#include <chrono>
#include <utility>

#include <diorite/call_on.hpp>
#include <diorite/channel.hpp>
#include <diorite/sync.hpp>
#include <diorite/timer.hpp>
#include <diorite/when.hpp>

#include "reactor/dying_rig.hpp"

namespace diorite::test {
namespace {

using std::chrono::hours;

enum class Wait : std::uint8_t {
  sleep,
  deadline,
  event,
  permit,
  lock,
  send,
  receive,
  join,
  running,
  all,
  any,
  scope,
  call_here,
  call_there,
};
constexpr const char* kWaitNames[] = {"sleep_until",     "with_deadline",
                                      "Event",           "Semaphore",
                                      "Mutex",           "send",
                                      "receive",         "join",
                                      "Running",         "when_all",
                                      "when_any",        "with_scope",
                                      "call_on, itself", "call_on, another reactor"};
constexpr std::size_t kWaits = std::size(kWaitNames);

enum class When : std::uint8_t { made, waiting, woken };
constexpr When kWhens[] = {When::made, When::waiting, When::woken};
constexpr const char* kWhenNames[] = {"made", "waiting", "woken"};

struct Stage {
  Stage(const Lane& lane) : rig(lane), there(lane) {}

  Reactor& reactor() { return rig.reactor(); }
  void turns(int count) {
    for (int i = 0; i < count; ++i) {
      reactor().turn(kAtOnce);
      there.reactor().turn(kAtOnce);
    }
  }

  DyingRig rig;
  DyingRig there;  ///< another reactor, on the same thread
  Event never;     ///< set at the end of each test only
  Event event;
  Semaphore permits{1};
  Mutex mutex;
  Channel<int> channel{1};
  TaskScope scope{rig.reactor()};
  Running<> child;
  Event child_may_end;
  bool parks = false;
  bool waits = false;  ///< has come to its co_await
  bool ended = false;
  int inhabitants = 0;  ///< frames of what is waited for
};

Task<> child_of(Stage& stage) {
  const Inhabitant here(stage.inhabitants);
  static_cast<void>(co_await stage.child_may_end.wait());
}

/// On the target of a call.
Task<Result<void>> serves(Stage* stage) {
  const Inhabitant here(stage->inhabitants);
  co_return co_await stage->child_may_end.wait();
}

template <class A>
Task<> parked(Stage& stage, A awaitable) {
  if (stage.parks) {
    stage.waits = true;
    static_cast<void>(co_await stage.never.wait());
  }
  stage.waits = true;
  static_cast<void>(co_await std::move(awaitable));
  stage.ended = true;
}
Task<> parked_void(Stage& stage, Task<> task) {
  if (stage.parks) {
    stage.waits = true;
    static_cast<void>(co_await stage.never.wait());
  }
  stage.waits = true;
  co_await std::move(task);
  stage.ended = true;
}
Task<> awaits_running(Stage& stage) {
  if (stage.parks) {
    stage.waits = true;
    static_cast<void>(co_await stage.never.wait());
  }
  stage.waits = true;
  co_await std::move(stage.child);
  stage.ended = true;
}
Task<> sends(Stage& stage) {
  int value = 4;
  if (stage.parks) {
    stage.waits = true;
    auto sending = stage.channel.send(std::move(value));
    static_cast<void>(co_await stage.never.wait());
    static_cast<void>(co_await std::move(sending));
  }
  stage.waits = true;
  static_cast<void>(co_await stage.channel.send(std::move(value)));
  stage.ended = true;
}
Task<> joins_children(Stage& stage) {
  const Result<void> joined = co_await with_scope([&](TaskScope& inner) -> Task<Result<void>> {
    inner.spawn(child_of(stage));
    inner.spawn(child_of(stage));
    co_return Result<void>();
  });
  CHECK(joined);
}

Task<> make(Stage& stage, Wait wait) {
  const Instant later = stage.reactor().now() + hours(1);
  switch (wait) {
    case Wait::sleep:
      return parked(stage, sleep_until(stage.reactor().now()));
    case Wait::deadline:
      return parked_void(stage, with_deadline(child_of(stage), later));
    case Wait::event:
      return parked(stage, stage.event.wait());
    case Wait::permit:
      return parked(stage, stage.permits.acquire());
    case Wait::lock:
      return parked(stage, stage.mutex.lock());
    case Wait::send:
      return sends(stage);
    case Wait::receive:
      return parked(stage, stage.channel.receive());
    case Wait::join:
      return parked(stage, stage.scope.join());
    case Wait::running:
      return awaits_running(stage);
    case Wait::all:
      return parked(stage, when_all(child_of(stage), child_of(stage)));
    case Wait::any:
      return parked(stage, when_any(child_of(stage), sleep_until(later)));
    case Wait::scope:
      return parked_void(stage, joins_children(stage));
    case Wait::call_here:
      return parked(stage, call_on(stage.reactor(), &serves, &stage));
    case Wait::call_there:
      return parked(stage, call_on(stage.there.reactor(), &serves, &stage));
  }
  return {};
}

bool has_children(Wait wait) {
  return wait == Wait::deadline || wait == Wait::all || wait == Wait::any || wait == Wait::scope ||
         wait == Wait::call_here || wait == Wait::call_there;
}

/// One that stands behind the dead one in the queue.
Task<> second(Stage& stage, Wait wait, bool& served) {
  switch (wait) {
    case Wait::permit: {
      const Result<Permit> permit = co_await stage.permits.acquire();
      served = static_cast<bool>(permit);
      break;
    }
    case Wait::lock: {
      const Guard guard = co_await stage.mutex.lock();
      served = static_cast<bool>(guard);
      break;
    }
    case Wait::send: {
      int value = 5;
      const Result<void> sent = co_await stage.channel.send(std::move(value));
      served = static_cast<bool>(sent);
      break;
    }
    case Wait::receive: {
      const Result<int> value = co_await stage.channel.receive();
      served = static_cast<bool>(value);
      break;
    }
    default:
      static_cast<void>(co_await stage.event.wait());
      served = true;
      break;
  }
}

/// What makes the wait a wait, and ends it.
class Obstacle {
 public:
  Obstacle(Stage& stage, Wait wait) : stage_(stage), wait_(wait) {
    if (wait == Wait::permit) permit_ = stage.permits.try_acquire();
    if (wait == Wait::lock) guard_ = stage.mutex.try_lock();
    if (wait == Wait::send) CHECK(stage.channel.try_send(1));
    if (wait == Wait::running) stage.child = start(stage.reactor(), child_of(stage));
    if (wait == Wait::join) stage.scope.spawn(child_of(stage));
  }
  void go_away() {
    permit_.release();
    guard_.unlock();
    stage_.event.set();
    stage_.child_may_end.set();
    if (wait_ == Wait::send) {
      CHECK(stage_.channel.try_receive());
    } else if (wait_ == Wait::receive) {
      CHECK(stage_.channel.try_send(2));
    }
  }

 private:
  Stage& stage_;
  const Wait wait_;
  Permit permit_;
  Guard guard_;
};

/// Until what is ready now would resume the coroutine next: it may take turns of children first.
void turn_until_woken(Stage& stage, Wait wait) {
  // These are woken by what runs in a turn, and would run in the same one.
  if (wait == Wait::call_there) {
    stage.there.reactor().turn(kAtOnce);  // ends the task, and sends the answer
    return;
  }
  if (wait == Wait::sleep) stage.reactor().turn(kAtOnce);
}

/// Is destroyed in the turn in which it was woken, before it runs.
Task<> kills(Running<>& victim, bool& alive_until_then) {
  alive_until_then = !victim.done();
  victim = {};
  co_return;
}

/// Woken from outside of a turn, and resumed by the next one. An awaited task hands over to its
/// parent when it ends, so of a deadline's what is woken is the task's own wait.
bool is_woken_between_turns(Wait wait) {
  return wait == Wait::event || wait == Wait::permit || wait == Wait::lock || wait == Wait::send ||
         wait == Wait::receive || wait == Wait::deadline;
}

/// The same wait when nobody dies: true if the first turn after its obstacle went, in which nothing
/// else could wake it, ends it. Then it has been woken before that turn.
bool lives_through_next_turn(const Lane& lane, Wait wait) {
  Stage stage(lane);
  Obstacle obstacle(stage, wait);
  const Running<> survivor = start(stage.reactor(), make(stage, wait));
  bool served = false;
  const Running<> other = start(stage.reactor(), second(stage, wait, served));
  stage.turns(3);
  obstacle.go_away();
  if (stage.ended) return false;
  stage.reactor().turn(kAtOnce);
  return stage.ended;
}

void run_wait(const Lane& lane, Wait wait, When when) {
  Stage stage(lane);
  stage.parks = when == When::made;
  std::optional<Obstacle> obstacle(std::in_place, stage, wait);
  Running<> victim = start(stage.reactor(), make(stage, wait));
  bool served = false;
  Running<> other;
  if (wait != Wait::sleep) {
    other = start(stage.reactor(), second(stage, wait, served));
    stage.turns(3);
  }
  bool reached = true;
  if (wait != Wait::sleep || when == When::made) {
    if (wait == Wait::sleep) stage.turns(1);
    reached = stage.waits && !stage.ended;
    if (has_children(wait) && when != When::made) CHECK(stage.inhabitants > 0);
  }
  if (when == When::woken) {
    obstacle->go_away();
    turn_until_woken(stage, wait);
    if (wait == Wait::sleep) {
      reached = stage.waits && stage.reactor().next_deadline() == kNever;
    } else if (is_woken_between_turns(wait)) {
      reached = stage.waits && !stage.ended && lives_through_next_turn(lane, wait);
    } else {
      // The children end first; their parent is woken by the last of them and stands behind the
      // killer.
      bool alive = false;
      Running<> killer = start(stage.reactor(), kills(victim, alive));
      stage.reactor().turn(kAtOnce);
      reached = alive && !stage.ended;
    }
  } else if (wait == Wait::sleep && when == When::waiting) {
    // Of a moment that lies ahead.
    victim = start(stage.reactor(), parked(stage, sleep_for(hours(1))));
    stage.reactor().turn(kAtOnce);
    reached = stage.waits && stage.reactor().next_deadline() != kNever;
  }
  victim = {};
  CHECK(reached);
  if (wait == Wait::sleep || wait == Wait::deadline) {
    CHECK(stage.reactor().next_deadline() == kNever);
  }
  if (when != When::woken) obstacle->go_away();
  stage.turns(6);
  if (wait == Wait::send && when == When::woken) {
    // It was about to be resumed, so its value has gone out; then the other's.
    CHECK(stage.channel.try_receive() == 4);
    stage.turns(2);
  }
  stage.child = {};
  stage.turns(3);
  CHECK_FALSE(stage.ended);
  CHECK(stage.inhabitants == 0);
  if (wait != Wait::sleep) CHECK(served);
  obstacle.reset();
  other = {};
  static_cast<void>(stage.channel.try_receive());
  CHECK(stage.permits.available() == 1);
  CHECK_FALSE(stage.mutex.is_locked());
  CHECK(stage.scope.empty());
  // Answers to calls that nobody waits for any more.
  stage.turns(4);
  CHECK(stage.reactor().stats().in_flight == 0);
  CHECK(stage.reactor().stats().blocking_reaps == 0);
}

}  // namespace

TEST_CASE("coroutines that die while they wait for each other", "[dying]") {
  for (const Lane& lane : kLanes) {
    if (!is_here(lane) || lane.faults) continue;
    for (const When when : kWhens) {
      DYNAMIC_SECTION(lane.name << ", " << kWhenNames[static_cast<std::size_t>(when)]) {
        for (std::size_t i = 0; i < kWaits; ++i) {
          INFO(kWaitNames[i]);
          const int descriptors = open_descriptors();
          run_wait(lane, static_cast<Wait>(i), when);
          CHECK(open_descriptors() == descriptors);
        }
      }
    }
  }
}

}  // namespace diorite::test
