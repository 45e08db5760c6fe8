// Recording: one workload on one fresh file system, and everything that its disk saw.

#pragma once

#include <cstdint>
#include <vector>

#include "powercut/filesystem.hpp"
#include "powercut/plan.hpp"
#include "powercut/record.hpp"
#include "powercut/supervisor.hpp"
#include "powercut/trace.hpp"
#include "powercut/workload.hpp"

namespace diorite::powercut {

struct RecordingOptions {
  const FileSystem* fs = nullptr;
  Writer writer = Writer::dsync;
  bool unsynced = false;
  std::uint64_t seed = 0;
};

class Recording {
 public:
  /// Runs the workload to its end and takes everything down again. Throws Trouble and Missing.
  Recording(const RecordingOptions& options, const Workspace& workspace);

  const std::vector<Event>& events() const noexcept { return events_; }
  const FileBlocks& files() const noexcept { return files_; }
  std::uint64_t salt() const noexcept { return salt_; }
  /// The first mark: the file system is mounted, and the workload begins.
  std::size_t first() const noexcept { return first_; }
  static Mark mark_of(const Event& event);

 private:
  void work(const RecordingOptions& options, const Workspace& workspace,
            std::vector<Extents>& extents);

  Trace trace_;
  std::uint64_t salt_;
  std::vector<Event> events_;
  FileBlocks files_;
  std::size_t first_ = 0;
};

}  // namespace diorite::powercut
