// Oracles: what must be true of a journal, a file and a cache of files, whatever happened.
//
// An oracle is told what an engine asks for and what it is answered, and after a power cut checks
// what is found against that. It decides by the library's promises alone and knows nothing of how
// they are kept. Use one inside an Engine (sim/run.hpp) that does its own I/O through these types.
// Whatever an oracle is not told of the end of an operation, it takes for possible.
//
// Every check returns what is wrong, or an empty text: hand it to Life::violation.
//
// Thread: one. Lifetime: an oracle outlives every life of its engine. It keeps what it is told in
// memory.
//
//   oracle.opening();
//   auto journal = co_await Journal::open(life.reactor(), "wal");
//   if (!journal) co_return life.failed(journal.error());
//   if (auto wrong = oracle.opened((*journal)->recovery()); !wrong.empty())
//     co_return life.violation(wrong);
//   // read everything into `found`, then:
//   if (auto wrong = oracle.check(found); !wrong.empty()) co_return life.violation(wrong);
//   const std::uint64_t id = oracle.appending(payload, tag);
//   Result<Ticket> ticket = co_await (*journal)->append_durable(RecordRef(payload, tag));
//   if (ticket) oracle.acknowledged(id, *ticket);

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/journal.hpp>
#include <diorite/journal_reader.hpp>
#include <diorite/sim/disk.hpp>

namespace diorite::sim {

/// A record as a reader found it.
struct FoundRecord {
  Lsn begin;
  Lsn end;
  std::uint64_t record_no = 0;
  std::uint16_t tag = 0;
  BatchPos batch = BatchPos::single;
  std::vector<std::byte> payload;
};

/// Positions from `begin` to `end`.
struct LsnRange {
  Lsn begin;
  Lsn end;
};

/// Acknowledged records are found; what is found is a prefix of what was appended, in order, byte
/// for byte, where it was said to be; batches are whole; what an open returned stays returned; what
/// it did not return never comes back; positions grow; record numbers are dense.
///
/// In each life: opening(), opened(), then everything is read and given to check(), then appends. A
/// life that ends before check() appends nothing.
class JournalOracle {
 public:
  /// An open is about to be tried.
  void opening() noexcept;
  /// It has succeeded. With `lost_above`, records that end above it may be missing although
  /// they were promised (damage to what no promise covers); a journal that ends below it has failed
  /// in any case.
  [[nodiscard]] std::string opened(const JournalRecovery& recovery,
                                   const Lsn* lost_above = nullptr);
  /// What has been opened cannot be written to (JournalBackend::read_only): it begins no epoch.
  void read_only() noexcept { read_only_ = true; }
  /// These positions do not hold what was written there; see damaged_range(). Whatever is found of
  /// them by the next check() should not have been.
  void damaged(LsnRange range) noexcept { damaged_ = range; }
  /// Everything that a reader returned from the head to the end of what was durable at the open.
  [[nodiscard]] std::string check(std::vector<FoundRecord> found);

  /// One record is about to be appended. Returns its name.
  std::uint64_t appending(std::span<const std::byte> payload, std::uint16_t tag);
  /// Of more than one payload: they are a batch, all with one tag.
  std::uint64_t appending(std::vector<std::vector<std::byte>> payloads, std::uint16_t tag);
  /// The append returned: it has its place, and is not durable yet.
  [[nodiscard]] std::string appended(std::uint64_t id, const Ticket& ticket);
  /// It was promised to be durable, and with it everything before it.
  [[nodiscard]] std::string acknowledged(std::uint64_t id, const Ticket& ticket);
  /// The append was refused: nothing of it may ever be found.
  void refused(std::uint64_t id);
  /// A reader of this life returned a record. `durable`: the journal's durable_lsn() at that time.
  [[nodiscard]] std::string read(const Record& record, Lsn durable) const;
  /// Journal::close() returned.
  void closed(bool success) noexcept;

  /// Records.
  std::uint64_t acknowledged_count() const noexcept { return acknowledged_count_; }
  /// For Engine::fingerprint(). Never 0.
  std::uint64_t fingerprint() const;
  /// What the last check() was given.
  const std::vector<FoundRecord>& kept() const noexcept { return kept_; }

 private:
  struct Appended {
    std::vector<std::vector<std::byte>> payloads;
    std::uint16_t tag = 0;
    Ticket ticket;
    bool has_place = false;
    bool acknowledged = false;
    bool refused = false;
    bool found = false;
  };
  std::string place(Appended& append, const Ticket& ticket);
  std::string check_kept(const FoundRecord& record) const;
  std::string check_noticed(std::span<const FoundRecord> found) const;
  std::string check_new(std::span<const FoundRecord> rest, std::size_t& taken);
  std::string match(const Appended& append, std::span<const FoundRecord> rest) const;
  std::string check_lost(std::uint64_t count) const;
  const Appended* at(std::uint64_t record_no) const noexcept;

