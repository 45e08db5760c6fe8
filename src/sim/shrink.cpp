// Making a failing schedule smaller: fewer decisions, and tamer ones, that fail in the same way.

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "sim/life.hpp"

namespace diorite::sim::detail {
namespace {

using Decisions = std::vector<std::uint32_t>;

/// What stays the same of a violation's text when the schedule changes: its words, from behind the
/// life that it happened in to the first number.
std::string_view essence(std::string_view text) {
  if (text.substr(0, 5) == "life ") {
    const std::size_t colon = text.find(": ");
    if (colon != std::string_view::npos) text.remove_prefix(colon + 2);
  }
  return text.substr(0, text.find_first_of("0123456789"));
}

class Shrinker {
 public:
  Shrinker(const RunOptions& options, const EngineFactory& factory, Failure& failure,
           Report& report) noexcept
      : options_(options), factory_(factory), best_(failure), report_(report) {}

  void run();

 private:
  bool spent() const noexcept { return runs_ >= options_.shrink_runs_max; }
  bool attempt(Decisions candidate);
  bool cut_tail();
  bool tame_spans();
  bool remove_spans();
  bool lower_values();

  const RunOptions& options_;
  const EngineFactory& factory_;
  Failure& best_;
  Report& report_;
  std::uint32_t runs_ = 0;
};

void trim(Decisions& decisions) {
  // Behind the end every decision is tame.
  while (!decisions.empty() && decisions.back() == 0) decisions.pop_back();
}

std::uint64_t weight(const Decisions& decisions) {
  std::uint64_t sum = 0;
  for (const std::uint32_t decision : decisions) sum += decision;
  return sum;
}

bool Shrinker::attempt(Decisions candidate) {
  if (spent()) return false;
  ++runs_;
  ++report_.shrink_steps;
  trim(candidate);
  Choices choices = Choices::replay(best_.seed, std::move(candidate));
  Report unused;
  Outcome outcome = run_schedule(options_, factory_, choices, nullptr, unused);
  if (outcome.violation.empty()) return false;
  if (essence(outcome.violation) != essence(best_.text)) return false;
  Decisions made = choices.made();
  trim(made);
  const bool smaller =
      made.size() < best_.decisions.size() ||
      (made.size() == best_.decisions.size() && weight(made) < weight(best_.decisions));
  if (!smaller) return false;
  best_.text = std::move(outcome.violation);
  best_.decisions = std::move(made);
  best_.trace_hash = outcome.trace_hash;
  return true;
}

/// The shortest beginning that still fails, as far as halving finds it.
bool Shrinker::cut_tail() {
  bool any = false;
  std::size_t keep = 0;
  while (keep < best_.decisions.size() && !spent()) {
    const std::size_t middle = keep + (best_.decisions.size() - keep) / 2;
    Decisions candidate(best_.decisions.begin(),
                        best_.decisions.begin() + static_cast<std::ptrdiff_t>(middle));
    if (attempt(std::move(candidate))) {
      any = true;
    } else {
      keep = middle + 1;
    }
  }
  return any;
}

bool Shrinker::tame_spans() {
  bool any = false;
  for (std::size_t span = best_.decisions.size() / 2; span > 0 && !spent(); span /= 2) {
    for (std::size_t at = 0; at < best_.decisions.size() && !spent(); at += span) {
      const auto begin = best_.decisions.begin() + static_cast<std::ptrdiff_t>(at);
      const auto end =
          begin + static_cast<std::ptrdiff_t>(std::min(span, best_.decisions.size() - at));
      if (std::all_of(begin, end, [](std::uint32_t decision) { return decision == 0; })) continue;
      Decisions candidate = best_.decisions;
      std::fill_n(candidate.begin() + static_cast<std::ptrdiff_t>(at), end - begin, 0U);
      any |= attempt(std::move(candidate));
    }
  }
  return any;
}

bool Shrinker::remove_spans() {
  bool any = false;
  for (std::size_t span = best_.decisions.size() / 2; span > 0 && !spent(); span /= 2) {
    for (std::size_t at = 0; at + span <= best_.decisions.size() && !spent();) {
      Decisions candidate = best_.decisions;
      const auto begin = candidate.begin() + static_cast<std::ptrdiff_t>(at);
      candidate.erase(begin, begin + static_cast<std::ptrdiff_t>(span));
      if (attempt(std::move(candidate))) {
        any = true;
      } else {
        at += span;
      }
    }
  }
  return any;
}

bool Shrinker::lower_values() {
  bool any = false;
  for (std::size_t at = 0; at < best_.decisions.size() && !spent(); ++at) {
    while (at < best_.decisions.size() && best_.decisions[at] > 1 && !spent()) {
      Decisions candidate = best_.decisions;
      candidate[at] /= 2;
      if (!attempt(std::move(candidate))) break;
      any = true;
    }
  }
  return any;
}

void Shrinker::run() {
  trim(best_.decisions);
  for (bool any = true; any && !spent();) {
    any = cut_tail();
    any |= remove_spans();
    any |= tame_spans();
    any |= lower_values();
  }
}

}  // namespace

void shrink(const RunOptions& options, const EngineFactory& factory, Failure& failure,
            Report& report) {
  Shrinker(options, factory, failure, report).run();
}

}  // namespace diorite::sim::detail
