// StateDisk: a disk in memory that is set back to any crash state in the time that the difference
// takes, and handed out as a loop device.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "powercut/image.hpp"
#include "powercut/plan.hpp"
#include "powercut/system.hpp"

namespace diorite::powercut {

class StateDisk {
 public:
  /// Throws Trouble.
  explicit StateDisk(std::uint64_t bytes);
  StateDisk(const StateDisk&) = delete;
  StateDisk& operator=(const StateDisk&) = delete;
  ~StateDisk();

  /// Makes the disk hold what is durable and the chosen pieces, whatever it held before.
  void set(const Image& durable, const std::vector<Event>& events,
           const std::vector<Piece>& pieces);
  int fd() const noexcept { return fd_.get(); }
  /// A copy in a file, for a human to look at. Throws Trouble.
  void save(const std::string& path) const;

 private:
  void punch(std::uint64_t first, std::uint64_t end);
  void drop_foreign_pages(const Image& durable);

  Fd fd_;
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace diorite::powercut
