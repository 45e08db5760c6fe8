#include "engines/small_journal.hpp"

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

}  // namespace

SmallJournalEngine::SmallJournalEngine(const SmallJournalPlan& plan) : plan_(plan) {
  options_.segment_bytes = 64_KiB;
  options_.sync = plan.sync;
  options_.in_flight_max = 2;
  options_.commit_bytes_max = 16'384;
  options_.buffered_bytes_max = 65'536;
  options_.spares = 1;
  // No timer, or every moment is one at which it may run out.
  options_.confirm_idle_ms = 0;
  options_.direct = plan.direct;
  options_.pad_512 = plan.pad_512;
}

Task<bool> SmallJournalEngine::open(Life& life) {
  oracle_.opening();
  Result<std::unique_ptr<Journal>> opened = co_await Journal::open(life.reactor(), kDir, options_);
  if (!opened) {
    if (!life.is_over()) life.violation("the open was refused: " + opened.error().text());
    co_return false;
  }
  if (life.is_over()) co_return false;
  journal_ = std::move(*opened);
  std::string wrong = oracle_.opened(journal_->recovery());
  if (!life.check(wrong.empty(), wrong)) co_return false;
  Result<std::vector<FoundRecord>> found = co_await read_records(*journal_);
  if (!found) {
    if (!life.is_over()) life.violation("a reader failed: " + found.error().text());
    co_return false;
  }
  if (life.is_over()) co_return false;
  wrong = oracle_.check(std::move(*found));
  co_return life.check(wrong.empty(), wrong);
}

Task<> SmallJournalEngine::append(Life& life, std::uint32_t number, std::uint32_t bytes) {
  // So long that the one before it is in flight, or has even ended: that is one more choice.
  if (number != 0) {
    const Result<void> slept = co_await sleep_for(std::chrono::nanoseconds(number));
    if (!slept) co_return;
  }
  if (life.is_over()) co_return;
  std::vector<std::byte> payload(bytes);
  fill_by_number(payload, life.number() * 16 + number);
  const auto tag = static_cast<std::uint16_t>(life.number() * 16 + number);
  const std::uint64_t id = oracle_.appending(payload, tag);
  const Result<Ticket> ticket = co_await journal_->append_durable(RecordRef(payload, tag));
  if (life.is_over()) co_return;
  if (!ticket) co_return life.violation("an append failed: " + ticket.error().text());
  const std::string wrong = oracle_.acknowledged(id, *ticket);
  if (!life.check(wrong.empty(), wrong)) co_return;
  life.acknowledge();
}

Task<> SmallJournalEngine::close(Life& life) {
  const Result<void> closed = co_await journal_->close();
  if (life.is_over()) co_return;
  if (!closed) co_return life.violation("a close failed: " + closed.error().text());
  oracle_.closed(true);
}

Task<> SmallJournalEngine::live(Life& life) {
  const bool first = life.number() == 0;
  // A recovery reads ahead, and its reads are independent of one another: of their orders only the
  // plain one is tried.
  const bool unseen = life.is_healthy() || (first && !plan_.explores_first_open);
  life.explore(unseen ? Explored::nothing : Explored::ends);
  const bool opened = co_await open(life);
  const bool appends = first || (plan_.later_record != 0 && !life.is_healthy());
  if (appends) life.explore(Explored::everything);
  if (opened && appends) {
    TaskScope scope(life.reactor());
    if (first) {
      for (std::uint32_t i = 0; i < plan_.records.size(); ++i) {
        if (plan_.records[i] != 0) scope.spawn(append(life, i, plan_.records[i]));
      }
    } else {
      scope.spawn(append(life, 0, plan_.later_record));
    }
    [[maybe_unused]] const Result<void> joined = co_await scope.join();
    if (first && plan_.closes && !life.is_over()) co_await close(life);
  }
  journal_.reset();
}

Task<> SmallJournalEngine::prepare(Life& life) {
  const bool opened = co_await open(life);
  if (opened) {
    if (plan_.first_record != 0) co_await append(life, 15, plan_.first_record);
    co_await close(life);
  }
  journal_.reset();
}

}  // namespace diorite::sim
