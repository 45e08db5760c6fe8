// A long random run from a seed: many actors, some of which give up, against what must hold in
// every order of events.

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "lru/rig.hpp"

namespace diorite::test {
namespace {

constexpr std::size_t kCapacity = 16;
constexpr std::uint64_t kIds = 40;

/// Many actors. Files from kWritten on are written, and evicted only while nobody uses them, so
/// that the log tells of one handle of them at a time.
class Crowd {
 public:
  explicit Crowd(std::uint32_t seed) : random_(seed) {
    FileLruOptions options;
    options.capacity = kCapacity;
    options.write = true;
    options.error_context = this;
    options.on_error = [](void* context, std::uint64_t id, const Error& error) noexcept {
      // What else it tells is that a removal, whose waiter gave up, found no file.
      if (error == std::errc::io_error) static_cast<Crowd*>(context)->stuck_.insert(id);
    };
    lru_.emplace(rig_.reactor, rig_.dir.path(), options);
  }

  void go(std::uint64_t operations) {
    left_ = operations;
    std::vector<Running<>> actors;
    for (int i = 0; i < 24; ++i) actors.push_back(start(rig_.reactor, act()));
    std::uint64_t turns = 0;
    rig_.until([&] {
      REQUIRE(lru_->stats().open_now <= kCapacity);
      if (++turns % 64 == 0) CHECK(rig_.descriptors() <= kCapacity);
      check_log();
      // Now and then somebody gives up in the middle of whatever he does.
      if (turns % 16 == 0 && left_ > 0) {
        Running<>& actor = actors[random_() % actors.size()];
        actor = Running<>();
        actor = start(rig_.reactor, act());
        ++given_up_;
      }
      return std::all_of(actors.begin(), actors.end(),
                         [](const Running<>& actor) { return actor.done(); });
    });
    actors.clear();
    [[maybe_unused]] const Result<void> closed = run(rig_.reactor, lru_->close_all());
    check_log();
    CHECK(lru_->stats().open_now == 0);
    CHECK(rig_.descriptors() == 0);
    CHECK(given_up_ > 10);
    CHECK(lru_->stats().joined > 100);
    CHECK(lru_->stats().removals > 10);
    CHECK(lru_->stats().syncs_before_close > 3);
  }

 private:
  static constexpr std::uint64_t kWritten = 28;
  static constexpr std::uint64_t kRemoved = 34;

  /// Counts who uses a written file, also when its coroutine is destroyed.
  struct Use {
    Use(Crowd& owner, std::uint64_t file) : crowd(owner), id(file) { ++crowd.users_[id]; }
    Use(const Use&) = delete;
    ~Use() { --crowd.users_[id]; }
    Crowd& crowd;
    std::uint64_t id;
  };
  struct Removing {
    Removing(Crowd& owner, std::uint64_t file) : crowd(owner), id(file) {
      crowd.doomed_.insert(id);
    }
    Removing(const Removing&) = delete;
    ~Removing() { crowd.doomed_.erase(crowd.doomed_.find(id)); }
    Crowd& crowd;
    std::uint64_t id;
  };

  std::uint64_t pick() { return random_() % 10 < 7 ? random_() % 12 : random_() % kIds; }

  Task<> act() {
    while (left_ > 0) {
      --left_;
      const std::uint64_t id = pick();
      const auto action = random_() % 100;
      if (action < 70) {
        co_await read(id);
      } else if (action < 80) {
        co_await hold(id);
      } else if (action < 88) {
        if (id < kWritten || users_[id] == 0) lru_->evict(id);
      } else if (action < 92) {
        if (id >= kRemoved) co_await remove(id);
      } else if (action < 94) {
        if (id >= kWritten && id < kRemoved) co_await write(id);
      } else if (action < 96) {
        forget(id);
      } else if (action < 98) {
        rig_.faults.fail(OpCode::open, 1, random_() % 2 == 0 ? EMFILE : EACCES);
      } else {
        NopAwait passing = nop(rig_.reactor);
        [[maybe_unused]] const Result<void> passed = co_await std::move(passing);
      }
    }
  }

