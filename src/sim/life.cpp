#include "sim/life.hpp"

#include <utility>

#include <diorite/assert.hpp>

namespace diorite::sim {

Reactor& Life::reactor() noexcept { return *state_.reactors.front(); }

Machine& Life::machine() noexcept { return state_.machine; }

Choices& Life::choices() noexcept { return state_.choices; }

std::uint32_t Life::number() const noexcept { return state_.number; }

bool Life::is_healthy() const noexcept { return state_.healed && state_.damage == nullptr; }

bool Life::is_over() const noexcept { return is_dead(*state_.driver); }

bool Life::goes_on() noexcept {
  if (state_.steps_left == 0 || !state_.violation.empty() || is_over()) return false;
  --state_.steps_left;
  return true;
}

void Life::explore(Explored what) noexcept {
  state_.quiet = what == Explored::nothing;
  state_.machine.set_quiet(what != Explored::everything);
}

bool Life::after_power_cut() const noexcept { return state_.after_power_cut; }

const Damage* Life::damage() const noexcept { return state_.damage; }

bool Life::check(bool holds, std::string_view text) {
  if (!holds) violation(text);
  return holds;
}

void Life::violation(std::string_view text) {
  if (!state_.violation.empty()) return;
  state_.violation = text.empty() ? "a violation without a text" : std::string(text);
}

void Life::failed(const Error& error) {
  if (is_healthy()) violation("failed although nothing is wrong: " + error.text());
}

void Life::acknowledge(std::uint64_t count) noexcept { state_.acknowledged += count; }

Reactor& Life::add_reactor() {
  Result<std::unique_ptr<Reactor>> made = Reactor::create(state_.machine.make_driver());
  DIORITE_ASSERT(made.has_value(), "a reactor on a simulated driver cannot fail");
  state_.reactors.push_back(std::move(*made));
  return *state_.reactors.back();
}

}  // namespace diorite::sim
