#include "ingest/appenders.hpp"

#include <string>
#include <utility>

#include <diorite/scope.hpp>
#include <diorite/try.hpp>

namespace ingest {

using diorite::RecordRef;
using diorite::Result;
using diorite::Task;
using diorite::TaskScope;
using diorite::Ticket;

namespace {

struct Queue {
  std::vector<std::uint32_t> files;
  std::size_t next = 0;
};

Task<Result<void>> append_file(const Appending& work, std::uint32_t file) {
  DIORITE_CO_TRY(const std::string text, co_await work.input.read(file));
  std::string_view rest = text;
  std::string_view line;
  for (std::uint32_t number = 0; next_line(rest, line); ++number) {
    if (number < work.lines_done[file]) continue;
    const LineId id{file, number};
    const RecordRef record(bytes_of(id), bytes_of(line), 0);
    const diorite::Instant begin = work.reactor.now();
    Result<Ticket> ticket = co_await work.journal.append_durable(record);
    if (!ticket) co_return ticket.error();
    work.progress.latencies.add(work.reactor.now() - begin);
    ++work.progress.records;
    work.progress.bytes += record.bytes();
    if (work.acks != nullptr) work.acks->acknowledged(Ack{ticket->record_no, id});
  }
  ++work.progress.files;
  co_return Result<void>();
}

Task<Result<void>> appender(const Appending& work, Queue& queue) {
  while (queue.next < queue.files.size()) {
    const std::uint32_t file = queue.files[queue.next++];
    DIORITE_CO_CHECK(co_await append_file(work, file));
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> append_all(Appending work, std::uint32_t appenders) {
  Queue queue;
  DIORITE_CO_TRY(queue.files, co_await work.input.by_size());
  work.progress.files_total = queue.files.size();
  TaskScope scope(work.reactor);
  scope.spawn(show(work.reactor, work.journal, work.progress,
                   work.acks != nullptr ? "until the kill" : "to the end"));
  TaskScope workers(work.reactor);
  for (std::uint32_t i = 0; i < appenders; ++i) workers.spawn(appender(work, queue));
  Result<void> outcome = co_await workers.join();
  work.progress.finished = true;
  scope.request_stop();
  [[maybe_unused]] const Result<void> shown = co_await scope.join();
  co_return std::move(outcome);
}

}  // namespace ingest
