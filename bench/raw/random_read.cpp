#include "raw/random_read.hpp"

#include <algorithm>
#include <cerrno>

#include "random.hpp"

namespace diorite::bench::raw {
namespace {

void prepare(Ring& ring, const RandomRead& job, std::uint64_t place, Random& random) noexcept {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring.get());
  const std::uint64_t offset = random.below(job.blocks) * job.block_bytes;
  io_uring_prep_read(sqe, job.file, job.memory + place * job.block_bytes, job.block_bytes, offset);
  sqe->user_data = place;
}

}  // namespace

int run_random_reads(Ring& ring, const RandomRead& job) noexcept {
  Random random(job.seed);
  std::uint64_t left = job.count;
  std::uint64_t in_flight = std::min<std::uint64_t>(job.depth, left);
  left -= in_flight;
  for (std::uint64_t place = 0; place < in_flight; ++place) prepare(ring, job, place, random);
  int failure = 0;
  while (in_flight > 0) {
    ring.submit_and_wait();
    unsigned head = 0;
    unsigned reaped = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring.get(), head, cqe) {
      ++reaped;
      if (cqe->res != static_cast<int>(job.block_bytes)) {
        if (failure == 0) failure = cqe->res < 0 ? cqe->res : -EIO;
        left = 0;
      }
      if (left > 0) {
        --left;
        prepare(ring, job, cqe->user_data, random);
      } else {
        --in_flight;
      }
    }
    io_uring_cq_advance(&ring.get(), reaped);
  }
  return failure;
}

}  // namespace diorite::bench::raw
