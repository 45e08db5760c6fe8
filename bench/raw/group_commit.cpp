#include "raw/group_commit.hpp"

#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include <diorite/align.hpp>

namespace diorite::bench::raw {

GroupCommit::GroupCommit(Ring& ring, const GroupCommitJob& job, const std::byte* records)
    : ring_(ring), job_(job), records_(records) {
  // Everything in memory at once: the commits in flight, and full ones behind them.
  const std::uint64_t waiting = std::uint64_t{job.appenders} * job.record_bytes;
  if (job.in_flight_max + waiting / (kBufferBytes - job.record_bytes) + 2 > kBuffers) {
    throw Failure("the ideal loop has too few buffers for so many appenders");
  }
  Result<AlignedBuf> memory = AlignedBuf::zeroed(kBuffers * kBufferBytes);
  if (!memory) throw Failure(memory.error().text());
  memory_ = std::move(*memory);
  for (std::size_t i = 0; i < kBuffers; ++i) {
    commits_ring_[i].data = memory_.data() + i * kBufferBytes;
  }
  begins_.resize(job.appenders / job.latency_stride + 1);
}

void GroupCommit::append(std::uint64_t appender) noexcept {
  if (filled_ + job_.record_bytes > kBufferBytes) seal();
  Commit& commit = filling();
  std::memcpy(commit.data + filled_, records_ + appender * job_.record_bytes, job_.record_bytes);
  filled_ += job_.record_bytes;
  ++commit.records;
  if (appender % job_.latency_stride == 0) {
    begins_[appender / job_.latency_stride] = Clock::now();
  }
}

void GroupCommit::seal() noexcept {
  const std::size_t bytes = align_up(filled_, std::size_t{job_.block_bytes});
  if (next_offset_ + bytes > job_.file_bytes) next_offset_ = 0;
  Commit& commit = filling();
  commit.bytes = static_cast<unsigned>(bytes);
  commit.offset = next_offset_;
  next_offset_ += bytes;
  filled_ = 0;
  ++open_;
  ++commits_;
  filling().records = 0;
  filling().done = false;
}

void GroupCommit::launch() noexcept {
  while (launched_ < open_ && flying() < job_.in_flight_max) {
    const Commit& commit = commits_ring_[launched_ % kBuffers];
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_.get());
    io_uring_prep_write(sqe, job_.file, commit.data, commit.bytes, commit.offset);
    sqe->rw_flags = RWF_DSYNC;
    sqe->user_data = launched_ % kBuffers;
    ++launched_;
  }
}

int GroupCommit::reap() noexcept {
  unsigned head = 0;
  unsigned reaped = 0;
  int failure = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_.get(), head, cqe) {
    ++reaped;
    Commit& commit = commits_ring_[cqe->user_data];
    commit.done = true;
    if (cqe->res != static_cast<int>(commit.bytes)) failure = cqe->res < 0 ? cqe->res : -EIO;
  }
  io_uring_cq_advance(&ring_.get(), reaped);
  return failure;
}

void GroupCommit::acknowledge(Latencies& latencies) noexcept {
  while (acknowledged_ < launched_ && commits_ring_[acknowledged_ % kBuffers].done) {
    const std::uint64_t records = commits_ring_[acknowledged_ % kBuffers].records;
    ++acknowledged_;
    // Appenders are served in a fixed order, since each appends again as soon as it is served.
    for (std::uint64_t i = 0; i < records; ++i) {
      const std::uint64_t appender = next_ack_;
      if (++next_ack_ == job_.appenders) next_ack_ = 0;
      if (appender % job_.latency_stride == 0) {
        latencies.add(Clock::now() - begins_[appender / job_.latency_stride]);
      }
      if (left_ > 0) {
        --left_;
        append(appender);
      }
    }
  }
}

int GroupCommit::run(std::uint64_t count, Latencies& latencies) noexcept {
  left_ = count;
  next_ack_ = 0;
  for (std::uint64_t i = 0; i < job_.appenders && left_ > 0; ++i, --left_) append(i);
  for (;;) {
    const bool may_go =
        flying() == 0 || (flying() < job_.in_flight_max && filled_ >= job_.block_bytes);
    if (filled_ > 0 && launched_ == open_ && may_go) seal();
    launch();
    if (flying() == 0) return 0;
    ring_.submit_and_wait();
    if (const int failure = reap(); failure != 0) return failure;
    acknowledge(latencies);
  }
}

}  // namespace diorite::bench::raw
