// UringCalls: the kernel's side of a ring, as functions that tests can put refusals in place of,
// and what its refusals mean in words.
//
// Thread: any.

#pragma once

#include <liburing.h>

#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>

namespace diorite::detail {

/// Results are liburing's: negated errno values.
struct UringCalls {
  int (*setup)(unsigned entries, io_uring* ring, io_uring_params* params);
  int (*enter)(unsigned descriptor, unsigned to_submit, unsigned min_complete, unsigned flags,
               sigset_t* argument, std::size_t argument_bytes);
  int (*probe)(io_uring* ring, io_uring_probe* probe, unsigned operations);
  int (*register_ring)(io_uring* ring);
  int (*register_files_sparse)(io_uring* ring, unsigned count);
  int (*register_files)(io_uring* ring, const int* descriptors, unsigned count);
  int (*update_files)(io_uring* ring, unsigned first, const int* descriptors, unsigned count);
  int (*register_eventfd)(io_uring* ring, int descriptor);
  /// The value of the sysctl kernel.io_uring_disabled; negative where the kernel has none.
  int (*disabled_sysctl)();
};
const UringCalls& uring_kernel_calls() noexcept;

/// `result` is a negated errno value.
std::string uring_error_name(int result);
/// What an operator can do about a ring that was refused so.
std::string uring_remedy(int result, const UringCalls& calls);
/// Both.
std::string uring_refusal_text(int result, const UringCalls& calls);

/// Appends `text` to `reasons`, apart from what stands before it.
void uring_tell(std::string& reasons, std::string_view text);

}  // namespace diorite::detail
