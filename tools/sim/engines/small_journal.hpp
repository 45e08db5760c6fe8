// SmallJournalEngine: a Journal that gets a record or two in each life, by a plan.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include <diorite/journal.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

/// Trivially copyable.
struct SmallJournalPlan {
  JournalSync sync = JournalSync::dsync;
  Direct direct = Direct::preferred;
  bool pad_512 = false;
  /// Records that are appended at the same time, each by a coroutine of its own, by their bytes.
  /// Each goes out in a commit of its own while the ones before it are in flight, if it has as many
  /// bytes as a commit is padded to.
  std::array<std::uint32_t, 3> records = {};
  /// What the first life finds: no journal, or a closed one with a record of so many bytes.
  bool is_there = true;
  std::uint32_t first_record = 100;
  /// Lives behind the first append this, too; 0: they only open and read.
  std::uint32_t later_record = 0;
  bool explores_first_open = false;  ///< else the first life's open is not explored
  bool closes = false;               ///< the first life ends with close()
};
static_assert(std::is_trivially_copyable_v<SmallJournalPlan>);

class SmallJournalEngine final : public Engine {
 public:
  explicit SmallJournalEngine(const SmallJournalPlan& plan);

  Task<> live(Life& life) override;
  std::uint64_t fingerprint() const override { return oracle_.fingerprint(); }

  /// Leaves a closed journal with the plan's first record.
  Task<> prepare(Life& life);
  void remember(const SmallJournalEngine& prepared) { oracle_ = prepared.oracle_; }

 private:
  Task<bool> open(Life& life);
  Task<> append(Life& life, std::uint32_t number, std::uint32_t bytes);
  Task<> close(Life& life);

  SmallJournalPlan plan_;
  JournalOptions options_;
  JournalOracle oracle_;
  std::unique_ptr<Journal> journal_;  ///< of the present life
};

}  // namespace diorite::sim
