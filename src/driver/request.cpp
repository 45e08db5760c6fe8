#include "driver/request.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace diorite::detail {
namespace {

// Longer than any system's limit; what lies between is the system's to judge.
constexpr std::size_t kPathBytesMax = std::size_t{128} << 10;
constexpr std::size_t kBlockBytesMin = 512;

std::int32_t check_path(std::string_view path) noexcept {
  if (path.size() > kPathBytesMax) return -ENAMETOOLONG;
  // The system would stop at the NUL and act on another file than the one that was named.
  if (path.find('\0') != std::string_view::npos) return -EINVAL;
  return 0;
}

const char* copy_path(std::string_view path, char*& to) noexcept {
  const char* const copy = to;
  if (!path.empty()) std::memcpy(to, path.data(), path.size());
  to[path.size()] = '\0';
  to += path.size() + 1;
  return copy;
}

std::int32_t fill_paths(OsRequest& request, const PathOp& op, PathBlocks& blocks,
                        PathBlock*& block) noexcept {
  if (const std::int32_t error = check_path(op.path); error != 0) return error;
  if (const std::int32_t error = check_path(op.path2); error != 0) return error;
  block = blocks.take(op.path.size() + op.path2.size() + 2);
  if (block == nullptr) return -ENOMEM;
  char* to = block->text();
  request.path = copy_path(op.path, to);
  request.path2 = copy_path(op.path2, to);
  request.open_flags = op.open_flags;
  request.mode = op.mode;
  return 0;
}

bool has_path(OpCode code) noexcept {
  switch (code) {
    case OpCode::open:
    case OpCode::make_dir:
    case OpCode::list_dir:
    case OpCode::rename:
    case OpCode::remove:
    case OpCode::sync_dir:
      return true;
    default:
      return false;
  }
}

}  // namespace

PathBlocks::~PathBlocks() {
  while (free_ != nullptr) ::operator delete(std::exchange(free_, free_->next));
}

PathBlock* PathBlocks::take(std::size_t bytes) noexcept {
  if (free_ != nullptr) {
    PathBlock* const block = std::exchange(free_, free_->next);
    if (block->capacity >= bytes) return block;
    // A longer path takes the short block's place, so the list never grows beyond what is in
    // flight.
    ::operator delete(block);
  }
  std::size_t capacity = kBlockBytesMin;
  while (capacity < bytes) capacity *= 2;
  void* const memory = ::operator new(sizeof(PathBlock) + capacity, std::nothrow);
  if (memory == nullptr) return nullptr;
  auto* const block = ::new (memory) PathBlock;
  block->capacity = capacity;
  return block;
}

void PathBlocks::give_back(PathBlock* block) noexcept {
  if (block == nullptr) return;
  block->next = free_;
  free_ = block;
}

std::int32_t fill_request(OsRequest& request, const Op& op, PathBlocks& blocks,
                          PathBlock*& block) noexcept {
  DIORITE_ASSERT(request.entries == nullptr, "the slot's last listing was not delivered");
  block = nullptr;
  request.code = op.code;
  request.flags = op.flags;
  request.file = op.file;
  request.offset = op.offset;
  request.data = op.data;
  request.bytes = op.bytes;
  request.dsync_emulated = false;
  if (op.code == OpCode::allocate || op.code == OpCode::truncate) {
    request.length = static_cast<const InfoOp&>(op).length;
  }
  if (op.code == OpCode::call) {
    request.function = static_cast<const CallOp&>(op).function;
    request.context = static_cast<const CallOp&>(op).context;
  }
  if (has_path(op.code)) return fill_paths(request, static_cast<const PathOp&>(op), blocks, block);
  return 0;
}

void deliver(OsRequest& request, std::int32_t result, Op& op) noexcept {
  switch (request.code) {
    case OpCode::open:
      if (result >= 0) op.file = request.file;
      break;
    case OpCode::info:
      if (result >= 0) static_cast<InfoOp&>(op).info = request.info;
      break;
    case OpCode::list_dir:
      static_cast<ListOp&>(op).entries = std::move(request.entries);
      break;
    default:
      break;
  }
}

void discard(OsRequest& request, std::int32_t result) noexcept {
  if (request.code == OpCode::open && result >= 0) os_close(request.file);
  request.entries.reset();
}

}  // namespace diorite::detail
