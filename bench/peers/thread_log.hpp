// A durable log, or a store with one, that many threads append to at once and that makes each wait
// for its own record.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "workspace.hpp"

namespace diorite::bench {

class ThreadLog {
 public:
  ThreadLog() = default;
  ThreadLog(const ThreadLog&) = delete;
  ThreadLog& operator=(const ThreadLog&) = delete;
  virtual ~ThreadLog() = default;

  virtual std::string name() const = 0;
  /// Begins anew with an empty one, fit for `threads` that append `records` in all. Errors: throws
  /// Failure.
  virtual void renew(unsigned threads, std::uint64_t records) = 0;
  /// Returns when the record is durable. Called by each of the threads, 0 to `threads` - 1. Errors:
  /// throws Failure.
  virtual void append(unsigned thread, std::span<const std::byte> record) = 0;
  /// Removes what is on the disk.
  virtual void close() = 0;
  /// So far, of its ring if it has one.
  virtual std::uint64_t enters() { return 0; }
};

/// Empty where the benchmark was built without the library.
std::unique_ptr<ThreadLog> make_leveldb_log(const Workspace& workspace);
std::unique_ptr<ThreadLog> make_rocksdb_log(const Workspace& workspace);

}  // namespace diorite::bench