  /// What an acquire may answer, by what held before it and what holds now.
  void judge(std::uint64_t id, const Error& error, bool was_stuck, std::uint64_t epoch) {
    const bool still_stuck = was_stuck && epoch == forgets_ && stuck_.count(id) != 0;
    if (!error) {
      CHECK_FALSE(still_stuck);
      return;
    }
    if (error == Errc::poisoned) {
      CHECK((was_stuck || stuck_.count(id) != 0));
    } else if (is_not_found(error)) {
      CHECK(id >= kRemoved);
    } else {
      CHECK((error == std::errc::permission_denied || error == std::errc::too_many_files_open));
    }
  }

  Task<> read(std::uint64_t id) {
    const Use use(*this, id);
    const bool was_stuck = stuck_.count(id) != 0;
    const std::uint64_t epoch = forgets_;
    const BufIoResult read = co_await lru_->read_into(id, new_page(), 0);
    CHECK(read.buf().capacity() == kPage);
    judge(id, read.error(), was_stuck, epoch);
    if (read) CHECK(text_of(read.buf()) == page_of(id));
  }

  Task<> hold(std::uint64_t id) {
    const Use use(*this, id);
    const bool was_stuck = stuck_.count(id) != 0;
    const std::uint64_t epoch = forgets_;
    const Result<FileLease> lease = co_await lru_->acquire(id);
    judge(id, lease.error(), was_stuck, epoch);
    if (!lease) co_return;
    CHECK((*lease)->path() == rig_.dir.file(name_of(id)));
    for (auto rounds = random_() % 4; rounds > 0; --rounds) {
      NopAwait passing = nop(rig_.reactor);
      [[maybe_unused]] const Result<void> passed = co_await std::move(passing);
    }
  }

  Task<> write(std::uint64_t id) {
    const Use use(*this, id);
    if (random_() % 4 == 0) rig_.faults.fail(OpCode::sync_data, 1, EIO, "/" + name_of(id));
    [[maybe_unused]] const Result<void> written = co_await write_page(*lru_, id);
  }

  Task<> remove(std::uint64_t id) {
    const Removing removing(*this, id);
    const Result<void> removed = co_await lru_->remove(id);
    CHECK((removed || is_not_found(removed.error())));
    if (doomed_.count(id) == 1 && random_() % 2 == 0) {
      // Nobody else removes it now, so it must be as the file system has it.
      const Result<void> missing = co_await touch(*lru_, id);
      if (missing) CHECK(rig_.dir.exists(name_of(id)));
    }
    if (doomed_.count(id) == 1) rig_.add_files(id, id + 1);
  }

  void forget(std::uint64_t id) {
    lru_->forget(id);
    stuck_.erase(id);
    ++forgets_;
  }

  /// No written file is closed before its changes are synced, but with an error that was told.
  void check_log() {
    using Kind = FaultDriver::Event::Kind;
    for (const FaultDriver::Event& event : rig_.faults.log()) {
      if (event.code == OpCode::write && event.kind == Kind::submitted) ++dirty_[event.path];
      // Its coroutine was destroyed before the system had seen it.
      if (event.code == OpCode::write && event.kind == Kind::removed) --dirty_[event.path];
      const bool synced = event.code == OpCode::sync_data && event.kind == Kind::completed;
      if (synced) dirty_.erase(event.path);
      if (event.code == OpCode::close && event.kind == Kind::submitted) {
        CHECK(dirty_[event.path] == 0);
      }
    }
    rig_.faults.clear_log();
    // Faults that came due long ago only cost time.
    if (++checks_ % 1024 == 0) rig_.faults.clear_rules();
  }

  std::mt19937 random_;
  Rig rig_{kIds};
  std::optional<FileLru> lru_;
  std::map<std::uint64_t, int> users_;
  std::set<std::uint64_t> stuck_;
  std::multiset<std::uint64_t> doomed_;
  std::map<std::string, int> dirty_;  // unsynced writes
  std::uint64_t left_ = 0;
  std::uint64_t forgets_ = 0;
  std::uint64_t given_up_ = 0;
  std::uint64_t checks_ = 0;
};

}  // namespace

TEST_CASE("many actors keep the invariants, 60 000 operations") {
  const std::uint32_t seed = GENERATE(2U, 3U, 71993U);
  CAPTURE(seed);
  Crowd(seed).go(20'000);
}

}  // namespace diorite::test
