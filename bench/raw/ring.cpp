#include "raw/ring.hpp"

#include <cstring>
#include <string>

#include "measure.hpp"

namespace diorite::bench::raw {
namespace {

// Older headers lack the names.
constexpr unsigned kSingleIssuer = 1U << 12;
constexpr unsigned kDeferTaskrun = 1U << 13;

}  // namespace

Ring::Ring(unsigned entries) {
  io_uring_params params{};
  params.flags = kSingleIssuer | kDeferTaskrun;
  const int made = io_uring_queue_init_params(entries, &ring_, &params);
  if (made < 0) {
    throw Failure("io_uring with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1): " +
                  std::string(std::strerror(-made)));
  }
  io_uring_register_ring_fd(&ring_);
}

Ring::~Ring() { io_uring_queue_exit(&ring_); }

}  // namespace diorite::bench::raw
