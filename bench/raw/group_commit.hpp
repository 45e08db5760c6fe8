// The ideal group-commit loop: what durable appends could cost if nothing but the device and the
// copying of records were to be paid.
//
// Appenders are simulated: as soon as an appender's record is durable, it appends the next. Records
// go into one block-aligned buffer without header, length or checksum; while commits are in flight
// the next one fills, and is written when nothing is in flight or when it has at least a block and
// fewer than `in_flight_max` are. Commits are acknowledged in order. Every write is durable by
// itself.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "measure.hpp"
#include "raw/ring.hpp"

#include <diorite/buffer.hpp>

namespace diorite::bench::raw {

struct GroupCommitJob {
  int file = -1;
  std::uint64_t file_bytes = 0;  ///< the loop begins again at the file's end
  unsigned appenders = 1;
  unsigned in_flight_max = 4;
  unsigned block_bytes = 4096;
  unsigned record_bytes = 100;
  unsigned latency_stride = 16;  ///< every so many appenders have their latencies taken
};

class GroupCommit {
 public:
  /// `records` holds a record for each appender. Errors: throws Failure.
  GroupCommit(Ring& ring, const GroupCommitJob& job, const std::byte* records);

  /// Appends `count` records, and returns when all are durable. 0, or a negated errno value.
  int run(std::uint64_t count, Latencies& latencies) noexcept;
  std::uint64_t commits() const noexcept { return commits_; }

 private:
  static constexpr std::size_t kBuffers = 16;
  static constexpr std::size_t kBufferBytes = 256 << 10;  // as the journal's commit_bytes_max

  struct Commit {
    std::byte* data = nullptr;
    std::uint64_t records = 0;
    std::uint64_t offset = 0;
    unsigned bytes = 0;
    bool done = false;
  };

  Commit& filling() noexcept { return commits_ring_[open_ % kBuffers]; }
  std::uint64_t flying() const noexcept { return launched_ - acknowledged_; }
  void append(std::uint64_t appender) noexcept;
  void seal() noexcept;
  void launch() noexcept;
  int reap() noexcept;
  void acknowledge(Latencies& latencies) noexcept;

  Ring& ring_;
  GroupCommitJob job_;
  const std::byte* records_;
  AlignedBuf memory_;
  std::array<Commit, kBuffers> commits_ring_;
  std::vector<Clock::time_point> begins_;  ///< of every latency_stride-th appender's record
  std::size_t filled_ = 0;                 ///< bytes of the open commit
  // Numbers of commits; acknowledged <= launched <= open.
  std::uint64_t open_ = 0;
  std::uint64_t launched_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t next_offset_ = 0;
  std::uint64_t next_ack_ = 0;  ///< appender whose record is the oldest that is not durable
  std::uint64_t left_ = 0;
  std::uint64_t commits_ = 0;
};

}  // namespace diorite::bench::raw
