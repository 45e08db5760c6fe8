// run: power-cuts an engine over and over, from seeds, and says what it lost.
//
// An engine under test is a class with one coroutine, live(): one life of the engine, from opening
// its files to the moment the power goes. It remembers between lives what was acknowledged, and
// checks at the beginning of each life that this is there. A schedule is a few lives on one
// machine; the last one has no faults and must succeed. run() goes through schedules by seed,
// explore() through every decision of a small one. A failing schedule is made smaller and
// described, with the seed that repeats it.
//
// Thread: one; engines of several reactors run on it too (run_all).
// Lifetime: an engine lives for one schedule; a Life for one call of live().
//
//   class Counter final : public sim::Engine {
//    public:
//     Task<> live(sim::Life& life) override {
//       auto opened = co_await MyCounter::open(life.reactor(), "counter");
//       if (!opened) co_return life.failed(opened.error());       // a violation in a healthy life
//       life.check((*opened)->value() >= acknowledged_, "the counter went back");
//       while (life.goes_on()) {
//         if (!co_await (*opened)->increment()) co_return;
//         acknowledged_ = (*opened)->value();
//         life.acknowledge();
//       }
//     }
//    private:
//     std::uint64_t acknowledged_ = 0;
//   };
//
//   sim::Report report = sim::run<Counter>({.schedules = 1000});
//   std::puts(report.text().c_str());
//
// explore() enumerates, of options.lives_max lives of an engine on Profile::bounded():
//  - every moment at which a life may end: after each operation that begins or ends, and its own
//    end. After a life that ended by itself the power is cut, too. The last life is healthy.
//  - every order in which operations in flight end, timers and cancellations among them.
//  - everything that a power cut may leave: of each 512-byte sector of writes that were in flight
//    or not synced, each of its versions; each length that the file may have; the changes of names
//    up to some moment (or Profile::directories); each change of names in flight done or not.
//  - whatever else the profile leaves open: errors and short transfers, if it has any.
// Draws (Choices::draw) are no part of it and always 0: an engine for explore() does the same in
// each schedule. What is left out is the same as something that is tried:
//  - A sector with equal bytes in two versions is one answer, zeros over zeros among them.
//  - A moment at which a power cut could leave just what it could leave at the moment before, to an
//    engine that knows no more than it did then, is no moment of its own.
//  - A state, of the disk and of the engine's memory (Engine::fingerprint), in which another
//    schedule has cut the power in the same life is not gone on from again: neither before it is
//    decided what is left (Machine::fingerprint tells what may be), nor after.
// Only an engine with a fingerprint has the last two; without one small trees are large. To keep a
// tree small: few operations at once, since n have n! orders; few sectors that are not synced,
// since n leave 2^n states; no timers; lives that are explored in part only (Life::explore); files
// that are there already (RunOptions::disk). `complete` says that the end was reached.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <diorite/error.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/sim/choices.hpp>
#include <diorite/sim/disk.hpp>
#include <diorite/sim/machine.hpp>
#include <diorite/sim/profile.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

namespace detail {
struct LifeState;
}

/// Of a part of a life: see Life::explore().
enum class Explored : std::uint8_t {
  everything,
  ends,     ///< every moment for its end; operations end in the order in which they began
  nothing,  ///< the power stays, too: for what prepares, or only looks
};

/// One life of an engine, as it sees it.
class Life {
 public:
  explicit Life(detail::LifeState& state) noexcept : state_(state) {}
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  Reactor& reactor() noexcept;
  Machine& machine() noexcept;
  Choices& choices() noexcept;
  /// From 0.
  std::uint32_t number() const noexcept;
  /// No faults, no end, and a disk that nobody damaged: everything must succeed.
  bool is_healthy() const noexcept;
  /// False when the engine has worked enough, or its process has ended: leave live() then. An
  /// engine that is closed cleanly before that is tested, too.
  bool goes_on() noexcept;
  /// The process has ended: what fails from now on says nothing about the disk.
  bool is_over() const noexcept;
  /// The power was cut since the life before this one began; else what it wrote is in the page
  /// cache still. False in the first life.
  bool after_power_cut() const noexcept;

  /// What was done to the disk before this life or an earlier one began, if anything: see
  /// Profile::damage. Then an engine may refuse to open, but must not pass over the loss in
  /// silence.
  const Damage* damage() const noexcept;

  /// Records a violation unless `holds`; the first one counts, and ends the schedule with this
  /// life. Returns `holds`.
  bool check(bool holds, std::string_view text);
  void violation(std::string_view text);
  /// An operation failed. A violation in a healthy life; otherwise what may happen.
  void failed(const Error& error);
  /// Counts what the engine promised its user, for the report.
  void acknowledge(std::uint64_t count = 1) noexcept;

  /// What explore() tries from now on in this life; everything at its beginning. Every other run
  /// takes no notice.
  void explore(Explored what) noexcept;

  /// A second reactor for this life, on a driver of the same process group. Runs beside the first;
  /// it lives until live() has ended.
  Reactor& add_reactor();

 private:
  detail::LifeState& state_;
};

