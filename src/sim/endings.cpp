// How operations, processes and the machine's uptime come to an end before their time.

#include <algorithm>
#include <cerrno>

#include <diorite/assert.hpp>

#include "sim/kernel.hpp"

namespace diorite::sim::detail {
namespace {

// A killed process's ring is torn down within a tenth of a second or so; writes that its kernel
// threads have in hand go on until then.
constexpr std::uint32_t kZombieMicrosecondsMax = 100'000;

// What does nothing for anybody but the process that asked.
bool ends_with_process(OpCode code) noexcept {
  switch (code) {
    case OpCode::nop:
    case OpCode::read:
    case OpCode::info:
    case OpCode::close:
    case OpCode::try_lock:
    case OpCode::drop_cache:
    case OpCode::list_dir:
    case OpCode::call:
      return true;
    default:
      return false;
  }
}

// Reports of these cannot fail: nothing is left to close, and a nop does nothing.
std::int32_t result_of_death(OpCode code) noexcept {
  return code == OpCode::close || code == OpCode::nop ? 0 : -EIO;
}

// Their effect is on names and sizes, so the volume does not know of them before it.
bool is_namespace_change(OpCode code) noexcept {
  switch (code) {
    case OpCode::open:
    case OpCode::allocate:
    case OpCode::truncate:
    case OpCode::make_dir:
    case OpCode::rename:
    case OpCode::remove:
      return true;
    default:
      return false;
  }
}

}  // namespace

Process& Kernel::start_process() {
  drop_processes();
  processes_.push_back(std::make_unique<Process>());
  Process& process = *processes_.back();
  process.number = ++processes_started_;
  return process;
}

void Kernel::end_process(Process& process) noexcept {
  DIORITE_ASSERT(process.in_flight == 0 && process.done.empty(),
                 "a process ends with operations that nobody was told of");
  if (!process.dead) die(process);
  process.attached = false;
  drop_processes();
}

void Kernel::drop_processes() noexcept {
  std::erase_if(processes_,
                [](const auto& process) { return !process->attached && process->zombies == 0; });
}

bool Kernel::withdraw(Flight& flight) {
  if (flight.ended || flight.process->dead || flight.cancelled || quiet_) return false;
  // Nothing has passed since it was submitted, so the device may not have seen it.
  const bool may_be_unseen = flight.begun == now_ && !flight.captured;
  if (may_be_unseen && choices_.chance(per_cent(50))) {
    Process& process = *flight.process;
    if (flight.write != 0) volume().abandon_write(flight.write, {});
    changed_ = true;
    let_go(flight);
    flight.unlink();
    --in_flight_count_;
    --process.in_flight;
    flight.result = -ECANCELED;
    trace_end(flight);
    recycle(flight);
    return true;
  }
  // A close that was stopped would leak its handle, so nobody asks for that.
  if (flight.code == OpCode::close || !choices_.chance(profile_.cancel_wins)) return false;
  flight.cancelled = true;
  if (profile_.order == CompletionOrder::by_latency) {
    const Instant soon = now_ + latency();
    if (soon < flight.due) set_end(flight, soon);
  }
  return false;
}

void Kernel::notify_of_death(Flight& flight) noexcept {
  flight.ended = true;
  flight.result = result_of_death(flight.code);
  flight.opened = DriverFile{};
  flight.entries.reset();
  flight.process->done.push_back(flight);
}

void Kernel::die(Process& process) noexcept {
  process.dead = true;
  files_.drop_all(process, process.zombies == 0, volume());
}

void Kernel::become_zombie(Flight& flight) {
  // The memory may be gone any moment now; what the kernel writes is what it sees in this one.
  capture(flight);
  Flight& notice = take_flight(*flight.process, flight.code, flight.tag);
  notice.bytes = flight.bytes;
  flight.zombie = true;
  flight.cancelled = false;
  ++flight.process->zombies;
  notify_of_death(notice);
  if (profile_.order == CompletionOrder::by_latency) {
    using std::chrono::microseconds;
    set_end(flight, now_ + microseconds(1 + choices_.draw_skewed(kZombieMicrosecondsMax)));
  }
}

void Kernel::zombie_ended(Process& process) noexcept {
  if (--process.zombies > 0) return;
  files_.drop_all(process, true, volume());
  drop_processes();
}

void Kernel::kill() {
  ++counters_.kills;
  trace_.fold("kill");
  tell("kill");
  for (const auto& process : processes_) {
    if (process->dead) continue;
    FlightList before;
    before.splice_back(process->done);
    while (Flight* const flight = before.pop_front()) notify_of_death(*flight);
  }
  Flight* next = nullptr;
  for (Flight* flight = in_flight_.front(); flight != nullptr; flight = next) {
    next = in_flight_.next(*flight);
    if (flight->zombie) continue;
    --flight->process->in_flight;
    if (!ends_with_process(flight->code) && choices_.chance(profile_.zombie)) {
      become_zombie(*flight);
      continue;
    }
    flight->unlink();
    --in_flight_count_;
    if (flight->write != 0) volume().abandon_write(flight->write, {});
    let_go(*flight);
    notify_of_death(*flight);
  }
  for (const auto& process : processes_) {
    if (!process->dead) die(*process);
  }
}

void Kernel::settle_before_power_cut() {
  for (Flight* flight = in_flight_.front(); flight != nullptr; flight = in_flight_.next(*flight)) {
    if (!is_namespace_change(flight->code) || !choices_.chance(per_cent(50))) continue;
    // Whether it had taken place is open, like whether it was durable.
    take_effect(*flight);
  }
}

Profile Kernel::crash_profile() const noexcept {
  Profile profile = profile_;
  if (faults_.healed()) {
    profile.garbage_block = never();
    profile.unreadable_block = never();
    profile.damage = never();
    profile.lying_sync = never();
  }
  return profile;
}

void Kernel::power_cut() {
  ++counters_.power_cuts;
  faults_.mount();
  settle_before_power_cut();
  const Volume::CrashCounts lost = volume().crash(choices_, crash_profile());
  counters_.sectors_lost += lost.sectors_lost;
  counters_.blocks_damaged += lost.blocks_damaged;
  trace_.fold("power cut");
  tell("power cut");
  trace_.fold(lost.sectors_lost);
  trace_.fold(lost.blocks_damaged);
  files_.forget_all();
  events_.clear();
  for (const auto& process : processes_) {
    process->in_flight = 0;
    process->zombies = 0;
    if (process->dead) continue;
    process->dead = true;
    FlightList before;
    before.splice_back(process->done);
    while (Flight* const flight = before.pop_front()) notify_of_death(*flight);
  }
  while (Flight* const flight = in_flight_.pop_front()) {
    flight->file = nullptr;
    flight->node = kNoNode;
    flight->write = 0;
    if (flight->zombie) {
      recycle(*flight);
    } else {
      notify_of_death(*flight);
    }
  }
  in_flight_count_ = 0;
  drop_processes();
  now_ = boot_after(now_);
  new_boot();
}

void Kernel::plan(bool power, std::uint64_t events) noexcept {
  planned_power_ = power;
  planned_events_ = std::max<std::uint64_t>(events, 1);
}

void Kernel::plan(EndQuestion question, void* context) noexcept {
  question_ = question;
  question_context_ = context;
  changed_ = true;
}

void Kernel::heal() noexcept {
  faults_.heal();
  volume().set_read_only(false);
}

void Kernel::new_boot() noexcept {
  for (std::size_t half = 0; half < 2; ++half) {
    std::uint64_t bits = choices_.entropy() | 1;
    for (std::size_t i = 0; i < sizeof(bits); ++i, bits >>= 8) {
      boot_id_[half * sizeof(bits) + i] = static_cast<std::uint8_t>(bits);
    }
  }
}

}  // namespace diorite::sim::detail
