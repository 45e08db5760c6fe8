#include "reactor/exact.hpp"

#include <algorithm>
#include <cerrno>

#include <diorite/align.hpp>
#include <diorite/assert.hpp>

namespace diorite::detail {
namespace {

// A system that says EAGAIN for ever must not keep a coroutine for ever.
constexpr std::uint32_t kRepeatsMax = 64;

bool is_repeatable(std::int32_t result) noexcept { return result == -EINTR || result == -EAGAIN; }

bool is_stopped(const TransferOp& op) noexcept { return (op.flags & kOpLastStep) != 0; }

bool end_stopped(TransferOp& op) noexcept {
  op.result = -ECANCELED;
  return true;
}

}  // namespace

bool transfer_step(TransferOp& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::done, "a step of a transfer that has not completed");
  if (op.result < 0) {
    // Nothing was transferred by this step, so repeating it repeats nothing.
    if (is_repeatable(op.result) && op.repeats < kRepeatsMax) {
      if (is_stopped(op)) return end_stopped(op);
      ++op.repeats;
      op.state = OpState::idle;
      return false;
    }
    return true;
  }
  const auto step = static_cast<std::uint64_t>(op.result);
  DIORITE_ASSERT(step <= op.bytes, "a driver transferred more than was asked for");
  const std::uint64_t reached = op.start + step;
  const std::uint64_t before = op.done;
  op.done = std::max(op.done, reached);
  op.result = 0;
  // A step that ends where the last one did has met the end of the file, or of what the system
  // takes. One that ends short of that has only been cut shorter: there was more a moment ago.
  if (op.done == op.total || reached == before) return true;
  if (is_stopped(op)) return end_stopped(op);
  const bool progress = reached > before;
  if (!progress && ++op.repeats > kRepeatsMax) return true;

  // Direct I/O can only go on at an aligned offset, so the block that was cut short is sent again
  // from its beginning.
  const std::uint64_t next = align_down(op.done, std::uint64_t{1} << op.align_log2);
  DIORITE_ASSERT(next >= op.start, "a transfer went backwards");
  op.offset += next - op.start;
  op.data += next - op.start;
  op.bytes = static_cast<std::uint32_t>(std::min(op.total - next, kIoBytesMax));
  op.start = next;
  if (progress) op.repeats = 0;
  op.state = OpState::idle;
  return false;
}

}  // namespace diorite::detail
