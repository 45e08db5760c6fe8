// A long random run from a seed: one actor against an exact model of the cache.

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <set>

#include "lru/rig.hpp"

namespace diorite::test {
namespace {

constexpr std::size_t kCapacity = 16;
constexpr std::uint64_t kIds = 40;

/// What a FileLru should be like when everything in the background has come to its end.
class Model {
 public:
  explicit Model(std::uint64_t files) {
    for (std::uint64_t id = 0; id < files; ++id) exists_.insert(id);
  }

  /// Pins, as an acquire does; the error that it should give. Requires: not all handles are pinned.
  Error acquire(std::uint64_t id, bool& is_hit) {
    is_hit = false;
    if (stuck_.count(id) != 0) return Errc::poisoned;
    if (pins_.count(id) == 0) {
      const auto idle = std::find(idle_.begin(), idle_.end(), id);
      is_hit = idle != idle_.end();
      if (is_hit) {
        idle_.erase(idle);
      } else {
        // Room is made before it is known whether there is a file.
        if (pins_.size() + idle_.size() == kCapacity) close(idle_.front());
        if (exists_.count(id) == 0) return not_found();
      }
    } else {
      is_hit = true;
    }
    ++pins_[id];
    return {};
  }
  void release(std::uint64_t id) {
    if (--pins_[id] > 0) return;
    pins_.erase(id);
    idle_.push_back(id);
  }
  void close(std::uint64_t id) {
    idle_.erase(std::find(idle_.begin(), idle_.end(), id));
    if (dirty_.erase(id) == 0) return;
    ++syncs;
    if (!next_sync_fails) return;
    next_sync_fails = false;
    stuck_.insert(id);
  }
  bool evict(std::uint64_t id) {
    if (!is_idle(id)) return false;
    close(id);
    return true;
  }
  bool remove(std::uint64_t id) {
    if (is_idle(id)) close(id);
    const bool existed = exists_.erase(id) != 0;
    if (existed) stuck_.erase(id);
    return existed;
  }
  void close_all() {
    while (!idle_.empty()) close(idle_.front());
  }
  void add(std::uint64_t id) { exists_.insert(id); }
  void forget(std::uint64_t id) { stuck_.erase(id); }
  void write(std::uint64_t id) { dirty_.insert(id); }

  bool is_idle(std::uint64_t id) const {
    return std::find(idle_.begin(), idle_.end(), id) != idle_.end();
  }
  bool is_pinned(std::uint64_t id) const { return pins_.count(id) != 0; }
  std::size_t open() const { return idle_.size() + pins_.size(); }
  std::size_t pinned() const { return pins_.size(); }

  bool next_sync_fails = false;
  std::uint64_t syncs = 0;

 private:
  std::set<std::uint64_t> exists_;
  std::vector<std::uint64_t> idle_;  // least recently used first
  std::map<std::uint64_t, int> pins_;
  std::set<std::uint64_t> dirty_;
  std::set<std::uint64_t> stuck_;
};

std::string described(const Error& error) { return error ? error.code().message() : "good"; }

/// One actor: every outcome is known beforehand.
class Lockstep {
 public:
  explicit Lockstep(std::uint32_t seed) : random_(seed) {}

  void step() {
    const std::uint64_t id = pick();
    const auto action = random_() % 100;
    if (action < 45) {
      read(id);
    } else if (action < 60) {
      lease(id);
    } else if (action < 74) {
      release();
    } else if (action < 82) {
      evict(id);
    } else if (action < 88) {
      remove(id);
    } else if (action < 95) {
      if (!model_.is_pinned(id) && !rig_.dir.exists(name_of(id))) rig_.add_files(id, id + 1);
      if (rig_.dir.exists(name_of(id))) model_.add(id);
    } else if (action < 96) {
      write(id);
    } else if (action < 98) {
      lru_.forget(id);
      model_.forget(id);
    } else if (leases_.empty()) {
      // Which of several syncs fails hangs on their order, which close_all leaves open.
      rig_.faults.clear_rules();
      model_.next_sync_fails = false;
      REQUIRE(run(rig_.reactor, lru_.close_all()));
      model_.close_all();
    }
    compare();
  }

