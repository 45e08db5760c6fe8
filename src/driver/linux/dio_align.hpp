// What the kernel and the device say about a file: its size, its kind, and what direct I/O on it
// demands.
//
// The structure of statx is declared here and not taken from a header, since the fields for direct
// I/O are younger (Linux 6.1 and 6.15) than the headers that many distributions build against.
//
// Thread: any.

#pragma once

#include <cstddef>
#include <cstdint>

#include <diorite/file_info.hpp>

namespace diorite::detail {

struct KernelTimestamp {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  std::int32_t reserved;
};

/// struct statx of the kernel's interface, up to and with stx_dio_read_offset_align.
struct KernelStatx {
  std::uint32_t mask;
  std::uint32_t block_bytes;
  std::uint64_t attributes;
  std::uint32_t links;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint16_t mode;
  std::uint16_t spare0;
  std::uint64_t inode;
  std::uint64_t bytes;
  std::uint64_t blocks;
  std::uint64_t attributes_mask;
  KernelTimestamp times[4];
  std::uint32_t rdev_major;
  std::uint32_t rdev_minor;
  std::uint32_t dev_major;
  std::uint32_t dev_minor;
  std::uint64_t mount_id;
  std::uint32_t dio_mem_align;
  std::uint32_t dio_offset_align;
  std::uint64_t subvolume;
  std::uint32_t atomic_write_unit_min;
  std::uint32_t atomic_write_unit_max;
  std::uint32_t atomic_write_segments_max;
  std::uint32_t dio_read_offset_align;
  std::uint32_t spare1[18];
};
static_assert(sizeof(KernelStatx) == 256);
static_assert(offsetof(KernelStatx, mode) == 0x1c && offsetof(KernelStatx, times) == 0x40);
static_assert(offsetof(KernelStatx, rdev_major) == 0x80 &&
              offsetof(KernelStatx, dio_mem_align) == 0x98);
static_assert(offsetof(KernelStatx, dio_read_offset_align) == 0xb4);

inline constexpr std::uint32_t kStatxBasic = 0x7ff;
inline constexpr std::uint32_t kStatxDioAlign = 0x2000;
inline constexpr std::uint32_t kStatxDioReadAlign = 0x20000;
/// What file_info_from wants to have been asked for. Kernels ignore bits that they do not know.
inline constexpr std::uint32_t kStatxWanted = kStatxBasic | kStatxDioAlign | kStatxDioReadAlign;

/// Makes a FileInfo of the kernel's answer; asks sysfs about the device, and a block device itself
/// for its size. `descriptor` is the file that was asked about. 0, or a negated errno.
std::int32_t file_info_from(const KernelStatx& answer, int descriptor, FileInfo& info) noexcept;

/// OpCode::info: asks and answers.
std::int32_t file_info_of(int descriptor, FileInfo& info) noexcept;

}  // namespace diorite::detail
