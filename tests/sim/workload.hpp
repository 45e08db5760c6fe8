// Workloads for sweeps: small uses of the library that promise things, and remember what.
//
// A workload runs three times over one simulated disk: prepare() without faults, work() with them,
// and check() without, after a power cut or a new start. Whatever happens in work(), it ends; what
// it was promised is there in check().

#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <diorite/file.hpp>
#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace diorite::test {

inline constexpr std::size_t kBlock = 4096;

/// What a workload was promised, and what it found to be wrong. Its own memory never runs out.
class Notes {
 public:
  // Files. Bytes at an offset, from now on and until may_change().

  void promise(const std::string& path, std::uint64_t offset, std::string bytes);
  /// The file is there, whatever is in it.
  void promise(const std::string& path);
  void promise_gone(const std::string& path);
  void may_change(const std::string& path);

  // Records, in the order of their appends.

  /// The next one is about to be appended.
  std::string appending(std::size_t bytes);
  /// All so far are durable.
  void all_promised() noexcept { promised_ = appended_.size(); }
  /// As a reader found them; become what there is.
  void found(std::vector<std::string> records);
  /// As one found them who may not see the last ones.
  void seen(const std::vector<std::string>& records);

  void wrong(std::string text);
  const std::vector<std::string>& complaints() const noexcept { return complaints_; }

  /// A buffer that was given to an operation must be there again, whatever became of it.
  void came_back(const AlignedBuf& buffer);

 private:
  friend Task<Result<void>> check_files(Reactor& reactor, Notes& notes);

  std::map<std::string, std::map<std::uint64_t, std::string>> files_;
  std::set<std::string> gone_;
  std::vector<std::string> appended_;
  std::size_t promised_ = 0;
  std::uint64_t next_ = 0;
  std::vector<std::string> complaints_;
};

using Step = Task<Result<void>> (*)(Reactor& reactor, Notes& notes);

struct Workload {
  const char* name;
  Step prepare;  ///< null: nothing
  Step work;
  Step check;
};

std::span<const Workload> file_workloads();
std::span<const Workload> lru_workloads();
std::span<const Workload> journal_workloads();
/// The three together.
std::vector<Workload> all_workloads();

// Pieces.

/// Bytes that tell which they are.
std::string block_of(std::uint64_t seed, std::size_t bytes = kBlock);
Result<AlignedBuf> buffer_of(std::string_view bytes);
Task<Result<void>> write_block(DirectFile& file, Notes& notes, std::uint64_t offset,
                               std::uint64_t seed, WriteFlags flags = {});
/// Promises about files hold.
Task<Result<void>> check_files(Reactor& reactor, Notes& notes);
/// The journal "wal" opens, and has the records that were promised.
Task<Result<void>> check_journal(Reactor& reactor, Notes& notes);

}  // namespace diorite::test
