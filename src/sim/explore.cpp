// Every decision of a small run.

#include <algorithm>
#include <utility>

#include "sim/exploration.hpp"
#include "sim/life.hpp"

#include <diorite/assert.hpp>

namespace diorite::sim {
namespace {

using detail::Exploration;

Failure describe(const Choices& choices, detail::Outcome&& outcome, const Report& report) {
  Failure failure;
  failure.seed = choices.seed();
  failure.schedule = report.schedules;
  failure.text = std::move(outcome.violation);
  failure.decisions = choices.made();
  failure.trace_hash = outcome.trace_hash;
  failure.explored = true;
  return failure;
}

bool is_enough(const RunOptions& options, const Report& report) {
  return report.failures.size() >= std::max(options.failures_max, 1U) ||
         report.schedules >= options.schedules || report.crashes() >= options.crashes_max;
}

}  // namespace

Report explore(const RunOptions& options, EngineFactory factory) {
  DIORITE_ASSERT(factory.make != nullptr, "an exploration needs a factory");
  Report report;
  Choices choices = Choices::exhaustive();
  Exploration exploration(choices, options);
  for (bool enough = false; !enough;) {
    exploration.begin_schedule();
    detail::Outcome outcome = detail::run_schedule(options, factory, choices, &exploration, report);
    if (exploration.course() == Exploration::Course::merged) ++report.merged;
    report.states = exploration.states();
    if (exploration.course() != Exploration::Course::foreign && !outcome.violation.empty()) {
      report.failures.push_back(describe(choices, std::move(outcome), report));
    }
    if (!choices.next_path(exploration.keep())) {
      report.complete = true;
      break;
    }
    enough = is_enough(options, report) ||
             (options.keep_going != nullptr && !options.keep_going(options.context, report));
  }
  return report;
}

}  // namespace diorite::sim
