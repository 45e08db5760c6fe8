// AlignedBuf owns page-aligned memory; RawIoBuf and ConstIoBuf point into somebody else's.
//
// Use AlignedBuf where one owner hands a buffer to an operation and gets it back with the result.
// Use RawIoBuf for pages of an arena or a buffer pool: it is three words and copies freely, but it
// promises nothing about lifetime, so prefer PinnedBuf (pin.hpp) wherever a coroutine that awaits
// the I/O may be destroyed early.
//
// Thread: plain values; an AlignedBuf may move between threads.
// Lifetime: whoever makes a RawIoBuf or ConstIoBuf keeps its memory alive and, while an operation
// uses it, untouched until that operation's completion. A coroutine that is destroyed while it
// awaits an operation on a bare RawIoBuf blocks until the device is done with the memory.
//
//   Result<AlignedBuf> page = AlignedBuf::with_cap(8192);
//   if (!page) return page.error();
//   DIORITE_CHECK(page->extend(record));          // never grows, never moves
//   DIORITE_CHECK(page->pad_to(4096));            // direct I/O wants whole blocks

#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include <diorite/align.hpp>
#include <diorite/assert.hpp>
#include <diorite/result.hpp>

namespace diorite {

/// Memory for a transfer, owned by somebody else: address, valid bytes, room. See the top of the
/// file.
class RawIoBuf {
 public:
  RawIoBuf() noexcept = default;
  /// Length 0: what a read fills.
  RawIoBuf(std::byte* data, std::size_t capacity) noexcept : data_(data), cap_(capacity) {}

  /// Length and capacity are the slice's. No alignment is demanded here; a direct file demands it.
  static RawIoBuf from_slice(std::span<std::byte> bytes) noexcept {
    return RawIoBuf(bytes.data(), bytes.size(), bytes.size());
  }

  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return len_; }
  std::size_t capacity() const noexcept { return cap_; }
  bool empty() const noexcept { return len_ == 0; }

  /// The same memory with `bytes` valid. Errors: out_of_range above the capacity (a = bytes,
  /// b = capacity).
  Result<RawIoBuf> with_len(std::size_t bytes) const noexcept;
  /// The same memory, all of it valid.
  RawIoBuf full() const noexcept;

  /// A part to read into: length 0, capacity `bytes`.
  /// Errors: out_of_range when it leaves the capacity (a = the slice's end, b = capacity);
  /// misaligned when its address or length is not a multiple of 4096 (a = the length, the offset,
  /// or the address where this memory itself is misaligned). Use slice_unchecked for devices with
  /// smaller blocks.
  Result<RawIoBuf> slice(std::size_t offset, std::size_t bytes) const noexcept;
  /// A part to write from: length and capacity are `bytes`. Errors: as slice.
  Result<RawIoBuf> slice_data(std::size_t offset, std::size_t bytes) const noexcept;
  /// As slice, for hot loops over offsets that were checked before.
  RawIoBuf slice_unchecked(std::size_t offset, std::size_t bytes) const noexcept {
    return RawIoBuf(data_ + offset, bytes);
  }

  std::span<std::byte> as_span() const noexcept { return {data_, len_}; }
  std::span<std::byte> as_full_span() const noexcept { return {data_, cap_}; }

 private:
  friend class AlignedBuf;

  RawIoBuf(std::byte* data, std::size_t length, std::size_t capacity) noexcept
      : data_(data), len_(length), cap_(capacity) {}

  std::byte* data_ = nullptr;
  std::size_t len_ = 0;
  std::size_t cap_ = 0;
};
static_assert(std::is_trivially_copyable_v<RawIoBuf> && sizeof(RawIoBuf) == 24);

/// What a write sends: address and length, borrowed.
class ConstIoBuf {
 public:
  ConstIoBuf() noexcept = default;
  ConstIoBuf(RawIoBuf raw) noexcept : data_(raw.data()), len_(raw.size()) {}
  template <class R>
    requires(std::convertible_to<const R&, std::span<const std::byte>> &&
             !std::same_as<R, RawIoBuf> && !std::same_as<R, ConstIoBuf>)
  ConstIoBuf(const R& bytes) noexcept {
    const std::span<const std::byte> view = bytes;
    data_ = view.data();
    len_ = view.size();
  }

  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return len_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t len_ = 0;
};
static_assert(std::is_trivially_copyable_v<ConstIoBuf>);

/// The frames of an arena: equal chunks, each with length 0. A remainder is left out.
class RawFrames {
 public:
  class iterator {
   public:
    using value_type = RawIoBuf;
    using difference_type = std::ptrdiff_t;
    iterator() noexcept = default;
    iterator(const RawFrames* frames, std::size_t index) noexcept
        : frames_(frames), index_(index) {}
    RawIoBuf operator*() const noexcept { return (*frames_)[index_]; }
    iterator& operator++() noexcept {
      ++index_;
      return *this;
    }
    iterator operator++(int) noexcept {
      iterator before = *this;
      ++index_;
      return before;
    }
    bool operator==(const iterator&) const noexcept = default;

   private:
    const RawFrames* frames_ = nullptr;
    std::size_t index_ = 0;
  };

  RawFrames(std::byte* data, std::size_t chunk, std::size_t count) noexcept
      : data_(data), chunk_(chunk), count_(count) {}

  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  RawIoBuf operator[](std::size_t index) const noexcept {
    DIORITE_ASSERT(index < count_, "a frame beyond the arena");
    return RawIoBuf(data_ + index * chunk_, chunk_);
  }
  iterator begin() const noexcept { return {this, 0}; }
  iterator end() const noexcept { return {this, count_}; }

