// Workload: a process that appends to a journal and notes in the trace what it was promised.
//
// It has several lives on one disk: each opens the journal, reads what is there, appends from
// several coroutines at once over some rotations of segments, and then is killed in the middle of
// it, or closes the journal. A power cut may come at any moment of any life.

#pragma once

#include <cstdint>
#include <string>

#include <diorite/journal.hpp>

namespace diorite::powercut {

/// How the journal is written.
enum class Writer : std::uint8_t {
  dsync,
  flush,
};

struct LifeOptions {
  std::string journal_dir;
  std::string marks;  ///< path of the recorder's file
  Writer writer = Writer::dsync;
  bool unsynced = false;  ///< the control: acknowledges what is not durable
  bool closes = false;    ///< ends with close(), otherwise by a kill
  std::uint32_t life = 0;
  std::uint64_t salt = 0;
  std::uint64_t acks = 0;  ///< then it ends
};

JournalOptions journal_options(Writer writer, std::uint32_t life);

/// Runs one life in the calling process and ends it: by SIGKILL, or with status 0 after a close.
/// Any other status is a failure, told on stderr.
[[noreturn]] void live(const LifeOptions& options);

}  // namespace diorite::powercut
