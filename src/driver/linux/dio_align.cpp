#include "driver/linux/dio_align.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace diorite::detail {
namespace {

constexpr std::uint32_t kAssumedAlign = 4096;
constexpr std::uint32_t kBlockBytesMax = 1U << 20;

// 0 unless the number is a power of two that a block size can be.
std::uint32_t usable_block_size(std::uint64_t bytes) noexcept {
  if (bytes == 0 || bytes > kBlockBytesMax || !std::has_single_bit(bytes)) return 0;
  return static_cast<std::uint32_t>(bytes);
}

std::uint32_t read_number(const char* path) noexcept {
  const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  char text[32];
  const ssize_t bytes = ::read(descriptor, text, sizeof(text) - 1);
  ::close(descriptor);
  if (bytes <= 0) return 0;
  text[bytes] = '\0';
  return usable_block_size(std::strtoull(text, nullptr, 10));
}

// A partition has no queue of its own; the link in /sys/dev/block leads into its disk's folder.
std::uint32_t queue_number(std::uint32_t device_major, std::uint32_t device_minor,
                           const char* name) noexcept {
  char path[96];
  for (const char* queue : {"queue", "../queue"}) {
    std::snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", device_major, device_minor,
                  queue, name);
    if (const std::uint32_t number = read_number(path); number != 0) return number;
  }
  return 0;
}

FileKind kind_of(std::uint16_t mode) noexcept {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return FileKind::regular;
    case S_IFDIR:
      return FileKind::directory;
    case S_IFBLK:
      return FileKind::block_device;
    default:
      return FileKind::other;
  }
}

// File systems that are nothing but page cache. They take O_DIRECT (tmpfs since Linux 6.6), mean
// nothing by it, and say nothing of it to statx.
bool lives_in_memory(int descriptor) noexcept {
  constexpr std::uint32_t kTmpfs = 0x01021994;
  constexpr std::uint32_t kRamfs = 0x858458f6;
  struct statfs found;
  if (::fstatfs(descriptor, &found) != 0) return false;
  const auto type = static_cast<std::uint32_t>(found.f_type);
  return type == kTmpfs || type == kRamfs;
}

// True when the kernel has spoken, for or against.
bool kernel_align(const KernelStatx& answer, FileInfo& info) noexcept {
  if ((answer.mask & kStatxDioAlign) == 0) return false;
  const std::uint32_t memory = usable_block_size(answer.dio_mem_align);
  const std::uint32_t offset = usable_block_size(answer.dio_offset_align);
  if (memory == 0 || offset == 0) {
    info.direct_possible = false;
    info.align = {1, 1, 1, AlignSource::none};
    return true;
  }
  std::uint32_t read_offset = offset;
  if ((answer.mask & kStatxDioReadAlign) != 0) {
    const std::uint32_t asked = usable_block_size(answer.dio_read_offset_align);
    if (asked != 0) read_offset = asked;
  }
  info.align = {memory, offset, read_offset, AlignSource::kernel};
  return true;
}

// What older interfaces know. Runtimes of containers have refused statx with EPERM, and others with
// ENOSYS.
std::int32_t ask_fstat(int descriptor, KernelStatx& answer) noexcept {
  struct stat found;
  if (::fstat(descriptor, &found) != 0) return -errno;
  answer.mode = static_cast<std::uint16_t>(found.st_mode);
  answer.inode = found.st_ino;
  answer.bytes = static_cast<std::uint64_t>(found.st_size);
  answer.dev_major = ::gnu_dev_major(found.st_dev);
  answer.dev_minor = ::gnu_dev_minor(found.st_dev);
  answer.rdev_major = ::gnu_dev_major(found.st_rdev);
  answer.rdev_minor = ::gnu_dev_minor(found.st_rdev);
  return 0;
}

}  // namespace

std::int32_t file_info_from(const KernelStatx& answer, int descriptor, FileInfo& info) noexcept {
  info = FileInfo{};
  info.kind = kind_of(answer.mode);
  info.bytes = answer.bytes;
  info.inode = answer.inode;
  info.device = (static_cast<std::uint64_t>(answer.dev_major) << 32) | answer.dev_minor;

  const bool is_device = info.kind == FileKind::block_device;
  if (is_device) {
    // A device file's own size is 0; its disk knows.
    std::uint64_t bytes = 0;
    if (::ioctl(descriptor, BLKGETSIZE64, &bytes) != 0) return -errno;
    info.bytes = bytes;
  }
  const std::uint32_t device_major = is_device ? answer.rdev_major : answer.dev_major;
  const std::uint32_t device_minor = is_device ? answer.rdev_minor : answer.dev_minor;
  info.physical_block_bytes = queue_number(device_major, device_minor, "physical_block_size");
  if (kernel_align(answer, info)) return 0;
  if (info.kind == FileKind::regular && lives_in_memory(descriptor)) {
    info.direct_possible = false;
    info.align = {1, 1, 1, AlignSource::none};
    return 0;
  }

  // A file system over several devices, or over none, has an anonymous number that sysfs does not
  // know. 4096 is right there: it is the sector size of btrfs, and the page size of tmpfs.
  const std::uint32_t logical = queue_number(device_major, device_minor, "logical_block_size");
  const std::uint32_t align = logical != 0 ? logical : kAssumedAlign;
  info.align = {align, align, align, logical != 0 ? AlignSource::device : AlignSource::assumed};
  return 0;
}

std::int32_t file_info_of(int descriptor, FileInfo& info) noexcept {
  KernelStatx answer{};
  if (::syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH, kStatxWanted, &answer) != 0) {
    if (errno != ENOSYS && errno != EPERM) return -errno;
    answer = {};
    if (const std::int32_t error = ask_fstat(descriptor, answer); error != 0) return error;
  }
  return file_info_from(answer, descriptor, info);
}

}  // namespace diorite::detail
