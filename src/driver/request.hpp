// The way from an Op to an OsRequest and back, the same for every driver that executes requests on
// threads.
//
// What a worker reads is copied here at submit, paths included, so the Op's frame may die while the
// request runs. Paths go to blocks that are reused: after the first few operations nothing is
// allocated any more.
//
// Thread: the reactor's.

#pragma once

#include <cstddef>
#include <cstdint>

#include "driver/os.hpp"

namespace diorite::detail {

/// A piece of memory for the paths of one request; its text follows it.
struct PathBlock {
  PathBlock* next = nullptr;
  std::size_t capacity = 0;
  char* text() noexcept { return reinterpret_cast<char*>(this + 1); }
};

/// The free blocks of one driver. Lifetime: outlives no block that was taken.
class PathBlocks {
 public:
  PathBlocks() noexcept = default;
  PathBlocks(const PathBlocks&) = delete;
  PathBlocks& operator=(const PathBlocks&) = delete;
  ~PathBlocks();

  /// Room for `bytes`, or null when there is no memory. Allocates only where no free block is large
  /// enough.
  PathBlock* take(std::size_t bytes) noexcept;
  /// `block` may be null.
  void give_back(PathBlock* block) noexcept;

 private:
  PathBlock* free_ = nullptr;
};

/// Copies the arguments of `op`. `block` becomes the memory of its paths, or null; give it back
/// when the request has ended, whatever this returned. 0, or the negated errno with which the op
/// completes at once: -ENAMETOOLONG, -EINVAL for a path with a NUL inside, -ENOMEM.
std::int32_t fill_request(OsRequest& request, const Op& op, PathBlocks& blocks,
                          PathBlock*& block) noexcept;

/// Hands what the request gave, besides its result, to the op that still waits for it.
void deliver(OsRequest& request, std::int32_t result, Op& op) noexcept;

/// The same for an op that was orphaned: closes a handle that was opened for it.
void discard(OsRequest& request, std::int32_t result) noexcept;

}  // namespace diorite::detail
