#include "driver/linux/uring_polled.hpp"

#include <errno.h>

#include <utility>

namespace diorite::detail {

UringPolled::UringPolled(std::unique_ptr<Uring> ring)
    : ring_(std::move(ring)),
      files_(ring_ != nullptr ? std::make_unique<Files>() : nullptr),
      active_(ring_ != nullptr) {
  if (ring_ != nullptr) door_.emplace(*ring_);
}

void UringPolled::file_opened(DriverFile file, std::uint32_t open_flags) noexcept {
  if (!active_) return;
  // A file that is durable by itself is synced behind every write, which no device answers by
  // being polled.
  if ((open_flags & kOpenDirect) != 0 && (open_flags & kOpenDsync) == 0) {
    files_->add(file);
  } else {
    files_->drop(file);
  }
}

bool uring_polled_refuses(std::int32_t result) noexcept {
  return result == -EOPNOTSUPP || result == -EINVAL || result == -EAGAIN;
}

}  // namespace diorite::detail
