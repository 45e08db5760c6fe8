// What a reactor tells of itself while it runs: trace events, stalls, and how long what is ready
// waits. Off the path of a reactor that is not asked.

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>

namespace diorite {
namespace {

// A coroutine's frame begins with the addresses of the two functions that resume and destroy it, on
// every compiler; the first is null once it has finished.
const void* code_of(void* frame) noexcept {
  if (frame == nullptr) return nullptr;
  void* const* const functions = static_cast<void* const*>(frame);
  return functions[0] != nullptr ? functions[0] : functions[1];
}

// What the driver did without, and operations that took the long way round: a pool executes
// everything on its threads, a ring only what it cannot do itself.
std::uint64_t fallbacks_of(const Driver& driver) noexcept {
  const DriverCounters counters = driver.counters();
  const bool has_ring = driver.caps().kind == DriverKind::uring;
  std::uint64_t sum = (has_ring ? counters.pool_ops : 0) + counters.dsync_emulated;
  for (const std::uint64_t times : counters.fallbacks) sum += times;
  return sum;
}

}  // namespace

void Reactor::run_watched() {
  ReadyNode& next = ready_.front();
  if (next.is_marked()) {
    const auto& op = static_cast<const Op&>(next);
    const Duration waited = detail::Measuring::since(op.slot, resumed_at_);
    measuring_->latencies().of(kind_of(op.code)).ready.record(waited);
  }
  void* const frame = ready_.run_one();
  // The end of one resumption is the beginning of the next.
  const Instant begun = resumed_at_;
  resumed_at_ = now();
  const Duration held = resumed_at_ - begun;
  if (options_.stall_after > Duration::zero() && held >= options_.stall_after) {
    stalled(held, code_of(frame));
  }
}

void Reactor::run_post_watched(PostNode& node) noexcept {
  const PostNode::Function function = node.function;
  const void* const where = reinterpret_cast<const void*>(function);
  trace(TraceKind::post, 0, where);
  if (options_.stall_after <= Duration::zero()) return function(node);
  const Instant begun = now();
  function(node);
  const Duration held = now() - begun;
  if (held >= options_.stall_after) stalled(held, where);
}

void Reactor::stalled(Duration held, const void* where) noexcept {
  ++stats_.stalls;
  if (held > stats_.longest_stall) {
    stats_.longest_stall = held;
    stats_.longest_stall_where = where;
  }
  trace(TraceKind::stall, held.count(), where);
}

void Reactor::tell(TraceKind kind, std::int64_t value, const void* where) noexcept {
  TraceEvent event;
  event.kind = kind;
  event.value = value;
  event.where = where;
  tell(event);
}

void Reactor::tell(TraceKind kind, const Op& op, std::int64_t value) noexcept {
  TraceEvent event;
  event.kind = kind;
  event.code = op.code;
  event.op = &op;
  event.file = op.file.value;
  event.offset = op.offset;
  event.bytes = op.bytes;
  event.value = value;
  tell(event);
}

void Reactor::tell_orphan_end(OpCode code, std::int64_t result, bool is_lost) noexcept {
  TraceEvent event;
  event.kind = is_lost ? TraceKind::orphan_error : TraceKind::orphan_end;
  event.code = code;
  event.value = result;
  tell(event);
}

void Reactor::tell_fallbacks() noexcept {
  const std::uint64_t seen = fallbacks_;
  fallbacks_ = fallbacks_of(*driver_);
  if (fallbacks_ != seen) {
    tell(TraceKind::fallback, static_cast<std::int64_t>(fallbacks_ - seen), nullptr);
  }
}

void Reactor::tell(TraceEvent& event) noexcept {
  DIORITE_DEBUG_ASSERT(!in_trace_, "a trace hook must not call the reactor");
  event.at = now();
  in_trace_ = true;
  options_.trace.function(options_.trace.context, event);
  in_trace_ = false;
}

}  // namespace diorite
