// What is in a journal's directory, before anything is concluded from it.

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

#include "journal/recover.hpp"

#include <diorite/align.hpp>
#include <diorite/fs.hpp>
#include <diorite/timer.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

constexpr int kTries = 3;

Error range_error(std::string_view dir, std::uint64_t value, std::uint64_t limit,
                  std::string_view what) noexcept {
  return with_context(Error(Errc::out_of_range, value, limit),
                      {.operation = "open_journal", .path = dir, .note = what});
}

}  // namespace

Error corrupt_at(std::string_view path, std::uint64_t offset, std::string_view why) noexcept {
  return with_context(Error(Errc::corrupt, offset),
                      {.operation = "open_journal", .path = path, .offset = offset, .note = why});
}

Error check_options(const JournalOptions& options, std::string_view dir) noexcept {
  constexpr std::uint64_t kSegmentUnit = 64_KiB;
  constexpr std::uint64_t kCommitMin = 16_KiB;
  constexpr std::uint64_t kCommitMax = 4_MiB;
  constexpr std::uint64_t kBufferedMin = 4_KiB;
  if (options.segment_bytes < wal::kSegmentBytesMin ||
      options.segment_bytes > wal::kSegmentBytesMax ||
      !is_aligned(options.segment_bytes, kSegmentUnit)) {
    return range_error(dir, options.segment_bytes, wal::kSegmentBytesMax,
                       "segment_bytes: 64 KiB to 4 GiB, a multiple of 64 KiB");
  }
  if (options.sync != JournalSync::dsync && options.sync != JournalSync::flush) {
    return range_error(dir, static_cast<std::uint64_t>(options.sync), 1, "sync: dsync or flush");
  }
  if (options.in_flight_max < 1 || options.in_flight_max > 64) {
    return range_error(dir, options.in_flight_max, 64, "in_flight_max: 1 to 64");
  }
  if (options.commit_bytes_max < kCommitMin || options.commit_bytes_max > kCommitMax) {
    return range_error(dir, options.commit_bytes_max, kCommitMax,
                       "commit_bytes_max: 16 KiB to 4 MiB");
  }
  if (options.fill_bytes > options.commit_bytes_max) {
    return range_error(dir, options.fill_bytes, options.commit_bytes_max,
                       "fill_bytes: not above commit_bytes_max");
  }
  if (options.buffered_bytes_max < kBufferedMin) {
    return range_error(dir, options.buffered_bytes_max, kBufferedMin,
                       "buffered_bytes_max: 4 KiB at least");
  }
  if (options.spares < 1 || options.spares > 16) {
    return range_error(dir, options.spares, 16, "spares: 1 to 16");
  }
  return {};
}

Result<std::uint32_t> required_pad_unit(const DirectFile& file, const JournalOptions& options,
                                        std::uint32_t present) {
  std::uint64_t unit = std::max(file.alignment().offset, present);
  if (!options.pad_512) {
    unit = std::max<std::uint64_t>({unit, wal::kBlockBytes, file.physical_block_bytes()});
  }
  unit = std::max<std::uint64_t>(unit, wal::kPadUnitMin);
  unit = std::bit_ceil(unit);
  // A larger physical block only widens what a torn write may damage; a larger alignment cannot be
  // met.
  if (file.alignment().offset > wal::kPadUnitMax) {
    return with_context(Error(Errc::unsupported),
                        {.operation = "open_journal",
                         .path = file.path(),
                         .note = "direct I/O here demands units of more than 64 KiB"});
  }
  const auto pad_unit = static_cast<std::uint32_t>(std::min<std::uint64_t>(unit, wal::kPadUnitMax));
  if (options.segment_bytes < wal::capacity_min(pad_unit)) {
    return range_error(file.path(), options.segment_bytes, wal::capacity_min(pad_unit),
                       "segment_bytes: at least 16 times the unit that is written at once here");
  }
  return pad_unit;
}

Task<Result<void>> lock_file(DirectFile& file, Duration wait) {
  using std::chrono::milliseconds;
  Reactor& reactor = file.reactor();
  const Instant begin = reactor.now();
  for (;;) {
    Result<void> locked = co_await file.try_lock();
    if (locked || !(locked.error() == Errc::busy)) co_return std::move(locked);
    const Duration waited = reactor.now() - begin;
    if (waited >= wait) {
      const auto ms = std::chrono::duration_cast<milliseconds>(waited).count();
      co_return with_context(
          Error(Errc::locked, static_cast<std::uint64_t>(ms)),
          {.operation = "lock",
           .path = file.path(),
           .note = "writes of a process that has died are still on their way to it"});
    }
    DIORITE_CO_CHECK(co_await sleep_for(std::min<Duration>(milliseconds(5), wait - waited)));
  }
}

