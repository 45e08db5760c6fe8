// JournalEngine: a Journal under test, with several coroutines that append to it.
//
// Options, sizes and actions are drawn anew for each schedule. Everything that the journal answers
// goes to a JournalOracle; each life begins with reading all of it.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <diorite/journal.hpp>
#include <diorite/journal_reader.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

class JournalEngine final : public Engine {
 public:
  /// `small` draws nothing: two appenders of short records, two commits in flight, no close. For
  /// enumerating all that may happen to it.
  enum class Size : std::uint8_t { usual, small };
  explicit JournalEngine(Choices& choices, Size size = Size::usual);

  Task<> live(Life& life) override;

 private:
  void draw_options(Life& life);
  bool may_fail(Life& life, const Error& error) const;
  bool is_due_to_damage(Life& life) const;
  Task<bool> open(Life& life);
  Task<> work(Life& life);
  Task<> finish(Life& life);

  // One appender, and what it does.
  Task<> append_for_a_while(Life& life);
  Task<> act(Life& life);
  Task<> append_and_wait(Life& life);
  Task<> append_at_once(Life& life);
  Task<> append_batch(Life& life);
  Task<> append_without_waiting(Life& life);
  Task<> append_and_die(Life& life);
  Task<> append_and_stop(Life& life);
  Task<> append_too_much(Life& life);
  Task<> read_some(Life& life);
  Task<> read_from_somewhere(Life& life);
  Task<> rest(Life& life);
  static Task<> durable_child(JournalEngine& engine, Life& life);
  static Task<> placed_child(JournalEngine& engine, Life& life);

  std::vector<std::byte> make_payload(Life& life);
  std::uint32_t draw_bytes(Choices& choices) const;
  /// What is true after every await; false when the journal is gone.
  bool still_there(Life& life);
  void acknowledge(Life& life, std::uint64_t id, const Ticket& ticket, std::uint64_t records);
  void append_failed(Life& life, const Error& error);
  void report(Life& life, const std::string& wrong) {
    if (!wrong.empty()) life.violation(wrong);
  }

  Size size_;
  JournalOracle oracle_;
  JournalOptions options_;
  std::uint32_t appenders_;
  std::uint32_t largest_;  ///< payload that is drawn
  bool drawn_ = false;

  // Of the present life.
  std::unique_ptr<Journal> journal_;
  std::uint32_t readers_ = 0;  ///< while there are any, the journal must not die
  Lsn durable_seen_;
  std::optional<Lsn> durable_at_poison_;
  std::uint64_t errors_before_ = 0;

  // After damage.
  std::optional<Lsn> promised_;
  bool settled_ = false;  ///< everything has been read since
};

}  // namespace diorite::sim
