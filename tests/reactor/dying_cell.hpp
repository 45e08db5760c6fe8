// One cell of the matrix of dying coroutines: a coroutine that awaits one operation, its death in
// one state, and everything that is checked when it is gone.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <diorite/offload.hpp>
#include <diorite/sync.hpp>

#include "reactor/dying_rig.hpp"
#include "support/gate.hpp"

namespace diorite::test {

enum class State : std::uint8_t {
  idle,        ///< the awaitable was made, and is not awaited yet
  backlogged,  ///< the driver has no slot for it
  submitted,   ///< the driver has begun it
  completed,   ///< it has ended, and its coroutine was not resumed yet
};
inline constexpr State kStates[] = {State::idle, State::backlogged, State::submitted,
                                    State::completed};
inline constexpr const char* kStateNames[] = {"idle", "backlogged", "submitted", "completed"};

enum class Buffer : std::uint8_t { none, owned, pinned, borrowed };

enum class Act : std::uint8_t {
  read_owned,
  read_pinned,
  read_borrowed,
  write_owned,
  write_pinned,
  write_borrowed,
  dsync_owned,
  sync_data,
  sync_all,
  truncate,
  size,
  preallocate,
  try_lock,
  drop_cache,
  close,
  open,
  make_dir,
  list_dir,
  rename,
  remove,
  sync_dir,
  nop,
  offload,
};
struct ActInfo {
  Act act;
  const char* name;
  OpCode code;  ///< of its first operation
  Buffer buffer;
  bool changes;  ///< what it does can be seen afterwards
};
inline constexpr ActInfo kActs[] = {
    {Act::read_owned, "read owned", OpCode::read, Buffer::owned, false},
    {Act::read_pinned, "read pinned", OpCode::read, Buffer::pinned, false},
    {Act::read_borrowed, "read borrowed", OpCode::read, Buffer::borrowed, false},
    {Act::write_owned, "write owned", OpCode::write, Buffer::owned, true},
    {Act::write_pinned, "write pinned", OpCode::write, Buffer::pinned, true},
    {Act::write_borrowed, "write borrowed", OpCode::write, Buffer::borrowed, true},
    {Act::dsync_owned, "durable write owned", OpCode::write, Buffer::owned, true},
    {Act::sync_data, "sync_data", OpCode::sync_data, Buffer::none, false},
    {Act::sync_all, "sync_all", OpCode::sync_all, Buffer::none, false},
    {Act::truncate, "truncate", OpCode::truncate, Buffer::none, true},
    {Act::size, "size", OpCode::info, Buffer::none, false},
    {Act::preallocate, "preallocate", OpCode::info, Buffer::none, false},
    {Act::try_lock, "try_lock", OpCode::try_lock, Buffer::none, false},
    {Act::drop_cache, "drop_cache", OpCode::drop_cache, Buffer::none, false},
    {Act::close, "close", OpCode::close, Buffer::none, false},
    {Act::open, "open", OpCode::open, Buffer::none, true},
    {Act::make_dir, "mkdir", OpCode::make_dir, Buffer::none, true},
    {Act::list_dir, "list", OpCode::list_dir, Buffer::none, false},
    {Act::rename, "rename", OpCode::rename, Buffer::none, true},
    {Act::remove, "remove", OpCode::remove, Buffer::none, true},
    {Act::sync_dir, "sync_dir", OpCode::sync_dir, Buffer::none, false},
    {Act::nop, "nop", OpCode::nop, Buffer::none, false},
    {Act::offload, "offload", OpCode::call, Buffer::none, false},
};

inline bool on_file(Act act) { return act < Act::close; }
inline bool is_write(Act act) { return act >= Act::write_owned && act <= Act::dsync_owned; }
inline bool is_sync(Act act) { return act == Act::sync_data || act == Act::sync_all; }

/// One cell: a coroutine that awaits one thing, and everything that is checked when it is gone.
class Cell {
 public:
  Cell(const Lane& lane, const ActInfo& info, State state, std::size_t bytes = kPage,
       sim::Chance cancel_wins = sim::never())
      : rig_(lane, state == State::backlogged ? 1 : 64, cancel_wins),
        info_(info),
        state_(state),
        frame_(bytes),
        bytes_(bytes) {
    for (const char* const name : {"old", "doomed"}) {
      close_file(reactor(), open_file(reactor(), rig_.path(name), writable()));
    }
    file_ = open_file(reactor(), rig_.path("data"), writable());
    REQUIRE(wait(reactor(), file_.write_at(filled(bytes_, 7), 0)));
    REQUIRE(wait(reactor(), file_.sync_data()));
    // A write that a sync is to make durable.
    if (is_sync(info.act)) REQUIRE(wait(reactor(), file_.write_at(filled(bytes_, 7), 0)));
    fill(frame_.bytes(), is_write(info.act) ? 50 : 7);
    settle(reactor());
    rig_.watch->forget_ended();
    before_ = reactor().stats();
  }