Task<Result<DirectoryListing>> list_journal(Reactor& reactor, std::string dir) {
  DIORITE_CO_TRY(std::vector<DirEntry> entries, co_await list(reactor, std::move(dir)));
  DirectoryListing listing;
  for (const DirEntry& entry : entries) {
    std::uint64_t seq = 0;
    if (entry.kind == FileKind::directory) continue;
    if (entry.name == wal::kManifestName) {
      listing.manifest = true;
    } else if (wal::parse_segment_file_name(entry.name, seq)) {
      listing.segments.push_back(seq);
    } else if (std::string_view(entry.name).ends_with(wal::kTemporarySuffix)) {
      listing.temporaries.push_back(entry.name);
    }
  }
  std::sort(listing.segments.begin(), listing.segments.end());
  co_return std::move(listing);
}

Task<Result<void>> read_segment_header(DirectFile& file, SegmentFacts& facts) {
  DIORITE_CO_TRY(facts.bytes, co_await file.size());
  const std::uint64_t unit =
      std::max<std::uint64_t>(wal::kSegmentHeaderBytes, file.alignment().read_offset);
  DIORITE_CO_TRY(AlignedBuf block, AlignedBuf::with_cap(static_cast<std::size_t>(unit)));
  Error error;
  for (int tries = 0; tries < kTries; ++tries) {
    BufIoResult read = co_await file.read_at(std::move(block), 0, static_cast<std::size_t>(unit));
    error = read.error();
    block = std::move(read.buf());
    if (!is_device(error)) break;
  }
  if (is_device(error)) {
    facts.unreadable = error;
  } else if (error && error != Errc::short_io) {
    co_return error;
  } else {
    facts.verdict = wal::decode_segment_header(block.bytes(), facts.header);
  }
  co_return Result<void>();
}

Task<Result<void>> read_first_commit(SegmentWindow& window, SegmentRef segment,
                                     SegmentFacts& facts) {
  const wal::SegmentGeometry geometry = wal::geometry_of(segment->header);
  const std::uint64_t at = geometry.data_begin() - geometry.base_lsn;
  // A file that was cut short is judged by its size; here it only must not be read beyond its end.
  if (facts.bytes < geometry.capacity) co_return Result<void>();
  // Most segments begin with an ordinary commit, of which the header says all that is asked here;
  // only the first of an EPOCH is needed whole.
  std::uint64_t footprint = geometry.pad_unit;
  window.attach(std::move(segment), at + footprint);
  DIORITE_CO_CHECK(co_await window.fill(at, footprint));
  facts.first = wal::verify_commit(window.have(at), geometry, geometry.data_begin());
  if (facts.first.verdict == wal::CommitVerdict::incomplete &&
      wal::is_epoch(facts.first.header.kind)) {
    footprint = wal::commit_footprint(facts.first.header.body_bytes, geometry.pad_unit);
    window.raise_limit(at + footprint);
    DIORITE_CO_CHECK(co_await window.fill(at, footprint));
    facts.first = wal::verify_commit(window.have(at), geometry, geometry.data_begin());
  }
  if (window.unreadable_in(at, footprint) != nullptr) facts.first = wal::CommitCheck{};
  co_return Result<void>();
}

Result<void> judge_segment(const SegmentFacts& facts, const wal::Uuid& uuid) noexcept {
  if (facts.unreadable) {
    // Not corruption: the device may read it tomorrow.
    return with_context(facts.unreadable, {.operation = "open_journal",
                                           .path = facts.path,
                                           .offset = 0,
                                           .note = "the segment header cannot be read"});
  }
  if (wal::refuses_to_open(facts.verdict)) {
    return with_context(Error(Errc::bad_format), {.operation = "open_journal",
                                                  .path = facts.path,
                                                  .offset = 0,
                                                  .note = text_of(facts.verdict)});
  }
  if (facts.verdict != wal::BlockVerdict::valid) {
    std::string why = "segment header: ";
    why += text_of(facts.verdict);
    return corrupt_at(facts.path, 0, why);
  }
  if (facts.header.uuid != uuid) {
    return corrupt_at(facts.path, 0, "the segment belongs to another journal");
  }
  if (facts.header.segment_seq != facts.seq) {
    return corrupt_at(facts.path, 0, "the segment header has another number than the file name");
  }
  if (facts.bytes < facts.header.capacity) {
    return corrupt_at(facts.path, facts.bytes, "the segment is shorter than its header says");
  }
  return {};
}

}  // namespace diorite::detail
