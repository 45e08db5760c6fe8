// WorkerPool: threads that execute OsRequests, for the pool driver and for what a ring cannot do.
//
// Queues are intrusive and as long as the drivers' slots allow. Threads are started when a job
// finds none that is idle. With no thread allowed the jobs run inside take_finished(), in order:
// that is how tests run the pool without threads.
//
// Thread: all members on the reactor's thread. Lifetime: a job stays put from push until it is
// taken back or withdrawn; the waker outlives the pool, which is destroyed with no job queued or
// running.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <diorite/intrusive_list.hpp>

#include "driver/os.hpp"

namespace diorite::detail {

/// One request on its way through the pool. Between push and the end it is the pool's.
struct PoolJob : ListNode {
  enum class State : std::uint8_t { idle, queued, running, finished };
  OsRequest request;
  std::uint64_t tag = 0;  ///< the driver's
  std::int32_t result = 0;
  State state = State::idle;
  bool refused = false;  ///< has its result without having been executed
};
using PoolJobList = IntrusiveList<PoolJob>;

class WorkerPool {
 public:
  /// At most `threads_max` threads, none for execution inside take_finished(). The waker is
  /// signalled whenever a finished job is there to be taken. Allocates the table of threads.
  WorkerPool(std::uint32_t threads_max, OsWaker& waker);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void push(PoolJob& job) noexcept;
  /// The job ends with `result` and is not executed.
  void push_refused(PoolJob& job, std::int32_t result) noexcept;
  /// Takes a job back that no thread has begun. False when it is too late.
  bool withdraw(PoolJob& job) noexcept;
  /// Appends what has finished, in the order of completion.
  void take_finished(PoolJobList& out) noexcept;

  /// True when jobs run inside take_finished().
  bool is_inline() const noexcept { return threads_max_ == 0; }
  /// How many threads have been started.
  std::uint32_t thread_count() const noexcept {
    return static_cast<std::uint32_t>(threads_.size());
  }

 private:
  void work() noexcept;
  bool start_thread() noexcept;
  void run_inline(PoolJobList& out) noexcept;

  const std::uint32_t threads_max_;
  OsWaker& waker_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;
  std::condition_variable work_;
  PoolJobList queued_;
  PoolJobList finished_;
  std::uint32_t queued_count_ = 0;
  std::uint32_t running_count_ = 0;
  std::uint32_t idle_count_ = 0;  ///< threads that run no job, also those still starting
  bool stopping_ = false;
};

}  // namespace diorite::detail
