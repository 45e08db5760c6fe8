// What journal_ingest appends for a line: where it comes from, and the line itself as a second
// piece.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace ingest {

struct LineId {
  std::uint32_t file = 0;
  std::uint32_t line = 0;  ///< from 0
  friend bool operator==(const LineId&, const LineId&) = default;
};

/// An acknowledgement, as the child reports it: this record was durable before the line was sent.
struct Ack {
  std::uint64_t record_no = 0;
  LineId id;
};

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::span<const std::byte> bytes_of(const LineId& id) {
  return std::as_bytes(std::span(&id, 1));
}

/// False when the payload is too short to be one of ours.
inline bool parse(std::span<const std::byte> payload, LineId& id, std::string_view& line) {
  if (payload.size() < sizeof(LineId)) return false;
  std::memcpy(&id, payload.data(), sizeof(LineId));
  line = std::string_view(reinterpret_cast<const char*>(payload.data()), payload.size())
             .substr(sizeof(LineId));
  return true;
}

}  // namespace ingest
