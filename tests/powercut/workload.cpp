#include "powercut/workload.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include <diorite/journal_reader.hpp>
#include <diorite/reactor.hpp>

#include "powercut/record.hpp"
#include "support/unsynced_driver.hpp"

namespace diorite::powercut {
namespace {

[[noreturn]] void fail(const char* what, const Error& error) {
  std::fprintf(stderr, "powercut: workload: %s: %s\n", what, error.text().c_str());
  ::_exit(3);
}

class Life {
 public:
  explicit Life(const LifeOptions& options) : options_(options) {}
  [[noreturn]] void run();

 private:
  void note(const Mark& mark);
  Task<> append_for_ever(std::uint32_t worker);
  static Task<Error> read_all(Journal& journal, Mark& mark);
  void acknowledged(const RecordId& id, const Ticket& ticket);

  LifeOptions options_;
  int marks_ = -1;
  std::uint64_t acks_ = 0;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Journal> journal_;
};

// The note is in the trace when the call returns, and this thread does nothing meanwhile: nothing
// that follows from the acknowledgement can come before it in the trace.
void Life::note(const Mark& mark) {
  for (;;) {
    const ssize_t done = ::pwrite(marks_, &mark, sizeof mark, 0);
    if (done == static_cast<ssize_t>(sizeof mark)) return;
    if (done < 0 && errno == EINTR) continue;
    std::fprintf(stderr, "powercut: workload: a mark: %s\n", std::strerror(errno));
    ::_exit(4);
  }
}

Task<Error> Life::read_all(Journal& journal, Mark& mark) {
  Result<JournalReader> reader = co_await JournalReader::open(journal, journal.head_lsn());
  if (!reader) co_return reader.error();
  for (;;) {
    Result<const Record*> record = co_await reader->next();
    if (!record) co_return record.error();
    if (*record == nullptr) co_return Error();
    const std::span<const std::byte> payload = (*record)->payload;
    const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
    mark.hash = chain_hash(mark.hash, text);
    ++mark.count;
  }
}

void Life::acknowledged(const RecordId& id, const Ticket& ticket) {
  Mark mark;
  mark.kind = MarkKind::acked;
  mark.life = options_.life;
  mark.count = ticket.record_no;
  mark.begin = ticket.begin.value;
  mark.id = id;
  note(mark);
  if (++acks_ < options_.acks) return;
  // In the middle of whatever the other appenders and the background have with the disk.
  if (!options_.closes) ::kill(::getpid(), SIGKILL);
  reactor_->request_shutdown();
}

Task<> Life::append_for_ever(std::uint32_t worker) {
  RecordId id;
  id.life = options_.life;
  id.worker = worker;
  id.salt = options_.salt;
  for (; acks_ < options_.acks; ++id.sequence) {
    const std::string payload = record_of(id);
    const RecordRef record(std::as_bytes(std::span(payload.data(), payload.size())));
    const Result<Ticket> ticket = co_await journal_->append_durable(record);
    if (!ticket) {
      // The shutdown stops those that still wait.
      if (acks_ >= options_.acks) co_return;
      fail("append", ticket.error());
    }
    acknowledged(id, *ticket);
  }
}

void Life::run() {
  marks_ = ::open(options_.marks.c_str(), O_WRONLY | O_CLOEXEC);
  if (marks_ < 0) {
    std::fprintf(stderr, "powercut: workload: marks: %s\n", std::strerror(errno));
    ::_exit(4);
  }
  Mark begin;
  begin.life = options_.life;
  note(begin);

  Result<std::unique_ptr<Driver>> driver = make_driver();
  if (!driver) fail("driver", driver.error());
  std::unique_ptr<Driver> owned = std::move(*driver);
  if (options_.unsynced)
    owned = std::make_unique<test::UnsyncedDriver>(std::move(owned),
                                                   test::UnsyncedDriver::Writes::plain);
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create(std::move(owned));
  if (!reactor) fail("reactor", reactor.error());
  reactor_ = std::move(*reactor);

  Result<std::unique_ptr<Journal>> journal = reactor_->block_on(Journal::open(
      *reactor_, options_.journal_dir, journal_options(options_.writer, options_.life)));
  if (!journal) fail("open", journal.error());
  journal_ = std::move(*journal);
  Mark opened;
  opened.kind = MarkKind::opened;
  opened.life = options_.life;
  const Error error = reactor_->block_on(read_all(*journal_, opened));
  if (error) fail("read", error);
  note(opened);

  for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
    reactor_->spawn(append_for_ever(worker));
  }
  reactor_->run();
  const Result<void> closed = reactor_->block_on(journal_->close());
  if (!closed) fail("close", closed.error());
  ::_exit(0);
}

}  // namespace

JournalOptions journal_options(Writer writer, std::uint32_t life) {
  JournalOptions options;
  options.segment_bytes = std::uint64_t{1} << 20;
  options.sync = writer == Writer::dsync ? JournalSync::dsync : JournalSync::flush;
  options.in_flight_max = 1 + life % 5;
  options.spares = 1 + life % 2;
  options.confirm_idle_ms = life % 3 == 0 ? 0 : 2;
  options.lock_wait_ms = 30'000;
  return options;
}

void live(const LifeOptions& options) {
  Life life(options);
  life.run();
}

}  // namespace diorite::powercut
