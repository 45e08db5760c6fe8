// Trace: a running hash of what a simulated machine was asked and what it answered.
//
// Equal runs have equal hashes, and a run whose hash differs between two executions depends on
// something outside its choices. So nothing that differs between executions may be folded: no
// address, no real time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace diorite::sim::detail {

/// Of bytes; fast enough to take in every byte that is read or written.
std::uint64_t hash_bytes(const std::byte* data, std::size_t bytes) noexcept;

class Trace {
 public:
  void fold(std::uint64_t value) noexcept {
    hash_ = (hash_ ^ value) * 0x9E37'79B9'7F4A'7C15;
    hash_ ^= hash_ >> 29;
  }
  void fold(std::string_view text) noexcept {
    fold(hash_bytes(reinterpret_cast<const std::byte*>(text.data()), text.size()));
  }
  std::uint64_t hash() const noexcept { return hash_; }

 private:
  std::uint64_t hash_ = 0xD10'817E;
};

}  // namespace diorite::sim::detail
