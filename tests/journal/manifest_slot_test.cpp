#include "journal/manifest_slot.hpp"

#include "journal/byte_order.hpp"
#include "journal/commit_builder.hpp"
#include "journal/crc32c.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"

#include <cstring>
#include <random>

using namespace diorite;
using namespace diorite::wal;
using diorite::test::Bytes;
using diorite::test::run_in_child;

namespace {

ManifestSlot sample() {
  ManifestSlot manifest;
  manifest.uuid = test::test_uuid();
  manifest.generation = 0x0102030405060708;
  manifest.epoch = 9;
  manifest.head_lsn = 0x700040;
  manifest.head_seq = 7;
  manifest.tail_seq_floor = 9;
  manifest.durable_floor = 0x900000;
  manifest.end_lsn = 0x902000;
  manifest.state = ManifestState::clean;
  manifest.pad_unit = 8192;
  manifest.capacity = 2_MiB;
  for (std::size_t i = 0; i < 16; ++i) manifest.poison_boot[i] = static_cast<std::byte>(0xA0 + i);
  return manifest;
}

Bytes encoded(const ManifestSlot& manifest) {
  Bytes slot(kManifestSlotBytes, std::byte{0xEE});
  encode_manifest_slot(slot, manifest);
  return slot;
}

void reseal(Bytes& slot) { store_le(&slot[8], crc32c(0, &slot[12], 4084)); }

template <class T>
BlockVerdict verdict_with(std::size_t at, T value) {
  Bytes slot = encoded(sample());
  store_le(&slot[at], value);
  reseal(slot);
  ManifestSlot manifest;
  return decode_manifest_slot(slot, manifest);
}

}  // namespace

