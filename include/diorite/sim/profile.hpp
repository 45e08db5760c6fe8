// Profile: how a simulated machine behaves, and misbehaves.
//
// A profile is a plain value: take a named one and change what a test is about. Everything in it is
// something that a device, a file system or a kernel has been seen to do; each has its own
// probability and can be switched off. "Honest" profiles lose only what was not promised: an engine
// must come through them without losing an acknowledged byte and without crying wolf. rotten()
// breaks promises of the device, so an engine can only be asked to notice.
//
// Thread: plain values. Trivially copyable.
//
//   Profile profile = Profile::standard();
//   profile.error(OpCode::sync_data) = per_cent(1);
//   profile.directories = DirectoryModel::ordered;

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <diorite/driver/op.hpp>
#include <diorite/sim/choices.hpp>
#include <diorite/time.hpp>

namespace diorite::sim {

/// Which entries of a directory are there after a power cut, of those that no sync covers.
enum class DirectoryModel : std::uint8_t {
  ordered,  ///< the changes up to some moment, as a journaling file system has it
  subset,   ///< any of the changes; a rename is all or nothing
  split,    ///< any; a rename may leave both names, never none
};

/// In which order operations end.
enum class CompletionOrder : std::uint8_t {
  by_latency,  ///< each has a duration of its own
  by_choice,   ///< any that is in flight may be next, and a timer too: for exhaustive runs
};

/// What one failure budget covers.
enum class Area : std::uint8_t { reads, writes, syncs, files, directories };
inline constexpr std::size_t kAreaCount = static_cast<std::size_t>(Area::directories) + 1;
Area area_of(OpCode code) noexcept;

/// See the top of the file.
struct Profile {
  // Time.
  CompletionOrder order = CompletionOrder::by_latency;
  Duration latency_max = std::chrono::microseconds(400);
  Chance stuck = never();  ///< an operation takes up to stuck_max
  Duration stuck_max = std::chrono::seconds(20);
  Chance cancel_wins = per_cent(50);  ///< a removed operation in flight ends with ECANCELED

  // What a power cut leaves of what was not synced, and of writes in flight.
  bool tears = true;                  ///< each 512 B sector for itself; else each write as a whole
  Chance garbage_block = never();     ///< a physical block that was being written is all garbage
  Chance unreadable_block = never();  ///< and cannot be read: EIO, or ENODATA as NVMe says
  Chance stale_space = never();  ///< space never written shows what was there before it was freed
  DirectoryModel directories = DirectoryModel::ordered;
  /// Killed, not cut: an operation in flight goes on after the process is gone.
  Chance zombie = per_cent(50);

  // Errors, for each kind of operation; which errno is drawn from those that it may give.
  std::array<Chance, kOpCodeCount> errors{};
  Chance short_transfer = never();
  Chance interrupted = never();     ///< EINTR or EAGAIN, with nothing done
  Chance half_done = per_cent(50);  ///< a failed write or listing of changes took place in part
  Chance failed_sync_drops = per_cent(50);  ///< a failed sync loses what it covered, and the next
                                            ///< one succeeds
  Chance sizes_survive = per_cent(30);  ///< of that only the bytes; sizes may yet become durable
  Chance reads_lie = per_cent(50);      ///< and reads through the page cache still show it, until
                                        ///< its pages are evicted or the power goes
  Chance evicted = per_cent(5);         ///< such a read finds the pages gone, and what the disk has
  /// Reads past the page cache show it, too. What was lost is the size, or that reserved space was
  /// written: the log of the file system has failed, and the file system stops.
  Chance direct_reads_lie = per_cent(20);
  /// The same, and everything goes on: the disk is a file in another page cache, as a virtual
  /// machine's is on a host that caches writes, or the file system has no log. Nobody who goes on
  /// without a power cut can know.
  Chance disk_lies = never();
  /// A failed sync of a directory loses the names that it covered; they are still seen, and the
  /// next sync succeeds. The file system stops, unless disk_lies.
  Chance names_lost = per_cent(50);
  Chance read_only_after = never();  ///< a failed write or sync leaves the file system read-only,
                                     ///< until a power cut; EROFS may then be drawn, too
  Chance shut_down_after = never();  ///< a file system that stops answers everything with EIO until
                                     ///< a power cut, and does not become read-only
  Chance short_when_full = per_cent(50);  ///< a write that lacks room takes what is left
  /// How many errors of each area one machine may have; then it works.
  std::array<std::uint32_t, kAreaCount> budget = {4, 4, 4, 4, 4};

  // Promises that the device breaks. One of them happens between two lives.
  Chance damage = never();
  /// A flush, or a durable write, that was never carried out.
  Chance lying_sync = never();

  Chance& error(OpCode code) noexcept { return errors[static_cast<std::size_t>(code)]; }
  Chance error(OpCode code) const noexcept { return errors[static_cast<std::size_t>(code)]; }

  /// No errors and no crash damage: for tests of what an engine does on a good day.
  static Profile calm() noexcept;
  /// Power cuts with torn sectors, on a file system that keeps its order; no errors.
  static Profile standard() noexcept;
  /// Everything that is honest, often.
  static Profile hostile() noexcept;
  /// standard(), and damage to data that had been promised.
  static Profile rotten() noexcept;
  /// Every completion order and every sector of a small run: for Choices::exhaustive().
  static Profile bounded() noexcept;
  /// By its function's name; null when there is none. The names, in order: profile_names().
  static bool find(std::string_view name, Profile& profile) noexcept;
};
static_assert(std::is_trivially_copyable_v<Profile>);

/// Separated by ", ".
std::string_view profile_names() noexcept;

}  // namespace diorite::sim
