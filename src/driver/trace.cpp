#include <diorite/trace.hpp>

#include <cstdio>

namespace diorite {
namespace {

bool is_about_op(TraceKind kind) noexcept {
  switch (kind) {
    case TraceKind::submit:
    case TraceKind::resubmit:
    case TraceKind::complete:
    case TraceKind::cancel:
    case TraceKind::removed:
    case TraceKind::orphan:
    case TraceKind::orphan_end:
    case TraceKind::orphan_error:
    case TraceKind::reap:
      return true;
    default:
      return false;
  }
}

}  // namespace

const char* to_string(TraceKind kind) noexcept {
  switch (kind) {
    case TraceKind::turn_begin:
      return "turn_begin";
    case TraceKind::turn_end:
      return "turn_end";
    case TraceKind::submit:
      return "submit";
    case TraceKind::resubmit:
      return "resubmit";
    case TraceKind::complete:
      return "complete";
    case TraceKind::cancel:
      return "cancel";
    case TraceKind::removed:
      return "removed";
    case TraceKind::orphan:
      return "orphan";
    case TraceKind::orphan_end:
      return "orphan_end";
    case TraceKind::orphan_error:
      return "orphan_error";
    case TraceKind::reap:
      return "reap";
    case TraceKind::timer:
      return "timer";
    case TraceKind::post:
      return "post";
    case TraceKind::fallback:
      return "fallback";
    case TraceKind::stall:
      return "stall";
  }
  return "unknown";
}

const char* print(const TraceEvent& event, char (&text)[kTraceTextMax]) noexcept {
  const auto at = static_cast<long long>(event.at.time_since_epoch().count());
  const auto value = static_cast<long long>(event.value);
  const char* const kind = to_string(event.kind);
  if (!is_about_op(event.kind)) {
    if (event.where == nullptr) {
      std::snprintf(text, kTraceTextMax, "%lld %s: %lld", at, kind, value);
    } else {
      std::snprintf(text, kTraceTextMax, "%lld %s: %lld, code %p", at, kind, value, event.where);
    }
    return text;
  }
  // An orphan's end has nothing left to name it by.
  if (event.op == nullptr) {
    std::snprintf(text, kTraceTextMax, "%lld %s %s: %lld", at, kind, to_string(event.code), value);
    return text;
  }
  std::snprintf(text, kTraceTextMax, "%lld %s %s %p file %lld at %llu, %lu bytes: %lld", at, kind,
                to_string(event.code), event.op, static_cast<long long>(event.file),
                static_cast<unsigned long long>(event.offset),
                static_cast<unsigned long>(event.bytes), value);
  return text;
}

}  // namespace diorite
