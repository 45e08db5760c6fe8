#include <diorite/sim/run.hpp>

#include <algorithm>
#include <exception>
#include <utility>

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
  Schedule(const RunOptions& options, Choices& choices, CrashPoints* points)
      : options_(options),
        choices_(choices),
        points_(points),
        machine_(choices, options.profile, options.machine) {
    machine_.set_log(options.log, options.log_context);
  }

  Outcome run(const EngineFactory& factory, Report& report);

 private:
  std::uint32_t count_lives();
  std::uint32_t ask_events();
  std::uint32_t ask_steps();
  void damage_disk();
  void live(Engine& engine, std::uint32_t number, bool last);
  void plan_end();
  void end(bool last);
  std::uint64_t crashes() const noexcept {
    return machine_.counters().power_cuts + machine_.counters().kills;
  }

  const RunOptions& options_;
  Choices& choices_;
  CrashPoints* points_;
  Machine machine_;
  Damage damage_;
  bool damaged_ = false;
  bool power_cut_ = false;  ///< was what ended the life before, or came after it
  std::uint64_t lives_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::string violation_;
};

std::uint32_t Schedule::count_lives() {
  const std::uint32_t most = std::max(options_.lives_max, 1U);
  if (points_ != nullptr || most <= 2) return most;
  return 2 + choices_.draw(most - 1);
}

std::uint32_t Schedule::ask_events() {
  const std::size_t asked_at = choices_.made().size();
  const std::uint32_t drawn = choices_.draw_skewed(options_.events_max + 1);
  if (points_ == nullptr) return drawn;
  points_->asked_at.push_back(asked_at);
  if (points_->events.size() == points_->reached) points_->events.push_back(0);
  return points_->events[points_->reached++];
}

std::uint32_t Schedule::ask_steps() {
  const std::uint32_t most = std::max(options_.steps_max, 1U);
  return points_ != nullptr ? most : 1 + choices_.draw_skewed(most);
}

void Schedule::damage_disk() {
  if (damaged_ || !power_cut_ || !choices_.chance(options_.profile.damage)) return;
  damage_ = damage(machine_.disk(), choices_);
  damaged_ = !damage_.path.empty();
}

void Schedule::plan_end() {
  const std::uint32_t events = ask_events();
  // Asked also where it decides nothing, so that the decisions behind it keep their places when
  // shrinking changes this one.
  const bool asks = points_ == nullptr || events > 0;
  const bool kills = asks && choices_.chance(options_.kill);
  if (events == 0) return;
  if (kills) {
    machine_.plan_kill(events);
  } else {
    machine_.plan_power_cut(events);
  }
}

void Schedule::end(bool last) {
  if (last) return;
  if (choices_.chance(options_.kill)) {
    machine_.kill();
  } else if (points_ != nullptr || choices_.chance(kCutAfterwards)) {
    machine_.power_cut();
  }
}

void Schedule::live(Engine& engine, std::uint32_t number, bool last) {
  LifeState state{.machine = machine_,
                  .choices = choices_,
                  .number = number,
                  .healed = last,
                  .after_power_cut = power_cut_,
                  .steps_left = ask_steps(),
                  .acknowledged = 0,
                  .damage = damaged_ ? &damage_ : nullptr,
                  .driver = nullptr,
                  .reactors = {},
                  .violation = {}};
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
    Task<> task = guarded(engine, life);
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
  if (points_ != nullptr && !last) {
    points_->last_came = ended || points_->events[points_->reached - 1] == 0;
  }
  // What the life has left in flight meets the same end.
  if (!ended) end(last);
  power_cut_ = machine_.counters().power_cuts != cuts_before;
  state.reactors.clear();

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
  const std::unique_ptr<Engine> engine = factory.make(factory.context, choices_);
  DIORITE_ASSERT(engine != nullptr, "a factory that makes no engine");
  const std::uint32_t lives = count_lives();
  for (std::uint32_t number = 0; number < lives && violation_.empty(); ++number) {
    if (number > 0) damage_disk();
    live(*engine, number, number + 1 == lives);
    // The same schedule is tried with the end that it had.
    if (points_ != nullptr && !points_->last_came) break;
  }
  ++report.schedules;
  report.lives += lives_;
  report.acknowledged += acknowledged_;
  report.damages += damaged_ ? 1 : 0;
  add_counters(report.machine, machine_.counters());
  return {std::move(violation_), machine_.trace_hash()};
}

}  // namespace

Outcome run_schedule(const RunOptions& options, const EngineFactory& factory, Choices& choices,
                     CrashPoints* points, Report& report) {
  return Schedule(options, choices, points).run(factory, report);
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
  detail::Outcome outcome = detail::run_schedule(options, factory, choices, nullptr, report);
  if (!outcome.violation.empty()) {
    report.failures.push_back(
        {failure.seed, 1, std::move(outcome.violation), choices.made(), outcome.trace_hash});
  }
  return report;
}

}  // namespace diorite::sim
