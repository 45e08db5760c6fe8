// Check: mounts a crash state, opens the journal on it and holds what it returns against what had
// been promised before the cut.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "powercut/filesystem.hpp"
#include "powercut/record.hpp"
#include "powercut/workload.hpp"

namespace diorite::powercut {

enum class Outcome : std::uint32_t {
  good,
  lost,         ///< an acknowledged record is missing or different, or one that open had returned
  foreign,      ///< a record that nobody appended, twice, out of order, or ahead of its time
  refused,      ///< the journal does not open: a false verdict of corruption, or an error
  changed,      ///< a second open does not find what the first returned
  crashed,      ///< the process that opened it died
  unmountable,  ///< by the file system: no verdict about the journal
  stuck,        ///< nothing came in time: no verdict about the journal
};
inline constexpr std::size_t kOutcomes = 8;
const char* to_string(Outcome outcome) noexcept;
/// True for what the journal has to answer for.
constexpr bool is_failure(Outcome outcome) noexcept {
  return outcome != Outcome::good && outcome != Outcome::unmountable && outcome != Outcome::stuck;
}

/// What the workload's marks before the cut say.
struct Promises {
  std::vector<Mark> acked;
  std::vector<Mark> opened;
  std::uint32_t lives = 0;  ///< that had begun
  std::uint64_t salt = 0;
};

struct Verdict {
  Outcome outcome = Outcome::stuck;
  std::uint64_t records = 0;  ///< recovered
  std::uint64_t zombies = 0;
  char text[1024] = {};
};

struct CheckOptions {
  const FileSystem* fs = nullptr;
  std::string where;  ///< an empty folder to mount on
  Writer writer = Writer::dsync;
  bool twice = false;  ///< opens it once more
};

/// The name of the journal's folder on the disk.
inline constexpr const char* kJournalName = "wal";

/// In a child process, with a time limit; leaves nothing mounted. `disk` is the state.
Verdict check_state(int disk, const CheckOptions& options, const Promises& promises);

/// The judging part, without a disk: what is wrong with these records.
struct Recovered {
  std::uint64_t begin = 0;
  std::string payload;
};
Outcome judge(const std::vector<Recovered>& records, const Promises& promises, std::string& why);

}  // namespace diorite::powercut
