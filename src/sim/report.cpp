#include <diorite/sim/run.hpp>

#include <string>
#include <string_view>

#include "sim/life.hpp"

#include <fmt/format.h>

namespace diorite::sim {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

std::string explored_text(const Report& report) {
  if (report.states == 0) return report.complete ? "; complete" : "";
  return fmt::format(
      "; {}: {} schedules, of which {} came to a state that another had come to, and "
      "{} different states after power cuts",
      report.complete ? "complete" : "INCOMPLETE", report.schedules, report.merged, report.states);
}

void append_failure(std::string& out, const Failure& failure) {
  out += fmt::format("{{\"seed\":{},\"schedule\":{},\"trace_hash\":\"{:016x}\",\"text\":",
                     failure.seed, failure.schedule, failure.trace_hash);
  append_quoted(out, failure.text);
  out += ",\"decisions\":[";
  for (std::size_t i = 0; i < failure.decisions.size(); ++i) {
    if (i > 0) out += ',';
    out += fmt::format("{}", failure.decisions[i]);
  }
  out += "]}";
}

}  // namespace

void detail::add_counters(MachineCounters& to, const MachineCounters& from) noexcept {
  to.events += from.events;
  to.power_cuts += from.power_cuts;
  to.kills += from.kills;
  to.errors += from.errors;
  to.short_transfers += from.short_transfers;
  to.sectors_lost += from.sectors_lost;
  to.blocks_damaged += from.blocks_damaged;
  to.zombies += from.zombies;
}

std::string Report::text() const {
  std::string out = fmt::format(
      "{} schedules, {} lives, {} crashes ({} power cuts, {} kills), {} acknowledged{}\n"
      "{} events, {} errors injected, {} short transfers, {} sectors lost, {} blocks damaged, "
      "{} late operations of dead processes, {} damages\n",
      schedules, lives, crashes(), machine.power_cuts, machine.kills, acknowledged,
      explored_text(*this), machine.events, machine.errors, machine.short_transfers,
      machine.sectors_lost, machine.blocks_damaged, machine.zombies, damages);
  if (passed()) {
    out += "no violation\n";
    return out;
  }
  for (const Failure& failure : failures) {
    out += fmt::format("FAILED at schedule {}: {}\n", failure.schedule, failure.text);
    if (failure.explored) {
      out += fmt::format("  again: replay() with {} decisions\n", failure.decisions.size());
      continue;
    }
    out += fmt::format("  again: first_seed = {}, schedules = 1; or replay() with {} decisions\n",
                       failure.seed, failure.decisions.size());
  }
  return out;
}

std::string Report::json() const {
  std::string out = fmt::format(
      "{{\"schedules\":{},\"lives\":{},\"power_cuts\":{},\"kills\":{},\"acknowledged\":{},"
      "\"damages\":{},\"shrink_steps\":{},\"complete\":{},\"states\":{},\"merged\":{},\"events\":{}"
      ",\"errors\":{},"
      "\"short_transfers\":{},\"sectors_lost\":{},\"blocks_damaged\":{},\"zombies\":{},"
      "\"failures\":[",
      schedules, lives, machine.power_cuts, machine.kills, acknowledged, damages, shrink_steps,
      complete, states, merged, machine.events, machine.errors, machine.short_transfers,
      machine.sectors_lost, machine.blocks_damaged, machine.zombies);
  for (std::size_t i = 0; i < failures.size(); ++i) {
    if (i > 0) out += ',';
    append_failure(out, failures[i]);
  }
  out += "]}";
  return out;
}

void Report::add(const Report& other) {
  schedules += other.schedules;
  lives += other.lives;
  acknowledged += other.acknowledged;
  damages += other.damages;
  shrink_steps += other.shrink_steps;
  complete = complete && other.complete;
  states += other.states;
  merged += other.merged;
  detail::add_counters(machine, other.machine);
  failures.insert(failures.end(), other.failures.begin(), other.failures.end());
}

}  // namespace diorite::sim
