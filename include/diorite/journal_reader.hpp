// JournalReader: reads the durable records of an open journal in order, without copying them.
//
// Use it to replay after open, and to ship the log. It reads from the device into its own two
// buffers, one of which is filled while the other is read, and verifies every checksum.
//
// Thread: the reactor's. Lifetime: the journal outlives the reader. A record's span is valid until
// the next next(), seek(), or the reader's end. It never yields a record that is not durable, and
// ends at what was durable when next() was called.
//
//   const Lsn from = journal->head_lsn();
//   DIORITE_CO_TRY(JournalReader reader, co_await JournalReader::open(*journal, from));
//   for (;;) {
//     Result<const Record*> record = co_await reader.next();
//     if (!record) co_return record.error();
//     if (*record == nullptr) break;
//     replay((*record)->payload);
//   }

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <diorite/journal.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite {

namespace detail {
class ReaderCore;
}

enum class BatchPos : std::uint8_t { single, first, middle, last };

struct Record {
  Lsn begin;
  Lsn end;  ///< what sync_through takes
  std::uint64_t record_no = 0;
  std::uint16_t tag = 0;
  BatchPos batch = BatchPos::single;
  std::span<const std::byte> payload;
};

class JournalReader {
 public:
  /// From the first record whose begin is not below `from`. Errors: truncated below head_lsn (a =
  /// head_lsn); out_of_range above next_lsn. Allocates: the buffers.
  static Task<Result<JournalReader>> open(Journal& journal, Lsn from);
  JournalReader(JournalReader&&) noexcept;
  JournalReader& operator=(JournalReader&&) noexcept;
  ~JournalReader();

  /// -> Result<const Record*>, null at the end of what is durable; later records may follow, and a
  /// later next() finds them. Errors: corrupt (segment, offset, why); the system's.
  /// Allocates: one pooled frame when it has to read, nothing while records are at hand.
  Task<Result<const Record*>> next();
  /// The next record if it is in memory, null if reading is needed or the end is reached.
  const Record* next_buffered() noexcept;
  /// Errors: as open.
  Task<Result<void>> seek(Lsn from);

 private:
  explicit JournalReader(std::unique_ptr<detail::ReaderCore> core) noexcept;
  std::unique_ptr<detail::ReaderCore> core_;
};

}  // namespace diorite
