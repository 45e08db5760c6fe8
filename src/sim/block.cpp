#include "sim/block.hpp"

#include <bit>

namespace diorite::sim::detail {
namespace {

alignas(64) constexpr std::byte kZeros[kBlockBytes]{};

/// 16 MiB for each thread.
constexpr std::size_t kSpareMax = 4096;

// Blocks to be used again. A schedule uses thousands for a millisecond; the allocator would give
// the memory back to the kernel in between, and a page fault costs more than the block's bytes.
// Trivial, so that a disk with static lifetime may outlive the guard.
struct Spare {
  void* first;  ///< each block begins with the next one
  std::size_t count;
  bool ended;
};
thread_local constinit Spare spare_of_thread{nullptr, 0, false};

}  // namespace

struct BlockRef::SpareGuard {
  ~SpareGuard() { free_spare(); }
  /// Makes it, since it is made at its first use.
  void use() const noexcept {}
};
namespace {
thread_local const BlockRef::SpareGuard guard_of_thread;
}

const std::byte* BlockRef::zeros() noexcept { return kZeros; }

BlockRef::Block* BlockRef::make() {
  Spare& spare = spare_of_thread;
  Block* block = static_cast<Block*>(spare.first);
  if (block == nullptr) {
    block = new Block;
  } else {
    std::memcpy(&spare.first, block->bytes, sizeof(void*));
    --spare.count;
  }
  block->count = 1;
  block->hash = 0;
  return block;
}

void BlockRef::dispose(Block* block) noexcept {
  Spare& spare = spare_of_thread;
  if (spare.ended || spare.count == kSpareMax) {
    delete block;
    return;
  }
  guard_of_thread.use();
  std::memcpy(block->bytes, &spare.first, sizeof(void*));
  spare.first = block;
  ++spare.count;
}

void BlockRef::free_spare() noexcept {
  Spare& spare = spare_of_thread;
  while (spare.first != nullptr) {
    auto* const block = static_cast<Block*>(spare.first);
    std::memcpy(&spare.first, block->bytes, sizeof(void*));
    delete block;
  }
  spare.count = 0;
  spare.ended = true;
}

BlockRef BlockRef::copy_of(const std::byte* data) {
  BlockRef made;
  if (std::memcmp(data, kZeros, kBlockBytes) == 0) return made;
  made.block_ = make();
  std::memcpy(made.block_->bytes, data, kBlockBytes);
  return made;
}

bool BlockRef::all_zero() const noexcept {
  return block_ == nullptr || std::memcmp(block_->bytes, kZeros, kBlockBytes) == 0;
}

std::uint64_t BlockRef::hash() const noexcept {
  static const std::uint64_t of_zeros = hash_bytes(kZeros, kBlockBytes);
  if (block_ == nullptr) return of_zeros;
  if (block_->hash == 0) block_->hash = hash_bytes(block_->bytes, kBlockBytes);
  return block_->hash;
}

std::byte* BlockRef::writable() {
  if (block_ == nullptr || block_->count > 1) {
    Block* const own = make();
    std::memcpy(own->bytes, bytes(), kBlockBytes);
    if (block_ != nullptr) --block_->count;
    block_ = own;
  }
  block_->hash = 0;
  return block_->bytes;
}

void BlockRef::set_sectors(const BlockRef& from, SectorMask mask) {
  if (mask == 0 || block_ == from.block_) return;
  if (mask == kAllSectors) {
    *this = from;
    return;
  }
  std::byte* const own = writable();
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const auto sector = static_cast<unsigned>(std::countr_zero(rest));
    std::memcpy(own + sector * kSectorBytes, from.sector(sector), kSectorBytes);
  }
}

void BlockRef::set_range(std::uint64_t begin, std::uint64_t end, const std::byte* data) {
  if (block_ == nullptr && std::memcmp(data, kZeros, end - begin) == 0) return;
  std::memcpy(writable() + begin, data, end - begin);
}

void BlockRef::zero_range(std::uint64_t begin, std::uint64_t end) {
  if (block_ == nullptr || begin == end) return;
  if (begin == 0 && end == kBlockBytes) {
    *this = BlockRef();
    return;
  }
  std::memset(writable() + begin, 0, end - begin);
}

void FreedBlocks::add(const BlockRef& block) {
  if (block.is_null()) return;
  if (blocks_.size() < kMax) {
    blocks_.push_back(block);
    return;
  }
  blocks_[next_] = block;
  next_ = (next_ + 1) % kMax;
}

}  // namespace diorite::sim::detail
