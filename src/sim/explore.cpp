// Every decision of a small run.
//
// The moments at which lives end are counted here and not asked of the choices: a life does not
// know how long it will be, and the first moment that lies beyond its end shows that all later ones
// do. For each set of moments, the choices enumerate everything else.

#include <algorithm>
#include <utility>

#include "sim/life.hpp"

#include <diorite/assert.hpp>

namespace diorite::sim {
namespace {

/// The next moment for the end of the last life that was begun. False when there is none left.
bool next_points(detail::CrashPoints& points, bool last_one_came, std::uint32_t events_max) {
  // Moments of lives that no path has begun are none.
  while (!points.events.empty()) {
    if (last_one_came && points.events.back() < events_max) {
      ++points.events.back();
      return true;
    }
    // No path of the life is as long as that: the life before it ends elsewhere next.
    points.events.pop_back();
    last_one_came = true;
  }
  return false;
}

Failure describe(const Choices& choices, const detail::CrashPoints& points,
                 detail::Outcome&& outcome, const Report& report) {
  Failure failure;
  failure.seed = choices.seed();
  failure.schedule = report.schedules;
  failure.text = std::move(outcome.violation);
  failure.decisions = choices.made();
  failure.trace_hash = outcome.trace_hash;
  // A replay asks its decisions for the moments, too.
  for (std::size_t i = 0; i < points.reached; ++i) {
    if (points.events[i] > 0) failure.decisions[points.asked_at[i]] = points.events[i];
  }
  return failure;
}

}  // namespace

Report explore(const RunOptions& options, EngineFactory factory) {
  DIORITE_ASSERT(factory.make != nullptr, "an exploration needs a factory");
  Report report;
  detail::CrashPoints points;
  for (bool more = true; more;) {
    Choices choices = Choices::exhaustive();
    bool last_one_came = false;
    do {
      points.reached = 0;
      points.asked_at.clear();
      detail::Outcome outcome = detail::run_schedule(options, factory, choices, &points, report);
      last_one_came |= points.last_came && points.reached == points.events.size();
      if (!outcome.violation.empty()) {
        report.failures.push_back(describe(choices, points, std::move(outcome), report));
        if (report.failures.size() >= std::max(options.failures_max, 1U)) return report;
      }
      if (report.schedules >= options.schedules || report.crashes() >= options.crashes_max) {
        return report;
      }
      if (options.keep_going != nullptr && !options.keep_going(options.context, report)) {
        return report;
      }
    } while (choices.next_path());
    more = next_points(points, last_one_came, options.events_max);
  }
  report.complete = true;
  return report;
}

}  // namespace diorite::sim
