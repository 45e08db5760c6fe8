// Trace: what a block device saw, event by event, in memory that two processes share.
//
// The recorder appends while the file system above it works; the judge reads when the recorder is
// gone. A write is two events, its arrival and its completion, and so is a flush, since only a
// write that had completed before the flush arrived is covered by it. A mark is a note from the
// workload, placed when the workload knew what it says.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diorite::powercut {

enum class EventKind : std::uint32_t { write, write_done, flush, flush_done, mark };

struct Event {
  EventKind kind = EventKind::mark;
  std::uint32_t id = 0;  ///< ties an arrival to its completion
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  const std::byte* data = nullptr;  ///< null for a write of zeros only
};

bool all_zero(const std::byte* data, std::size_t bytes) noexcept;

class Trace {
 public:
  /// Address space; memory is used as events come. Throws Trouble.
  explicit Trace(std::size_t bytes);
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace();

  /// False when it does not fit: the trace is then incomplete() and of no use.
  bool append(EventKind kind, std::uint32_t id, std::uint64_t offset = 0,
              const std::byte* data = nullptr, std::uint32_t bytes = 0) noexcept;

  /// In order of arrival. The data is borrowed from the trace.
  std::vector<Event> events() const;
  bool incomplete() const noexcept;
  /// Children that are forked from now on do not see it, which makes forking cheap.
  void keep_from_children() noexcept;

 private:
  struct Header;
  Header* header_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace diorite::powercut
