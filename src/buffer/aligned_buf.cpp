#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include <diorite/buffer.hpp>

#include "buffer/explain.hpp"
#include "buffer/memory.hpp"

namespace diorite {
namespace {

// Pointer differences within one buffer must be representable, and allocators refuse more anyway.
constexpr std::size_t kMostBytes = PTRDIFF_MAX;
constexpr std::size_t kMostAlignment = kMostBytes / 2 + 1;
static_assert(is_power_of_two(kMostAlignment));

struct Room {
  std::byte* data;
  std::size_t capacity;
  std::size_t alignment;
};

Result<Room> allocate(const char* operation, std::size_t bytes, std::size_t alignment) noexcept {
  const ErrorContext context{.operation = operation, .length = bytes};
  if (!is_power_of_two(alignment) || alignment > kMostAlignment) {
    return detail::explain(Error(Errc::out_of_range, alignment, kMostAlignment), context,
                           "the alignment {} is not a power of two up to {}", alignment,
                           kMostAlignment);
  }
  alignment = std::max(alignment, kPageBytes);
  // Compared before rounding, so that the rounding cannot pass the limit.
  const std::size_t most = static_cast<std::size_t>(align_down(kMostBytes, alignment));
  if (bytes > most) {
    return detail::explain(Error(Errc::out_of_range, bytes, most), context,
                           "{} bytes at alignment {}, of which an address space holds {} at most",
                           bytes, alignment, most);
  }
  const auto capacity =
      static_cast<std::size_t>(align_up(std::max<std::size_t>(bytes, 1), alignment));
  std::byte* data = detail::allocate_aligned(capacity, alignment);
  if (data == nullptr) {
    return detail::explain(
        Error(std::make_error_code(std::errc::not_enough_memory), capacity), context,
        "no {} bytes at alignment {}; free some buffers, or raise the process' memory limit",
        capacity, alignment);
  }
  DIORITE_ASSERT(is_aligned(data, alignment), "the allocator ignored the alignment");
  return Room{data, capacity, alignment};
}

Error overflow(const char* operation, std::size_t length, std::size_t added,
               std::size_t capacity) noexcept {
  return with_context(
      Error(Errc::overflow, detail::saturating_add(length, added), capacity),
      {.operation = operation,
       .length = added,
       .note = "a buffer never grows: write it out and clear it, or make it larger"});
}

}  // namespace

Result<AlignedBuf> AlignedBuf::with_cap(std::size_t bytes, std::size_t alignment) noexcept {
  const Result<Room> room = allocate("AlignedBuf::with_cap", bytes, alignment);
  if (!room) return room.error();
  return from_raw_parts({room->data, 0, room->capacity, room->alignment});
}

Result<AlignedBuf> AlignedBuf::zeroed(std::size_t bytes, std::size_t alignment) noexcept {
  const Result<Room> room = allocate("AlignedBuf::zeroed", bytes, alignment);
  if (!room) return room.error();
  // calloc could leave large memory untouched, but it cannot align: its block would have to be
  // larger, and its start remembered beside the address that frees it.
  std::memset(room->data, 0, room->capacity);
  return from_raw_parts({room->data, bytes, room->capacity, room->alignment});
}

Result<void> AlignedBuf::extend(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() > capacity() - len_) {
    return overflow("AlignedBuf::extend", len_, bytes.size(), capacity());
  }
  // The bytes may lie in this very buffer, even in the room behind its length.
  if (!bytes.empty()) std::memmove(data_ + len_, bytes.data(), bytes.size());
  len_ += bytes.size();
  return {};
}

Result<void> AlignedBuf::pad_to(std::size_t multiple) noexcept {
  if (multiple == 0) {
    return with_context(
        Error(Errc::out_of_range, 0, capacity()),
        {.operation = "AlignedBuf::pad_to", .note = "no length is a multiple of 0; use 1 or more"});
  }
  const std::size_t rest = len_ % multiple;
  const std::size_t padding = rest == 0 ? 0 : multiple - rest;
  if (padding > capacity() - len_) {
    return overflow("AlignedBuf::pad_to", len_, padding, capacity());
  }
  if (padding != 0) std::memset(data_ + len_, 0, padding);
  len_ += padding;
  return {};
}

Result<void> AlignedBuf::set_len(std::size_t bytes) noexcept {
  if (bytes > capacity()) {
    return detail::explain(Error(Errc::out_of_range, bytes, capacity()),
                           {.operation = "AlignedBuf::set_len", .length = bytes},
                           "{} bytes in a buffer of {}", bytes, capacity());
  }
  len_ = bytes;
  return {};
}

Result<AlignedBuf> AlignedBuf::try_clone() const noexcept {
  // A buffer without memory is copied as what it is; with_cap would give the copy a page.
  if (data_ == nullptr) return AlignedBuf();
  const Result<Room> room = allocate("AlignedBuf::try_clone", capacity(), alignment());
  if (!room) return room.error();
  if (len_ != 0) std::memcpy(room->data, data_, len_);
  return from_raw_parts({room->data, len_, room->capacity, room->alignment});
}

RawIoBuf AlignedBuf::as_raw() noexcept { return RawIoBuf(data_, len_, capacity()); }

RawIoBuf AlignedBuf::as_raw_view() const noexcept { return RawIoBuf(data_, len_, capacity()); }

Result<RawFrames> AlignedBuf::slice_into_raws(std::size_t chunk) noexcept {
  const ErrorContext context{.operation = "AlignedBuf::slice_into_raws", .length = chunk};
  if (chunk == 0) {
    return detail::explain(Error(Errc::out_of_range, 0, capacity()), context,
                           "frames of 0 bytes; use a multiple of {}", kPageBytes);
  }
  if (!is_aligned(chunk, kPageBytes)) {
    return detail::explain(Error(Errc::misaligned, chunk, kPageBytes), context,
                           "the chunk; every frame must begin at an aligned address");
  }
  return RawFrames(data_, chunk, capacity() / chunk);
}

RawParts AlignedBuf::into_raw_parts() && noexcept {
  const RawParts parts{data_, len_, capacity(), alignment()};
  data_ = nullptr;
  len_ = 0;
  cap_and_log2_ = 0;
  return parts;
}

AlignedBuf AlignedBuf::from_raw_parts(RawParts parts) noexcept {
  AlignedBuf buffer;
  DIORITE_ASSERT(parts.size <= parts.capacity, "raw parts whose length is above their capacity");
  if (parts.data == nullptr) {
    DIORITE_ASSERT(parts.capacity == 0, "raw parts with a capacity, but without memory");
    return buffer;
  }
  DIORITE_ASSERT(is_power_of_two(parts.alignment) && parts.alignment >= kPageBytes,
                 "raw parts whose alignment no buffer has");
  DIORITE_ASSERT(parts.capacity != 0 && is_aligned(parts.capacity, parts.alignment),
                 "raw parts whose capacity is not a multiple of their alignment");
  DIORITE_ASSERT(is_aligned(parts.data, parts.alignment), "raw parts whose address is misaligned");
  buffer.data_ = parts.data;
  buffer.len_ = parts.size;
  buffer.cap_and_log2_ = parts.capacity | log2_of(parts.alignment);
  return buffer;
}

void AlignedBuf::release() noexcept { detail::free_aligned(data_); }

}  // namespace diorite
