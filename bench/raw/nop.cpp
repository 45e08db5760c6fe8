#include "raw/nop.hpp"

namespace diorite::bench::raw {

void run_nops(Ring& ring, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    io_uring_prep_nop(io_uring_get_sqe(&ring.get()));
    ring.submit_and_wait();
    io_uring_cq_advance(&ring.get(), 1);
  }
}

}  // namespace diorite::bench::raw
