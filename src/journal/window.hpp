// SegmentWindow: the bytes of a segment in order, in memory, with the next ones on their way.
//
// Recovery and readers walk a segment from commit to commit. The window keeps what they look at
// contiguous: it reads 1 MiB at a time into one buffer while the other is being looked at, and when
// a commit straddles the two, its beginning is copied in front of the second.
//
//   window.attach(segment, from);
//   DIORITE_CO_CHECK(co_await window.fill(at, 64));
//   std::span<const std::byte> bytes = window.have(at);      // 64 or more, or all up to the
//   segment's end
//
// Thread: the reactor's. Lifetime: spans live until the next fill() or attach(). The buffers are
// freed when the device is done with them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "journal/store.hpp"

#include <diorite/align.hpp>
#include <diorite/buffer.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/scope.hpp>
#include <diorite/task.hpp>

namespace diorite::detail {

/// Blocks that the device cannot read, as offsets in the file.
struct UnreadableRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  Error error;
};

/// The first thing that a device failed to read.
struct ReadFailure {
  Error error;
  std::string path;
  std::uint64_t offset = 0;

  /// Keeps what came first.
  void note(const ReadFailure& other) {
    if (!error) *this = other;
  }
};

class SegmentWindow {
 public:
  static constexpr std::size_t kChunkBytes = 1_MiB;
  /// Room for the beginning of a commit that straddles two chunks; a larger one is read anew,
  /// whole.
  static constexpr std::size_t kCarryBytes = 256_KiB;

  enum class OnError : std::uint8_t {
    fail,      ///< a block that cannot be read is an error
    remember,  ///< it is listed in unreadable(), and reads as zeros
  };

  SegmentWindow(Reactor& reactor, OnError on_error) noexcept
      : reactor_(reactor), on_error_(on_error) {}
  SegmentWindow(const SegmentWindow&) = delete;
  SegmentWindow& operator=(const SegmentWindow&) = delete;

  /// Goes to another segment, or to another place far away. Bytes at `limit` and above are not
  /// looked at.
  void attach(SegmentRef segment, std::uint64_t limit);
  /// Lets go of the segment.
  void detach() noexcept;
  /// Bytes up to here have become worth reading.
  void raise_limit(std::uint64_t limit) noexcept;
  const SegmentRef& segment() const noexcept { return segment_; }

  /// What is in memory from the file offset `at` on.
  std::span<const std::byte> have(std::uint64_t at) const noexcept;
  /// Brings at least `bytes` bytes from `at` on into memory, or all up to the limit. Requires: `at`
  /// is a multiple of pad_unit. Errors: the system's; not_enough_memory. Allocates: the buffers, at
  /// first.
  Task<Result<void>> fill(std::uint64_t at, std::uint64_t bytes);

  const std::vector<UnreadableRange>& unreadable() const noexcept { return unreadable_; }
  /// The first unreadable range that overlaps [at, at + bytes), or null.
  const UnreadableRange* unreadable_in(std::uint64_t at, std::uint64_t bytes) const noexcept;
  /// Of all segments that the window has looked at.
  const ReadFailure& first_failure() const noexcept { return first_failure_; }
  std::uint64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  /// A part of the file in memory: [begin, end) lies at `at` in `memory`.
  struct Part {
    AlignedBuf memory;
    std::size_t at = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  std::uint32_t read_unit() const noexcept;
  static Task<Error> read(SegmentRef segment, RawIoBuf to, std::uint64_t offset);
  Result<void> make_room(Part& part, std::uint64_t bytes);
  Task<Result<void>> load(Part& part, std::uint64_t begin, std::uint64_t bytes);
  Task<Result<void>> read_blocks(RawIoBuf to, std::uint64_t offset);
  void note_unreadable(std::uint64_t begin, std::uint64_t end, const Error& error);
  Result<void> read_ahead();
  Task<Result<void>> take_ahead();

  Reactor& reactor_;
  OnError on_error_;
  SegmentRef segment_;
  std::uint64_t limit_ = 0;
  std::uint64_t bytes_read_ = 0;
  std::vector<UnreadableRange> unreadable_;
  ReadFailure first_failure_;
  Part front_;
  Part back_;
  Running<Error> ahead_;  ///< fills back_; declared last, so that it ends before the memory goes
};

}  // namespace diorite::detail
