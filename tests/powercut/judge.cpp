#include <fmt/format.h>

#include <map>
#include <utility>

#include "powercut/check.hpp"

namespace diorite::powercut {
namespace {

std::string name_of(const RecordId& id) {
  return fmt::format("life {} worker {} sequence {}", id.life, id.worker, id.sequence);
}

// Each worker's records from its first on, without a gap, life after life; and of each worker at
// most one record that it had not heard of.
bool is_foreign(const std::vector<Recovered>& records, const Promises& promises, std::string& why) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> acked;
  for (const Mark& mark : promises.acked) ++acked[{mark.id.life, mark.id.worker}];
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> next;
  std::uint32_t life = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    RecordId id;
    if (!parse_record(records[i].payload, id) || id.salt != promises.salt) {
      why = fmt::format("record {} was never appended", i);
      return true;
    }
    const std::pair<std::uint32_t, std::uint32_t> worker(id.life, id.worker);
    if (id.life < life || id.life >= promises.lives || id.worker >= kWorkers ||
        id.sequence != next[worker]++) {
      why = fmt::format("record {} is out of order: {}", i, name_of(id));
      return true;
    }
    if (id.sequence > acked[worker]) {
      why = fmt::format("record {} had not been appended before the cut: {}", i, name_of(id));
      return true;
    }
    life = id.life;
  }
  return false;
}

}  // namespace

const char* to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::good:
      return "good";
    case Outcome::lost:
      return "lost";
    case Outcome::foreign:
      return "foreign";
    case Outcome::refused:
      return "refused";
    case Outcome::changed:
      return "changed";
    case Outcome::crashed:
      return "crashed";
    case Outcome::unmountable:
      return "unmountable";
    case Outcome::stuck:
      return "stuck";
  }
  return "?";
}

Outcome judge(const std::vector<Recovered>& records, const Promises& promises, std::string& why) {
  for (const Mark& mark : promises.acked) {
    if (mark.count >= records.size()) {
      why = fmt::format("record {} ({}) was acknowledged; {} records are there", mark.count,
                        name_of(mark.id), records.size());
      return Outcome::lost;
    }
    const Recovered& record = records[mark.count];
    if (record.begin != mark.begin || record.payload != record_of(mark.id)) {
      why = fmt::format("record {} ({}) was acknowledged; there is another", mark.count,
                        name_of(mark.id));
      return Outcome::lost;
    }
  }
  std::vector<std::uint64_t> hashes{0};
  for (const Recovered& record : records) {
    hashes.push_back(chain_hash(hashes.back(), record.payload));
  }
  for (const Mark& mark : promises.opened) {
    if (mark.count >= hashes.size() || hashes[mark.count] != mark.hash) {
      why = fmt::format("life {} found {} records when it opened; {}", mark.life, mark.count,
                        mark.count >= hashes.size() ? fmt::format("{} are there", records.size())
                                                    : std::string("they are others now"));
      return Outcome::lost;
    }
  }
  return is_foreign(records, promises, why) ? Outcome::foreign : Outcome::good;
}

}  // namespace diorite::powercut
