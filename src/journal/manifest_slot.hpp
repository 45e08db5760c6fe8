// The 4096 bytes of a MANIFEST slot.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "journal/block.hpp"
#include "journal/format.hpp"

namespace diorite::wal {

/// Writes all 4096 bytes. Requires: 4096 bytes, and values that decode_manifest_slot would accept.
void encode_manifest_slot(std::span<std::byte> slot, const ManifestSlot& manifest) noexcept;

/// Reads a slot. `manifest` is written only when the verdict is `valid`. Any bytes are safe.
BlockVerdict decode_manifest_slot(std::span<const std::byte> slot, ManifestSlot& manifest) noexcept;

/// What both slots say together.
struct ManifestChoice {
  enum class Outcome : std::uint8_t {
    none,     ///< neither slot is valid
    refused,  ///< one of them is intact, but of an unknown version or with an unknown feature
    chosen,
  };
  Outcome outcome = Outcome::none;
  std::uint32_t index = 0;  ///< chosen: the slot to go by. refused: the slot that forbids it
  BlockVerdict verdicts[2] = {BlockVerdict::too_short, BlockVerdict::too_short};
  ManifestSlot manifest{};  ///< chosen: its content
};

/// Takes the valid slot of the higher generation. A slot that cannot be read is given as an empty
/// span.
ManifestChoice choose_manifest_slot(std::span<const std::byte> first,
                                    std::span<const std::byte> second) noexcept;

}  // namespace diorite::wal
