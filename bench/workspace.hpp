// The folder that the benchmark's files live in, and files that are prepared for it.

#pragma once

#include <cstdint>
#include <string>

namespace diorite::bench {

/// A folder of its own below `parent`; removed with everything in it by the destructor.
class Workspace {
 public:
  /// Errors: throws Failure, also when less than `bytes_needed` is free.
  Workspace(const std::string& parent, std::uint64_t bytes_needed);
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace();

  const std::string& path() const noexcept { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  /// Removes what is called so, a file or a folder.
  void remove(const std::string& name) const;
  /// Lets the device finish what has been written.
  void settle() const;

 private:
  std::string path_;
};

/// An open descriptor.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  /// Opens for direct I/O. Errors: throws Failure.
  Descriptor(const std::string& path, bool write);
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const noexcept { return value_; }

 private:
  int value_ = -1;
};

/// Creates `path` with `bytes` of zeros, or of noise, written and durable, so that its extents are
/// allocated and initialised. Errors: throws Failure.
void fill_file(const std::string& path, std::uint64_t bytes, bool zeros);

}  // namespace diorite::bench
