// Exact transfers: what follows a short or interrupted step.

#pragma once

#include <diorite/reactor.hpp>

namespace diorite::detail {

/// Looks at a completed step of `op`. True when the transfer is over: `op.result` is then 0 or a
/// negated errno value, -ECANCELED when a stop kept it from going on, and `op.done` the bytes
/// transferred. False when `op` holds the next step, idle and ready to be submitted.
bool transfer_step(TransferOp& op) noexcept;

}  // namespace diorite::detail
