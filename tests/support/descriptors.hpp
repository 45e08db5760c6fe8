// How many descriptors this process has open, to see that nothing is left behind.

#pragma once

#include <dirent.h>

#include <diorite/assert.hpp>

namespace diorite::test {

inline int open_descriptors() {
  DIR* const folder = ::opendir("/proc/self/fd");
  DIORITE_ASSERT(folder != nullptr, "/proc/self/fd cannot be read");
  int count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

}  // namespace diorite::test