  Reactor& reactor() { return rig_.reactor(); }
  DyingRig& rig() { return rig_; }
  DirectFile& file() { return file_; }

  /// Brings the coroutine into its state, destroys it there, and checks. False when the state was
  /// not met: the checks that hold in any case have been made all the same.
  bool run() {
    switch (state_) {
      case State::idle:
        return die_idle();
      case State::backlogged:
        return die_in_backlog();
      case State::submitted:
        return rig_.lane().faults ? die_held() : die_begun();
      case State::completed:
        return die_completed();
    }
    return false;
  }

  void begin() { running_ = start(reactor(), make(info_.act)); }
  void drop() { running_ = {}; }
  std::uint32_t hold() {
    const std::uint32_t rule = rig_.holds->hold(info_.code, 1);
    begin();
    while (!rig_.holds->is_held(rule)) reactor().turn(kAtOnce);
    return rule;
  }
  ReactorStats since() {
    ReactorStats now = reactor().stats();
    now.submitted -= before_.submitted;
    now.removed -= before_.removed;
    now.orphans -= before_.orphans;
    now.orphan_errors -= before_.orphan_errors;
    now.blocking_reaps -= before_.blocking_reaps;
    return now;
  }

  /// The end of every cell: `took_place` says whether the operation did.
  void check_end(std::optional<bool> took_place) {
    settle(reactor());
    gate_.open();
    CHECK_FALSE(ended_);
    CHECK(reactor().stats().in_flight == 0);
    CHECK(frame_.pins == 0);
    CHECK(frame_.releases == (info_.buffer == Buffer::pinned ? 1 : 0));
    CHECK(since().orphan_errors == 0);
    if (file_) {
      CHECK(file_.operations_in_flight() == 0);
      CHECK_FALSE(static_cast<bool>(file_.poison()));
    }
    check_effect(took_place);
    file_ = DirectFile();
    settle(reactor());
    CHECK(reactor().stats().in_flight == 0);
    CHECK(reactor().stats().deferred_close_errors == 0);
  }

  ~Cell() {
    drop();
    gate_.open();
  }
  /// How long a real device gets before its operation is looked at.
  void set_patience(Duration patience) { patience_ = patience; }

 private:
  template <class A>
  static Task<> parked(Cell& cell, A awaitable) {
    if (cell.state_ == State::idle) {
      cell.parks_ = true;
      static_cast<void>(co_await cell.park_.wait());
    }
    static_cast<void>(co_await std::move(awaitable));
    cell.ended_ = true;
  }
  /// For what is a task already when it has begun.
  template <class T>
  static Task<> parked_task(Cell& cell, Task<T> task) {
    return parked(cell, std::move(task));
  }
  auto blocking_function() noexcept {
    // On one thread nobody could open the gate.
    const bool passes = rig_.lane().base == Base::uring || rig_.lane().base == Base::pool;
    return [gate = &gate_, waits = passes && state_ == State::submitted && !rig_.lane().faults] {
      if (waits) gate->pass();
      return 4;
    };
  }

