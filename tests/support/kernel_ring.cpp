#include "support/kernel_ring.hpp"

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#if DIORITE_HAS_URING
#include <liburing.h>
#endif

namespace diorite::test {
namespace {

constexpr std::array<const char*, 3> kNames = {"io_uring", "io_uring with a thread of the kernel",
                                               "polled io_uring"};

/// Empty when the kernel gives the ring, else why it does not.
std::string refusal_of(RingKind kind) {
#if DIORITE_HAS_URING
  constexpr unsigned kEntries = 8;
  constexpr unsigned kFeatures =
      IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
  io_uring_params params{};
  if (kind == RingKind::sq_poll) params.flags = IORING_SETUP_SQPOLL;
  if (kind == RingKind::polled) params.flags = IORING_SETUP_IOPOLL;
  io_uring ring;
  const int result = ::io_uring_queue_init_params(kEntries, &ring, &params);
  if (result < 0) return std::strerror(-result);
  ::io_uring_queue_exit(&ring);
  return (params.features & kFeatures) == kFeatures ? "" : "the kernel is older than Linux 5.11";
#else
  static_cast<void>(kind);
  return "built without it";
#endif
}

}  // namespace

bool kernel_gives(RingKind kind) {
  static std::array<std::optional<bool>, kNames.size()> known;
  const auto index = static_cast<std::size_t>(kind);
  if (!known[index]) {
    const std::string why = refusal_of(kind);
    known[index] = why.empty();
    if (!why.empty()) std::fprintf(stderr, "skipped: no %s here: %s\n", kNames[index], why.c_str());
  }
  return *known[index];
}

}  // namespace diorite::test
