#include "sim/kernel.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <diorite/assert.hpp>

namespace diorite::sim::detail {
namespace {

// Not zero, so that a deadline computed from an uninitialised instant is noticed.
constexpr Instant kBirth{std::chrono::hours(1)};
constexpr Duration kEventTime = std::chrono::microseconds(1);
// Even the fastest operation takes some time, so that a loop of operations always gets on.
constexpr Duration kLatencyMin = std::chrono::nanoseconds(500);
// A device tells of several completions at once: of all that end between two ticks.
constexpr Duration kTick = std::chrono::microseconds(4);
// A loop of turns looks at the violation after each; one that does not would turn for ever.
constexpr std::uint32_t kIdlePollsMax = 10'000;
constexpr Duration kBootTime = std::chrono::seconds(1);

std::uint32_t draw_limit(std::int64_t count) noexcept {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 0, std::int64_t{0xFFFF'FFFE}) +
                                    1);
}

}  // namespace

Kernel::Kernel(Choices& choices, const Profile& profile, const MachineOptions& options)
    : choices_(choices),
      profile_(profile),
      options_(options),
      disk_(options.disk),
      faults_(choices, profile_),
      now_(kBirth) {
  DIORITE_ASSERT(options.in_flight_max > 0, "a driver with no room for an operation");
  new_boot();
}

Kernel::~Kernel() {
  DIORITE_ASSERT(
      std::none_of(processes_.begin(), processes_.end(), [](const auto& p) { return p->attached; }),
      "a machine is destroyed before its drivers");
  while (in_flight_.pop_front() != nullptr) {
  }
  while (free_flights_.pop_front() != nullptr) {
  }
}

const MachineCounters& Kernel::counters() const noexcept {
  counters_.errors = faults_.errors();
  counters_.short_transfers = faults_.short_transfers();
  return counters_;
}

Flight& Kernel::take_flight(Process& process, OpCode code, std::uint64_t tag) {
  Flight* flight = free_flights_.pop_front();
  if (flight == nullptr) {
    flights_.push_back(std::make_unique<Flight>());
    flight = flights_.back().get();
  }
  flight->process = &process;
  flight->code = code;
  flight->tag = tag;
  flight->serial = ++flight_serial_;
  flight->captured = flight->cancelled = flight->zombie = flight->ended = false;
  flight->result = 0;
  flight->file = nullptr;
  flight->node = kNoNode;
  flight->write = 0;
  flight->opened = DriverFile{};
  return *flight;
}

void Kernel::recycle(Flight& flight) noexcept {
  flight.serial = 0;
  flight.entries.reset();
  free_flights_.push_front(flight);
}

Flight& Kernel::begin(Process& process, const Op& op, std::uint64_t tag) {
  Flight& flight = take_flight(process, op.code, tag);
  if (process.dead) {
    notify_of_death(flight);
    return flight;
  }
  process.idle_polls = 0;
  copy_arguments(flight, op);
  flight.begun = now_;
  const std::int32_t refused = start(flight, op);
  trace_begin(flight);
  if (refused != 0 || flight.code == OpCode::nop) {
    let_go(flight);
    flight.result = refused;
    flight.ended = true;
    process.done.push_back(flight);
    trace_end(flight);
    count_event();
  } else {
    in_flight_.push_back(flight);
    ++in_flight_count_;
    ++process.in_flight;
    schedule(flight);
    changed_ |= changes_disk(flight, false);
  }
  count_event();
  return flight;
}

Duration Kernel::latency() {
  if (faults_.gets_stuck()) {
    using std::chrono::microseconds;
    const auto most = std::chrono::duration_cast<microseconds>(profile_.stuck_max).count();
    return microseconds(choices_.draw_skewed(draw_limit(most)));
  }
  return Duration(choices_.draw_skewed(draw_limit(profile_.latency_max.count())));
}

void Kernel::schedule(Flight& flight) {
  if (profile_.order == CompletionOrder::by_choice) {
    flight.due = kNever;
    if (flight.code == OpCode::write) capture(flight);
    return;
  }
  const Duration duration = kLatencyMin + latency();
  set_end(flight, now_ + duration);
  if (flight.write != 0) {
    const Duration until_capture(choices_.draw(draw_limit(duration.count() - 1)));
    if (until_capture == Duration(0)) {
      capture(flight);
    } else {
      push_event(flight, now_ + until_capture, now_ + until_capture, true);
    }
  }
}

void Kernel::set_end(Flight& flight, Instant exact) {
  const Duration past_tick = exact.time_since_epoch() % kTick;
  flight.due = past_tick == Duration(0) ? exact : exact + (kTick - past_tick);
  push_event(flight, flight.due, exact, false);
}

void Kernel::push_event(Flight& flight, Instant time, Instant exact, bool capture) {
  events_.push_back({time, exact, ++event_order_, &flight, flight.serial, capture});
  std::push_heap(events_.begin(), events_.end(), &later);
}

// An operation that was cancelled, or lives on as a zombie, has got another time than the one in
// its first entry; one that was withdrawn has none.
bool Kernel::is_stale(const Event& event) noexcept {
  const Flight& flight = *event.flight;
  if (flight.serial != event.serial || flight.ended) return true;
  return event.capture ? flight.captured : flight.due != event.time;
}

const Kernel::Event* Kernel::next_scheduled() noexcept {
  while (!events_.empty() && is_stale(events_.front())) {
    std::pop_heap(events_.begin(), events_.end(), &later);
    events_.pop_back();
  }
  return events_.empty() ? nullptr : &events_.front();
}

void Kernel::take_event() {
  std::pop_heap(events_.begin(), events_.end(), &later);
  const Event event = events_.back();
  events_.pop_back();
  now_ = std::max(now_, event.time);
  if (event.capture) {
    capture(*event.flight);
  } else {
    end(*event.flight);
  }
}

void Kernel::wait(Process& process, Instant until) {
  if (!process.done.empty()) return;
  if (until == kNever && process.in_flight == 0) {
    report_deadlock(process);
    return;
  }
  if (process.dead) {
    advance(std::max(now_, until));
    return;
  }
  process.idle_polls = 0;
  if (profile_.order == CompletionOrder::by_choice) {
    wait_by_choice(process, until);
  } else {
    wait_by_latency(process, until);
  }
}

void Kernel::wait_by_latency(Process& process, Instant until) {
  while (!process.dead) {
    const Event* const next = next_scheduled();
    const bool is_done = !process.done.empty();
    if (is_done && (next == nullptr || next->time > now_)) return;
    if (next == nullptr || next->time > until) {
      DIORITE_ASSERT(until != kNever, "an operation in flight has no end");
      now_ = std::max(now_, until);
      return;
    }
    take_event();
  }
}

void Kernel::wait_by_choice(Process& process, Instant until) {
  while (!process.dead && process.done.empty() && now_ < until) {
    const std::uint32_t others = until == kNever ? 0 : 1;
    if (in_flight_count_ + others == 0) return;
    const std::uint32_t next = pick_in_flight(in_flight_count_ + others);
    if (next == in_flight_count_) {
      now_ = until;
      return;
    }
    now_ += kEventTime;
    end(nth_in_flight(next));
  }
}

std::uint32_t Kernel::pick_in_flight(std::uint32_t count) {
  return quiet_ ? 0 : choices_.pick(count);
}

Flight& Kernel::nth_in_flight(std::uint32_t n) noexcept {
  ListNode* node = in_flight_.front();
  for (; n > 0; --n) node = node->next;
  return static_cast<Flight&>(*node);
}

void Kernel::report_deadlock(Process& process) {
  if (!process.dead) {
    violate("deadlock: process " + std::to_string(process.number) +
            " waits for ever with nothing in flight");
    die(process);
  }
  DIORITE_ASSERT(++process.idle_polls <= kIdlePollsMax,
                 "a simulated reactor waits for ever with nothing in flight: deadlock");
}

void Kernel::spend(Duration duration) { pass_to(now_ + duration); }

void Kernel::advance(Instant to) {
  DIORITE_ASSERT(to >= now_, "time goes forward only");
  // Whoever lets time pass by hand has done his waiting.
  for (const auto& process : processes_) process->idle_polls = 0;
  pass_to(to);
}

void Kernel::pass_to(Instant to) {
  if (profile_.order == CompletionOrder::by_choice) {
    if (to > now_ && in_flight_count_ > 0) end(nth_in_flight(pick_in_flight(in_flight_count_)));
  } else {
    while (const Event* const next = next_scheduled()) {
      if (next->time > to) break;
      take_event();
    }
  }
  now_ = std::max(now_, to);
}

Instant Kernel::next_event() noexcept {
  const bool waiting = std::any_of(processes_.begin(), processes_.end(), [](const auto& process) {
    return process->attached && !process->done.empty();
  });
  if (waiting) return now_;
  if (profile_.order == CompletionOrder::by_choice) {
    return in_flight_count_ > 0 ? now_ + kEventTime : kNever;
  }
  const Event* const next = next_scheduled();
  return next != nullptr ? next->time : kNever;
}

void Kernel::end(Flight& flight) {
  flight.unlink();
  --in_flight_count_;
  changed_ |= changes_disk(flight, true);
  flight.result = finish(flight);
  flight.ended = true;
  let_go(flight);
  Process& process = *flight.process;
  if (flight.zombie) {
    ++counters_.zombies;
    recycle(flight);
    zombie_ended(process);
  } else {
    --process.in_flight;
    trace_end(flight);
    process.done.push_back(flight);
  }
  count_event();
}

// Transfers and syncs change what a power cut may leave, and so does a write that merely begins.
bool Kernel::changes_disk(const Flight& flight, bool ends) noexcept {
  switch (flight.code) {
    case OpCode::nop:
    case OpCode::read:
    case OpCode::info:
    case OpCode::close:
    case OpCode::try_lock:
    case OpCode::list_dir:
      return false;
    case OpCode::open:
      return (flight.open_flags & (kOpenCreate | kOpenTruncate)) != 0;
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::sync_dir:
      return ends;
    default:
      return true;
  }
}

void Kernel::ask_for_end() {
  const bool changed = std::exchange(changed_, false);
  const MachineEnd end = question_(question_context_, changed);
  if (end != MachineEnd::none) question_ = nullptr;
  switch (end) {
    case MachineEnd::none:
      return;
    case MachineEnd::power_cut:
      return power_cut();
    case MachineEnd::kill:
      return kill();
  }
}

void Kernel::count_event() {
  ++counters_.events;
  if (question_ != nullptr) return ask_for_end();
  if (planned_events_ == 0 || --planned_events_ > 0) return;
  if (planned_power_) {
    power_cut();
  } else {
    kill();
  }
}

Instant Kernel::boot_after(Instant end) const noexcept {
  if (profile_.order != CompletionOrder::by_choice) return end;
  return end + (kBootTime - end.time_since_epoch() % kBootTime);
}

void Kernel::tell_flight(const Flight& flight, bool ends) const {
  std::string line = fmt::format(
      "{:>10} us  process {}  {} {}", now_.time_since_epoch() / std::chrono::microseconds(1),
      flight.process->number, ends ? "  end  " : "begin  ", to_string(flight.code));
  const std::string& path = flight.file != nullptr ? flight.file->path : flight.path;
  line += fmt::format(" {}", path);
  if (!flight.path2.empty()) line += fmt::format(" to {}", flight.path2);
  if (flight.bytes != 0) line += fmt::format(" offset {} bytes {}", flight.offset, flight.bytes);
  if ((flight.flags & kOpDsync) != 0) line += " dsync";
  if (ends) line += fmt::format(" -> {}", flight.result);
  tell(line);
}

// The bytes that were read and written are in the volume's hash, which knows blocks that it has
// hashed before.
std::uint64_t Kernel::trace_hash() const noexcept {
  Trace whole = trace_;
  whole.fold(disk_.volume().moved());
  return whole.hash();
}

void Kernel::trace_begin(const Flight& flight) noexcept {
  if (log_ != nullptr) tell_flight(flight, false);
  trace_.fold((static_cast<std::uint64_t>(flight.code) << 32) |
              (static_cast<std::uint64_t>(flight.flags) << 40) | flight.process->number);
  trace_.fold(flight.file != nullptr ? flight.file->node : flight.node);
  trace_.fold(flight.offset ^ (flight.length << 1));
  trace_.fold(flight.bytes);
  if (!flight.path.empty()) trace_.fold(flight.path);
  if (!flight.path2.empty()) trace_.fold(flight.path2);
}

void Kernel::trace_end(const Flight& flight) noexcept {
  if (log_ != nullptr) tell_flight(flight, true);
  trace_.fold((static_cast<std::uint64_t>(flight.code) << 32) |
              static_cast<std::uint32_t>(flight.result));
  trace_.fold(flight.process->number);
  trace_.fold(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
}

}  // namespace diorite::sim::detail
