// FileInfo and DioAlign: what a driver knows about a file, and what direct I/O on it demands.
//
// The kernel is asked first (statx with STATX_DIOALIGN, Linux 6.1), then the device, and 4096 is
// assumed when neither answers. AlignSource says which it was, since a wrong guess costs an EINVAL
// at best: print it in a bug report.
//
// Thread: plain values.
//
//   const DioAlign align = file.alignment();
//   if (align.source == AlignSource::assumed) warn("this file system does not tell its alignment");

#pragma once

#include <cstdint>

namespace diorite {

enum class AlignSource : std::uint8_t {
  kernel,   ///< statx DIOALIGN, or the platform's like
  device,   ///< the logical block size of the device below
  assumed,  ///< 4096
  none,     ///< the file is not direct: any address, offset and length will do
};

/// Powers of two, in bytes. 1 where nothing is demanded.
struct DioAlign {
  std::uint32_t memory = 4096;
  std::uint32_t offset = 4096;       ///< of offsets and lengths, for writes and reads
  std::uint32_t read_offset = 4096;  ///< of reads only; may be smaller on newer kernels
  AlignSource source = AlignSource::assumed;
};

enum class FileKind : std::uint8_t { regular, directory, block_device, other };

struct FileInfo {
  std::uint64_t bytes = 0;
  std::uint64_t device = 0;  ///< with inode: tells two files apart
  std::uint64_t inode = 0;
  std::uint32_t physical_block_bytes = 0;  ///< what a torn write may damage; 0 = unknown
  FileKind kind = FileKind::other;
  /// False when the kernel says that this file takes no direct I/O at all.
  bool direct_possible = true;
  DioAlign align;
};

}  // namespace diorite
