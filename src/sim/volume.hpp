// Volume: the file system of a simulated disk, as operations that take effect.
//
// Everything here happens at once and cannot fail by chance: when an operation begins, when it ends
// and whether it fails is the Kernel's to decide (kernel.hpp). Results are what Linux answers on
// ext4: 0, a count, or a negated errno. A write has three moments: begin_write (it may reach the
// medium from now on, if power is cut), capture (its bytes are taken), and its end.
//
// Node: a file or a directory by number, never reused. Nodes live while they have a name or are
// held. Handles, locks and processes are the Kernel's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/driver/op.hpp>
#include <diorite/file_info.hpp>
#include <diorite/sim/choices.hpp>
#include <diorite/sim/disk.hpp>
#include <diorite/sim/profile.hpp>

#include "sim/drop_rules.hpp"

namespace diorite::sim::detail {

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0;
using WriteId = std::uint64_t;

/// What a sync covers: taken when it is submitted.
struct SyncMark {
  std::uint64_t sequence = 0;  ///< changes of the node that had taken effect by then
};

struct OpenResult {
  std::int32_t result = 0;
  NodeId node = kNoNode;
  bool created = false;
};

class Volume {
 public:
  explicit Volume(const DiskOptions& options);
  Volume(const Volume& other);
  Volume& operator=(const Volume&) = delete;
  ~Volume();

  const DiskOptions& options() const noexcept;
  void set_read_only(bool read_only) noexcept;  ///< EROFS for every change from now on
  bool is_read_only() const noexcept;

  // Names. Paths as given by the user: "" is -ENOENT, components ".", "..", "" are resolved.

  /// PathOp's flags and mode. Holds the node: release() it.
  OpenResult open(std::string_view path, std::uint32_t open_flags, std::uint32_t mode);
  void hold(NodeId node) noexcept;
  void release(NodeId node) noexcept;
  std::int32_t make_dir(std::string_view path);
  std::int32_t rename(std::string_view from, std::string_view to);
  std::int32_t remove(std::string_view path, bool directory);
  std::int32_t list(std::string_view path, std::vector<DirEntry>& entries) const;
  /// The directory of a later finish_sync(). kNoNode and the errno when there is none.
  OpenResult find_dir(std::string_view path) const;
  /// kNoNode when there is nothing by that name.
  NodeId find(std::string_view path) const noexcept;

  // Files. Offsets and counts in bytes; direct alignment is the Kernel's to check.

  void info(NodeId node, FileInfo& info) const;
  std::uint64_t bytes_of(NodeId node) const noexcept;
  /// A count, or -EIO where a block is unreadable: then nothing was read. `direct`: past the page
  /// cache.
  std::int64_t read(NodeId node, std::uint64_t offset, std::span<std::byte> into,
                    bool direct = false) const;
  /// How much of a write there is room for, up to a block's end.
  std::uint32_t room_for(NodeId node, std::uint64_t offset, std::uint32_t bytes) const noexcept;
  std::int32_t allocate(NodeId node, std::uint64_t offset, std::uint64_t length, bool keep_size);
  std::int32_t truncate(NodeId node, std::uint64_t length);

  /// Room is taken here: -ENOSPC, -EFBIG. The id is > 0.
  std::int64_t begin_write(NodeId node, std::uint64_t offset, std::uint32_t bytes);
  /// Copies the bytes. Once per write; must come before its end, and before crash() for the write
  /// to have a chance to reach the medium.
  void capture(WriteId write, const std::byte* data);
  bool is_captured(WriteId write) const noexcept;
  /// True while `data` still holds what was captured.
  bool matches(WriteId write, const std::byte* data) const noexcept;
  /// The first `bytes` take effect: reads see them. `durable` makes these bytes, and a size that
  /// they extend, durable at once.
  void end_write(WriteId write, std::uint32_t bytes, bool durable);
  /// It failed: each sector that `landed` (one flag per sector touched, or empty = none) takes
  /// effect as by end_write.
  void abandon_write(WriteId write, std::span<const bool> landed);

  /// A running hash of all bytes that were captured and read.
  std::uint64_t moved() const noexcept;

  // Durability.

  /// Of a file, or of a directory (its entries).
  SyncMark begin_sync(NodeId node) const noexcept;
  /// What the mark covers is durable: data and size of a file, entries of a directory. Metadata
  /// that reading does not need (allocation beyond the size) only `with_metadata`.
  void end_sync(NodeId node, SyncMark mark, bool with_metadata);
  /// The sync failed, and the device has dropped what it covered: it can never become durable.
  /// Reads that lie go on to see it until the power goes; others see what is durable.
  void drop(NodeId node, SyncMark mark, DropRules rules);
  bool reads_lie(NodeId node) const noexcept;
  /// Reads of the file lie no longer.
  void drop_cache(NodeId node);

  /// The end of all processes: nothing is held any more. Writes in flight must have been ended or
  /// abandoned.
  void release_all() noexcept;

  struct CrashCounts {
    std::uint64_t sectors_lost = 0;
    std::uint64_t blocks_damaged = 0;
  };
  /// Decides what is left, by the profile's crash model; afterwards everything is durable, nothing
  /// is held or in flight, and it is writable again.
  CrashCounts crash(Choices& choices, const Profile& profile);

  // For tests and damage; see Disk.
  std::vector<std::string> files() const;
  bool all_durable() const noexcept;
  std::uint64_t hash() const;
  /// Equal where a power cut now could leave the same, and nothing else: fingerprint.cpp.
  std::uint64_t fingerprint(bool shows_stale_space) const;
  void flip_bit(NodeId node, std::uint64_t offset, unsigned bit);
  void zero_sector(NodeId node, std::uint64_t offset);
  bool stale_sector(NodeId node, std::uint64_t offset);
  void misdirect(NodeId node, std::uint64_t from, std::uint64_t to);
  void make_unreadable(NodeId node, std::uint64_t offset);
  void forget(std::string_view path);

 private:
  struct State;
  void end_all_writes();

  std::unique_ptr<State> state_;
};

}  // namespace diorite::sim::detail
