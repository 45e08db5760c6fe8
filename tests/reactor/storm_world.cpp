#include "reactor/storm_world.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace diorite::storm {
namespace {

std::uint64_t word(std::uint32_t file, std::uint32_t block, std::uint32_t version,
                   std::uint32_t place) noexcept {
  return (std::uint64_t{file + 1} << 60) | (std::uint64_t{block} << 48) |
         (std::uint64_t{version} << 16) | place;
}
std::uint32_t version_of(std::uint64_t value) noexcept {
  return static_cast<std::uint32_t>(value >> 16);
}

}  // namespace

Range Blocks::pick(Random& random) const noexcept {
  Range range;
  range.file = random.below(kFiles);
  range.count = 1 + random.below(kRunMax);
  range.first = random.below(kBlocks - range.count + 1);
  return range;
}

Range Blocks::pick_free(Random& random) const noexcept {
  for (int tries = 0; tries < 8; ++tries) {
    const Range range = pick(random);
    const auto first = blocks_.begin() + range.file * kBlocks + range.first;
    const auto is_free = [](const Block& block) { return block.is_free(); };
    if (std::all_of(first, first + range.count, is_free)) return range;
  }
  return {};
}

Blocks::Before Blocks::before_read(Range range) noexcept {
  Before before;
  for (std::uint32_t i = 0; i < range.count; ++i) {
    const Block& block = at(range.file, range.first + i);
    before.changes[i] = block.changes;
    before.oldest[i] = *block.may_hold.begin();
    before.raced[i] = !block.is_free();
  }
  return before;
}

void Blocks::check_read(Range range, const Before& before, std::span<const std::byte> bytes) {
  require(bytes.size() == range.bytes(), "a read was short inside its file");
  for (std::uint32_t i = 0; i < range.count; ++i) {
    const std::uint32_t number = range.first + i;
    const bool raced = before.raced[i] || before.changes[i] != at(range.file, number).changes;
    check_block(range.file, number, raced, before.oldest[i],
                bytes.subspan(i * kBlockBytes, kBlockBytes));
  }
}

void Blocks::check_block(std::uint32_t file, std::uint32_t number, bool raced, std::uint32_t oldest,
                         std::span<const std::byte> bytes) {
  Block& block = at(file, number);
  ++checked;
  races += raced ? 1 : 0;
  unsure += !raced && block.may_hold.size() > 1 ? 1 : 0;
  std::uint32_t first_version = 0;
  bool is_one = true;
  for (std::uint32_t place = 0; place < kBlockBytes / sizeof(std::uint64_t); ++place) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + place * sizeof value, sizeof value);
    const std::uint32_t version = version_of(value);
    if (value != word(file, number, version, place)) fail("a read saw foreign content");
    if (place == 0) first_version = version;
    is_one &= version == first_version;
    const bool possible =
        raced ? version >= oldest && version <= block.last : block.may_hold.count(version) != 0;
    if (!possible) {
      fail("a read saw a version that could not be there:",
           "file " + std::to_string(file) + " block " + std::to_string(number) + " version " +
               std::to_string(version) + " of " + std::to_string(*block.may_hold.begin()) + " to " +
               std::to_string(block.last));
    }
  }
  if (raced) return;
  if (!block.torn && !is_one) fail("a read saw a block of two versions that nobody was writing");
  if (is_one) {
    block.may_hold = {first_version};
    block.torn = false;
  }
}

void Blocks::all_is_quiet() noexcept {
  for (Block& block : blocks_) {
    require(!block.pinned, "a page is pinned when nothing is in flight");
    block.in_limbo = false;
    ++block.changes;
  }
}

Claim::Claim(Blocks& blocks, Range range, bool owns_buffer) noexcept
    : blocks_(blocks), range_(range), owns_buffer_(owns_buffer) {
  for (std::uint32_t i = 0; i < range.count; ++i) {
    Block& block = blocks_.at(range.file, range.first + i);
    block.claimed = true;
    block.may_hold.insert(++block.last);
    ++block.changes;
  }
}

Claim::~Claim() {
  if (is_over_) return;
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    blocks_.at(range_.file, range_.first + i).in_limbo |= owns_buffer_;
  }
  was_cut();
}

void Claim::fill(std::span<std::byte> bytes) const noexcept {
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    const std::uint32_t number = range_.first + i;
    const std::uint32_t version = blocks_.at(range_.file, number).last;
    for (std::uint32_t place = 0; place < kBlockBytes / sizeof(std::uint64_t); ++place) {
      const std::uint64_t value = word(range_.file, number, version, place);
      std::memcpy(bytes.data() + i * kBlockBytes + place * sizeof value, &value, sizeof value);
    }
  }
}

void Claim::leave() noexcept {
  require(!std::exchange(is_over_, true), "a write ended twice");
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    Block& block = blocks_.at(range_.file, range_.first + i);
    block.claimed = false;
    ++block.changes;
  }
}

void Claim::took_place() noexcept {
  leave();
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    Block& block = blocks_.at(range_.file, range_.first + i);
    block.may_hold = {block.last};
    block.torn = false;
  }
}

void Claim::did_not_begin() noexcept {
  leave();
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    Block& block = blocks_.at(range_.file, range_.first + i);
    block.may_hold.erase(block.last);
  }
}

void Claim::was_cut() noexcept {
  leave();
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    blocks_.at(range_.file, range_.first + i).torn = true;
  }
}

Page::Page(Blocks& blocks, Range range, bool written)
    : blocks_(blocks), range_(range), written_(written), memory_(make_buffer(range.bytes())) {
  ++alive;
  mark(true);
}

PinnedBuf Page::make(Blocks& blocks, Range range, bool written) {
  auto* const page = new Page(blocks, range, written);
  const RawIoBuf raw = RawIoBuf::from_slice(page->memory_.bytes());
  return PinnedBuf(raw, Pin(page, &Page::release));
}

void Page::release(void* page) noexcept {
  auto* const self = static_cast<Page*>(page);
  self->mark(false);
  --alive;
  delete self;
}

void Page::mark(bool pinned) noexcept {
  if (!written_) return;
  for (std::uint32_t i = 0; i < range_.count; ++i) {
    Block& block = blocks_.at(range_.file, range_.first + i);
    block.pinned = pinned;
    ++block.changes;
  }
}

AlignedBuf make_buffer(std::size_t bytes) {
  Result<AlignedBuf> made = AlignedBuf::zeroed(bytes);
  if (!made) fail("no memory for a buffer");
  return std::move(*made);
}

}  // namespace diorite::storm
