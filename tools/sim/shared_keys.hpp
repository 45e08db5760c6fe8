// SharedKeys: a set of hashes that several processes share.
//
// Made before they are forked. Keys are only ever added, each by one of them.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace diorite::sim {

/// Zero is an empty place, and what is mapped anew is zero: memory is taken only where there are
/// keys.
class SharedKeys {
 public:
  SharedKeys() noexcept {
    void* const memory = mmap(nullptr, kPlaces * sizeof(std::uint64_t), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) places_ = static_cast<std::uint64_t*>(memory);
  }
  SharedKeys(const SharedKeys&) = delete;
  SharedKeys& operator=(const SharedKeys&) = delete;
  ~SharedKeys() {
    if (places_ != nullptr) munmap(places_, kPlaces * sizeof(std::uint64_t));
  }
  explicit operator bool() const noexcept { return places_ != nullptr; }
  /// True when the key is new.
  bool insert(std::uint64_t key) noexcept {
    if (key == 0) key = 1;
    for (std::size_t at = key & kMask;; at = (at + 1) & kMask) {
      std::uint64_t there = 0;
      if (__atomic_compare_exchange_n(&places_[at], &there, key, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
        return true;
      }
      if (there == key) return false;
    }
  }
  static constexpr std::uint64_t kKeysMax = std::uint64_t{3} << 24;

 private:
  static constexpr std::size_t kPlaces = std::size_t{1} << 26;
  static constexpr std::size_t kMask = kPlaces - 1;
  std::uint64_t* places_ = nullptr;
};

}  // namespace diorite::sim
