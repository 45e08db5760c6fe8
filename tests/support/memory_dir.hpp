// A folder of a file system in memory, for what such a file system does otherwise than one on a
// disk.

#pragma once

#include <sys/vfs.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace diorite::test {

/// A directory in memory, or an empty path where the machine has none.
class MemoryDir {
 public:
  MemoryDir() {
    struct statfs found;
    if (::statfs("/dev/shm", &found) != 0) return;
    constexpr std::uint32_t kTmpfsMagic = 0x01021994;  // TMPFS_MAGIC of linux/magic.h
    if (static_cast<std::uint32_t>(found.f_type) != kTmpfsMagic) return;
    std::string path = "/dev/shm/diorite-XXXXXX";
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~MemoryDir() {
    if (path_.empty()) return;
    ::unlink(file().c_str());
    ::rmdir(path_.c_str());
  }
  MemoryDir(const MemoryDir&) = delete;
  MemoryDir& operator=(const MemoryDir&) = delete;
  explicit operator bool() const noexcept { return !path_.empty(); }
  std::string file() const { return path_ + "/data"; }

 private:
  std::string path_;
};

}  // namespace diorite::test
