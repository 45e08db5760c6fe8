#include "engines/small.hpp"

#include <array>
#include <memory>

#include "engines/small_files.hpp"
#include "engines/small_journal.hpp"

#include <diorite/assert.hpp>

namespace diorite::sim {
namespace {

// No part of any explored schedule: its identifiers are not theirs.
constexpr std::uint64_t kPreparingSeed = 77;

/// Lets `engine` do its preparing on an empty machine, and keeps the disk.
template <class E>
class Preparing final : public Engine {
 public:
  Preparing(E& engine, Disk& disk) noexcept : engine_(engine), disk_(disk) {}
  Task<> live(Life& life) override {
    co_await engine_.prepare(life);
    disk_ = life.machine().disk();
  }

 private:
  E& engine_;
  Disk& disk_;
};

template <class E>
void prepare(E& engine, Disk& disk, const MachineOptions& machine) {
  struct Both {
    E& engine;
    Disk& disk;
  };
  Both both{engine, disk};
  RunOptions options;
  options.profile = Profile::calm();
  options.machine = machine;
  options.first_seed = kPreparingSeed;
  options.schedules = 1;
  options.lives_max = 1;
  const EngineFactory factory{[](void* context, Choices&) -> std::unique_ptr<Engine> {
                                auto& with = *static_cast<Both*>(context);
                                return std::make_unique<Preparing<E>>(with.engine, with.disk);
                              },
                              &both};
  const Report report = run(options, factory);
  DIORITE_ASSERT(report.passed(), "a small workload cannot be prepared");
}

/// What the first lives of a workload begin with; made once.
template <class W>
struct Prepared {
  Prepared() : engine(W::make()) {
    if (W::kIsPrepared) prepare(*engine, disk, W::machine());
  }
  static const Prepared& get() {
    static const Prepared prepared;
    return prepared;
  }

  std::unique_ptr<typename W::E> engine;
  Disk disk;
};

template <class W>
EngineFactory factory_of_small() noexcept {
  return {[](void*, Choices&) -> std::unique_ptr<Engine> {
            auto engine = W::make();
            engine->remember(*Prepared<W>::get().engine);
            return engine;
          },
          nullptr};
}

template <class W>
void shape_small(RunOptions& options) {
  options.profile = W::profile();
  options.machine = W::machine();
  options.lives_max = W::kLives;
  options.events_max = ~std::uint32_t{0};
  options.steps_max = 1;
  options.kill = never();
  options.disk = W::kIsPrepared ? &Prepared<W>::get().disk : nullptr;
}

template <class W>
constexpr SmallWorkload workload(std::string_view name, std::string_view text) noexcept {
  return {name, text, &shape_small<W>, &factory_of_small<W>};
}

// Journals.

constexpr SmallJournalPlan plan_of_create() {
  SmallJournalPlan plan;
  plan.pad_512 = true;
  plan.records = {700};
  plan.is_there = false;
  plan.explores_first_open = true;
  return plan;
}
constexpr SmallJournalPlan plan_of_two_dsync() {
  SmallJournalPlan plan;
  plan.pad_512 = true;
  plan.records = {3'000, 3'500};
  return plan;
}
constexpr SmallJournalPlan plan_of_two_flush() {
  SmallJournalPlan plan = plan_of_two_dsync();
  plan.sync = JournalSync::flush;
  plan.records = {2'500, 3'500};
  return plan;
}
constexpr SmallJournalPlan plan_of_two_buffered() {
  SmallJournalPlan plan = plan_of_two_flush();
  plan.direct = Direct::off;
  return plan;
}
constexpr SmallJournalPlan plan_of_again() {
  SmallJournalPlan plan;
  plan.pad_512 = true;
  plan.records = {1'200, 1'200};
  plan.later_record = 1'700;
  return plan;
}
constexpr SmallJournalPlan plan_of_rotation() {
  SmallJournalPlan plan;
  plan.pad_512 = true;
  plan.first_record = 59'000;
  plan.records = {2'100};
  return plan;
}
constexpr SmallJournalPlan plan_of_close() {
  SmallJournalPlan plan;
  plan.records = {4'500};
  plan.explores_first_open = true;
  plan.closes = true;
  plan.later_record = 600;
  return plan;
}

template <SmallJournalPlan (*kPlan)(), std::uint32_t kLivesOfIt>
struct JournalWorkload {
  using E = SmallJournalEngine;
  static constexpr bool kIsPrepared = kPlan().is_there;
  static constexpr std::uint32_t kLives = kLivesOfIt;
  static std::unique_ptr<E> make() { return std::make_unique<E>(kPlan()); }
  static Profile profile() noexcept { return Profile::bounded(); }
  static MachineOptions machine() noexcept {
    MachineOptions machine;
    machine.disk.physical_block_bytes = kPlan().pad_512 ? 512 : 4096;
    return machine;
  }
};

// Files.

template <class EngineOfIt, std::uint32_t kLivesOfIt, DirectoryModel kDirectories>
struct FileWorkload {
  using E = EngineOfIt;
  static constexpr bool kIsPrepared = true;
  static constexpr std::uint32_t kLives = kLivesOfIt;
  static std::unique_ptr<E> make() { return std::make_unique<E>(); }
  static Profile profile() noexcept {
    Profile profile = Profile::bounded();
    profile.directories = kDirectories;
    return profile;
  }
  static MachineOptions machine() noexcept { return {}; }
};

constexpr std::array kWorkloads = {
    workload<JournalWorkload<&plan_of_create, 3>>(
        "journal-create", "a journal is made and gets a record, and again after a crash"),
    workload<JournalWorkload<&plan_of_two_dsync, 3>>(
        "journal-dsync", "two records at once, each in a durable write of its own"),
    workload<JournalWorkload<&plan_of_two_flush, 3>>("journal-flush",
                                                     "two records at once, written and synced"),
    workload<JournalWorkload<&plan_of_two_buffered, 3>>(
        "journal-buffered", "two records at once, through the page cache"),
    workload<JournalWorkload<&plan_of_again, 4>>(
        "journal-again", "a record in each of three lives, of which two recover"),
    workload<JournalWorkload<&plan_of_rotation, 3>>(
        "journal-rotate", "a record that begins a segment, while the next is made"),
    workload<JournalWorkload<&plan_of_close, 3>>("journal-close",
                                                 "opened, a record, closed, and opened again"),
    workload<FileWorkload<SmallOverlap, 3, DirectoryModel::ordered>>(
        "file-overlap", "two writes at once that overlap, syncs, and a durable write"),
    workload<FileWorkload<SmallReplace, 3, DirectoryModel::split>>(
        "file-replace", "a file is replaced twice by renames"),
    workload<FileWorkload<SmallTruncate, 3, DirectoryModel::ordered>>(
        "file-truncate", "a file is cut short and written beyond its end"),
    workload<FileWorkload<SmallLru, 3, DirectoryModel::ordered>>(
        "lru-evict", "files that a cache closes while they are dirty"),
};

}  // namespace

std::span<const SmallWorkload> small_workloads() noexcept { return kWorkloads; }

const SmallWorkload* find_small(std::string_view name) noexcept {
  for (const SmallWorkload& workload : kWorkloads) {
    if (workload.name == name) return &workload;
  }
  return nullptr;
}

}  // namespace diorite::sim
