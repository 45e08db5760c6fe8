// Recorder: a FUSE server whose one file "disk.img" is a disk that writes down what happens to it.
//
// A loop device with direct I/O on that file passes every write and every flush of the file system
// above to the recorder. It completes writes late and out of order, as a disk does, so that whoever
// forgets to wait for a write is caught. A second file, "marks", takes the workload's notes: a note
// is in the trace when the write call returns.
//
// Runs in a process of its own, which never touches what is mounted above it.

#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "powercut/trace.hpp"

namespace diorite::powercut {

inline constexpr const char* kDiskName = "disk.img";
inline constexpr const char* kMarksName = "marks";

/// A sector of a file begins with this where writes of files' data are to be told from all others.
inline constexpr std::array<char, 8> kDataTag = {'d', 'a', 't', 'a', '-', 't', 'a', 'g'};

/// What the disk refuses with EIO, from now on, and how often it has: in memory that the recorder
/// shares with whoever decides. A write that is refused leaves nothing on the disk; a flush that is
/// refused leaves everything as it was, in a cache that a later flush may still empty.
struct DiskFaults {
  static constexpr std::uint32_t kData = 1;    ///< writes with a sector that begins with kDataTag
  static constexpr std::uint32_t kOthers = 2;  ///< all other writes: the file system's own
  static constexpr std::uint32_t kFlushes = 4;
  std::atomic<std::uint32_t> kinds{0};
  std::atomic<std::uint32_t> refused{0};
};

struct RecorderOptions {
  std::string where;  ///< an empty folder, where the two files appear
  std::uint64_t disk_bytes = 0;
  std::uint64_t seed = 0;        ///< of the order of completions
  DiskFaults* faults = nullptr;  ///< none: the disk never fails
};

/// Mounts, and starts the process. It ends when `where` is unmounted. Throws Trouble, or Missing
/// where there is no FUSE.
pid_t start_recorder(const RecorderOptions& options, Trace& trace);

}  // namespace diorite::powercut
