// The order in which a journal is opened; see recover.hpp for the steps.

#include "journal/open.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <diorite/assert.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

constexpr int kTries = 3;

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

bool is_unsupported(const Error& error) noexcept {
  return error == std::errc::operation_not_supported ||
         error == std::errc::function_not_supported || error == Errc::unsupported;
}

/// A writer at work may rename and remove files between the looks that a reader takes at them.
bool may_be_a_writer_at_work(const Error& error) noexcept {
  return error == Errc::corrupt || error == Errc::missing_segment || error == Errc::manifest_lost ||
         is_not_found(error);
}

}  // namespace

JournalOpener::JournalOpener(Reactor& reactor, std::string dir, const JournalOptions& options)
    : reactor_(reactor),
      store_(std::make_unique<JournalStore>(reactor, without_trailing_slashes(std::move(dir)),
                                            options)),
      begin_(reactor.now()) {
  store_->read_only = options.read_only;
}

Duration JournalOpener::lock_wait() const noexcept {
  return std::chrono::milliseconds(store_->options.lock_wait_ms);
}

OpenOptions JournalOpener::open_options() const noexcept {
  OpenOptions how;
  how.direct = store_->options.direct;
  how.write = !store_->options.read_only;
  return how;
}

Task<Result<void>> JournalOpener::enter_directory() {
  const std::string& dir = store_->dir;
  Result<bool> made = co_await mkdir(reactor_, dir);
  if (!made) co_return made.error();
  // Also when it was there: whoever made it may have died before its name was durable.
  DIORITE_CO_CHECK(co_await sync_dir(reactor_, parent_path(dir)));
  DIORITE_CO_TRY(store_->lock_,
                 co_await lock(reactor_, join_path(dir, wal::kLockName), lock_wait()));
  // Writes of a killed process go on after its descriptors are closed. Registered, the lock goes on
  // too.
  store_->lock_registered = static_cast<bool>(store_->lock_.file().register_with_driver());
  // R3: a name that is seen must not be gone after the next power cut.
  co_return co_await store_->sync_names();
}

/// What is read of the file afterwards is durable. In the page cache, that takes more than a sync:
/// a page whose write-back failed counts as written, the sync after it succeeds, and reads show
/// what the device never got. A process that was killed between the failure and the note of it in
/// MANIFEST cannot have warned of that.
Task<Result<void>> JournalOpener::settle(DirectFile& file) {
  DIORITE_CO_CHECK(co_await file.sync_data());
  if (file.is_direct()) co_return Result<void>();
  const Result<void> dropped = co_await file.drop_cache();
  if (dropped) co_return Result<void>();
  const Error error = dropped.error();
  if (!is_unsupported(error)) co_return error;
  from_device_ = false;
  co_return Result<void>();
}

Task<Result<AlignedBuf>> JournalOpener::read_slot(std::uint64_t offset) {
  DirectFile& file = store_->manifest_file_;
  const std::size_t unit =
      std::max<std::size_t>(wal::kManifestSlotBytes, file.alignment().read_offset);
  DIORITE_CO_TRY(AlignedBuf slot, AlignedBuf::with_cap(unit));
  Error error;
  for (int tries = 0; tries < kTries; ++tries) {
    BufIoResult read = co_await file.read_at(std::move(slot), offset, unit);
    error = read.error();
    slot = std::move(read.buf());
    if (!is_device(error)) break;
  }
  // A slot that cannot be read is one that is not valid: the other one counts.
  if (is_device(error)) {
    read_failure_.note({error, std::string(file.path()), offset});
    slot.clear();
  }
  // Neither is one that the file ends in.
  if (error && !is_device(error) && error != Errc::short_io) co_return error;
  co_return std::move(slot);
}

Task<Result<DirectFile>> JournalOpener::open_file(std::string path, OpenOptions how) {
  if (store_->read_only) return DirectFile::open_with(reactor_, std::move(path), how);
  return store_->names().open(std::move(path), how);
}

Task<Result<void>> JournalOpener::open_manifest() {
  const std::string path = join_path(store_->dir, wal::kManifestName);
  const OpenOptions how = open_options();
  DIORITE_CO_TRY(store_->manifest_file_, co_await open_file(path, how));
  if (!store_->read_only) {
    DIORITE_CO_CHECK(co_await lock_file(store_->manifest_file_, lock_wait()));
    // R1: its last slot may be the unsynced write of a process that died, and is acted upon below.
    DIORITE_CO_CHECK(co_await settle(store_->manifest_file_));
  }
  DIORITE_CO_TRY(const AlignedBuf first, co_await read_slot(wal::kManifestSlotOffsets[0]));
  DIORITE_CO_TRY(const AlignedBuf second, co_await read_slot(wal::kManifestSlotOffsets[1]));
  co_return adopt_manifest(wal::choose_manifest_slot(first.bytes(), second.bytes()));
}

