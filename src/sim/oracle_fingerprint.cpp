// Hashes of what oracles were told: of everything that a later check depends on.

#include <diorite/sim/oracle.hpp>

#include "sim/trace.hpp"

namespace diorite::sim {
namespace {

using detail::Trace;

void fold_bytes(Trace& hash, std::span<const std::byte> bytes) {
  hash.fold(detail::hash_bytes(bytes.data(), bytes.size()));
}

template <class K, class V>
void fold_map(Trace& hash, const std::map<K, V>& map) {
  hash.fold(map.size());
  for (const auto& [key, value] : map) {
    hash.fold(key);
    hash.fold(value);
  }
}

std::uint64_t ended(const Trace& hash) noexcept { return hash.hash() | 1; }

}  // namespace

std::uint64_t JournalOracle::fingerprint() const {
  Trace hash;
  hash.fold(kept_.size());
  for (const FoundRecord& record : kept_) {
    hash.fold(record.begin.value);
    hash.fold(record.end.value);
    hash.fold(record.record_no);
    hash.fold(record.tag);
    hash.fold(static_cast<std::uint64_t>(record.batch));
    fold_bytes(hash, record.payload);
  }
  hash.fold(appends_.size());
  for (const auto& [name, append] : appends_) {
    hash.fold(name);
    hash.fold(append.payloads.size());
    for (const auto& payload : append.payloads) fold_bytes(hash, payload);
    hash.fold(append.tag);
    hash.fold(append.ticket.begin.value);
    hash.fold(append.ticket.end.value);
    hash.fold(append.ticket.record_no);
    hash.fold((append.has_place ? 1 : 0) | (append.acknowledged ? 2 : 0) |
              (append.refused ? 4 : 0) | (append.found ? 8 : 0));
  }
  fold_map(hash, places_);
  hash.fold(recovery_.end.value);
  hash.fold(recovery_.next_record_no);
  hash.fold(recovery_.epoch);
  hash.fold(durable_count_);
  hash.fold(last_epoch_);
  hash.fold(next_);
  hash.fold(lost_above_.value);
  hash.fold(damaged_.begin.value);
  hash.fold(damaged_.end.value);
  hash.fold((may_lose_ ? 1 : 0) | (exists_ ? 2 : 0) | (closed_ ? 4 : 0) | (expects_clean_ ? 8 : 0) |
            (read_only_ ? 16 : 0) | (unread_ ? 32 : 0));
  return ended(hash);
}

std::uint64_t FileOracle::fingerprint() const {
  Trace hash;
  hash.fold(sectors_.size());
  for (const auto& [offset, versions] : sectors_) {
    hash.fold(offset);
    hash.fold(versions.size());
    for (const Version& version : versions) {
      hash.fold(version.write);
      fold_bytes(hash, version.bytes);
    }
  }
  hash.fold(writes_.size());
  for (const auto& [name, write] : writes_) {
    hash.fold(name);
    hash.fold(write.begun);
    hash.fold(write.ended);
    hash.fold((write.certain ? 1 : 0) | (write.durable ? 2 : 0) | (write.lost ? 4 : 0));
  }
  hash.fold(syncs_.size());
  for (const auto& [name, covered] : syncs_) {
    hash.fold(name);
    hash.fold(covered.size());
    for (const std::uint64_t write : covered) hash.fold(write);
  }
  hash.fold(reads_.size());
  for (const std::uint64_t read : reads_) hash.fold(read);
  hash.fold(unreadable_.size());
  for (const std::uint64_t block : unreadable_) hash.fold(block);
  hash.fold(clock_);
  return ended(hash);
}

std::uint64_t LruOracle::fingerprint() const {
  Trace hash;
  hash.fold(files_.size());
  for (const auto& [key, entry] : files_) {
    hash.fold(key);
    hash.fold(entry.bytes.fingerprint());
    hash.fold(entry.name.fingerprint());
    hash.fold(entry.since);
    hash.fold((entry.leaving ? 1U : 0U) + (entry.name_lost ? 2U : 0U));
  }
  for (const auto* const syncs : {&name_syncs_, &closings_}) {
    hash.fold(syncs->size());
    for (const auto& [name, keys] : *syncs) {
      hash.fold(name);
      fold_map(hash, keys);
    }
  }
  hash.fold(next_);
  return ended(hash);
}

}  // namespace diorite::sim