TEST_CASE("manifest: the bytes are those of the format", "[journal][manifest]") {
  const Bytes slot = encoded(sample());
  CHECK(test::to_hex(test::without_trailing_zeros(slot)) ==
        "44494f4d414e3031b5c30e6501000000101112131415161718191a1b1c1d1e1f"
        "080706050403020109000000000000004000700000000000070000000000000009000000000000000000900000"
        "000000002090000000000002000000001000000020000000000000000020000000000000000000000000000000"
        "000000000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

TEST_CASE("manifest: what was written is read", "[journal][manifest]") {
  ManifestSlot manifest;
  REQUIRE(decode_manifest_slot(encoded(sample()), manifest) == BlockVerdict::valid);
  CHECK(manifest == sample());

  ManifestSlot dirty;
  REQUIRE(decode_manifest_slot(encoded(dirty), manifest) == BlockVerdict::valid);
  CHECK(manifest == dirty);

  // A slot is found in whatever was read, as long as that is long enough.
  Bytes longer = encoded(sample());
  longer.resize(65536, std::byte{0xFF});
  CHECK(decode_manifest_slot(longer, manifest) == BlockVerdict::valid);
  CHECK(manifest == sample());
}

TEST_CASE("manifest: every flipped bit is found", "[journal][manifest]") {
  Bytes slot = encoded(sample());
  for (std::size_t bit = 0; bit < slot.size() * 8; ++bit) {
    test::flip(slot, bit);
    ManifestSlot manifest;
    const BlockVerdict verdict = decode_manifest_slot(slot, manifest);
    INFO("bit " << bit);
    REQUIRE(verdict == (bit < 64 ? BlockVerdict::bad_magic : BlockVerdict::bad_crc));
    REQUIRE(manifest == ManifestSlot{});
    test::flip(slot, bit);
  }
}

TEST_CASE("manifest: the verdict says what is wrong with an intact slot", "[journal][manifest]") {
  CHECK(verdict_with<std::uint16_t>(12, 2) == BlockVerdict::unknown_version);
  CHECK(verdict_with<std::uint16_t>(12, 0) == BlockVerdict::unknown_version);
  CHECK(verdict_with<std::uint64_t>(112, 1) == BlockVerdict::unknown_feature);
  CHECK(verdict_with<std::uint64_t>(112, 1ull << 63) == BlockVerdict::unknown_feature);
  CHECK(verdict_with<std::uint32_t>(100, 1) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint8_t>(144, 1) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint8_t>(4095, 1) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint32_t>(92, 512) == BlockVerdict::bad_block_size);
  for (const std::uint32_t pad_unit : {0U, 1U, 256U, 4095U, 12288U, 131072U, 0x80000000U}) {
    CHECK(verdict_with<std::uint32_t>(96, pad_unit) == BlockVerdict::bad_pad_unit);
  }
  for (const std::uint64_t capacity :
       {0_KiB, 4_KiB, 128_KiB - 8_KiB, 1_MiB + 4_KiB, 4_GiB + 8_KiB, 1_GiB << 33, ~0_KiB}) {
    CHECK(verdict_with<std::uint64_t>(104, capacity) == BlockVerdict::bad_capacity);
  }
  CHECK(verdict_with<std::uint64_t>(104, 4_GiB) == BlockVerdict::valid);
  CHECK(verdict_with<std::uint32_t>(88, 0) == BlockVerdict::bad_state);
  CHECK(verdict_with<std::uint32_t>(88, 3) == BlockVerdict::bad_state);
  CHECK(verdict_with<std::uint32_t>(88, 1) == BlockVerdict::bad_end_lsn);  // DIRTY, with an end
  CHECK(verdict_with<std::uint64_t>(80, 0) == BlockVerdict::bad_end_lsn);  // CLEAN, without one
  CHECK(verdict_with<std::uint64_t>(72, 0x902001) == BlockVerdict::bad_end_lsn);
  CHECK(verdict_with<std::uint64_t>(56, kNoSegment) == BlockVerdict::bad_sequence);
  CHECK(verdict_with<std::uint64_t>(64, kNoSegment) == BlockVerdict::bad_sequence);
}

TEST_CASE("manifest: a later minor version and its compatible additions are read",
          "[journal][manifest]") {
  ManifestSlot manifest;
  Bytes slot = encoded(sample());
  store_le<std::uint16_t>(&slot[14], 1);
  slot[200] = std::byte{1};
  reseal(slot);
  CHECK(decode_manifest_slot(slot, manifest) == BlockVerdict::valid);
  CHECK(manifest == sample());

  slot = encoded(sample());
  store_le<std::uint64_t>(&slot[120], 4);
  slot[200] = std::byte{1};
  reseal(slot);
  CHECK(decode_manifest_slot(slot, manifest) == BlockVerdict::valid);
  CHECK(manifest.compat == 4);
}

TEST_CASE("manifest: only an intact slot can refuse", "[journal][manifest]") {
  Bytes slot = encoded(sample());
  store_le<std::uint16_t>(&slot[12], 2);
  ManifestSlot manifest;
  CHECK(decode_manifest_slot(slot, manifest) == BlockVerdict::bad_crc);
  CHECK_FALSE(refuses_to_open(BlockVerdict::bad_crc));
  reseal(slot);
  CHECK(refuses_to_open(decode_manifest_slot(slot, manifest)));
}

TEST_CASE("manifest: short and random bytes are no slot", "[journal][manifest]") {
  ManifestSlot manifest;
  const Bytes slot = encoded(sample());
  for (std::size_t size = 0; size < slot.size(); size += 13) {
    const Bytes cut(slot.begin(), slot.begin() + static_cast<std::ptrdiff_t>(size));
    REQUIRE(decode_manifest_slot(cut, manifest) == BlockVerdict::too_short);
  }
  std::mt19937_64 rng(1);
  Bytes noise(kManifestSlotBytes);
  for (int round = 0; round < 2000; ++round) {
    for (std::size_t at = 0; at < noise.size(); at += 8) store_le<std::uint64_t>(&noise[at], rng());
    // Every second round gets past the magic number, every fourth past the checksum too.
    if (round % 2 == 0) std::memcpy(noise.data(), slot.data(), 8);
    if (round % 4 == 0) reseal(noise);
    const BlockVerdict verdict = decode_manifest_slot(noise, manifest);
    REQUIRE(verdict != BlockVerdict::valid);
    REQUIRE((round % 4 != 0 || verdict == BlockVerdict::unknown_version));
  }
}

TEST_CASE("manifest: the valid slot of the higher generation wins", "[journal][manifest]") {
  using Outcome = ManifestChoice::Outcome;
  ManifestSlot older = sample();
  older.generation = 41;
  ManifestSlot newer = sample();
  newer.generation = 42;
  const Bytes old_bytes = encoded(older);
  const Bytes new_bytes = encoded(newer);
  Bytes torn = new_bytes;
  test::flip(torn, 4000 * 8);

  ManifestChoice choice = choose_manifest_slot(old_bytes, new_bytes);
  CHECK(choice.outcome == Outcome::chosen);
  CHECK(choice.index == 1);
  CHECK(choice.manifest == newer);
  choice = choose_manifest_slot(new_bytes, old_bytes);
  CHECK(choice.index == 0);
  CHECK(choice.manifest == newer);
  choice = choose_manifest_slot(old_bytes, torn);
  CHECK(choice.index == 0);
  CHECK(choice.manifest == older);
  CHECK(choice.verdicts[1] == BlockVerdict::bad_crc);
  choice = choose_manifest_slot({}, old_bytes);
  CHECK(choice.index == 1);
  CHECK(choice.manifest == older);
  CHECK(choose_manifest_slot({}, torn).outcome == Outcome::none);

  // The slot of an unknown version may be the newer one, whatever its bytes seem to say.
  Bytes foreign = old_bytes;
  store_le<std::uint64_t>(&foreign[112], 2);
  reseal(foreign);
  choice = choose_manifest_slot(new_bytes, foreign);
  CHECK(choice.outcome == Outcome::refused);
  CHECK(choice.index == 1);
  CHECK(choice.verdicts[1] == BlockVerdict::unknown_feature);
}

TEST_CASE("manifest: an illegal slot is never written", "[journal][manifest]") {
  CHECK(run_in_child([] {
          ManifestSlot manifest = sample();
          manifest.pad_unit = 3000;
          encoded(manifest);
        }).said("an illegal MANIFEST slot"));
  CHECK(run_in_child([] {
          ManifestSlot manifest = sample();
          manifest.state = ManifestState::dirty;
          encoded(manifest);
        }).said("an illegal MANIFEST slot"));
}