  std::vector<FoundRecord> kept_;
  /// Of this life, by name, and where they are.
  std::map<std::uint64_t, Appended> appends_;
  std::map<std::uint64_t, std::uint64_t> places_;  ///< first record number -> name
  JournalRecovery recovery_;
  std::uint64_t durable_count_ = 0;  ///< records below this number are promised
  std::uint64_t last_epoch_ = 0;
  std::uint64_t next_ = 1;
  std::uint64_t acknowledged_count_ = 0;
  Lsn lost_above_;
  bool may_lose_ = false;
  bool exists_ = false;  ///< an open has succeeded before
  bool closed_ = false;  ///< the last thing that happened was a close that succeeded
  bool expects_clean_ = false;
  bool read_only_ = false;  ///< the last open that succeeded could write nothing
  LsnRange damaged_;
  bool unread_ = false;  ///< opened, and not checked yet
};

/// The largest position that something undamaged on the disk still promises to be durable: of the
/// journal in `dir`, from its commits' headers and its manifest, read straight from `disk`. A
/// journal that opens although bytes below this are lost has failed.
Lsn surviving_promise(const Disk& disk, std::string_view dir);

/// The highest position at which the header of a commit stands that is whole, whoever wrote it: of
/// the journal in `dir`, read straight from `disk`. A journal that has just been opened to be
/// written goes on above it, or else what was given up may come to light again behind what is
/// written next.
Lsn highest_commit(const Disk& disk, std::string_view dir);

/// Where in the log of `dir` the damage lies, if it is in a segment and not in its first block;
/// empty if not. `segment_bytes`: of all segments that the journal has ever had.
LsnRange damaged_range(const Damage& damage, std::string_view dir, std::uint64_t segment_bytes);

/// Trivially copyable.
struct FileOracleOptions {
  std::uint32_t sector_bytes = Disk::kSectorBytes;
  /// What a torn write may damage beside itself: Profile::garbage_block, unreadable_block. 0: no
  /// more than its own sectors, each of which is old or new.
  std::uint32_t block_bytes = 0;
  bool stale_space = false;  ///< see Profile
  /// Transfers may be cut short within a sector, and go on with another write: those of files in
  /// the page cache.
  bool splits_sectors = false;
};

/// One file that is written in sectors: each is one of the versions that it may be.
class FileOracle {
 public:
  explicit FileOracle(FileOracleOptions options = {}) noexcept : options_(options) {}

  /// A write is about to be submitted; `data` is copied. Returns its name. Requires: whole sectors.
  std::uint64_t writing(std::uint64_t offset, std::span<const std::byte> data);
  /// It ended, on a machine that still runs. A write that failed, or was cut short, may have taken
  /// place in any part, or may yet, until the power goes.
  void wrote(std::uint64_t id, bool success, bool durable);
  /// Covers every write that had ended before, and had begun after `since`, which is a name as
  /// well. Returns its name.
  std::uint64_t syncing(std::uint64_t since = 0);
  /// One that failed may have lost everything that is not durable, and what was in flight: until it
  /// is written and synced anew, each sector is any of its versions.
  void synced(std::uint64_t id, bool success);

  /// The process that wrote has ended, and the machine runs on: a sync of whose end nobody heard
  /// may have failed. True when there was one.
  bool process_ended();

  /// A read is about to be submitted. Returns its name.
  std::uint64_t reading();
  /// What it returned.
  [[nodiscard]] std::string check_read(std::uint64_t id, std::uint64_t offset,
                                       std::span<const std::byte> data);
  /// A moment between two operations, for syncing().
  std::uint64_t now() noexcept { return ++clock_; }

  /// After a power cut and before anything else is written: the whole file as it is found, and the
  /// offsets of the blocks that cannot be read. It becomes what is durable.
  [[nodiscard]] std::string check_found(std::span<const std::byte> contents,
                                        std::span<const std::uint64_t> unreadable = {});
  /// True when a power cut can leave nothing else there.
  bool is_surely(std::uint64_t offset, std::span<const std::byte> data) const;
  /// For Engine::fingerprint(). Never 0.
  std::uint64_t fingerprint() const;

