#include <diorite/sim/run.hpp>

#include <algorithm>
#include <exception>
#include <utility>

#include "sim/exploration.hpp"
#include "sim/life.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>

namespace diorite::sim {
namespace detail {
namespace {

/// Of the lives that end on their own: what comes after them, if it is no kill.
constexpr Chance kCutAfterwards = per_cent(75);

/// An exception of the engine is a violation, whatever state the machine is in.
Task<> guarded(Engine& engine, Life& life) {
  try {
    co_await engine.live(life);
  } catch (const std::exception& error) {
    life.violation(std::string("an exception left live(): ") + error.what());
  } catch (...) {
    life.violation("an exception left live()");
  }
}

/// One schedule, while it runs.
class Schedule {
 public:
  Schedule(const RunOptions& options, Choices& choices, Exploration* exploration)
      : options_(options),
        choices_(choices),
        exploration_(exploration),
        machine_(choices, options.profile, options.machine) {
    if (options.disk != nullptr) machine_.disk() = *options.disk;
    machine_.set_log(options.log, options.log_context);
  }

  Outcome run(const EngineFactory& factory, Report& report);

 private:
  std::uint32_t count_lives();
  std::uint32_t ask_steps();
  void damage_disk();
  void live(std::uint32_t number, bool last);
  void plan_end();
  MachineEnd ask_end(bool changed);
  void end(const LifeState& state, bool last);
  void note(LifeState& state, bool cut);
  std::uint64_t merge_key(bool before_cut) const;
  std::uint64_t crashes() const noexcept {
    return machine_.counters().power_cuts + machine_.counters().kills;
  }

  const RunOptions& options_;
  Choices& choices_;
  Exploration* exploration_;
  Machine machine_;
  std::unique_ptr<Engine> engine_;
  Damage damage_;
  bool damaged_ = false;
  bool power_cut_ = false;  ///< was what ended the life before, or came after it
  std::uint64_t lives_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::string violation_;

