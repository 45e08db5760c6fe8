#include <diorite/driver/op.hpp>

namespace diorite {

const char* to_string(OpCode code) noexcept {
  switch (code) {
    case OpCode::nop:
      return "nop";
    case OpCode::read:
      return "read";
    case OpCode::write:
      return "write";
    case OpCode::sync_data:
      return "sync_data";
    case OpCode::sync_all:
      return "sync_all";
    case OpCode::allocate:
      return "allocate";
    case OpCode::truncate:
      return "truncate";
    case OpCode::info:
      return "info";
    case OpCode::close:
      return "close";
    case OpCode::try_lock:
      return "try_lock";
    case OpCode::drop_cache:
      return "drop_cache";
    case OpCode::open:
      return "open";
    case OpCode::make_dir:
      return "make_dir";
    case OpCode::list_dir:
      return "list_dir";
    case OpCode::rename:
      return "rename";
    case OpCode::remove:
      return "remove";
    case OpCode::sync_dir:
      return "sync_dir";
    case OpCode::call:
      return "call";
  }
  return "unknown";
}

}  // namespace diorite