Result<void> JournalOpener::adopt_manifest(const wal::ManifestChoice& choice) {
  using Outcome = wal::ManifestChoice::Outcome;
  const std::string_view path = store_->manifest_file_.path();
  if (choice.outcome == Outcome::refused) {
    return with_context(Error(Errc::bad_format), {.operation = "open_journal",
                                                  .path = path,
                                                  .offset = wal::kManifestSlotOffsets[choice.index],
                                                  .note = text_of(choice.verdicts[choice.index])});
  }
  if (choice.outcome == Outcome::none) {
    const std::string why = fmt::format("neither slot is valid: {}; {}",
                                        text_of(choice.verdicts[0]), text_of(choice.verdicts[1]));
    return with_context(Error(Errc::manifest_lost),
                        {.operation = "open_journal", .path = path, .note = why});
  }
  const wal::ManifestSlot& manifest = choice.manifest;
  store_->manifest_ = manifest;
  store_->manifest_slot_ = choice.index;
  store_->uuid = manifest.uuid;
  store_->epoch = manifest.epoch;
  store_->head_lsn = manifest.head_lsn;
  store_->head_seq = manifest.head_seq;
  store_->pad_unit = manifest.pad_unit;
  store_->direct = store_->manifest_file_.is_direct();
  store_->direct_reason = store_->manifest_file_.direct_reason();

  const auto& boot = reactor_.driver().boot_id;
  const bool poisoned_in_this_boot =
      manifest.poison_boot != wal::Uuid{} &&
      std::memcmp(manifest.poison_boot.data(), boot.data(), boot.size()) == 0;
  if (poisoned_in_this_boot && !store_->options.force_after_poison) {
    return with_context(
        Error(Errc::poisoned),
        {.operation = "open_journal",
         .path = store_->dir,
         .note =
             "a write or sync failed while the journal ran through the page cache, which may show "
             "bytes that are not on the disk until the next boot; force_after_poison opens it"});
  }
  return {};
}

Task<Result<void>> close_segment(SegmentRef segment) {
  DirectFile file = std::move(segment->file);
  segment.reset();
  co_return co_await std::move(file).close();
}

Task<Result<void>> JournalOpener::survey_segment(SegmentWindow& window, SegmentFacts& facts) {
  const OpenOptions how = open_options();
  auto segment = std::make_shared<JournalSegment>();
  DIORITE_CO_TRY(segment->file, co_await open_file(facts.path, how));
  if (!store_->read_only) {
    // Held for a moment: who gets it knows that no write of a dead owner is on its way any more.
    DIORITE_CO_CHECK(co_await lock_file(segment->file, lock_wait()));
    DIORITE_CO_CHECK(co_await settle(segment->file));
  }
  DIORITE_CO_CHECK(co_await read_segment_header(segment->file, facts));
  if (judge_segment(facts, store_->uuid)) {
    segment->header = facts.header;
    DIORITE_CO_CHECK(co_await read_first_commit(window, segment, facts));
    window.detach();
  }
  co_return co_await close_segment(std::move(segment));
}

Task<Result<void>> JournalOpener::survey() {
  SegmentWindow window(reactor_, SegmentWindow::OnError::remember);
  for (const std::uint64_t seq : listing_.segments) {
    if (seq < store_->head_seq) continue;
    SegmentFacts facts;
    facts.seq = seq;
    facts.path = store_->segment_path(seq);
    DIORITE_CO_CHECK(co_await survey_segment(window, facts));
    if (facts.unreadable) read_failure_.note({facts.unreadable, facts.path, 0});
    all_.push_back(std::move(facts));
  }
  read_failure_.note(window.first_failure());
  co_return Result<void>();
}

Task<Result<SegmentRef>> SegmentOpener::open(std::size_t index) {
  OpenOptions how;
  how.direct = store_.options.direct;
  auto segment = std::make_shared<JournalSegment>();
  DIORITE_CO_TRY(segment->file,
                 co_await DirectFile::open_with(store_.reactor, facts(index).path, how));
  segment->header = facts(index).header;
  co_return std::move(segment);
}

Task<Result<void>> JournalOpener::judge() {
  const wal::ManifestSlot& manifest = store_->manifest_;
  DIORITE_CO_TRY(live_, find_live_chain(all_, manifest, store_->dir));
  SegmentOpener segments(*store_, all_);
  const Result<void> walked = co_await walk_chain(segments, live_, log_);
  read_failure_.note(log_.read_failure);
  if (!walked) co_return walked.error();
  if (!is_clean()) {
    DIORITE_CO_CHECK(co_await probe_tail(segments, live_, log_));
    read_failure_.note(log_.read_failure);
  }
  DIORITE_CO_TRY(verdict_, judge_log(all_, log_, manifest, store_->options));
  if (created_ || (!log_.has_commits && manifest.epoch == 0)) verdict_ = JournalVerdict::created;
  log_.promise = std::max({log_.promise, manifest.durable_floor, manifest.end_lsn});
  co_return Result<void>();
}

