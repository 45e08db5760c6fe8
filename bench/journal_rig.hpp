// A fresh journal for each run, with its spare segment ready, so that nothing is prepared while the
// clock runs.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "workspace.hpp"

#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/task.hpp>

namespace diorite::bench {

/// An empty journal whose first segment takes `bytes` of commits, and whose spare is ready.
Task<Result<std::unique_ptr<Journal>>> open_fresh_journal(Reactor& reactor, std::string dir,
                                                          std::uint64_t bytes);

class JournalRig {
 public:
  JournalRig(const Workspace& workspace, Reactor& reactor) noexcept
      : workspace_(workspace), reactor_(reactor) {}
  JournalRig(const JournalRig&) = delete;
  JournalRig& operator=(const JournalRig&) = delete;
  ~JournalRig();

  /// Removes the journal that was there and opens an empty one whose first segment takes `bytes` of
  /// commits. Errors: throws Failure.
  void renew(std::uint64_t bytes);
  /// Errors: throws Failure.
  void close();
  Journal& journal() noexcept { return *journal_; }

 private:
  const Workspace& workspace_;
  Reactor& reactor_;
  std::unique_ptr<Journal> journal_;
};

}  // namespace diorite::bench
