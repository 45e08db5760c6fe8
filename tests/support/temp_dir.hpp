// A directory that a test owns, removed with everything in it.
//
// It is made below DIORITE_TEST_DIR, which ctest sets to a folder of the build: a real file system,
// where /tmp may be a tmpfs that refuses direct I/O.
//
//   TempDir dir;
//   const std::string path = dir.file("data.db");

#pragma once

#include <string>
#include <string_view>

namespace diorite::test {

class TempDir {
 public:
  /// Ends the process with a text when no directory can be made: no test could go on without it.
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const noexcept { return path_; }
  /// The path of an entry. Makes nothing.
  std::string file(std::string_view name) const { return path_ + '/' + std::string(name); }

  /// Makes a file with these bytes (or replaces it) and returns its path.
  std::string write(std::string_view name, std::string_view bytes) const;
  /// All bytes of a file. Ends the process when it cannot be read.
  std::string read(std::string_view name) const;
  bool exists(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace diorite::test
