#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include <diorite/assert.hpp>
#include <diorite/sim/oracle.hpp>

namespace diorite::sim {
namespace {

BatchPos position_of(std::size_t index, std::size_t count) noexcept {
  if (count == 1) return BatchPos::single;
  if (index == 0) return BatchPos::first;
  return index + 1 == count ? BatchPos::last : BatchPos::middle;
}

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace

void JournalOracle::opening() noexcept {
  // An open that fails half-way may have marked the journal as in use.
  expects_clean_ = closed_;
  closed_ = false;
}

std::string JournalOracle::opened(const JournalRecovery& recovery, const Lsn* lost_above) {
  may_lose_ = lost_above != nullptr;
  if (may_lose_) lost_above_ = *lost_above;
  const std::uint64_t count = recovery.next_record_no;
  if (recovery.durable > recovery.end) {
    return fmt::format("the open says that {} was durable, but the log ends at {}",
                       recovery.durable.value, recovery.end.value);
  }
  if (recovery.records != count) {
    return fmt::format("nothing was truncated, but of {} records {} are there", count,
                       recovery.records);
  }
  if (may_lose_ && recovery.end < lost_above_) {
    return fmt::format("the log ends at {}, but undamaged bytes promise that {} was durable",
                       recovery.end.value, lost_above_.value);
  }
  if (exists_ && !may_lose_) {
    // One that was made where no room was left to write its first commit is made anew.
    const bool untouched = read_only_ && kept_.empty() && recovery.epoch == last_epoch_;
    if (recovery.verdict == JournalVerdict::created && !untouched) {
      return "the journal was made a second time";
    }
    // One that found no room to write in has told nobody of its epoch but its reader, who appends
    // nothing under it.
    if (recovery.epoch < last_epoch_ || (recovery.epoch == last_epoch_ && !read_only_)) {
      return fmt::format("the epoch went from {} to {}", last_epoch_, recovery.epoch);
    }
    if (expects_clean_ && recovery.verdict != JournalVerdict::clean) {
      return fmt::format("closed, and then found {}", to_string(recovery.verdict));
    }
    if (unread_ && count != recovery_.next_record_no) {
      return fmt::format("an open returned {} records and the next one {}",
                         recovery_.next_record_no, count);
    }
  }
  if (std::string lost = check_lost(count); !lost.empty()) return lost;
  recovery_ = recovery;
  last_epoch_ = recovery.epoch;
  read_only_ = false;
  exists_ = true;
  unread_ = true;
  // What an open returned stays; of what it was allowed to lose nothing is promised any more.
  durable_count_ = count;
  return {};
}

std::string JournalOracle::check(std::vector<FoundRecord> found) {
  DIORITE_ASSERT(unread_, "a journal is checked once after each open");
  if (found.size() != recovery_.next_record_no) {
    return fmt::format("the open promised {} records, and a reader returned {}",
                       recovery_.next_record_no, found.size());
  }
  Lsn end;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const FoundRecord& record = found[i];
    if (record.record_no != i) {
      return fmt::format("record {} was returned in the place of number {}", record.record_no, i);
    }
    if (record.begin < end || record.end <= record.begin || record.end > recovery_.end) {
      return fmt::format("record {} lies from {} to {}, behind one that ends at {}", i,
                         record.begin.value, record.end.value, end.value);
    }
    end = record.end;
  }
  const std::size_t old = std::min(found.size(), kept_.size());
  for (std::size_t i = 0; i < old; ++i) {
    if (std::string wrong = check_kept(found[i]); !wrong.empty()) return wrong;
  }
  for (std::size_t at = old; at < found.size();) {
    std::size_t taken = 0;
    std::string wrong = check_new(std::span<const FoundRecord>(found).subspan(at), taken);
    if (!wrong.empty()) return wrong;
    at += taken;
  }
  if (std::string wrong = check_noticed(found); !wrong.empty()) return wrong;
  damaged_ = LsnRange();
  // What was not found has gone for good: it may never be returned by a later open.
  kept_ = std::move(found);
  appends_.clear();
  places_.clear();
  unread_ = false;
  may_lose_ = false;
  return {};
}

// A checksum covers every byte of a commit that holds records, and what follows its last frame must
// be zero. So a commit of which any byte was changed has no record that may be returned. Before the
// first record of a commit stands its header, of 64 bytes; before another one, other records.
std::string JournalOracle::check_noticed(std::span<const FoundRecord> found) const {
  constexpr std::uint64_t kHeaderBytes = 64;
  if (damaged_.begin >= damaged_.end) return {};
  for (const FoundRecord& record : found) {
    if (record.begin.value >= damaged_.end.value + kHeaderBytes) break;
    if (record.end <= damaged_.begin) continue;
    return fmt::format(
        "bytes of record {}, or of its commit, were damaged at {}, and nobody noticed",
        record.record_no, damaged_.begin.value);
  }
  return {};
}

std::string JournalOracle::check_kept(const FoundRecord& record) const {
  const FoundRecord& before = kept_[static_cast<std::size_t>(record.record_no)];
  if (record.begin != before.begin || record.end != before.end) {
    return fmt::format("record {} was at {} at the last open and is at {} now", record.record_no,
                       before.begin.value, record.begin.value);
  }
  if (record.tag != before.tag || record.batch != before.batch ||
      !same_bytes(record.payload, before.payload)) {
    return fmt::format("record {} is not what the last open returned", record.record_no);
  }
  return {};
}

std::string JournalOracle::match(const Appended& append, std::span<const FoundRecord> rest) const {
  const std::size_t count = append.payloads.size();
  const std::uint64_t number = rest.front().record_no;
  if (rest.size() < count) {
    return fmt::format("of a batch of {} from record {} on, only {} are there", count, number,
                       rest.size());
  }
  for (std::size_t i = 0; i < count; ++i) {
    const FoundRecord& record = rest[i];
    if (record.tag != append.tag || record.batch != position_of(i, count) ||
        !same_bytes(record.payload, append.payloads[i])) {
      return fmt::format("record {} is not what was appended", record.record_no);
    }
  }
  if (append.has_place &&
      (rest.front().begin != append.ticket.begin || rest[count - 1].end != append.ticket.end)) {
    return fmt::format("record {} is at {}, and its ticket said {}", number,
                       rest.front().begin.value, append.ticket.begin.value);
  }
  return {};
}

std::string JournalOracle::check_new(std::span<const FoundRecord> rest, std::size_t& taken) {
  const std::uint64_t number = rest.front().record_no;
  if (const auto place = places_.find(number); place != places_.end()) {
    Appended& append = appends_.at(place->second);
    taken = append.payloads.size();
    append.found = true;
    return match(append, rest);
  }
  for (auto& [name, append] : appends_) {
    if (append.has_place || append.refused || append.found) continue;
    if (!match(append, rest).empty()) continue;
    taken = append.payloads.size();
    append.found = true;
    return {};
  }
  return fmt::format(
      "record {} at {} was never appended, or was refused, or an open had not returned it", number,
      rest.front().begin.value);
}

const JournalOracle::Appended* JournalOracle::at(std::uint64_t record_no) const noexcept {
  auto place = places_.upper_bound(record_no);
  if (place == places_.begin()) return nullptr;
  --place;
  const Appended& append = appends_.at(place->second);
  return record_no - place->first < append.payloads.size() ? &append : nullptr;
}

std::string JournalOracle::check_lost(std::uint64_t count) const {
  for (std::uint64_t number = count; number < durable_count_; ++number) {
    Lsn end = Lsn{~std::uint64_t{0}};
    if (number < kept_.size()) {
      end = kept_[static_cast<std::size_t>(number)].end;
    } else if (const Appended* append = at(number)) {
      end = append->ticket.end;
    }
    if (may_lose_ && end > lost_above_) continue;
    return fmt::format("record {} {}, and is lost: {} records are there", number,
                       number < kept_.size() ? "was returned by an earlier open"
                                             : "was acknowledged, or stood before one that was",
                       count);
  }
  // More than was ever appended is found out here already, when nobody gets to read it.
  std::uint64_t appended = kept_.size();
  if (unread_) appended = std::max(appended, recovery_.next_record_no);
  for (const auto& [name, append] : appends_) {
    if (!append.refused) appended += append.payloads.size();
  }
  if (count > appended) {
    return fmt::format("{} records are there, and at most {} were appended", count, appended);
  }
  return {};
}

std::uint64_t JournalOracle::appending(std::span<const std::byte> payload, std::uint16_t tag) {
  std::vector<std::vector<std::byte>> payloads;
  payloads.emplace_back(payload.begin(), payload.end());
  return appending(std::move(payloads), tag);
}

std::uint64_t JournalOracle::appending(std::vector<std::vector<std::byte>> payloads,
                                       std::uint16_t tag) {
  DIORITE_ASSERT(!payloads.empty(), "an append of nothing");
  DIORITE_ASSERT(exists_ && !unread_, "records are appended only after what was there is checked");
  Appended append;
  append.payloads = std::move(payloads);
  append.tag = tag;
  appends_.emplace_hint(appends_.end(), next_, std::move(append));
  return next_++;
}

std::string JournalOracle::place(Appended& append, const Ticket& ticket) {
  const std::uint64_t count = append.payloads.size();
  if (append.refused) return "an append that was refused has a ticket";
  if (append.has_place) {
    const Ticket& first = append.ticket;
    if (first.begin == ticket.begin && first.end == ticket.end &&
        first.record_no == ticket.record_no) {
      return {};
    }
    return fmt::format("an append was placed at {}, and then at {}", first.begin.value,
                       ticket.begin.value);
  }
  if (ticket.epoch != recovery_.epoch) {
    return fmt::format("a ticket of epoch {} in epoch {}", ticket.epoch, recovery_.epoch);
  }
  const auto next = places_.lower_bound(ticket.record_no);
  std::uint64_t number = recovery_.next_record_no;
  Lsn end = recovery_.end;
  if (next != places_.begin()) {
    const auto& [first, name] = *std::prev(next);
    const Appended& before = appends_.at(name);
    number = first + before.payloads.size();
    end = before.ticket.end;
  }
  const bool beside =
      next == places_.end() || (ticket.record_no + count <= next->first &&
                                ticket.end <= appends_.at(next->second).ticket.begin);
  if (ticket.record_no < number || ticket.begin < end || ticket.end <= ticket.begin || !beside) {
    return fmt::format(
        "the ticket of record {}, from {} to {}, does not fit between its neighbours",
        ticket.record_no, ticket.begin.value, ticket.end.value);
  }
  append.ticket = ticket;
  append.has_place = true;
  return {};
}

std::string JournalOracle::appended(std::uint64_t id, const Ticket& ticket) {
  Appended& append = appends_.at(id);
  std::string wrong = place(append, ticket);
  if (wrong.empty()) places_.emplace(ticket.record_no, id);
  return wrong;
}

std::string JournalOracle::acknowledged(std::uint64_t id, const Ticket& ticket) {
  std::string wrong = appended(id, ticket);
  if (!wrong.empty()) return wrong;
  Appended& append = appends_.at(id);
  if (append.acknowledged) return {};
  append.acknowledged = true;
  acknowledged_count_ += append.payloads.size();
  durable_count_ = std::max(durable_count_, ticket.record_no + append.payloads.size());
  return {};
}

void JournalOracle::refused(std::uint64_t id) { appends_.at(id).refused = true; }

std::string JournalOracle::read(const Record& record, Lsn durable) const {
  if (record.end > durable) {
    return fmt::format("a reader returned record {} up to {}, and only {} is durable",
                       record.record_no, record.end.value, durable.value);
  }
  FoundRecord found{record.begin, record.end,   record.record_no,
                    record.tag,   record.batch, {record.payload.begin(), record.payload.end()}};
  if (record.record_no < kept_.size()) return check_kept(found);
  const Appended* append = at(record.record_no);
  if (append == nullptr) return {};
  const auto index = static_cast<std::size_t>(record.record_no - append->ticket.record_no);
  if (record.tag != append->tag || record.batch != position_of(index, append->payloads.size()) ||
      !same_bytes(record.payload, append->payloads[index])) {
    return fmt::format("a reader returned record {} with other bytes than were appended",
                       record.record_no);
  }
  return {};
}

void JournalOracle::closed(bool success) noexcept { closed_ = success; }

}  // namespace diorite::sim
