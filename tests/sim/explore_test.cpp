// explore(): that it comes to an end, goes everywhere, and says so.

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "engines/small.hpp"
#include "support/catch.hpp"

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/scope.hpp>
#include <diorite/sim/run.hpp>

namespace diorite::sim {
namespace {

using Seen = std::set<std::pair<std::uint32_t, std::uint64_t>>;

enum class Way : std::uint8_t { sound, acknowledges_early, learns_late, tells_nothing };

/// Two writes at once and a sync, in each life anew; notes what each life finds.
class Pair final : public Engine {
 public:
  Pair(Way way, Seen& seen) noexcept : way_(way), seen_(seen) {}

  Task<> live(Life& life) override {
    seen_.emplace(life.number(), life.machine().disk().hash());
    const OpenOptions options{.write = true, .create = true};
    Result<DirectFile> file = co_await DirectFile::open_with(life.reactor(), "pair", options);
    if (!file) co_return late(life);
    const Result<void> named = co_await sync_dir(life.reactor(), ".");
    if (!named) co_return late(life);
    const Result<std::uint64_t> bytes = co_await file->size();
    if (!bytes) co_return late(life);
    if (!life.check(*bytes >= promised_, "what was promised is gone")) co_return;
    if (life.is_healthy()) co_return;
    Running<bool> one = start(life.reactor(), write(*file, 0, life.number()));
    Running<bool> two = start(life.reactor(), write(*file, 512, life.number()));
    const bool first = co_await std::move(one);
    const bool second = co_await std::move(two);
    if (!first || !second || life.is_over()) co_return late(life);
    if (way_ == Way::acknowledges_early) promised_ = 1536;
    const Result<void> synced = co_await file->sync_data();
    if (!synced) co_return late(life);
    promised_ = 1536;
    life.acknowledge();
  }
  std::uint64_t fingerprint() const override {
    return way_ == Way::tells_nothing ? 0 : 1 + promised_;
  }

 private:
  void late(Life& life) {
    if (!life.is_over()) life.violation("an operation failed");
    if (way_ == Way::learns_late) ++promised_;
  }
  static Task<bool> write(DirectFile& file, std::uint64_t offset, std::uint32_t number) {
    Result<AlignedBuf> data = AlignedBuf::zeroed(1024);
    if (!data) co_return false;
    data->truncate(1024);
    for (std::byte& byte : data->bytes()) byte = static_cast<std::byte>(offset + number + 1);
    const BufIoResult written = co_await file.write_at(std::move(*data), offset);
    co_return static_cast<bool>(written);
  }

  Way way_;
  Seen& seen_;
  std::uint64_t promised_ = 0;
};

struct Making {
  Way way = Way::sound;
  Seen seen;