class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  /// Must return when operations fail, and when life.goes_on() says so.
  virtual Task<> live(Life& life) = 0;

  /// A hash of all that the engine remembers of its lives so far and that its later ones depend on:
  /// what was asked for, what was promised. Lets explore() go on once only from states that are the
  /// same. After the end of its process an engine must learn nothing more (explore() checks that).
  /// 0: it cannot tell.
  virtual std::uint64_t fingerprint() const { return 0; }
};

/// Where explorations of one tree, in several processes perhaps, note what they have begun, so that
/// each goes where no other has been. Trivially copyable.
struct SharedStates {
  /// True when `key` is new. Each key is new to one caller only.
  bool (*insert)(void* context, std::uint64_t key) = nullptr;
  void* context = nullptr;
};

/// Makes an engine for one schedule. `choices` may decide on its options.
struct EngineFactory {
  std::unique_ptr<Engine> (*make)(void* context, Choices& choices) = nullptr;
  void* context = nullptr;
};

/// Trivially copyable.
struct RunOptions {
  Profile profile = Profile::standard();
  MachineOptions machine = {};  // initialised, so that naming others alone is no warning
  std::uint64_t first_seed = 1;
  std::uint64_t schedules = 1000;
  std::uint64_t crashes_max = ~std::uint64_t{0};  ///< ends the run when so many have happened
  std::uint32_t lives_max = 4;                    ///< of a schedule, with the healthy one
  std::uint32_t events_max = 600;  ///< the power goes after at most so many, skewed to fewer
  std::uint32_t steps_max = 200;   ///< Life::goes_on() says yes at most so often, skewed to fewer
  Chance kill = per_cent(20);      ///< the life ends by a kill instead of a power cut
  std::uint32_t failures_max = 1;  ///< failing schedules, then the run ends
  bool shrinks = true;
  std::uint32_t shrink_runs_max = 2000;
  bool checks_determinism = false;  ///< runs every schedule twice and compares the trace hashes
  /// Called after every schedule, or null. False ends the run.
  bool (*keep_going)(void* context, const struct Report& so_far) = nullptr;
  void* context = nullptr;
  const Disk* disk = nullptr;  ///< every machine begins with a copy of it; null: empty
  bool merges = true;          ///< explore(): goes on once only from states that are the same
  SharedStates shared = {};    ///< explore(): shares its tree with others; null: all of it
  MachineLog log = nullptr;    ///< see Machine::set_log; shrinking logs nothing
  void* log_context = nullptr;
};
static_assert(std::is_trivially_copyable_v<RunOptions>);

struct Failure {
  std::uint64_t seed = 0;
  std::uint64_t schedule = 0;            ///< the how manieth of the run, from 1
  std::string text;                      ///< what was violated, in which life
  std::vector<std::uint32_t> decisions;  ///< for Choices::replay; made smaller where asked for
  std::uint64_t trace_hash = 0;
  bool explored =
      false;  ///< found by explore(); the decisions are its own, and `seed` says nothing
};

struct Report {
  std::uint64_t schedules = 0;
  std::uint64_t lives = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t damages = 0;
  std::uint64_t shrink_steps = 0;
  bool complete = false;     ///< explore(): there was nothing left to try
  std::uint64_t states = 0;  ///< explore(): different ones after power cuts, each gone on from
  std::uint64_t merged = 0;  ///< explore(): schedules that ended where another one had been
  MachineCounters machine;
  std::vector<Failure> failures;

  bool passed() const noexcept { return failures.empty(); }
  std::uint64_t crashes() const noexcept { return machine.power_cuts + machine.kills; }
  /// A few lines for people.
  std::string text() const;
  /// One object, without a final newline.
  std::string json() const;
  void add(const Report& other);
};

/// Seeds first_seed, first_seed + 1, ... Allocates.
Report run(const RunOptions& options, EngineFactory factory);
/// One schedule by its decisions. Never makes them smaller.
Report replay(const RunOptions& options, EngineFactory factory, const Failure& failure);
/// Every combination of decisions, and every moment for the end of every life but the last: see the
/// top of the file. options.schedules is the limit, options.events_max that of the moments of a
/// life. Schedules have lives_max lives of steps_max steps.
Report explore(const RunOptions& options, EngineFactory factory);

template <class E>
EngineFactory factory_of() noexcept {
  return {[](void*, Choices& choices) -> std::unique_ptr<Engine> {
            if constexpr (std::is_constructible_v<E, Choices&>) {
              return std::make_unique<E>(choices);
            } else {
              return std::make_unique<E>();
            }
          },
          nullptr};
}

template <class E>
Report run(const RunOptions& options) {
  return run(options, factory_of<E>());
}

template <class E>
Report explore(const RunOptions& options) {
  return explore(options, factory_of<E>());
}

/// Turns the reactors of one machine, in an order that its choices decide, and lets its time pass
/// when all of them wait, until `until` is done. False when nothing can happen any more, or nothing
/// has come of a million turns. For engines with several reactors and for tests without an engine.
bool run_all(Machine& machine, std::span<Reactor* const> reactors, Running<void>& until);

}  // namespace diorite::sim
