#include "engines/found_records.hpp"

#include <utility>

#include <diorite/journal_reader.hpp>

namespace diorite::sim {

Task<Result<std::vector<FoundRecord>>> read_records(Journal& journal) {
  Result<JournalReader> reader = co_await JournalReader::open(journal, journal.head_lsn());
  if (!reader) co_return reader.error();
  std::vector<FoundRecord> found;
  for (;;) {
    Result<const Record*> next = co_await reader->next();
    if (!next) co_return next.error();
    const Record* const record = *next;
    if (record == nullptr) break;
    found.push_back({record->begin,
                     record->end,
                     record->record_no,
                     record->tag,
                     record->batch,
                     {record->payload.begin(), record->payload.end()}});
  }
  co_return std::move(found);
}

}  // namespace diorite::sim