 private:
  std::byte* data_;
  std::size_t chunk_;
  std::size_t count_;
};

/// An AlignedBuf taken apart, for foreign interfaces. Trivially copyable; nobody owns the memory
/// until from_raw_parts takes it back.
struct RawParts {
  std::byte* data = nullptr;
  std::size_t size = 0;
  std::size_t capacity = 0;
  std::size_t alignment = 0;
};

/// Owning, move-only, 24 bytes. Empty (no memory, capacity 0) by default and when moved from.
class AlignedBuf {
 public:
  AlignedBuf() noexcept = default;
  AlignedBuf(AlignedBuf&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        len_(std::exchange(other.len_, 0)),
        cap_and_log2_(std::exchange(other.cap_and_log2_, 0)) {}
  AlignedBuf& operator=(AlignedBuf&& other) noexcept {
    AlignedBuf taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~AlignedBuf() {
    if (data_ != nullptr) release();
  }

  /// Room for at least `bytes`, uninitialised, length 0. The capacity is rounded up to a multiple
  /// of the alignment and is never 0; an alignment below 4096 counts as 4096.
  /// Errors: out_of_range for a size above PTRDIFF_MAX after rounding, or an alignment that is no
  /// power of two (0 is none); a = asked, b = the limit. std::errc::not_enough_memory.
  /// Allocates: once.
  static Result<AlignedBuf> with_cap(std::size_t bytes,
                                     std::size_t alignment = kPageBytes) noexcept;
  /// Length `bytes`, the whole capacity zero. Errors and Allocates: as with_cap.
  static Result<AlignedBuf> zeroed(std::size_t bytes, std::size_t alignment = kPageBytes) noexcept;
  /// 4096 zero bytes, length 4096.
  static Result<AlignedBuf> page() noexcept { return zeroed(kPageBytes); }

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return len_; }
  std::size_t capacity() const noexcept { return cap_and_log2_ & ~kLog2Mask; }
  std::size_t alignment() const noexcept {
    return data_ == nullptr ? 0 : std::size_t{1} << (cap_and_log2_ & kLog2Mask);
  }
  bool empty() const noexcept { return len_ == 0; }
  std::span<std::byte> bytes() noexcept { return {data_, len_}; }
  std::span<const std::byte> bytes() const noexcept { return {data_, len_}; }
  std::byte& operator[](std::size_t index) noexcept {
    DIORITE_DEBUG_ASSERT(index < len_, "an index beyond the buffer's length");
    return data_[index];
  }
  const std::byte& operator[](std::size_t index) const noexcept {
    DIORITE_DEBUG_ASSERT(index < len_, "an index beyond the buffer's length");
    return data_[index];
  }

  /// Appends. The bytes may lie in this buffer.
  /// Errors: overflow (a = would-be length, b = capacity), and nothing is changed.
  Result<void> extend(std::span<const std::byte> bytes) noexcept;
  /// Appends zeros up to the next multiple, which need not be a power of two; none when the length
  /// is one already. Errors: overflow as extend; out_of_range for 0.
  Result<void> pad_to(std::size_t multiple) noexcept;
  /// Sets the length; bytes that become valid are what the memory holds. Errors: out_of_range above
  /// the capacity (a = bytes, b = capacity).
  Result<void> set_len(std::size_t bytes) noexcept;
  /// Shrinks; a length that is not below the present one changes nothing.
  void truncate(std::size_t bytes) noexcept {
    if (bytes < len_) len_ = bytes;
  }
  void clear() noexcept { len_ = 0; }
  /// The same capacity, alignment and valid bytes, elsewhere; what lies behind them is not copied.
  /// Errors: std::errc::not_enough_memory. Allocates: once; nothing for a buffer without memory.
  Result<AlignedBuf> try_clone() const noexcept;

  /// Borrowed views of the whole capacity with the present length. This buffer must outlive their
  /// use.
  RawIoBuf as_raw() noexcept;
  RawIoBuf as_raw_view() const noexcept;
  /// The whole capacity as frames; this buffer must outlive their use. A chunk above the capacity
  /// gives no frame.
  /// Errors: out_of_range for chunk 0; misaligned for a chunk that is no multiple of 4096.
  Result<RawFrames> slice_into_raws(std::size_t chunk) noexcept;

  /// Gives up ownership: leaks unless from_raw_parts takes the parts back.
  RawParts into_raw_parts() && noexcept;
  /// Requires: `parts` came from into_raw_parts and is taken back once.
  static AlignedBuf from_raw_parts(RawParts parts) noexcept;

  void swap(AlignedBuf& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(len_, other.len_);
    std::swap(cap_and_log2_, other.cap_and_log2_);
  }

 private:
  // The capacity is a multiple of 4096 at least, so its low bits hold the alignment's logarithm.
  static constexpr std::size_t kLog2Mask = kPageBytes - 1;

  void release() noexcept;

  std::byte* data_ = nullptr;
  std::size_t len_ = 0;
  std::size_t cap_and_log2_ = 0;
};
static_assert(sizeof(AlignedBuf) == 24);

namespace detail {
/// Frees memory that an AlignedBuf gave up, by its address alone.
void free_aligned(void* data) noexcept;
}  // namespace detail

}  // namespace diorite