  EngineFactory factory() noexcept {
    return {[](void* context, Choices&) -> std::unique_ptr<Engine> {
              auto& self = *static_cast<Making*>(context);
              return std::make_unique<Pair>(self.way, self.seen);
            },
            this};
  }
};

RunOptions options_of(std::uint32_t lives) {
  RunOptions options;
  options.profile = Profile::bounded();
  options.schedules = 2'000'000;
  options.lives_max = lives;
  options.events_max = ~std::uint32_t{0};
  options.kill = never();
  return options;
}

using Keys = std::set<std::uint64_t>;

SharedStates share(Keys& keys) noexcept {
  return {[](void* context, std::uint64_t key) {
            return static_cast<Keys*>(context)->insert(key).second;
          },
          &keys};
}

}  // namespace

TEST_CASE("going on once only from equal states leaves out no state") {
  const RunOptions merging = options_of(3);
  RunOptions whole = merging;
  whole.merges = false;
  Making some;
  Making all;
  const Report merged = explore(merging, some.factory());
  const Report unmerged = explore(whole, all.factory());
  INFO(merged.text() << unmerged.text());
  CHECK(merged.passed());
  CHECK(merged.complete);
  CHECK(unmerged.passed());
  CHECK(unmerged.complete);
  CHECK(some.seen.size() > 20);
  CHECK(some.seen == all.seen);
  CHECK(merged.schedules < unmerged.schedules / 4);
  CHECK(merged.merged > 0);
  CHECK(unmerged.merged == 0);
  // Without a fingerprint nothing can be told apart, and nothing is left out.
  Making silent{Way::tells_nothing, {}};
  const Report told_nothing = explore(merging, silent.factory());
  CHECK(told_nothing.complete);
  CHECK(told_nothing.merged == 0);
  CHECK(silent.seen == all.seen);
}

TEST_CASE("explorations that share a tree go through all of it, once") {
  const RunOptions options = options_of(3);
  Making alone;
  const Report whole = explore(options, alone.factory());
  REQUIRE(whole.complete);

  // The second one runs as a whole while the first is under way.
  struct Nested {
    Keys keys;
    Making making;
    RunOptions options;
    Report report;
    bool begun = false;
  };
  Nested nested;
  nested.options = options;
  nested.options.shared = share(nested.keys);
  RunOptions outer = nested.options;
  outer.context = &nested;
  outer.keep_going = [](void* context, const Report& so_far) {
    auto& inner = *static_cast<Nested*>(context);
    if (so_far.schedules < 40 || std::exchange(inner.begun, true)) return true;
    inner.report = explore(inner.options, inner.making.factory());
    return true;
  };
  const Report part = explore(outer, nested.making.factory());
  INFO(whole.text() << part.text() << nested.report.text());
  CHECK(part.complete);
  CHECK(nested.report.complete);
  CHECK(part.schedules >= 40);
  CHECK(nested.report.schedules > 40);
  CHECK(part.schedules + nested.report.schedules == whole.schedules);
  CHECK(part.merged + nested.report.merged == whole.merged);
  CHECK(part.states + nested.report.states == whole.states);
  CHECK(nested.making.seen == alone.seen);
}

TEST_CASE("an engine that promises too early is found, and its schedule repeated") {
  Making making{Way::acknowledges_early, {}};
  const RunOptions options = options_of(3);
  const Report report = explore(options, making.factory());
  REQUIRE(report.failures.size() == 1);
  CHECK_FALSE(report.complete);
  CHECK(report.failures[0].explored);
  const Report again = replay(options, making.factory(), report.failures[0]);
  REQUIRE(again.failures.size() == 1);
  CHECK(again.failures[0].text == report.failures[0].text);
  CHECK(again.failures[0].trace_hash == report.failures[0].trace_hash);
}

TEST_CASE("an engine that learns something after its end is found") {
  Making making{Way::learns_late, {}};
  const Report report = explore(options_of(2), making.factory());
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].text.find("after the end of its process") != std::string::npos);
}

TEST_CASE("an exploration that is cut off says so") {
  Making making;
  RunOptions options = options_of(2);
  options.schedules = 5;
  const Report report = explore(options, making.factory());
  CHECK(report.passed());
  CHECK_FALSE(report.complete);
  CHECK(report.schedules == 5);
  CHECK(report.text().find("INCOMPLETE") != std::string::npos);
  CHECK(report.json().find("\"complete\":false") != std::string::npos);
}

TEST_CASE("small workloads come to their ends") {
  struct Least {
    const char* name;
    std::uint64_t schedules;
    std::uint64_t states;
  };
  constexpr Least kLeast[] = {{"journal-create", 2000, 200},
                              {"file-overlap", 20'000, 10'000},
                              {"file-replace", 1000, 100},
                              {"file-truncate", 50, 10},
                              {"lru-evict", 2000, 200}};
  for (const Least& least : kLeast) {
    const SmallWorkload* const workload = find_small(least.name);
    REQUIRE(workload != nullptr);
    RunOptions options;
    workload->shape(options);
    options.schedules = 2'000'000;
    const Report report = explore(options, workload->factory());
    INFO(least.name << ": " << report.text());
    CHECK(report.passed());
    CHECK(report.complete);
    CHECK(report.schedules >= least.schedules);
    CHECK(report.states >= least.states);
    CHECK(report.acknowledged > 0);
  }
}

}  // namespace diorite::sim
