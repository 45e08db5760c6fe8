#include "sim/trace.hpp"

#include <cstring>

namespace diorite::sim::detail {
namespace {

constexpr std::uint64_t kOdd = 0xBF58'476D'1CE4'E5B9;

std::uint64_t load(const std::byte* from) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// A multiplication carries differences upwards only: the upper half is brought down, and kept.
std::uint64_t mixed(std::uint64_t lane, std::uint64_t word) noexcept {
  const std::uint64_t product = (lane ^ word) * kOdd;
  return product ^ (product >> 32);
}

}  // namespace

std::uint64_t hash_bytes(const std::byte* data, std::size_t bytes) noexcept {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  // Lanes of their own, so that one multiplication need not wait for the one before it.
  std::uint64_t a = 1;
  std::uint64_t b = 2;
  std::uint64_t c = 3;
  std::uint64_t d = 4;
  std::size_t at = 0;
  for (; at + 4 * kWord <= bytes; at += 4 * kWord) {
    a = mixed(a, load(data + at));
    b = mixed(b, load(data + at + kWord));
    c = mixed(c, load(data + at + 2 * kWord));
    d = mixed(d, load(data + at + 3 * kWord));
  }
  for (; at < bytes; ++at) a = mixed(a, static_cast<std::uint64_t>(data[at]));
  std::uint64_t hash = bytes;
  for (const std::uint64_t lane : {a, b, c, d}) hash = mixed(hash, lane);
  return hash ^ (hash >> 29);
}

}  // namespace diorite::sim::detail
