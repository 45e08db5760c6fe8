// What the appenders of a JournalEngine do.

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "engines/journal_engine.hpp"
#include "engines/payload.hpp"

#include <diorite/align.hpp>
#include <diorite/scope.hpp>
#include <diorite/stop.hpp>
#include <diorite/timer.hpp>

namespace diorite::sim {
namespace {

// A record alone in its commit fills this much beside its payload.
constexpr std::uint32_t kCommitAndFrame = 80;

Duration short_while(Choices& choices) {
  return std::chrono::nanoseconds(choices.draw_skewed(2'000'000));
}

}  // namespace

std::uint32_t JournalEngine::draw_bytes(Choices& choices) const {
  switch (choices.draw(6)) {
    case 0:
    case 1:
      return choices.draw_skewed(256);
    case 2: {
      // Around the ends of blocks, where a record just fits, or just does not.
      const std::uint32_t unit = options_.pad_512 ? 512 : 4096;
      const std::uint32_t blocks = 1 + choices.draw_skewed(4);
      const std::uint32_t near = choices.draw(17);
      return unit * blocks - kCommitAndFrame - 8 + near;
    }
    case 3:
      return choices.draw(3);
    default:
      return choices.draw(largest_);
  }
}

std::vector<std::byte> JournalEngine::make_payload(Life& life) {
  Choices& choices = life.choices();
  std::vector<std::byte> payload(draw_bytes(choices));
  const std::uint32_t kind = choices.draw(32);
  if (kind == 31 && payload.size() >= 4096) {
    // A record that holds a piece of a journal must never be taken for one.
    const std::vector<std::byte> segment =
        life.machine().disk().contents("wal/0000000000000000.seg");
    const std::size_t length = std::min(payload.size(), segment.size());
    if (length > 4096) std::memcpy(payload.data(), segment.data() + 4096, length - 4096);
  } else if (kind != 30) {
    fill_with_entropy(choices, payload);
  }
  return payload;
}

Task<> JournalEngine::act(Life& life) {
  if (size_ == Size::small) return append_at_once(life);
  Choices& choices = life.choices();
  switch (choices.draw(32)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
      return append_and_wait(life);
    case 8:
    case 9:
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
      return append_at_once(life);
    case 16:
    case 17:
    case 18:
    case 19:
      return append_batch(life);
    case 20:
    case 21:
    case 22:
      return append_without_waiting(life);
    case 23:
    case 24:
      return append_and_die(life);
    case 25:
      return append_and_stop(life);
    case 26:
      return append_too_much(life);
    case 27:
      return read_some(life);
    default:
      return rest(life);
  }
}

Task<> JournalEngine::rest(Life& life) {
  const Result<void> slept = co_await sleep_for(short_while(life.choices()));
  if (!slept) life.failed(slept.error());
  // Whoever waits in the journal must hear of its end, and touch it no more.
  if (one_in(life.choices(), 16) && readers_ == 0) journal_.reset();
}

Task<> JournalEngine::append_and_wait(Life& life) {
  const std::vector<std::byte> payload = make_payload(life);
  const auto tag = static_cast<std::uint16_t>(payload.size() * 7);
  const std::uint64_t id = oracle_.appending(payload, tag);
  const Result<Ticket> ticket = co_await journal_->append(RecordRef(payload, tag));
  if (!ticket) co_return append_failed(life, ticket.error());
  report(life, oracle_.appended(id, *ticket));
  if (!still_there(life)) co_return;
  const Result<void> synced = co_await journal_->sync_through(*ticket);
  if (!synced) co_return append_failed(life, synced.error());
  acknowledge(life, id, *ticket, 1);
}

Task<> JournalEngine::append_at_once(Life& life) {
  const std::vector<std::byte> payload = make_payload(life);
  const std::uint64_t id = oracle_.appending(payload, 1);
  const std::span<const std::byte> whole = payload;
  // In two pieces: what is found must be one.
  const std::size_t cut = payload.size() / 3;
  const RecordRef record(whole.first(cut), whole.subspan(cut), 1);
  const Result<Ticket> ticket = co_await journal_->append_durable(record);
  if (!ticket) co_return append_failed(life, ticket.error());
  acknowledge(life, id, *ticket, 1);
}

Task<> JournalEngine::append_batch(Life& life) {
  const std::uint32_t count = 2 + life.choices().draw(4);
  std::vector<std::vector<std::byte>> payloads;
  std::vector<RecordRef> records;
  for (std::uint32_t i = 0; i < count; ++i) {
    payloads.push_back(make_payload(life));
    if (payloads.back().size() > 9000) payloads.back().resize(9000);
  }
  for (const std::vector<std::byte>& payload : payloads) records.emplace_back(payload, 2);
  const std::uint64_t id = oracle_.appending(payloads, 2);
  const Result<Ticket> ticket = co_await journal_->append_batch(records);
  if (!ticket) co_return append_failed(life, ticket.error());
  report(life, oracle_.appended(id, *ticket));
  if (!still_there(life)) co_return;
  const Result<void> synced = co_await journal_->sync_through(ticket->end);
  if (!synced) co_return append_failed(life, synced.error());
  acknowledge(life, id, *ticket, count);
}

Task<> JournalEngine::append_without_waiting(Life& life) {
  const std::vector<std::byte> payload = make_payload(life);
  const std::uint64_t id = oracle_.appending(payload, 3);
  const Result<Ticket> ticket = journal_->try_append(RecordRef(payload, 3));
  if (!ticket) {
    oracle_.refused(id);
    if (!(ticket.error() == Errc::busy)) append_failed(life, ticket.error());
    co_return;
  }
  report(life, oracle_.appended(id, *ticket));
  if (life.choices().draw(2) == 0) co_return;
  const Result<void> synced = co_await journal_->sync_all();
  if (!synced) co_return append_failed(life, synced.error());
  acknowledge(life, id, *ticket, 1);
}

Task<> JournalEngine::durable_child(JournalEngine& engine, Life& life) {
  if (engine.journal_ != nullptr) co_await engine.append_at_once(life);
}

Task<> JournalEngine::placed_child(JournalEngine& engine, Life& life) {
  if (engine.journal_ == nullptr) co_return;
  const std::vector<std::byte> payload = engine.make_payload(life);
  const std::uint64_t id = engine.oracle_.appending(payload, 4);
  const Result<Ticket> ticket = co_await engine.journal_->append(RecordRef(payload, 4));
  if (ticket) {
    engine.report(life, engine.oracle_.appended(id, *ticket));
  } else if (is_cancelled(ticket.error())) {
    // Stopped while it waited for room: nothing was appended.
    engine.oracle_.refused(id);
  } else {
    engine.append_failed(life, ticket.error());
  }
}

Task<> JournalEngine::append_and_die(Life& life) {
  Running<> child;
  if (life.choices().draw(2) == 0) {
    child = start(life.reactor(), durable_child(*this, life));
  } else {
    child = start(life.reactor(), placed_child(*this, life));
  }
  const Result<void> slept = co_await sleep_for(short_while(life.choices()));
  if (!slept) life.failed(slept.error());
  child = {};
}

Task<> JournalEngine::append_and_stop(Life& life) {
  StopSource stop;
  Running<> child = start(life.reactor(), placed_child(*this, life), stop.token());
  const Result<void> slept = co_await sleep_for(short_while(life.choices()));
  if (!slept) life.failed(slept.error());
  stop.request_stop();
  co_await std::move(child);
}

Task<> JournalEngine::append_too_much(Life& life) {
  const std::vector<std::byte> payload(static_cast<std::size_t>(journal_->record_bytes_max()) + 1);
  const std::uint64_t id = oracle_.appending(payload, 5);
  const Result<Ticket> ticket = co_await journal_->append(RecordRef(payload, 5));
  life.check(!ticket.has_value(), "a record above the limit was taken");
  oracle_.refused(id);
}

Task<> JournalEngine::read_some(Life& life) {
  ++readers_;
  co_await read_from_somewhere(life);
  --readers_;
}

Task<> JournalEngine::read_from_somewhere(Life& life) {
  // From a record that the journal has returned, or from its head.
  const std::vector<FoundRecord>& kept = oracle_.kept();
  Lsn from = journal_->head_lsn();
  if (!kept.empty()) {
    from = kept[life.choices().draw(static_cast<std::uint32_t>(kept.size()))].begin;
  }
  Result<JournalReader> reader = co_await JournalReader::open(*journal_, from);
  if (!reader) co_return append_failed(life, reader.error());
  const std::uint32_t most = 1 + life.choices().draw_skewed(64);
  for (std::uint32_t i = 0; i < most; ++i) {
    Result<const Record*> next = co_await reader->next();
    if (!next) co_return append_failed(life, next.error());
    if (*next == nullptr) co_return;
    report(life, oracle_.read(**next, journal_->durable_lsn()));
  }
}

}  // namespace diorite::sim
