// Image: the bytes of a disk in memory, sparse, so that a disk of hundreds of megabytes costs what
// was written to it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diorite::powercut {

inline constexpr std::size_t kPage = 4096;

class Image {
 public:
  /// Throws Trouble. `bytes` is a multiple of kPage.
  explicit Image(std::uint64_t bytes);
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  ~Image();

  std::uint64_t bytes() const noexcept { return bytes_; }
  /// Null data writes zeros. Requires: in range.
  void write(std::uint64_t offset, const std::byte* data, std::size_t bytes) noexcept;
  const std::byte* at(std::uint64_t offset) const noexcept { return base_ + offset; }
  /// False: the page holds zeros.
  bool touched(std::uint64_t page) const noexcept { return touched_[page]; }
  void keep_from_children() noexcept;

 private:
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::vector<bool> touched_;
};

}  // namespace diorite::powercut
