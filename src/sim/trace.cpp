#include "sim/trace.hpp"

#include <array>
#include <cstring>

namespace diorite::sim::detail {
namespace {

constexpr std::uint64_t kOdd = 0xBF58'476D'1CE4'E5B9;

std::uint64_t load(const std::byte* from) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

}  // namespace

std::uint64_t hash_bytes(const std::byte* data, std::size_t bytes) noexcept {
  constexpr std::size_t kLanes = 4;
  constexpr std::size_t kStep = kLanes * sizeof(std::uint64_t);
  // Lanes of their own, so that one multiplication need not wait for the one before it.
  std::array<std::uint64_t, kLanes> lanes = {1, 2, 3, 4};
  std::size_t at = 0;
  for (; at + kStep <= bytes; at += kStep) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      std::uint64_t lane = (lanes[i] ^ load(data + at + i * sizeof(std::uint64_t))) * kOdd;
      lanes[i] = lane ^ (lane >> 32);
    }
  }
  std::uint64_t hash = bytes;
  for (; at < bytes; ++at) hash = (hash ^ static_cast<std::uint64_t>(data[at])) * kOdd;
  for (const std::uint64_t lane : lanes) hash = ((hash ^ (hash >> 31)) + lane) * kOdd;
  return hash ^ (hash >> 29);
}

}  // namespace diorite::sim::detail
