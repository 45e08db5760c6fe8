// The cases, each in its own file.

#pragma once

#include <string>

#include "measure.hpp"
#include "report.hpp"
#include "workspace.hpp"

#include <diorite/reactor.hpp>

namespace diorite::bench {

struct Bench {
  Plan plan;
  Workspace& workspace;
  Report& report;
};

void run_p1(Bench& bench);
void run_p2(Bench& bench);
void run_p5(Bench& bench);
void run_p6(Bench& bench);
void run_p16(Bench& bench);
void run_p18(Bench& bench);
void run_p19(Bench& bench);
void run_cached_reads(Bench& bench);  ///< a part of P19
void run_p20(Bench& bench);

/// A reactor on io_uring and on nothing else. Errors: throws Failure.
std::unique_ptr<Reactor> make_reactor();

/// The value, or a Failure with the error's text.
template <class T>
T require(Result<T> result) {
  if (!result) throw Failure(result.error().text());
  return std::move(*result);
}
inline void require(Result<void> result) {
  if (!result) throw Failure(result.error().text());
}
/// Errors: throws Failure for anything but 0.
void require_zero(int result, const char* what);

/// Operations that take about as long as the plan wants, at so many per second.
std::uint64_t operations_for(const Plan& plan, double per_second);

}  // namespace diorite::bench