  // Of the present life, for an exploration.
  const LifeState* life_ = nullptr;
  std::uint32_t asked_ = 0;         ///< moments, whether it ends
  std::uint64_t known_ = 0;         ///< what the engine knew at the last of them
  std::uint64_t known_at_cut_ = 0;  ///< 0: the power has not been cut in the middle of this life
};

std::uint32_t Schedule::count_lives() {
  const std::uint32_t most = std::max(options_.lives_max, 1U);
  if (exploration_ != nullptr || most <= 2) return most;
  return 2 + choices_.draw(most - 1);
}

std::uint32_t Schedule::ask_steps() {
  const std::uint32_t most = std::max(options_.steps_max, 1U);
  return exploration_ != nullptr ? most : 1 + choices_.draw_skewed(most);
}

void Schedule::damage_disk() {
  if (damaged_ || !power_cut_ || !choices_.chance(options_.profile.damage)) return;
  damage_ = damage(machine_.disk(), choices_);
  damaged_ = !damage_.path.empty();
}

void Schedule::plan_end() {
  if (exploration_ != nullptr) {
    asked_ = 0;
    known_at_cut_ = 0;
    const auto ask = [](void* self, bool changed) {
      return static_cast<Schedule*>(self)->ask_end(changed);
    };
    machine_.plan(ask, this);
    return;
  }
  const std::uint32_t events = choices_.draw_skewed(options_.events_max + 1);
  // Asked also where it decides nothing, so that the decisions behind it keep their places when
  // shrinking changes this one.
  const bool kills = choices_.chance(options_.kill);
  if (events == 0) return;
  if (kills) {
    machine_.plan_kill(events);
  } else {
    machine_.plan_power_cut(events);
  }
}

// Between two moments at which nothing is different, the later one is left out: the same would come
// of it.
MachineEnd Schedule::ask_end(bool changed) {
  if (life_->quiet || asked_ == options_.events_max) return MachineEnd::none;
  const std::uint64_t known = engine_->fingerprint();
  if (asked_ > 0 && !changed && known != 0 && known == known_) return MachineEnd::none;
  known_ = known;
  const bool first = life_->number == 0;
  if (first && !exploration_->walks_on(asked_)) return MachineEnd::power_cut;
  ++asked_;
  if (choices_.pick(2) == 0) return MachineEnd::none;
  if (first && !exploration_->claim()) return MachineEnd::power_cut;
  if (choices_.chance(options_.kill)) return MachineEnd::kill;
  exploration_->before_cut(merge_key(true));
  known_at_cut_ = known;
  return MachineEnd::power_cut;
}

// The number of the life says how many are still to come. 0: not to be merged.
std::uint64_t Schedule::merge_key(bool before_cut) const {
  if (!life_->violation.empty() || !machine_.violation().empty()) return 0;
  const std::uint64_t known = engine_->fingerprint();
  if (known == 0) return 0;
  const std::uint64_t moment = life_->number * 2 + (before_cut ? 0 : 1);
  return combine(combine(machine_.fingerprint(), known), moment);
}

void Schedule::end(const LifeState& state, bool last) {
  if (last) return;
  if (exploration_ != nullptr && state.number == 0 && !exploration_->claim()) return;
  if (choices_.chance(options_.kill)) {
    machine_.kill();
  } else if (exploration_ != nullptr) {
    exploration_->before_cut(merge_key(true));
    machine_.power_cut();
  } else if (choices_.chance(kCutAfterwards)) {
    machine_.power_cut();
  }
}

// What an exploration goes on from, after a life and all that its end has taken down.
void Schedule::note(LifeState& state, bool cut) {
  if (known_at_cut_ != 0 && engine_->fingerprint() != known_at_cut_ && state.violation.empty()) {
    state.violation = "the engine has learnt something after the end of its process";
  }
  if (cut) exploration_->after_cut(merge_key(false));
}

void Schedule::live(std::uint32_t number, bool last) {
  LifeState state{.machine = machine_,
                  .choices = choices_,
                  .number = number,
                  .healed = last,
                  .after_power_cut = power_cut_,
                  .steps_left = ask_steps(),
                  .quiet = false,
                  .acknowledged = 0,
                  .damage = damaged_ ? &damage_ : nullptr,
                  .driver = nullptr,
                  .reactors = {},
                  .violation = {}};
  life_ = &state;
  const std::uint64_t cuts_before = machine_.counters().power_cuts;
  const std::uint64_t crashes_before = crashes();
  if (last) {
    machine_.heal();
  } else {
    plan_end();
  }
  std::unique_ptr<Driver> driver = machine_.make_driver();
  state.driver = driver.get();
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(std::move(driver));
  DIORITE_ASSERT(reactor.has_value(), "a reactor on a simulated driver cannot fail");
  state.reactors.push_back(std::move(*reactor));

  Life life(state);
  {
    Task<> task = guarded(*engine_, life);
    const std::unique_ptr<diorite::detail::RootTask> root(diorite::detail::make_root(
        life.reactor(), task, nullptr, [](diorite::detail::RootTask&) noexcept {}, nullptr));
    root->queue();
    const DriveEnd driven = drive(machine_, state.reactors, *root);
    if (driven != DriveEnd::done && !machine_.violation().empty()) {
      // It ends the process that it catches waiting for nothing.
      life.violation("the machine saw: " + machine_.violation());
    } else if (driven == DriveEnd::nothing_left) {
      life.violation(life.is_over() ? "live() never returned, although its process has ended"
                                    : "live() waits, and nothing can happen any more");
    } else if (driven == DriveEnd::endless) {
      life.violation("live() has not returned after a million turns");
    }
  }
  machine_.cancel_plan();
  const bool ended = crashes() != crashes_before;
  // What the life has left in flight meets the same end.
  if (!ended) end(state, last);
  power_cut_ = machine_.counters().power_cuts != cuts_before;
  // Nothing depends on how what is still under way comes to its end.
  machine_.set_quiet(exploration_ != nullptr);
  state.reactors.clear();
  machine_.set_quiet(false);
  if (exploration_ != nullptr && !last) note(state, power_cut_);
  life_ = nullptr;

  ++lives_;
  acknowledged_ += state.acknowledged;
  if (state.violation.empty() && !machine_.violation().empty()) {
    state.violation = "the machine saw: " + machine_.violation();
  }
  if (!state.violation.empty()) {
    violation_ = fmt::format("life {}{}: {}", number, last ? " (healthy)" : "", state.violation);
  }
}

Outcome Schedule::run(const EngineFactory& factory, Report& report) {
  engine_ = factory.make(factory.context, choices_);
  DIORITE_ASSERT(engine_ != nullptr, "a factory that makes no engine");
  const std::uint32_t lives = count_lives();
  for (std::uint32_t number = 0; number < lives && violation_.empty(); ++number) {
    if (number > 0) damage_disk();
    live(number, number + 1 == lives);
    if (exploration_ != nullptr && exploration_->stopped()) break;
  }
  if (exploration_ != nullptr && exploration_->course() == Exploration::Course::foreign) return {};
  ++report.schedules;
  report.lives += lives_;
  report.acknowledged += acknowledged_;
  report.damages += damaged_ ? 1 : 0;
  add_counters(report.machine, machine_.counters());
  return {std::move(violation_), machine_.trace_hash()};
}

}  // namespace

Outcome run_schedule(const RunOptions& options, const EngineFactory& factory, Choices& choices,
                     Exploration* exploration, Report& report) {
  return Schedule(options, choices, exploration).run(factory, report);
}

}  // namespace detail

namespace {

void run_seed(const RunOptions& options, const EngineFactory& factory, std::uint64_t seed,
              Report& report) {
  Choices choices = Choices::random(seed);
  detail::Outcome outcome = detail::run_schedule(options, factory, choices, nullptr, report);
  if (outcome.violation.empty() && options.checks_determinism) {
    Choices again = Choices::random(seed);
    Report unused;
    const detail::Outcome second = detail::run_schedule(options, factory, again, nullptr, unused);
    if (second.trace_hash != outcome.trace_hash || again.made() != choices.made()) {
      outcome.violation = fmt::format(
          "two runs differ: traces {:016x} and {:016x}, {} and {} decisions", outcome.trace_hash,
          second.trace_hash, choices.made().size(), again.made().size());
    }
  }
  if (outcome.violation.empty()) return;
  Failure failure;
  failure.seed = seed;
  failure.schedule = report.schedules;
  failure.text = std::move(outcome.violation);
  failure.decisions = choices.made();
  failure.trace_hash = outcome.trace_hash;
  if (options.shrinks) detail::shrink(options, factory, failure, report);
  report.failures.push_back(std::move(failure));
}

}  // namespace

Report run(const RunOptions& options, EngineFactory factory) {
  DIORITE_ASSERT(factory.make != nullptr, "a run needs a factory");
  Report report;
  for (std::uint64_t i = 0; i < options.schedules; ++i) {
    if (report.crashes() >= options.crashes_max) break;
    if (report.failures.size() >= std::max(options.failures_max, 1U)) break;
    run_seed(options, factory, options.first_seed + i, report);
    if (options.keep_going != nullptr && !options.keep_going(options.context, report)) break;
  }
  return report;
}

Report replay(const RunOptions& options, EngineFactory factory, const Failure& failure) {
  DIORITE_ASSERT(factory.make != nullptr, "a replay needs a factory");
  Report report;
  Choices choices = Choices::replay(failure.seed, failure.decisions);
  detail::Exploration exploration(choices);
  exploration.begin_schedule();
  detail::Outcome outcome = detail::run_schedule(options, factory, choices,
                                                 failure.explored ? &exploration : nullptr, report);
  if (!outcome.violation.empty()) {
    report.failures.push_back({failure.seed, 1, std::move(outcome.violation), choices.made(),
                               outcome.trace_hash, failure.explored});
  }
  return report;
}

}  // namespace diorite::sim