  void finish() {
    leases_.clear();
    [[maybe_unused]] const Result<void> closed = run(rig_.reactor, lru_.close_all());
    CHECK(rig_.descriptors() == 0);
    CHECK(lru_.stats().open_max == kCapacity);
    CHECK(lru_.stats().syncs_before_close == rig_.faults.count(OpCode::sync_data));
    CHECK(lru_.stats().hits > 1000);
    CHECK(lru_.stats().evictions > 500);
    CHECK(lru_.stats().removals > 100);
    CHECK(lru_.stats().syncs_before_close > 10);
    CHECK(lru_.stats().background_errors > 0);
  }

 private:
  std::uint64_t pick() {
    // Most of the traffic goes to a few files.
    return random_() % 10 < 6 ? random_() % 12 : random_() % kIds;
  }

  void settled() {
    rig_.until([&] { return lru_.stats().open_now == model_.open(); });
  }

  void read(std::uint64_t id) {
    if (model_.pinned() == kCapacity) return;
    bool is_hit = false;
    const Error expected = model_.acquire(id, is_hit);
    const std::uint64_t hits = lru_.stats().hits;
    const Result<void> outcome = run(rig_.reactor, check_page(lru_, id));
    CHECK(described(outcome.error()) == described(expected));
    CHECK(lru_.stats().hits == hits + (is_hit ? 1 : 0));
    if (!expected) model_.release(id);
  }

  void lease(std::uint64_t id) {
    if (leases_.size() == kCapacity - 2) return;
    bool is_hit = false;
    const Error expected = model_.acquire(id, is_hit);
    Result<FileLease> outcome = run(rig_.reactor, lru_.acquire(id));
    CHECK(described(outcome.error()) == described(expected));
    if (outcome) leases_.push_back(*std::move(outcome));
  }

  void release() {
    if (leases_.empty()) return;
    const auto which = static_cast<std::ptrdiff_t>(random_() % leases_.size());
    model_.release(leases_[static_cast<std::size_t>(which)].id());
    leases_.erase(leases_.begin() + which);
  }

  void evict(std::uint64_t id) {
    if (model_.is_pinned(id)) return;
    const bool expected = model_.evict(id);
    CHECK(lru_.evict(id) == expected);
  }

  void remove(std::uint64_t id) {
    if (model_.is_pinned(id)) return;
    const bool expected = model_.remove(id);
    const Result<void> outcome = run(rig_.reactor, await_removal(lru_.remove(id)));
    CHECK(outcome.has_value() == expected);
  }

  void write(std::uint64_t id) {
    if (model_.pinned() == kCapacity) return;
    bool is_hit = false;
    const Error expected = model_.acquire(id, is_hit);
    const Result<void> outcome = run(rig_.reactor, write_page(lru_, id));
    CHECK(described(outcome.error()) == described(expected));
    if (expected) return;
    model_.write(id);
    model_.release(id);
    if (random_() % 4 != 0 || model_.next_sync_fails) return;
    model_.next_sync_fails = true;
    rig_.faults.clear_rules();
    rig_.faults.fail(OpCode::sync_data, 1, EIO);
  }

  void compare() {
    settled();
    REQUIRE(lru_.stats().pinned_now == model_.pinned());
    REQUIRE(lru_.stats().syncs_before_close == model_.syncs);
    if (++steps_ % 256 != 0) return;
    CHECK(rig_.descriptors() == model_.open());
    rig_.faults.clear_log();
    // The whole contents, without changing their order.
    std::size_t found = 0;
    for (std::uint64_t id = 0; id < kIds; ++id) found += model_.is_idle(id) ? 1 : 0;
    CHECK(found + model_.pinned() == lru_.stats().open_now);
  }

  std::mt19937 random_;
  Rig rig_{kIds};
  FileLru lru_{rig_.reactor, rig_.dir.path(), {.capacity = kCapacity, .write = true}};
  Model model_{kIds};
  std::vector<FileLease> leases_;
  std::uint64_t steps_ = 0;
};

}  // namespace

TEST_CASE("one actor agrees with the model, 50 000 operations") {
  const std::uint32_t seed = GENERATE(1U, 20250704U);
  CAPTURE(seed);
  Lockstep lockstep(seed);
  for (int i = 0; i < 25'000; ++i) lockstep.step();
  lockstep.finish();
}

}  // namespace diorite::test
