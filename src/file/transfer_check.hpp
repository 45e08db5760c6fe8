// What is wrong with a transfer, before any system call.

#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include <diorite/driver/op.hpp>
#include <diorite/error.hpp>
#include <diorite/file_info.hpp>

namespace diorite::detail {

inline constexpr std::uint64_t kFileBytesMax =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

struct TransferTarget {
  std::string_view path;
  DioAlign align;
};

/// Errors: out_of_range for zero bytes and beyond 2^63 - 1; misaligned.
Error check_transfer(const TransferTarget& file, const char* operation, OpCode code,
                     const std::byte* data, std::uint64_t bytes, std::uint64_t offset) noexcept;

}  // namespace diorite::detail
