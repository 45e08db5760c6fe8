// Disk: a file system in memory that knows what a power cut would leave of it.
//
// For every file it keeps what reads see and, apart from it, what is durable: 512-byte sector by
// sector, with the writes between the two. Sizes, directory entries and data become durable
// separately. It has no time, no faults and no threads of its own: a Machine decides when an
// operation takes effect, and whether. Tests look into it, damage it, and copy it.
//
//  - A sync covers the writes of its file that had completed when it was submitted; others may
//    survive or not.
//  - At a power cut every sector that is not durable becomes any of its versions: the durable one
//    or that of any later write, in flight or completed. A block of `physical_block_bytes` that was
//    being written may be damaged as a whole.
//  - The entry of a file is durable after a sync of its directory, never by a sync of the file.
//  - Space that was never written reads as zeros, or as what was there before it was freed.
//
// Thread: one. Lifetime: outlives its machine; a copy shares nothing that can change.
// Allocates: blocks of 4 KiB that hold anything but zeros, once for all their copies.
//
//   Disk before = machine.disk();                        // a copy: cheap
//   machine.disk().flip_bit("wal/0000000000000000.seg", 4096 + 17, 3);

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/sim/choices.hpp>
#include <diorite/sim/profile.hpp>

namespace diorite::sim {

namespace detail {
class Volume;
}

/// Trivially copyable. Powers of two.
struct DiskOptions {
  std::uint64_t capacity_bytes = std::uint64_t{64} << 20;  ///< of data; then ENOSPC
  std::uint32_t physical_block_bytes = 4096;  ///< what a torn write may damage; 512 or 4096
  std::uint32_t memory_align = 512;           ///< that direct I/O demands of addresses
  std::uint32_t offset_align = 512;           ///< and of offsets and lengths
  bool direct_possible = true;  ///< false: opening a file for direct I/O is EINVAL, as on tmpfs
};

class Disk {
 public:
  static constexpr std::uint32_t kSectorBytes = 512;

  explicit Disk(DiskOptions options = {});
  Disk(const Disk& other);
  Disk& operator=(const Disk& other);
  Disk(Disk&&) noexcept;
  Disk& operator=(Disk&&) noexcept;
  ~Disk();

  const DiskOptions& options() const noexcept;

  // Looking into it. Paths are relative to the root, without a leading slash; a leading slash means
  // the same.

  /// Every regular file, sorted by path.
  std::vector<std::string> files() const;
  bool exists(std::string_view path) const;
  /// What reads see; empty when there is no such file.
  std::vector<std::byte> contents(std::string_view path) const;
  std::uint64_t bytes_of(std::string_view path) const;
  /// True when a power cut now could not change anything that reads see.
  bool all_durable() const noexcept;
  /// Of names, sizes and bytes that reads see.
  std::uint64_t hash() const;

  // Damage. Each changes what reads see and what is durable, at once. Requires: the file exists and
  // has the byte.

  void flip_bit(std::string_view path, std::uint64_t offset, unsigned bit);
  void zero_sector(std::string_view path, std::uint64_t offset);
  /// The sector gets the bytes it had before its last durable change; false when it never had any.
  bool stale_sector(std::string_view path, std::uint64_t offset);
  /// A write that went to the wrong place: the sector at `from` is also found at `to`.
  void misdirect(std::string_view path, std::uint64_t from, std::uint64_t to);
  /// Reads of the block fail until it is written again.
  void make_unreadable(std::string_view path, std::uint64_t offset);
  void remove(std::string_view path);

  // For machines.
  detail::Volume& volume() noexcept { return *volume_; }
  const detail::Volume& volume() const noexcept { return *volume_; }

 private:
  std::unique_ptr<detail::Volume> volume_;
};

/// What a damage() did; `path` is empty when there was nothing to damage.
struct Damage {
  enum class Kind : std::uint8_t { flipped, zeroed, stale, misdirected, unreadable, lost_file };
  Kind kind = Kind::flipped;
  std::string path;
  std::uint64_t offset = 0;  ///< of the first byte that changed
  std::uint64_t bytes = 0;
};
const char* to_string(Damage::Kind kind) noexcept;

/// Does one thing of the kinds above to a file that holds data.
Damage damage(Disk& disk, Choices& choices);

}  // namespace diorite::sim