  Task<> make(Act act) {
    WriteFlags durable;
    durable.dsync = true;
    switch (act) {
      case Act::read_owned:
        return parked(*this, file_.read_at(buffer(bytes_), 0));
      case Act::read_pinned:
        return parked(*this, file_.read_at(frame_.pinned(), 0));
      case Act::read_borrowed:
        return parked(*this, file_.read_at(frame_.raw(), 0));
      case Act::write_owned:
        return parked(*this, file_.write_at(filled(bytes_, 50), 0));
      case Act::write_pinned:
        return parked(*this, file_.write_at(frame_.pinned(), 0));
      case Act::write_borrowed:
        return parked(*this, file_.write_at(ConstIoBuf(frame_.raw()), 0));
      case Act::dsync_owned:
        return parked(*this, file_.write_at(filled(bytes_, 50), 0, durable));
      case Act::sync_data:
        return parked(*this, file_.sync_data());
      case Act::sync_all:
        return parked(*this, file_.sync_all());
      case Act::truncate:
        return parked(*this, file_.truncate(0));
      case Act::size:
        return parked(*this, file_.size());
      case Act::drop_cache:
        return parked(*this, file_.drop_cache());
      case Act::nop:
        return parked(*this, nop(reactor()));
      case Act::offload:
        return parked(*this, reactor().offload(blocking_function()));
      default:
        return make_task(act);
    }
  }
  Task<> make_task(Act act) {
    switch (act) {
      case Act::preallocate:
        return parked_task(*this, file_.preallocate(bytes_ * 2));
      case Act::try_lock:
        return parked_task(*this, file_.try_lock());
      case Act::close:
        return parked_task(*this, std::move(file_).close());
      case Act::open:
        return parked_task(*this, DirectFile::open_rw(reactor(), rig_.path("opened")));
      case Act::make_dir:
        return parked_task(*this, mkdir(reactor(), rig_.path("made")));
      case Act::list_dir:
        return parked_task(*this, list(reactor(), rig_.root()));
      case Act::rename:
        return parked_task(*this, rename(reactor(), rig_.path("old"), rig_.path("new")));
      case Act::remove:
        return parked_task(*this, diorite::remove(reactor(), rig_.path("doomed")));
      default:
        return parked_task(*this, sync_dir(reactor(), rig_.root()));
    }
  }

  bool die_idle() {
    begin();
    reactor().turn(kAtOnce);
    const bool reached = parks_ && !rig_.watch->state_of(info_.code);
    drop();
    CHECK(since().submitted == 0);
    check_end(false);
    return reached;
  }

  static Task<> blocks(Reactor& reactor) { static_cast<void>(co_await nop(reactor)); }
  /// Runs when the coroutine of the cell has run, and before anything is submitted.
  static Task<> kills(Cell& cell, bool& reached) {
    reached = cell.rig_.watch->state_of(cell.info_.code) == OpState::backlog;
    const ReactorStats then = cell.reactor().stats();
    cell.drop();
    CHECK(cell.reactor().stats().removed == then.removed + 1);
    CHECK(cell.reactor().stats().in_flight == then.in_flight - 1);
    co_return;
  }
  bool die_in_backlog() {
    // The only slot is taken in the turn in which the operation comes, and in which it goes.
    bool reached = false;
    Running<> blocker = start(reactor(), blocks(reactor()));
    // The watch would take the blocker for the operation itself.
    if (info_.act == Act::nop) blocker = start(reactor(), blocks_on_path(*this));
    begin();
    Running<> killer = start(reactor(), kills(*this, reached));
    reactor().turn(kAtOnce);
    REQUIRE(killer.done());
    CHECK(since().orphans == 0);
    CHECK(since().blocking_reaps == 0);
    // Nothing has changed the file, but for what a sync was to make durable.
    if (file_) CHECK(file_.is_dirty() == is_sync(info_.act));
    finish(reactor(), blocker);
    check_end(false);
    return reached;
  }
  static Task<> blocks_on_path(Cell& cell) {
    static_cast<void>(co_await list(cell.reactor(), cell.rig_.root()));
  }

  bool is_borrowed() const { return info_.buffer == Buffer::borrowed || info_.act == Act::offload; }

