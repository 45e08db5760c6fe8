#include <diorite/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <mutex>

#include <diorite/assert.hpp>

namespace diorite {
namespace {

class DioriteCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "diorite"; }

  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::misaligned:
        return "misaligned";
      case Errc::overflow:
        return "too long";
      case Errc::out_of_range:
        return "out of range";
      case Errc::short_io:
        return "fewer bytes than expected";
      case Errc::cancelled:
        return "cancelled";
      case Errc::deadline:
        return "deadline passed";
      case Errc::closed:
        return "closed";
      case Errc::poisoned:
        return "poisoned by an earlier failure; the outcome is indeterminate";
      case Errc::corrupt:
        return "corrupt";
      case Errc::manifest_lost:
        return "the MANIFEST is lost";
      case Errc::missing_segment:
        return "a segment is missing";
      case Errc::tail_unreadable:
        return "the tail cannot be read";
      case Errc::truncated:
        return "below what is retained";
      case Errc::rewound:
        return "cut away by truncate_suffix";
      case Errc::lost:
        return "cut away; it will never be durable";
      case Errc::no_space:
        return "no space can be made now";
      case Errc::locked:
        return "locked by another process";
      case Errc::bad_format:
        return "not a format this build knows";
      case Errc::direct_unsupported:
        return "direct I/O is not supported here";
      case Errc::unsupported:
        return "not supported here";
      case Errc::limit:
        return "beyond a fixed limit";
      case Errc::busy:
        return "would have to wait";
    }
    return "unknown";
  }
};

// The ring of recent failures. A record is found by its id, which is never reused: id % kRecords is
// its place, and a record whose id differs has been overwritten by a newer failure.
struct ContextRecord {
  static constexpr std::size_t kPathBytes = 256;
  static constexpr std::size_t kNoteBytes = 1024;
  std::uint64_t id = 0;
  const char* operation = "";
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint16_t path_bytes = 0;
  std::uint16_t note_bytes = 0;
  std::array<char, kPathBytes> path{};
  std::array<char, kNoteBytes> note{};
};

constexpr std::size_t kRecords = 128;

struct ContextRing {
  std::mutex mutex;
  std::uint64_t next_id = 1;
  std::array<ContextRecord, kRecords> records{};
};

// Constant-initialised and never destroyed: an Error may be asked for its text while the process
// exits.
constinit ContextRing context_ring;

template <std::size_t N>
std::uint16_t copy_cut(std::array<char, N>& to, std::string_view from, bool keep_end) noexcept {
  const std::size_t bytes = std::min(from.size(), N);
  // The end of a long path names the file; the beginning of a long note names the fault.
  const char* source = keep_end ? from.data() + (from.size() - bytes) : from.data();
  if (bytes != 0) std::memcpy(to.data(), source, bytes);
  return static_cast<std::uint16_t>(bytes);
}

bool find_record(std::uint64_t id, ContextRecord& out) noexcept {
  if (id == 0) return false;
  const std::lock_guard lock(context_ring.mutex);
  const ContextRecord& record = context_ring.records[id % kRecords];
  if (record.id != id) return false;
  out = record;
  return true;
}

void append_details(std::string& text, const Error& error) {
  auto out = std::back_inserter(text);
  if (error == Errc::short_io) {
    fmt::format_to(out, " (expected {}, done {})", error.a(), error.b());
  } else if (error == Errc::misaligned) {
    fmt::format_to(out, " ({} is not a multiple of {})", error.a(), error.b());
  } else if (error == Errc::overflow && error.b() != 0) {
    fmt::format_to(out, " ({} bytes, room for {})", error.a(), error.b());
  } else if (error == Errc::limit) {
    fmt::format_to(out, " ({}, limit {})", error.a(), error.b());
  } else if (error == Errc::locked) {
    fmt::format_to(out, " (waited {} ms)", error.a());
  }
}

}  // namespace

const std::error_category& diorite_category() noexcept {
  static const DioriteCategory category;
  return category;
}

std::error_code make_error_code(Errc code) noexcept {
  return {static_cast<int>(code), diorite_category()};
}

Error::Error(Errc code, std::uint64_t a, std::uint64_t b) noexcept
    : category_(&diorite_category()), a_(a), b_(b), value_(static_cast<int>(code)) {}

Error::Error(std::error_code code, std::uint64_t a, std::uint64_t b) noexcept
    : category_(&code.category()), a_(a), b_(b), value_(code.value()) {}

Error Error::from_driver(std::int64_t result) noexcept {
  DIORITE_ASSERT(result < 0, "a driver's result that is no failure was taken for one");
  return Error(std::error_code(static_cast<int>(-result), std::generic_category()));
}

std::string Error::text() const {
  if (value_ == 0) return "no error";
  std::string text;
  auto out = std::back_inserter(text);
  ContextRecord record;
  const bool found = find_record(context_, record);
  if (found) {
    text += record.operation;
    if (record.path_bytes != 0) {
      text += ' ';
      text.append(record.path.data(), record.path_bytes);
    }
    if (record.offset != ErrorContext::kNone) fmt::format_to(out, " offset {}", record.offset);
    if (record.length != ErrorContext::kNone) fmt::format_to(out, " length {}", record.length);
    text += ": ";
  }
  text += code().message();
  append_details(text, *this);
  if (found && record.note_bytes != 0) {
    text += ": ";
    text.append(record.note.data(), record.note_bytes);
  }
  return text;
}

bool operator==(const Error& error, Errc code) noexcept {
  return error.category_ == &diorite_category() && error.value_ == static_cast<int>(code);
}

bool operator==(const Error& error, std::errc code) noexcept {
  return error.value_ != 0 && error.code() == std::make_error_condition(code);
}

bool is_cancelled(const Error& error) noexcept {
  return error == Errc::cancelled || error == Errc::deadline ||
         error == std::errc::operation_canceled;
}

bool is_transient(const Error& error) noexcept {
  return error == Errc::busy || error == std::errc::resource_unavailable_try_again ||
         error == std::errc::interrupted || error == std::errc::not_enough_memory ||
         error == std::errc::device_or_resource_busy || error == std::errc::too_many_files_open ||
         error == std::errc::too_many_files_open_in_system;
}

bool is_no_space(const Error& error) noexcept {
  return error == Errc::no_space || error == std::errc::no_space_on_device ||
         error == std::errc::file_too_large ||
         (error.code().category() == std::generic_category() && error.code().value() == EDQUOT);
}

bool is_not_found(const Error& error) noexcept {
  return error == std::errc::no_such_file_or_directory;
}

bool is_device(const Error& error) noexcept {
  if (error == Errc::corrupt || error == std::errc::io_error ||
      error == std::errc::no_such_device_or_address) {
    return true;
  }
  const std::error_code code = error.code();
  if (code.category() != std::generic_category()) return false;
#ifdef EREMOTEIO
  if (code.value() == EREMOTEIO) return true;
#endif
  return code.value() == ENODATA;
}

Error with_context(Error error, const ErrorContext& context) noexcept {
  if (!error || error.context_id() != 0) return error;
  const std::lock_guard lock(context_ring.mutex);
  const std::uint64_t id = context_ring.next_id++;
  ContextRecord& record = context_ring.records[id % kRecords];
  record.id = id;
  record.operation = context.operation;
  record.offset = context.offset;
  record.length = context.length;
  record.path_bytes = copy_cut(record.path, context.path, true);
  record.note_bytes = copy_cut(record.note, context.note, false);
  return error.with_context_id(id);
}

}  // namespace diorite