Result<void> JournalOpener::choose_epoch() {
  std::uint64_t highest = store_->manifest_.epoch;
  for (const SegmentFacts& facts : all_) {
    if (facts.verdict == wal::BlockVerdict::valid) highest = std::max(highest, facts.header.epoch);
    if (facts.is_epoch()) highest = std::max(highest, facts.first.cut.epoch);
  }
  if (highest == std::numeric_limits<std::uint64_t>::max()) {
    return with_context(
        Error(Errc::limit, highest, highest),
        {.operation = "open_journal", .path = store_->dir, .note = "no epoch is left"});
  }
  store_->epoch = highest + 1;
  return {};
}

Task<Result<std::uint64_t>> JournalOpener::readable_end() {
  if (is_clean()) co_return log_.end;
  // Beside a live writer, what no promise covers may still be on its way. Nobody asks for long: a
  // writer that is about to open waits for the lock.
  OpenOptions how;
  how.direct = Direct::off;
  how.write = true;
  Result<DirectFile> file =
      co_await DirectFile::open_with(reactor_, join_path(store_->dir, wal::kLockName), how);
  bool writer_possible = true;
  if (file) {
    Result<void> locked = co_await file->try_lock();
    writer_possible = !locked;
    DIORITE_CO_CHECK(co_await std::move(*file).close());
  } else if (is_not_found(file.error()) || file.error() == std::errc::read_only_file_system) {
    writer_possible = false;
  }
  co_return writer_possible ? std::min(log_.promise, log_.end) : log_.end;
}

void JournalOpener::describe() {
  JournalRecovery& recovery = opened_.recovery;
  recovery.verdict = verdict_;
  recovery.end = Lsn{log_.end};
  recovery.durable = Lsn{log_.promise};
  recovery.records = log_.records;
  recovery.next_record_no = log_.link.next_record_no;
  recovery.torn_bytes = log_.torn_bytes;
  recovery.zombies = log_.zombies;
  recovery.segments = store_->live.size();
  recovery.scanned_bytes = log_.scanned_bytes;
  recovery.epoch = store_->epoch;
  recovery.from_device = from_device_;
  recovery.duration = reactor_.now() - begin_;
}

/// What cannot be read may be all that is missing. So the device's error is the answer, and what
/// was concluded without these bytes only goes with it.
Error JournalOpener::with_read_failure(const Error& verdict) const {
  const bool concluded = verdict == Errc::corrupt || verdict == Errc::missing_segment ||
                         verdict == Errc::manifest_lost;
  if (!concluded || !read_failure_.error) return verdict;
  const std::string why =
      fmt::format("the device cannot read this; without it: {}", verdict.text());
  return with_context(Error(read_failure_.error.code()), {.operation = "open_journal",
                                                          .path = read_failure_.path,
                                                          .offset = read_failure_.offset,
                                                          .note = why});
}

Task<Result<OpenedJournal>> JournalOpener::run() {
  Result<void> opened = co_await attempt();
  if (!opened) co_return with_read_failure(opened.error());
  describe();
  opened_.store = std::move(store_);
  co_return std::move(opened_);
}

Task<Result<void>> JournalOpener::attempt() {
  if (const Error bad = check_options(store_->options, store_->dir)) co_return bad;
  if (!store_->read_only) {
    DIORITE_CO_CHECK(co_await enter_directory());
  }
  DIORITE_CO_TRY(listing_, co_await list_journal(reactor_, store_->dir));
  if (!listing_.manifest) {
    DIORITE_CO_CHECK(co_await create());
  }
  DIORITE_CO_CHECK(co_await open_manifest());
  // Nothing was settled.
  if (store_->read_only) from_device_ = store_->direct;
  DIORITE_CO_CHECK(co_await survey());
  DIORITE_CO_CHECK(co_await judge());
  if (store_->read_only) {
    go_read_only();
    DIORITE_CO_TRY(opened_.next_commit_lsn, co_await readable_end());
  } else {
    DIORITE_CO_CHECK(choose_epoch());
    DIORITE_CO_CHECK(co_await proceed());
  }
  co_return Result<void>();
}

Task<Result<OpenedJournal>> open_journal(Reactor& reactor, std::string dir,
                                         JournalOptions options) {
  for (int tries = 1;; ++tries) {
    JournalOpener opener(reactor, dir, options);
    Result<OpenedJournal> opened = co_await opener.run();
    const bool again =
        !opened && options.read_only && tries < kTries && may_be_a_writer_at_work(opened.error());
    if (!again) co_return std::move(opened);
  }
}

}  // namespace diorite::detail