  /// In flight for as long as the FaultDriver says.
  bool die_held() {
    std::uint32_t rule = hold();
    const bool reached = rig_.watch->state_of(info_.code) == OpState::in_flight;
    if (info_.buffer == Buffer::pinned) CHECK(frame_.pins == 1);
    if (is_borrowed()) {
      // The destructor waits: it is let go by the poll in which it does.
      struct Release {
        FaultDriver* faults;
        std::uint32_t rule;
      } release{rig_.holds, rule};
      rig_.watch->at_next_poll(
          [](void* context) {
            const auto& due = *static_cast<Release*>(context);
            due.faults->release(due.rule);
          },
          &release);
      drop();
      CHECK_FALSE(rig_.watch->gate_is_armed());
      if (rig_.watch->gate_is_armed()) {
        // Nobody has waited; the test must end all the same.
        rig_.watch->disarm_gate();
        rig_.holds->release(rule);
        settle(reactor());
      }
      check_reaped();
    } else {
      drop();
      check_orphaned();
      for (int i = 0; i < 3; ++i) reactor().turn(kAtOnce);
      CHECK(frame_.releases == 0);
      CHECK(reactor().stats().in_flight == 1);
      rig_.holds->release(rule);
    }
    check_end(true);
    return reached;
  }
  void check_reaped() {
    CHECK(since().blocking_reaps == 1);
    CHECK(since().orphans == 0);
    CHECK(reactor().stats().in_flight == 0);
  }
  void check_orphaned() {
    CHECK(since().orphans == 1);
    CHECK(since().blocking_reaps == 0);
    CHECK(reactor().stats().in_flight == 1);
    if (on_file(info_.act)) CHECK(file_.operations_in_flight() == 1);
  }

  /// In flight for as long as the device says: it may have ended before, and a worker thread may
  /// not have begun.
  bool die_begun() {
    begin();
    reactor().turn(kAtOnce);
    if (info_.act == Act::offload && gate_is_used()) {
      while (!gate_.entered()) rig_.pass(std::chrono::microseconds(50));
      rig_.watch->at_next_poll([](void* gate) { static_cast<Gate*>(gate)->open(); }, &gate_);
    } else {
      rig_.pass(patience_);
    }
    if (rig_.watch->state_of(info_.code) != OpState::in_flight) {
      drop();
      settle(reactor());
      return false;
    }
    drop();
    rig_.watch->disarm_gate();
    if (since().removed == 1) {
      check_end(false);
      return false;
    }
    if (is_borrowed()) {
      check_reaped();
    } else {
      check_orphaned();
    }
    check_end(true);
    return true;
  }
  bool gate_is_used() const {
    return rig_.lane().base == Base::uring || rig_.lane().base == Base::pool;
  }

  bool die_completed() {
    begin();
    reactor().turn(kAtOnce);
    while (rig_.watch->state_of(info_.code) != OpState::done) reactor().turn(kNever);
    const bool reached = !ended_;
    drop();
    CHECK(since().orphans == 0);
    CHECK(since().blocking_reaps == 0);
    check_end(true);
    return reached;
  }

  void check_effect(std::optional<bool> took_place) {
    const bool done = took_place.value_or(false) && info_.changes;
    if (took_place) {
      CHECK(rig_.has("opened") == (done && info_.act == Act::open));
      CHECK(rig_.has("made") == (done && info_.act == Act::make_dir));
      CHECK(rig_.has("new") == (done && info_.act == Act::rename));
      CHECK(rig_.has("old") == !(done && info_.act == Act::rename));
      CHECK(rig_.has("doomed") == !(done && info_.act == Act::remove));
    }
    if (!file_ || !took_place) return;
    const Result<std::uint64_t> size = wait(reactor(), file_.size());
    REQUIRE(size);
    const bool cut = done && info_.act == Act::truncate;
    CHECK(*size == (cut ? 0 : bytes_));
    // What was given up may count as a change all the same.
    const bool given_up = !done && since().orphans + since().blocking_reaps > 0;
    if ((is_write(info_.act) || cut) && !given_up) CHECK(file_.is_dirty() == done);
    if (cut) return;
    const BufIoResult read = wait(reactor(), file_.read_at(buffer(bytes_), 0));
    REQUIRE(read);
    CHECK(holds(read.buf().bytes(), done && is_write(info_.act) ? 50 : 7));
  }

  DyingRig rig_;
  const ActInfo& info_;
  const State state_;
  Frame frame_;
  Event park_;
  Gate gate_;
  const std::size_t bytes_;
  DirectFile file_;
  ReactorStats before_;
  Duration patience_{};
  bool parks_ = false;
  bool ended_ = false;
  Running<> running_;
};

}  // namespace diorite::test
