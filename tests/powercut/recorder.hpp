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

#include <cstdint>
#include <string>

#include "powercut/trace.hpp"

namespace diorite::powercut {

inline constexpr const char* kDiskName = "disk.img";
inline constexpr const char* kMarksName = "marks";

struct RecorderOptions {
  std::string where;  ///< an empty folder, where the two files appear
  std::uint64_t disk_bytes = 0;
  std::uint64_t seed = 0;  ///< of the order of completions
};

/// Mounts, and starts the process. It ends when `where` is unmounted. Throws Trouble, or Missing
/// where there is no FUSE.
pid_t start_recorder(const RecorderOptions& options, Trace& trace);

}  // namespace diorite::powercut
