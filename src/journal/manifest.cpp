// Writing MANIFEST: one slot after the other, each durable before the other is touched.

#include <cstring>
#include <limits>
#include <utility>

#include "journal/store.hpp"
#include "journal/store_busy.hpp"

#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {

Task<Result<void>> JournalStore::write_manifest(wal::ManifestSlot next) {
  DIORITE_ASSERT(!read_only && manifest_file_, "MANIFEST of a read-only journal is not written");
  const Busy busy(manifest_busy_, "MANIFEST is written twice at a time");
  if (manifest_failure_) {
    co_return with_context(Error(Errc::poisoned),
                           {.operation = "write_manifest",
                            .path = manifest_file_.path(),
                            .note = "an earlier write of it failed; open the journal again"});
  }
  if (manifest_.generation == std::numeric_limits<std::uint64_t>::max()) {
    co_return with_context(Error(Errc::limit, manifest_.generation, manifest_.generation),
                           {.operation = "write_manifest", .path = manifest_file_.path()});
  }
  next.generation = manifest_.generation + 1;
  const std::uint32_t slot = 1 - manifest_slot_;
  DIORITE_CO_TRY(AlignedBuf block, AlignedBuf::zeroed(wal::stride_of(next.pad_unit)));
  wal::encode_manifest_slot(block.bytes().first(wal::kManifestSlotBytes), next);

  // A frame that is destroyed while its write is with the device leaves the slot in an unknown
  // state, and that write must not meet a later one to the same place.
  manifest_failure_ = Error(Errc::poisoned);
  BufIoResult written =
      co_await manifest_file_.write_at(std::move(block), wal::kManifestSlotOffsets[slot]);
  Error failure = written.error();
  if (!failure) {
    Result<void> synced = co_await manifest_file_.sync_data();
    failure = synced.error();
  }
  manifest_failure_ = is_cancelled(failure) ? Error() : failure;
  if (failure) co_return failure;
  manifest_ = next;
  manifest_slot_ = slot;
  co_return Result<void>();
}

}  // namespace diorite::detail
