// BlockRef: 4 KiB of a simulated disk, shared by all copies that hold the same bytes.
//
// A null reference is a block of zeros, so that filling a segment with zeros costs a scan and no
// memory. Counts are not atomic: a disk and its copies stay on one thread.
//
//   BlockRef block = BlockRef::copy_of(data);   // 4096 bytes
//   block.writable()[17] = std::byte{1};        // a copy of its own, if it was shared

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <diorite/sim/disk.hpp>

#include "sim/trace.hpp"

namespace diorite::sim::detail {

inline constexpr std::uint32_t kBlockBytes = 4096;
inline constexpr std::uint32_t kSectorBytes = Disk::kSectorBytes;
inline constexpr std::uint32_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

/// One bit for each sector of a block.
using SectorMask = std::uint8_t;
inline constexpr SectorMask kAllSectors = 0xff;

/// The sectors that bytes `begin` to `end` of a block touch. Requires: begin < end <= kBlockBytes.
constexpr SectorMask sectors_touched(std::uint64_t begin, std::uint64_t end) noexcept {
  const auto first = static_cast<unsigned>(begin / kSectorBytes);
  const auto last = static_cast<unsigned>((end - 1) / kSectorBytes);
  return static_cast<SectorMask>((kAllSectors >> (kSectorsPerBlock - 1 - last)) &
                                 (unsigned{kAllSectors} << first));
}
constexpr SectorMask sector_bit(unsigned sector) noexcept {
  return static_cast<SectorMask>(1U << sector);
}
constexpr SectorMask without(SectorMask mask, SectorMask gone) noexcept {
  return static_cast<SectorMask>(mask & ~unsigned{gone});
}

constexpr std::uint64_t blocks_for(std::uint64_t bytes) noexcept {
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0 ? 1 : 0);
}

class BlockRef {
 public:
  constexpr BlockRef() noexcept = default;
  BlockRef(const BlockRef& other) noexcept : block_(other.block_) {
    if (block_ != nullptr) ++block_->count;
  }
  BlockRef(BlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BlockRef& operator=(BlockRef other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~BlockRef() {
    if (block_ != nullptr && --block_->count == 0) dispose(block_);
  }

  /// Of kBlockBytes bytes.
  static BlockRef copy_of(const std::byte* data);

  /// True when no memory is held: then all bytes are zero. A block that holds memory may be all
  /// zero, too.
  bool is_null() const noexcept { return block_ == nullptr; }
  bool all_zero() const noexcept;
  /// hash_bytes() of the block, remembered until its bytes change: a block is written once, and
  /// read again and again.
  std::uint64_t hash() const noexcept;
  /// kBlockBytes of them, never null.
  const std::byte* bytes() const noexcept { return block_ == nullptr ? zeros() : block_->bytes; }
  const std::byte* sector(unsigned index) const noexcept { return bytes() + index * kSectorBytes; }
  /// To change them, before anything else is asked of this block; no other reference sees it.
  std::byte* writable();

  void set_sectors(const BlockRef& from, SectorMask mask);
  void set_range(std::uint64_t begin, std::uint64_t end, const std::byte* data);
  void zero_range(std::uint64_t begin, std::uint64_t end);

  friend bool same_bytes(const BlockRef& a, const BlockRef& b) noexcept {
    return a.block_ == b.block_ || std::memcmp(a.bytes(), b.bytes(), kBlockBytes) == 0;
  }
  friend bool same_sector(const BlockRef& a, const BlockRef& b, unsigned index) noexcept {
    return a.block_ == b.block_ || std::memcmp(a.sector(index), b.sector(index), kSectorBytes) == 0;
  }

  /// Memory for the next blocks of this thread; see block.cpp.
  struct SpareGuard;

 private:
  // On cache lines of its own, since whole blocks are what is mostly copied and compared.
  struct alignas(64) Block {
    std::uint64_t count;
    std::uint64_t hash;  ///< 0 = not known
    alignas(64) std::byte bytes[kBlockBytes];
  };
  static const std::byte* zeros() noexcept;
  static Block* make();
  static void dispose(Block* block) noexcept;
  static void free_spare() noexcept;

  Block* block_ = nullptr;
};

/// The last few blocks whose space was freed or written over: what a file system that hands out
/// space without clearing it may show.
class FreedBlocks {
 public:
  static constexpr std::size_t kMax = 64;

  void add(const BlockRef& block);
  std::size_t size() const noexcept { return blocks_.size(); }
  /// Oldest first.
  const BlockRef& operator[](std::size_t index) const noexcept {
    return blocks_[(next_ + index) % blocks_.size()];
  }

 private:
  std::vector<BlockRef> blocks_;
  std::size_t next_ = 0;
};

}  // namespace diorite::sim::detail
