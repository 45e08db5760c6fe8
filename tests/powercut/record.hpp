// What the workload appends, and what it notes in the trace.
//
// A record is a pure function of its identity, so that the judge can tell, of any bytes, whether
// they are a record that was appended, and which.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "powercut/random.hpp"

namespace diorite::powercut {

/// Appenders of one life of the workload. Each waits for its record before it appends the next.
inline constexpr std::uint32_t kWorkers = 16;

struct RecordId {
  std::uint32_t life = 0;  ///< of the process that appended it
  std::uint32_t worker = 0;
  std::uint64_t sequence = 0;  ///< of this worker in this life
  std::uint64_t salt = 0;      ///< of the recording: no two have records in common
  friend bool operator==(const RecordId&, const RecordId&) noexcept = default;
};

inline std::size_t record_bytes(const RecordId& id) noexcept {
  Random random(mix(id.salt ^ mix((std::uint64_t{id.life} << 32) ^ id.worker) ^ id.sequence));
  const std::uint64_t sort = random.below(20);
  if (sort < 13) return sizeof(RecordId) + random.below(1500);
  if (sort < 19) return sizeof(RecordId) + random.below(12'000);
  return sizeof(RecordId) + random.below(80'000);
}

inline std::string record_of(const RecordId& id) {
  std::string record(record_bytes(id), '\0');
  std::memcpy(record.data(), &id, sizeof id);
  Random random(mix(id.salt + id.sequence) ^ (std::uint64_t{id.life} << 40) ^ id.worker);
  for (std::size_t at = sizeof id; at < record.size();) {
    const std::uint64_t bytes = random.next();
    const std::size_t now = std::min(sizeof bytes, record.size() - at);
    std::memcpy(record.data() + at, &bytes, now);
    at += now;
  }
  return record;
}

/// False when these bytes are no record that anybody appended.
inline bool parse_record(std::string_view bytes, RecordId& id) {
  if (bytes.size() < sizeof id) return false;
  std::memcpy(&id, bytes.data(), sizeof id);
  return bytes == record_of(id);
}

/// One number for a sequence of records: begin with 0 and add each.
inline std::uint64_t chain_hash(std::uint64_t hash, std::string_view record) noexcept {
  hash = mix(hash ^ record.size());
  for (std::size_t at = 0; at < record.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, record.data() + at, std::min(sizeof word, record.size() - at));
    hash = (hash ^ word) * 0x9DDFEA08EB382D69;
    hash ^= hash >> 29;
  }
  return hash;
}

enum class MarkKind : std::uint32_t {
  life,    ///< a process is about to open the journal
  opened,  ///< it has, and found `count` records whose chain_hash is `hash`: they are durable
  acked,   ///< record number `count`, at LSN `begin`, was acknowledged
};

struct Mark {
  MarkKind kind = MarkKind::life;
  std::uint32_t life = 0;
  std::uint64_t count = 0;
  std::uint64_t begin = 0;
  std::uint64_t hash = 0;
  RecordId id;
};

}  // namespace diorite::powercut
