#include <cstddef>
#include <cstdint>

#include <diorite/buffer.hpp>

#include "buffer/explain.hpp"

namespace diorite {
namespace {

Error check_slice(const RawIoBuf& whole, const char* operation, std::size_t offset,
                  std::size_t bytes) noexcept {
  const ErrorContext context{.operation = operation, .offset = offset, .length = bytes};
  if (offset > whole.capacity() || bytes > whole.capacity() - offset) {
    const std::uint64_t end = detail::saturating_add(offset, bytes);
    return detail::explain(Error(Errc::out_of_range, end, whole.capacity()), context,
                           "the slice ends at {}, the memory at {}", end, whole.capacity());
  }
  if (!is_aligned(whole.data() + offset, kPageBytes)) {
    // The caller chose the offset, so that is the number to report, unless the memory itself is
    // at fault.
    if (is_aligned(whole.data(), kPageBytes)) {
      return detail::explain(Error(Errc::misaligned, offset, kPageBytes), context,
                             "the offset; slice_unchecked serves devices with smaller blocks");
    }
    const auto address = reinterpret_cast<std::uintptr_t>(whole.data() + offset);
    return detail::explain(Error(Errc::misaligned, address, kPageBytes), context,
                           "the address; take the memory from an AlignedBuf");
  }
  if (!is_aligned(bytes, kPageBytes)) {
    return detail::explain(Error(Errc::misaligned, bytes, kPageBytes), context,
                           "the length; slice_unchecked serves devices with smaller blocks");
  }
  return {};
}

}  // namespace

Result<RawIoBuf> RawIoBuf::with_len(std::size_t bytes) const noexcept {
  if (bytes > cap_) {
    return detail::explain(Error(Errc::out_of_range, bytes, cap_),
                           {.operation = "RawIoBuf::with_len", .length = bytes},
                           "{} bytes in a memory of {}", bytes, cap_);
  }
  return RawIoBuf(data_, bytes, cap_);
}

RawIoBuf RawIoBuf::full() const noexcept { return RawIoBuf(data_, cap_, cap_); }

Result<RawIoBuf> RawIoBuf::slice(std::size_t offset, std::size_t bytes) const noexcept {
  const Error error = check_slice(*this, "RawIoBuf::slice", offset, bytes);
  if (error) return error;
  return slice_unchecked(offset, bytes);
}

Result<RawIoBuf> RawIoBuf::slice_data(std::size_t offset, std::size_t bytes) const noexcept {
  const Error error = check_slice(*this, "RawIoBuf::slice_data", offset, bytes);
  if (error) return error;
  return slice_unchecked(offset, bytes).full();
}

}  // namespace diorite
