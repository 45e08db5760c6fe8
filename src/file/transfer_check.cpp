#include "file/transfer_check.hpp"

#include <diorite/align.hpp>

namespace diorite::detail {
namespace {

/// `value` is what is no multiple of `multiple`.
Error misaligned(ErrorContext about, std::uint64_t value, std::uint64_t multiple,
                 std::string_view note) noexcept {
  about.note = note;
  return with_context(Error(Errc::misaligned, value, multiple), about);
}

}  // namespace

Error check_transfer(const TransferTarget& file, const char* operation, OpCode code,
                     const std::byte* data, std::uint64_t bytes, std::uint64_t offset) noexcept {
  ErrorContext about{.operation = operation, .path = file.path, .offset = offset, .length = bytes};
  if (bytes == 0) {
    about.note = "a transfer of zero bytes; was the buffer's length set?";
    return with_context(Error(Errc::out_of_range), about);
  }
  if (offset > kFileBytesMax || bytes > kFileBytesMax - offset) {
    about.note = "the transfer ends beyond 2^63 - 1";
    return with_context(Error(Errc::out_of_range, offset, kFileBytesMax), about);
  }
  const std::uint64_t unit = code == OpCode::read ? file.align.read_offset : file.align.offset;
  if (!is_aligned(offset, unit)) {
    return misaligned(about, offset, unit,
                      "the offset must be a multiple of the block; see alignment()");
  }
  if (!is_aligned(bytes, unit)) {
    return misaligned(about, bytes, unit,
                      "the length must be a multiple of the block; see alignment()");
  }
  if (!is_aligned(data, file.align.memory)) {
    return misaligned(about, reinterpret_cast<std::uintptr_t>(data), file.align.memory,
                      "the buffer's address; take it from AlignedBuf");
  }
  return {};
}

}  // namespace diorite::detail
