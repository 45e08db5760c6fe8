// A new journal: segments first, MANIFEST named last. Without MANIFEST there is no journal yet, and
// nobody has been told anything that would have to survive.

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "journal/open.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

Error manifest_lost(std::string_view dir, std::string_view why) noexcept {
  return with_context(Error(Errc::manifest_lost),
                      {.operation = "open_journal", .path = dir, .note = why});
}

}  // namespace

Task<> remove_if_possible(LockedDir dir, std::string path) {
  try {
    [[maybe_unused]] const Result<void> removed = co_await dir.remove(std::move(path));
  } catch (const std::bad_alloc&) {
    // Not possible either.
  }
}

/// A segment without a MANIFEST is what is left of a creation, unless it holds a commit: the first
/// one is written when MANIFEST has its name.
Task<Result<void>> JournalOpener::refuse_if_used(std::uint64_t seq) {
  SegmentFacts facts;
  facts.seq = seq;
  facts.path = store_->segment_path(seq);
  OpenOptions how;
  how.direct = store_->options.direct;
  auto segment = std::make_shared<JournalSegment>();
  DIORITE_CO_TRY(segment->file, co_await DirectFile::open_with(reactor_, facts.path, how));
  DIORITE_CO_CHECK(co_await read_segment_header(segment->file, facts));
  if (facts.unreadable) read_failure_.note({facts.unreadable, facts.path, 0});
  if (wal::refuses_to_open(facts.verdict)) co_return judge_segment(facts, facts.header.uuid);
  if (!judge_segment(facts, facts.header.uuid)) {
    // Whole segments only are ever named, so this one has been in use.
    co_return manifest_lost(store_->dir,
                            fmt::format("segment {:016x} is there, and is damaged", seq));
  }
  segment->header = facts.header;
  SegmentWindow window(reactor_, SegmentWindow::OnError::fail);
  SegmentProbe probe;
  const std::uint64_t from = segment->data_begin();
  DIORITE_CO_CHECK(co_await probe_segment(window, segment, from, probe));
  window.detach();
  if (probe.intact > 0) {
    co_return manifest_lost(store_->dir, fmt::format("segment {:016x} holds commits", seq));
  }
  co_return co_await close_segment(std::move(segment));
}

Task<Result<void>> JournalOpener::make_first_segments() {
  // The first to be written, and one that is there when recovery needs it, however full the disk is
  // then.
  for (int made = 0; made < 2; ++made) {
    DIORITE_CO_TRY(SegmentRef segment, co_await store_->prepare_next());
    DIORITE_CO_CHECK(co_await close_segment(std::move(segment)));
  }
  co_return Result<void>();
}

Task<Result<void>> JournalOpener::name_manifest(DirectFile file) {
  wal::ManifestSlot manifest;
  manifest.uuid = store_->uuid;
  manifest.generation = 1;
  manifest.pad_unit = store_->pad_unit;
  manifest.capacity = store_->options.segment_bytes;
  const std::uint32_t stride = wal::stride_of(store_->pad_unit);
  // All of the file is written now, so that no later slot changes its size.
  const std::size_t bytes = static_cast<std::size_t>(wal::kManifestSlotOffsets[1] + stride);
  DIORITE_CO_TRY(AlignedBuf whole, AlignedBuf::zeroed(bytes));
  wal::encode_manifest_slot(whole.bytes().first(wal::kManifestSlotBytes), manifest);
  BufIoResult written = co_await file.write_at(std::move(whole), 0);
  if (!written) co_return written.error();
  DIORITE_CO_CHECK(co_await file.sync_data());
  const std::string temporary(file.path());
  DIORITE_CO_CHECK(co_await std::move(file).close());
  DIORITE_CO_CHECK(
      co_await store_->names().rename(temporary, join_path(store_->dir, wal::kManifestName)));
  co_return co_await store_->sync_names();
}

Task<Result<void>> JournalOpener::create() {
  for (const std::uint64_t seq : listing_.segments) {
    DIORITE_CO_CHECK(co_await refuse_if_used(seq));
  }
  if (store_->read_only) {
    co_return with_context(Error(std::make_error_code(std::errc::no_such_file_or_directory)),
                           {.operation = "open_journal",
                            .path = store_->dir,
                            .note = "there is no journal, and a read-only open makes none"});
  }
  // What an interrupted creation has left carries another uuid.
  for (const std::string& name : listing_.temporaries) {
    DIORITE_CO_CHECK(co_await store_->names().remove(join_path(store_->dir, name)));
  }
  while (!listing_.segments.empty()) {
    DIORITE_CO_CHECK(
        co_await store_->names().remove(store_->segment_path(listing_.segments.back())));
    listing_.segments.pop_back();
  }
  DIORITE_CO_CHECK(co_await store_->sync_names());

  const std::uint64_t random[2] = {reactor_.entropy(), reactor_.entropy()};
  static_assert(sizeof(random) == sizeof(wal::Uuid));
  std::memcpy(store_->uuid.data(), random, sizeof(random));
  OpenOptions how = open_options();
  how.create = how.exclusive = true;
  std::string temporary = join_path(store_->dir, wal::kManifestName);
  temporary += wal::kTemporarySuffix;
  DIORITE_CO_TRY(DirectFile file, co_await store_->names().open(std::move(temporary), how));
  DIORITE_CO_TRY(store_->pad_unit, required_pad_unit(file, store_->options, 0));
  DIORITE_CO_CHECK(co_await make_first_segments());
  DIORITE_CO_CHECK(co_await name_manifest(std::move(file)));
  created_ = true;
  DIORITE_CO_TRY(listing_, co_await list_journal(reactor_, store_->dir));
  co_return Result<void>();
}

}  // namespace diorite::detail
