// Blocks of a simulated disk, and the hashes by which runs are compared.

#include <array>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "sim/block.hpp"
#include "sim/trace.hpp"
#include "sim/volume_rig.hpp"
#include "support/catch.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;
using sim::detail::BlockRef;
using sim::detail::hash_bytes;

using Bytes = std::array<std::byte, sim::detail::kBlockBytes>;

Bytes filled(Choices& choices) {
  Bytes bytes;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = choices.entropy();
    std::memcpy(bytes.data() + at, &word, sizeof(word));
  }
  return bytes;
}

std::uint64_t hash_of(const BlockRef& block) {
  return hash_bytes(block.bytes(), sim::detail::kBlockBytes);
}

/// One write and one read of it, as the volume has noted them.
std::uint64_t moved_by(std::string_view written, std::uint64_t sector, std::size_t bytes_read) {
  VolumeRig rig;
  const NodeId node = rig.open("f");
  rig.write(node, sector, written);
  std::vector<std::byte> into(bytes_read);
  REQUIRE(rig.volume().read(node, 0, into) >= 0);
  return rig.volume().moved();
}

}  // namespace

TEST_CASE("blocks: copies share their bytes until one is changed", "[sim][block]") {
  Choices choices = Choices::random(1);
  const Bytes bytes = filled(choices);
  const BlockRef first = BlockRef::copy_of(bytes.data());
  BlockRef second = first;
  CHECK(second.bytes() == first.bytes());
  second.writable()[17] ^= std::byte{1};
  CHECK_FALSE(same_bytes(first, second));
  CHECK(std::memcmp(first.bytes(), bytes.data(), bytes.size()) == 0);
}

TEST_CASE("blocks: a remembered hash is that of the bytes, whatever changes them", "[sim][block]") {
  Choices choices = Choices::random(2);
  const Bytes bytes = filled(choices);
  const Bytes others = filled(choices);
  const BlockRef from = BlockRef::copy_of(others.data());
  BlockRef block = BlockRef::copy_of(bytes.data());
  std::set<std::uint64_t> seen;
  const auto check = [&] {
    CHECK(block.hash() == hash_of(block));
    CHECK(seen.insert(block.hash()).second);
  };
  check();
  block.writable()[4095] ^= std::byte{0x80};
  check();
  block.set_range(512, 1030, others.data());
  check();
  block.set_sectors(from, 0b1000'0000);
  check();
  block.zero_range(100, 200);
  check();
  BlockRef copy = block;
  copy.writable()[0] ^= std::byte{1};
  CHECK(block.hash() == hash_of(block));
  CHECK(copy.hash() == hash_of(copy));
  CHECK(copy.hash() != block.hash());
  // The memory of a block that is gone is used again.
  for (int i = 0; i < 10; ++i) {
    block = BlockRef();
    block = BlockRef::copy_of(filled(choices).data());
    check();
  }
}

TEST_CASE("blocks: zeros hash alike with memory and without", "[sim][block]") {
  BlockRef block;
  block.writable()[9] = std::byte{1};
  block.writable()[9] = std::byte{0};
  REQUIRE_FALSE(block.is_null());
  CHECK(block.hash() == BlockRef().hash());
  CHECK(block.hash() == hash_of(block));
}

TEST_CASE("trace: a hash tells apart any bit, order and length", "[sim][block]") {
  Choices choices = Choices::random(3);
  Bytes bytes = filled(choices);
  for (const std::size_t length : {1U, 7U, 31U, 32U, 77U, 512U}) {
    std::set<std::uint64_t> seen{hash_bytes(bytes.data(), length)};
    for (std::size_t bit = 0; bit < length * 8; ++bit) {
      const auto mask = static_cast<std::byte>(1U << (bit % 8));
      bytes[bit / 8] ^= mask;
      CHECK(seen.insert(hash_bytes(bytes.data(), length)).second);
      bytes[bit / 8] ^= mask;
    }
    if (length < 2 * 32) continue;
    // Words that change places: next to each other, and in the same lane.
    for (const std::size_t distance : {8U, 32U}) {
      Bytes swapped = bytes;
      for (std::size_t at = 0; at < 8; ++at) std::swap(swapped[at], swapped[at + distance]);
      CHECK(seen.insert(hash_bytes(swapped.data(), length)).second);
    }
  }
  const Bytes zeros{};
  std::set<std::uint64_t> lengths;
  for (std::size_t length = 0; length <= 200; ++length) {
    CHECK(lengths.insert(hash_bytes(zeros.data(), length)).second);
  }
}

TEST_CASE("volume: what has moved is told by its bytes", "[sim][block]") {
  CHECK(moved_by("AB", 0, 1024) == moved_by("AB", 0, 1024));
  // What was written, what was read, how much of it, and zeros too.
  const std::set<std::uint64_t> all{moved_by("AB", 0, 1024),       moved_by("AC", 0, 1024),
                                    moved_by("AB", 0, 1023),       moved_by("AB", 0, 0),
                                    moved_by("AB", 1, 1024),       moved_by("..", 0, 1024),
                                    moved_by("AAAAAAAA", 0, 4096), moved_by("........", 0, 4096)};
  CHECK(all.size() == 8);
}

TEST_CASE("volume: a block that was read and then damaged reads as another", "[sim][block]") {
  VolumeRig sound;
  VolumeRig damaged;
  std::vector<std::byte> into(kBlock);
  for (VolumeRig* const rig : {&sound, &damaged}) {
    const NodeId node = rig->open("f");
    rig->write(node, 0, "ABCDEFGH", true);
    REQUIRE(rig->volume().read(node, 0, into) == 4096);
  }
  CHECK(sound.volume().moved() == damaged.volume().moved());
  damaged.volume().flip_bit(damaged.volume().find("f"), 700, 3);
  for (VolumeRig* const rig : {&sound, &damaged}) {
    REQUIRE(rig->volume().read(rig->volume().find("f"), 0, into) == 4096);
  }
  CHECK(sound.volume().moved() != damaged.volume().moved());
}
