// Supervisor: runs the test in namespaces of its own, and leaves the machine as it was.
//
// Mounts live in a mount namespace, processes in a process namespace, loop devices free themselves
// at the last close: when the first process of the namespace dies, by its end, by a signal or
// because the supervisor died, the kernel takes all of it away. Two runs at once do not meet.

#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace diorite::powercut {

/// What ctest is told to take for "skipped".
inline constexpr int kSkipped = 77;

struct Workspace {
  std::string recorder;  ///< folders to mount on
  std::string disk;
  std::atomic<std::uint64_t>* beats = nullptr;  ///< to be counted up while there is progress
};

/// Where tests may write: what the environment says in DIORITE_TEST_DIR, else the build's folder.
std::string parent_folder();

/// Calls `body` in a child, below a folder of its own in `parent`. Returns what it returned;
/// kSkipped, with a text, when something is missing on this machine; 1 when it died or came to a
/// halt; 128 and the signal's number after a signal.
int run_isolated(const std::string& parent, int (*body)(const Workspace&, void*), void* context);

}  // namespace diorite::powercut
