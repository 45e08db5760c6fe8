// The world of the storm: files whose every word says what it is, and the model that knows what a
// read may see.
//
// A word of a block holds the file, the block, the version and its own place, so that foreign,
// stale and torn content is told apart. The model gives each block to one write at a time, and
// remembers which versions it may hold: one, or several where a write's end is not known, because
// its coroutine was destroyed.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/pin.hpp>

namespace diorite::storm {

/// Ends the process: what is wrong in a storm is not repeated by going on.
[[noreturn]] inline void fail(const char* what, const std::string& more = {}) {
  std::fprintf(stderr, "storm: %s %s\n", what, more.c_str());
  std::abort();
}
inline void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

/// A function of its seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t next() noexcept {
    state_ += 0x9E37'79B9'7F4A'7C15;
    std::uint64_t value = state_;
    value = (value ^ (value >> 30)) * 0xBF58'476D'1CE4'E5B9;
    value = (value ^ (value >> 27)) * 0x94D0'49BB'1331'11EB;
    return value ^ (value >> 31);
  }
  std::uint32_t below(std::uint32_t n) noexcept { return static_cast<std::uint32_t>(next() % n); }
  bool one_in(std::uint32_t n) noexcept { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

inline constexpr std::size_t kBlockBytes = 4096;
inline constexpr std::uint32_t kBlocks = 96;  ///< of each file
inline constexpr std::uint32_t kFiles = 3;
inline constexpr std::uint32_t kRunMax = 4;  ///< blocks of one transfer

struct Block {
  std::set<std::uint32_t> may_hold;  ///< versions
  std::uint32_t last = 0;            ///< the last version that a write has begun with
  std::uint32_t changes = 0;         ///< beginnings and ends of writes
  bool claimed = false;              ///< a coroutine writes it
  bool pinned = false;               ///< so does the device, of a frame that counts its pins
  bool in_limbo = false;             ///< a write on an owned buffer may go on until all is quiet
  bool torn = false;                 ///< not known to be of one version
  bool is_free() const noexcept { return !claimed && !pinned && !in_limbo; }
};

/// Neighbouring blocks of one file. Trivially copyable.
struct Range {
  std::uint32_t file = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint64_t offset() const noexcept { return std::uint64_t{first} * kBlockBytes; }
  std::size_t bytes() const noexcept { return count * kBlockBytes; }
};

class Blocks {
 public:
  Range pick(Random& random) const noexcept;
  /// A range that nobody writes; of no blocks when there was none at hand.
  Range pick_free(Random& random) const noexcept;
  Block& at(std::uint32_t file, std::uint32_t block) noexcept {
    return blocks_[file * kBlocks + block];
  }

  /// What a read of `range` is compared with.
  struct Before {
    std::array<std::uint32_t, kRunMax> changes{};
    std::array<std::uint32_t, kRunMax> oldest{};
    std::array<bool, kRunMax> raced{};
  };
  Before before_read(Range range) noexcept;
  /// Ends the process when `bytes` could not have been there.
  void check_read(Range range, const Before& before, std::span<const std::byte> bytes);
  /// No operation is in flight any more.
  void all_is_quiet() noexcept;

  std::uint64_t checked = 0;  ///< blocks
  std::uint64_t races = 0;    ///< of them, read while they were written
  std::uint64_t unsure = 0;   ///< of them, read when more than one version was possible

 private:
  void check_block(std::uint32_t file, std::uint32_t number, bool raced, std::uint32_t oldest,
                   std::span<const std::byte> bytes);
  std::array<Block, std::size_t{kFiles} * kBlocks> blocks_{};
};

/// The right to write a range, and the duty to say how that ended. One that dies without a word was
/// a destroyed coroutine's.
class Claim {
 public:
  Claim(Blocks& blocks, Range range, bool owns_buffer) noexcept;
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim();
  void fill(std::span<std::byte> bytes) const noexcept;
  void took_place() noexcept;
  void did_not_begin() noexcept;
  /// It may have happened in part.
  void was_cut() noexcept;

 private:
  void leave() noexcept;
  Blocks& blocks_;
  const Range range_;
  const bool owns_buffer_;
  bool is_over_ = false;
};

/// A page of an engine's own: it goes when its last pin does.
class Page {
 public:
  /// `written`: a range of which the device takes the bytes.
  static PinnedBuf make(Blocks& blocks, Range range, bool written);
  static inline std::int64_t alive = 0;

 private:
  Page(Blocks& blocks, Range range, bool written);
  static void release(void* page) noexcept;
  void mark(bool pinned) noexcept;
  Blocks& blocks_;
  const Range range_;
  const bool written_;
  AlignedBuf memory_;
};

/// A value that is counted.
class Token {
 public:
  Token() noexcept { ++alive; }
  Token(Token&&) noexcept { ++alive; }
  Token& operator=(Token&&) noexcept = default;
  ~Token() { --alive; }
  static inline std::int64_t alive = 0;
};

AlignedBuf make_buffer(std::size_t bytes);

}  // namespace diorite::storm