 private:
  struct Write {
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;  ///< 0: not that we know
    bool certain = false;     ///< it ended successfully, and nothing has undone it
    bool durable = false;
    bool lost = false;  ///< a sync has failed since it began
  };
  struct Version {
    std::uint64_t write = 0;       ///< 0: what was there at the beginning
    std::vector<std::byte> bytes;  ///< empty: never written, or beyond the end
  };
  using Versions = std::vector<Version>;
  static constexpr std::uint64_t kAlways = ~std::uint64_t{0};

  bool replaced(const Versions& versions, const Version& version, std::uint64_t before,
                bool durable) const;
  /// Whether two writes were under way at the same time.
  bool overlap(std::uint64_t a, std::uint64_t b) const;
  bool fits(const Version& version, std::span<const std::byte> bytes) const noexcept;
  bool fits_in_parts(const Versions& versions, std::span<const std::byte> bytes,
                     std::uint64_t before, bool durable) const;
  bool may_be(const Versions& versions, std::span<const std::byte> bytes, std::uint64_t before,
              bool durable) const;
  bool may_be_hole(const Versions& versions, std::span<const std::byte> bytes) const;
  bool may_be_damaged(std::uint64_t offset) const;
  void lose_all() noexcept;
  void prune();
  bool is_hidden(std::span<const std::uint64_t> unreadable, std::uint64_t offset) const noexcept;
  std::string check_unreadable(std::span<const std::uint64_t> unreadable) const;
  std::set<std::uint64_t> damage_behind(std::uint64_t end) const;

  FileOracleOptions options_;
  std::map<std::uint64_t, Versions> sectors_;  ///< by offset; oldest first
  std::map<std::uint64_t, Write> writes_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> syncs_;
  std::set<std::uint64_t> reads_;       ///< that have not been checked yet
  std::set<std::uint64_t> unreadable_;  ///< blocks that may be, until they are written anew
  std::uint64_t clock_ = 0;
};

/// A FileLru as a model: which files must be there, and which bytes of them were promised, whatever
/// was evicted, synced or removed meanwhile. A key is used anew only once is_gone() says so.
class LruOracle {
 public:
  explicit LruOracle(FileOracleOptions options = {}) noexcept : options_(options) {}

  /// A FileLru has been made, and older ones are gone. It knows nothing of what they wrote and did
  /// not sync, and whether their last syncs failed.
  void new_cache();
  /// Of the file's bytes.
  FileOracle& file(std::uint64_t key) { return entry(key).bytes; }

  /// A file is about to be opened, and made where it is missing. Returns its name.
  std::uint64_t opening(std::uint64_t key);
  void opened(std::uint64_t key, std::uint64_t id, bool success);
  std::uint64_t removing(std::uint64_t key);
  void removed(std::uint64_t key, std::uint64_t id, bool success);
  /// The directory is about to be synced: covers what had ended before. Returns its name.
  std::uint64_t syncing_names();
  void synced_names(std::uint64_t id, bool success);
  /// close_all() is about to be called: what this cache has written is synced, but for files that
  /// are being removed. Returns its name.
  std::uint64_t closing();
  void closed(std::uint64_t id, bool success);
  /// FileErrorHook was told of the key: the sync before a close may have lost what was written.
  void failed(std::uint64_t key);

  /// Whether the file may, or must, be there now.
  [[nodiscard]] std::string check_exists(std::uint64_t key, bool exists);
  /// After a power cut: it is there, or not. Becomes what is durable. Check its bytes by file().
  [[nodiscard]] std::string check_found(std::uint64_t key, bool exists);
  /// True when nothing of the file can come back; forgets its bytes then.
  bool is_gone(std::uint64_t key);
  /// For Engine::fingerprint(). Never 0.
  std::uint64_t fingerprint() const;

 private:
  /// A name is a file of one byte: 1 when it is there.
  struct Entry {
    FileOracle bytes;
    FileOracle name;
    std::uint64_t since = 0;  ///< what was written before that, the cache did not write
    bool leaving = false;     ///< removed, or to be removed
    /// A sync of its directory has failed: that the name is seen says nothing of the disk any more,
    /// and an open that finds it is no reason for a later sync to write it.
    bool name_lost = false;
  };
  using Syncs = std::map<std::uint64_t, std::uint64_t>;  ///< key -> the name of its sync
  Entry& entry(std::uint64_t key);

  FileOracleOptions options_;
  std::map<std::uint64_t, Entry> files_;
  std::map<std::uint64_t, Syncs> name_syncs_;
  std::map<std::uint64_t, Syncs> closings_;
  std::uint64_t next_ = 1;
};

}  // namespace diorite::sim
