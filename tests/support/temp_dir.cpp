#include "support/temp_dir.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace diorite::test {
namespace {

[[noreturn]] void give_up(const char* what, const std::string& path) {
  std::fprintf(stderr, "temp_dir: %s %s: %s\n", what, path.c_str(), std::strerror(errno));
  std::exit(EXIT_FAILURE);
}

// Works from directory descriptors, so that a test which leaves deep paths behind is no trouble,
// and follows no symbolic link out of the directory.
void remove_entries(int parent, const char* name) noexcept {
  const int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  DIR* stream = ::fdopendir(fd);
  if (stream == nullptr) {
    ::close(fd);
    return;
  }
  while (const dirent* entry = ::readdir(stream)) {
    const std::string_view entry_name = entry->d_name;
    if (entry_name == "." || entry_name == "..") continue;
    if (::unlinkat(fd, entry->d_name, 0) == 0 || errno != EISDIR) continue;
    // A test of permissions may have taken them away.
    ::fchmodat(fd, entry->d_name, 0700, 0);
    remove_entries(fd, entry->d_name);
    ::unlinkat(fd, entry->d_name, AT_REMOVEDIR);
  }
  ::closedir(stream);
}

}  // namespace

TempDir::TempDir() {
  const char* base = std::getenv("DIORITE_TEST_DIR");
  path_ = base != nullptr && *base != '\0' ? base : ".";
  path_ += "/diorite-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) give_up("mkdtemp", path_);
}

TempDir::~TempDir() {
  ::chmod(path_.c_str(), 0700);
  remove_entries(AT_FDCWD, path_.c_str());
  ::rmdir(path_.c_str());
}

std::string TempDir::write(std::string_view name, std::string_view bytes) const {
  std::string path = file(name);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) give_up("open", path);
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) give_up("write", path);
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
  ::close(fd);
  return path;
}

std::string TempDir::read(std::string_view name) const {
  const std::string path = file(name);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) give_up("open", path);
  std::string bytes;
  std::array<char, 65536> chunk;
  for (;;) {
    const ssize_t done = ::read(fd, chunk.data(), chunk.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) give_up("read", path);
    if (done == 0) break;
    bytes.append(chunk.data(), static_cast<std::size_t>(done));
  }
  ::close(fd);
  return bytes;
}

bool TempDir::exists(std::string_view name) const {
  struct stat found;
  return ::lstat(file(name).c_str(), &found) == 0;
}

}  // namespace diorite::test
