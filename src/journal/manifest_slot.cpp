#include "journal/manifest_slot.hpp"

#include <cstring>

#include <diorite/assert.hpp>

#include "journal/byte_order.hpp"

namespace diorite::wal {
namespace {

namespace at = manifest_at;

constexpr BlockLayout kLayout{kManifestMagic, at::kIncompat, at::kCompat};

// One rule for both directions: what is not accepted is not written either.
BlockVerdict check_values(const ManifestSlot& manifest) noexcept {
  if (!legal_pad_unit(manifest.pad_unit)) return BlockVerdict::bad_pad_unit;
  if (!legal_capacity(manifest.capacity, manifest.pad_unit)) return BlockVerdict::bad_capacity;
  if (manifest.head_seq == kNoSegment || manifest.tail_seq_floor == kNoSegment) {
    return BlockVerdict::bad_sequence;
  }
  switch (manifest.state) {
    case ManifestState::dirty:
      return manifest.end_lsn == 0 ? BlockVerdict::valid : BlockVerdict::bad_end_lsn;
    case ManifestState::clean:
      // The CLOSE commit ends at end_lsn, and nothing durable lies behind it.
      return manifest.end_lsn != 0 && manifest.durable_floor <= manifest.end_lsn
                 ? BlockVerdict::valid
                 : BlockVerdict::bad_end_lsn;
  }
  return BlockVerdict::bad_state;
}

}  // namespace

void encode_manifest_slot(std::span<std::byte> slot, const ManifestSlot& manifest) noexcept {
  DIORITE_ASSERT(slot.size() == kManifestSlotBytes, "a MANIFEST slot has 4096 bytes");
  DIORITE_ASSERT(check_values(manifest) == BlockVerdict::valid, "an illegal MANIFEST slot");
  std::byte* const to = slot.data();
  std::memset(to, 0, slot.size());
  std::memcpy(to + at::kUuid, manifest.uuid.data(), manifest.uuid.size());
  store_le(to + at::kGeneration, manifest.generation);
  store_le(to + at::kEpoch, manifest.epoch);
  store_le(to + at::kHeadLsn, manifest.head_lsn);
  store_le(to + at::kHeadSeq, manifest.head_seq);
  store_le(to + at::kTailSeqFloor, manifest.tail_seq_floor);
  store_le(to + at::kDurableFloor, manifest.durable_floor);
  store_le(to + at::kEndLsn, manifest.end_lsn);
  store_le(to + at::kState, static_cast<std::uint32_t>(manifest.state));
  store_le(to + at::kBlockSize, kBlockBytes);
  store_le(to + at::kPadUnit, manifest.pad_unit);
  store_le(to + at::kCapacity, manifest.capacity);
  store_le(to + at::kCompat, manifest.compat);
  std::memcpy(to + at::kPoisonBoot, manifest.poison_boot.data(), manifest.poison_boot.size());
  seal_block(slot, kLayout);
}

BlockVerdict decode_manifest_slot(std::span<const std::byte> slot,
                                  ManifestSlot& manifest) noexcept {
  const BlockVerdict verdict = check_block(slot, kLayout);
  if (verdict != BlockVerdict::valid) return verdict;
  slot = slot.first(kManifestSlotBytes);
  const std::byte* const from = slot.data();
  if (reserved_must_be_zero(slot, kLayout) &&
      (load_le<std::uint32_t>(from + at::kReserved) != 0 ||
       first_nonzero(slot.subspan(at::kTail)) != slot.size() - at::kTail)) {
    return BlockVerdict::reserved_not_zero;
  }
  if (load_le<std::uint32_t>(from + at::kBlockSize) != kBlockBytes) {
    return BlockVerdict::bad_block_size;
  }
  ManifestSlot read;
  std::memcpy(read.uuid.data(), from + at::kUuid, read.uuid.size());
  read.generation = load_le<std::uint64_t>(from + at::kGeneration);
  read.epoch = load_le<std::uint64_t>(from + at::kEpoch);
  read.head_lsn = load_le<std::uint64_t>(from + at::kHeadLsn);
  read.head_seq = load_le<std::uint64_t>(from + at::kHeadSeq);
  read.tail_seq_floor = load_le<std::uint64_t>(from + at::kTailSeqFloor);
  read.durable_floor = load_le<std::uint64_t>(from + at::kDurableFloor);
  read.end_lsn = load_le<std::uint64_t>(from + at::kEndLsn);
  read.state = static_cast<ManifestState>(load_le<std::uint32_t>(from + at::kState));
  read.pad_unit = load_le<std::uint32_t>(from + at::kPadUnit);
  read.capacity = load_le<std::uint64_t>(from + at::kCapacity);
  read.compat = load_le<std::uint64_t>(from + at::kCompat);
  std::memcpy(read.poison_boot.data(), from + at::kPoisonBoot, read.poison_boot.size());
  const BlockVerdict values = check_values(read);
  if (values == BlockVerdict::valid) manifest = read;
  return values;
}

ManifestChoice choose_manifest_slot(std::span<const std::byte> first,
                                    std::span<const std::byte> second) noexcept {
  ManifestChoice choice;
  ManifestSlot slots[2];
  choice.verdicts[0] = decode_manifest_slot(first, slots[0]);
  choice.verdicts[1] = decode_manifest_slot(second, slots[1]);
  for (std::uint32_t i = 0; i < 2; ++i) {
    if (!refuses_to_open(choice.verdicts[i])) continue;
    choice.outcome = ManifestChoice::Outcome::refused;
    choice.index = i;
    return choice;
  }
  const bool first_valid = choice.verdicts[0] == BlockVerdict::valid;
  const bool second_valid = choice.verdicts[1] == BlockVerdict::valid;
  if (!first_valid && !second_valid) return choice;
  const bool take_second =
      second_valid && (!first_valid || slots[1].generation > slots[0].generation);
  choice.outcome = ManifestChoice::Outcome::chosen;
  choice.index = take_second ? 1 : 0;
  choice.manifest = slots[choice.index];
  return choice;
}

}  // namespace diorite::wal
