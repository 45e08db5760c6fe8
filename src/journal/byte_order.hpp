// Little-endian loads and stores, whatever the host's byte order and the address' alignment.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace diorite::wal {

/// Turns a host integer into its little-endian form, and back.
template <class T>
constexpr T little_endian(T value) noexcept {
  static_assert(std::is_unsigned_v<T>);
  if constexpr (std::endian::native == std::endian::little || sizeof(T) == 1) {
    return value;
  } else {
    T swapped = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      swapped = static_cast<T>(swapped << 8) | static_cast<T>((value >> (8 * i)) & 0xFF);
    }
    return swapped;
  }
}

template <class T>
T load_le(const void* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return little_endian(value);
}

template <class T>
void store_le(void* to, T value) noexcept {
  value = little_endian(value);
  std::memcpy(to, &value, sizeof(T));
}

}  // namespace diorite::wal
