#include "engines/journal_engine.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "engines/found_records.hpp"
#include "engines/payload.hpp"

#include <diorite/align.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

namespace diorite::sim {
namespace {

constexpr const char* kDir = "wal";
// Longer than any operation of a dead process may hold the lock: see Profile::stuck_max.
constexpr std::uint32_t kLockWaitMs = 60'000;

bool says_corrupt(const Error& error) {
  return error == Errc::corrupt || error == Errc::missing_segment || error == Errc::manifest_lost ||
         error == Errc::bad_format;
}

}  // namespace

JournalEngine::JournalEngine(Choices& choices, Size size)
    : size_(size),
      appenders_(1 + choices.draw_skewed(8)),
      largest_(std::array<std::uint32_t, 8>{300, 300, 300, 300, 2000, 2000, 9000,
                                            40'000}[choices.draw(8)]) {
  if (size_ == Size::small) {
    appenders_ = 2;
    options_.in_flight_max = 2;
    options_.spares = 1;
    options_.confirm_idle_ms = 0;
  }
  options_.segment_bytes = one_in(choices, 8) ? 128_KiB : 64_KiB;
  options_.lock_wait_ms = kLockWaitMs;
}

void JournalEngine::draw_options(Life& life) {
  if (size_ == Size::small) return;
  Choices& choices = life.choices();
  // These may differ from open to open.
  options_.sync = choices.draw(2) == 0 ? JournalSync::dsync : JournalSync::flush;
  options_.in_flight_max = 1 + choices.draw(4);
  options_.commit_bytes_max = 16'384U << choices.draw(3);
  options_.fill_bytes = choices.draw(2) == 0 ? 0 : 4096 * (1 + choices.draw(3));
  options_.buffered_bytes_max = std::uint64_t{16'384} << choices.draw_skewed(6);
  options_.spares = 1 + choices.draw(2);
  options_.confirm_idle_ms = choices.draw(3) == 0 ? 0 : 1 + choices.draw_skewed(20);
  options_.refuse_unreadable_tail = one_in(choices, 8) && !life.is_healthy();
  if (drawn_) return;
  // These may not: what was written with other options is judged by what they promised.
  drawn_ = true;
  options_.direct = one_in(choices, 4) ? Direct::off : Direct::preferred;
  options_.pad_512 =
      life.machine().disk().options().physical_block_bytes == 512 && choices.draw(2) == 1;
}

/// Whether an open or a reader may fail by what was damaged.
bool JournalEngine::is_due_to_damage(Life& life) const {
  const Damage* const damage = life.damage();
  if (damage == nullptr || settled_) return false;
  // What nobody was promised is a torn end, whatever has torn it. This is not so of a segment's
  // header, nor of a file that is gone: every segment is promised to be there before it is used.
  const LsnRange range = damaged_range(*damage, kDir, options_.segment_bytes);
  const bool in_log = damage->kind != Damage::Kind::lost_file && range.begin < range.end;
  return !in_log || range.begin < *promised_;
}

/// Whether the failure is one that the faults of this life explain.
bool JournalEngine::may_fail(Life& life, const Error& error) const {
  if (life.is_over() || is_due_to_damage(life)) return true;
  // Torn ends are to be expected, unreadable ones among them; so they alone are no reason.
  if (error == Errc::tail_unreadable) return options_.refuse_unreadable_tail;
  if (says_corrupt(error)) return false;
  // A journal in the page cache is not trusted in the boot that lost some of it.
  const bool buffered =
      options_.direct == Direct::off || !life.machine().disk().options().direct_possible;
  if (error == Errc::poisoned) return buffered;
  // These may be left over from an earlier life.
  if (is_no_space(error) || error == std::errc::read_only_file_system) return !life.is_healthy();
  return life.machine().counters().errors > errors_before_;
}

Task<bool> JournalEngine::open(Life& life) {
  const Damage* const damage = life.damage();
  if (damage != nullptr && !promised_) {
    promised_ = surviving_promise(life.machine().disk(), kDir);
  }
  oracle_.opening();
  errors_before_ = life.machine().counters().errors;
  Result<std::unique_ptr<Journal>> opened = co_await Journal::open(life.reactor(), kDir, options_);
  if (!opened) {
    const Error error = opened.error();
    if (!may_fail(life, error)) {
      life.violation("the open was refused: " + error.text());
    }
    co_return false;
  }
  journal_ = std::move(*opened);
  const bool damaged_now = damage != nullptr && !settled_;
  const Lsn* const lost_above = damaged_now ? &*promised_ : nullptr;
  if (damaged_now) oracle_.damaged(damaged_range(*damage, kDir, options_.segment_bytes));
  std::string wrong = oracle_.opened(journal_->recovery(), lost_above);
  if (!wrong.empty()) {
    life.violation(wrong);
    co_return false;
  }
  if (journal_->backend().read_only) {
    oracle_.read_only();
  } else if (!life.is_over()) {
    life.check(highest_commit(life.machine().disk(), kDir) < journal_->next_lsn(),
               "a commit that was given up stands where the journal goes on");
  }
  Result<std::vector<FoundRecord>> found = co_await read_records(*journal_);
  if (!found) {
    // A damaged record is found when it is read, if not before.
    const Error error = found.error();
    if (!may_fail(life, error)) life.violation("a reader failed: " + error.text());
    co_return false;
  }
  if (damage != nullptr) settled_ = true;
  wrong = oracle_.check(std::move(*found));
  if (!wrong.empty()) life.violation(wrong);
  durable_seen_ = journal_->durable_lsn();
  durable_at_poison_.reset();
  readers_ = 0;
  co_return wrong.empty();
}

Task<> JournalEngine::live(Life& life) {
  draw_options(life);
  const bool opened = co_await open(life);
  if (opened && !journal_->backend().read_only) {
    co_await work(life);
    co_await finish(life);
  }
  const bool destroyed = journal_ == nullptr || life.choices().draw(2) == 0;
  journal_.reset();
  // Whatever of it is with the device still must not land in the one that is opened next.
  if (!opened || !destroyed || life.is_over()) co_return;
  const bool again = co_await open(life);
  if (again && !journal_->backend().read_only) co_await work(life);
  journal_.reset();
}

Task<> JournalEngine::work(Life& life) {
  TaskScope scope(life.reactor());
  for (std::uint32_t i = 0; i < appenders_; ++i) scope.spawn(append_for_a_while(life));
  [[maybe_unused]] const Result<void> joined = co_await scope.join();
}

Task<> JournalEngine::finish(Life& life) {
  if (journal_ == nullptr) co_return;
  const std::uint32_t way = life.choices().draw(4);
  if (way == 1 || size_ == Size::small) co_return;
  if (way == 2) {
    const Result<void> synced = co_await journal_->sync_all();
    if (!synced) life.failed(synced.error());
    co_return;
  }
  const Result<void> closed = co_await journal_->close();
  if (closed) {
    oracle_.closed(true);
  } else {
    life.failed(closed.error());
  }
}

Task<> JournalEngine::append_for_a_while(Life& life) {
  while (journal_ != nullptr && life.goes_on()) {
    co_await act(life);
    if (!still_there(life)) break;
  }
}

bool JournalEngine::still_there(Life& life) {
  if (journal_ == nullptr) return false;
  const Lsn durable = journal_->durable_lsn();
  life.check(journal_->head_lsn() <= durable && durable <= journal_->next_lsn(),
             "head, durable and next are out of order");
  life.check(durable >= durable_seen_, "durable_lsn went back");
  durable_seen_ = std::max(durable_seen_, durable);
  if (!journal_->poison()) return true;
  // The first to see it marks what was durable; later acknowledgements would lie.
  if (!durable_at_poison_) durable_at_poison_ = durable;
  life.check(durable == *durable_at_poison_, "a poisoned journal has acknowledged more");
  return false;
}

void JournalEngine::acknowledge(Life& life, std::uint64_t id, const Ticket& ticket,
                                std::uint64_t records) {
  report(life, oracle_.acknowledged(id, ticket));
  life.acknowledge(records);
  if (journal_ == nullptr) return;
  life.check(ticket.end <= journal_->durable_lsn(), "acknowledged beyond durable_lsn");
}

void JournalEngine::append_failed(Life& life, const Error& error) {
  // Another coroutine may have destroyed the journal on purpose.
  if (error == Errc::closed && journal_ == nullptr) return;
  life.failed(error);
}

}  // namespace diorite::sim
