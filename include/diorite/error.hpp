// Error: why an operation failed, with everything that is known about it.
//
// An Error is a value of 40 bytes: a std::error_code, two numbers, and the id of its context
// (operation, path, offset, length). It is what Result<T> and IoResult carry; the library throws
// nothing for what the world may do. Do not use it for programmer errors: those are DIORITE_ASSERT.
//
// Thread: an Error is a plain value. text() may be called from any thread.
// Lifetime: an Error never dangles. Its context is kept in a fixed ring of the process' recent
// failures and found by a generation; when newer failures have taken its place, text() still tells
// code and numbers, and leaves the context out.
//
//   IoResult r = co_await file.read_at(page.as_raw(), 100);
//   if (r.error() == Errc::misaligned) log(r.error().text());
//   // "read_at data.db offset 100 length 4096: misaligned: the offset is not a multiple of 4096"

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace diorite {

/// What diorite itself can find wrong. What the operating system reports stays a code of
/// std::generic_category (std::errc), unchanged.
enum class Errc : std::uint8_t {
  misaligned = 1,  ///< address, offset or length is not a multiple; a = the value, b = the multiple
  overflow,        ///< a = the length that was asked for, b = what there is room for
  out_of_range,    ///< a size, offset or position that has no meaning here
  short_io,        ///< a = bytes expected, b = bytes done
  cancelled,       ///< stopped by request; the operation did not take place
  deadline,        ///< stopped because its time was up; the operation did not take place
  closed,          ///< the object was closed or destroyed while this waited
  poisoned,        ///< an earlier write or sync failed; what is on the device is indeterminate
  corrupt,         ///< bytes that had been durable are not what was written; a = offset
  manifest_lost,   ///< a journal has commits, but its MANIFEST is gone
  missing_segment,  ///< a = the sequence number of the segment that should exist
  tail_unreadable,  ///< the end of a journal cannot be read, and the options refuse to go on
  truncated,        ///< the position lies below what is retained; a = the first retained position
  rewound,          ///< the position was cut away by truncate_suffix
  lost,             ///< the record was cut away and will never become durable
  no_space,         ///< no room can be made now; trying again later may succeed
  locked,           ///< another process holds the lock; a = milliseconds waited
  bad_format,       ///< not our file, a version or a feature that this build does not know
  direct_unsupported,  ///< the file system refuses direct I/O and the options require it
  unsupported,         ///< this platform or driver cannot do it, or a fallback is forbidden
  limit,               ///< more than a fixed limit allows; a = asked, b = the limit
  busy,                ///< would have to wait
};

const std::error_category& diorite_category() noexcept;
std::error_code make_error_code(Errc code) noexcept;

/// See the top of the file. The default value means "no error".
class [[nodiscard]] Error {
 public:
  constexpr Error() noexcept = default;
  Error(Errc code, std::uint64_t a = 0, std::uint64_t b = 0) noexcept;
  explicit Error(std::error_code code, std::uint64_t a = 0, std::uint64_t b = 0) noexcept;

  /// From a negative result of a driver, which is a negated errno value (on every platform: drivers
  /// translate). Requires: result < 0.
  static Error from_driver(std::int64_t result) noexcept;

  /// True when there is an error.
  explicit operator bool() const noexcept { return value_ != 0; }
  std::error_code code() const noexcept {
    return {value_, category_ != nullptr ? *category_ : std::system_category()};
  }
  std::uint64_t a() const noexcept { return a_; }
  std::uint64_t b() const noexcept { return b_; }

  /// One line for a person: operation, path, offset and length as far as they are known, the cause,
  /// and what to do about it where there is something to do. Allocates the string.
  std::string text() const;

  friend bool operator==(const Error& error, Errc code) noexcept;
  friend bool operator==(const Error& error, std::errc code) noexcept;

  /// Library internals: attaches a context record, see base/error_context.hpp.
  Error with_context_id(std::uint64_t id) const noexcept {
    Error copy = *this;
    copy.context_ = id;
    return copy;
  }
  std::uint64_t context_id() const noexcept { return context_; }

 private:
  const std::error_category* category_ = nullptr;
  std::uint64_t a_ = 0;
  std::uint64_t b_ = 0;
  std::uint64_t context_ = 0;
  int value_ = 0;
};
static_assert(std::is_trivially_copyable_v<Error> && sizeof(Error) == 40);

/// Errc::cancelled, Errc::deadline, or ECANCELED.
bool is_cancelled(const Error& error) noexcept;
/// EAGAIN, EINTR, ENOMEM, EBUSY, EMFILE, ENFILE, Errc::busy: the same call may succeed later.
bool is_transient(const Error& error) noexcept;
/// ENOSPC, EDQUOT, EFBIG, Errc::no_space.
bool is_no_space(const Error& error) noexcept;
/// ENOENT.
bool is_not_found(const Error& error) noexcept;
/// EIO, ENODATA (what an NVMe medium error becomes), EREMOTEIO, ENXIO, Errc::corrupt: stop trusting
/// the device.
bool is_device(const Error& error) noexcept;

/// What an error is about. Everything is copied; path and note are cut to the record's size.
struct ErrorContext {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  const char* operation = "";  ///< a literal: "read_at"
  std::string_view path = {};
  std::uint64_t offset = kNone;
  std::uint64_t length = kNone;
  std::string_view note = {};  ///< what exactly was wrong, and the remedy
};

/// Records the context of a failure in the ring and returns the error that refers to it. An error
/// that has a context already keeps it: the first report is the closest to the cause. Takes a
/// mutex; only ever called on a failure. Allocates nothing.
Error with_context(Error error, const ErrorContext& context) noexcept;

}  // namespace diorite

template <>
struct std::is_error_code_enum<diorite::Errc> : std::true_type {};
