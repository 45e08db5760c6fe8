#include "raw/dsync_write.hpp"

#include <sys/uio.h>

#include <cerrno>

namespace diorite::bench::raw {

int run_dsync_writes(int file, const std::byte* block, unsigned block_bytes, std::uint64_t count,
                     Latencies& latencies) noexcept {
  const iovec piece{const_cast<std::byte*>(block), block_bytes};
  for (std::uint64_t i = 0; i < count; ++i) {
    const Clock::time_point begin = Clock::now();
    const ssize_t written =
        ::pwritev2(file, &piece, 1, static_cast<off_t>(i * block_bytes), RWF_DSYNC);
    latencies.add(Clock::now() - begin);
    if (written != static_cast<ssize_t>(block_bytes)) return written < 0 ? -errno : -EIO;
  }
  return 0;
}

}  // namespace diorite::bench::raw
