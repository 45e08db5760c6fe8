// The file systems under test: how to make one, how to mount it, what its own checker says.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace diorite::powercut {

struct FileSystem {
  const char* name;
  std::uint64_t disk_bytes;
  std::vector<std::string> make;   ///< the device is appended
  std::vector<std::string> check;  ///< writes nothing; the device is appended
  const char* options;             ///< of the mount, while it is recorded
  const char* state_options;       ///< of the mount of a crash state
};

/// Null for an unknown name: ext4, xfs, btrfs.
const FileSystem* find_file_system(const std::string& name);

/// Makes the file system. Throws Trouble, or Missing when the program is not there.
void make_file_system(const FileSystem& fs, const std::string& device);
/// The last lines of what its checker says.
std::string ask_checker(const FileSystem& fs, const std::string& device);
/// What the kernel remembers of a device that is gone would be held against the next one.
void forget_device(const FileSystem& fs, const std::string& device) noexcept;

using Extents = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
/// Where on the disk the files of a folder have their bytes, as begin and end. Throws Trouble.
Extents extents_of_files(const FileSystem& fs, const std::string& folder);

}  // namespace diorite::powercut
