#include "driver/pool/worker_pool.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

namespace diorite::detail {

WorkerPool::WorkerPool(std::uint32_t threads_max, OsWaker& waker)
    : threads_max_(threads_max), waker_(waker) {
  threads_.reserve(threads_max);
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    DIORITE_ASSERT(queued_count_ == 0 && running_count_ == 0,
                   "a pool of threads is destroyed with requests in flight");
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::push(PoolJob& job) noexcept {
  bool want_thread = false;
  {
    const std::lock_guard lock(mutex_);
    DIORITE_ASSERT(job.state == PoolJob::State::idle, "a job was pushed twice");
    job.state = PoolJob::State::queued;
    job.refused = false;
    queued_.push_back(job);
    ++queued_count_;
    want_thread = queued_count_ > idle_count_ && threads_.size() < threads_max_;
  }
  if (is_inline()) return;
  if (want_thread && !start_thread() && threads_.empty()) {
    // Nobody will ever run it. A later push tries to start a thread again.
    const bool withdrawn = withdraw(job);
    DIORITE_ASSERT(withdrawn, "a job is gone without a thread to take it");
    // A close that is refused has let nothing go, and its file's owner thinks that it has.
    const bool closes = job.request.code == OpCode::close;
    push_refused(job, closes ? os_execute(job.request) : -EAGAIN);
    return;
  }
  work_.notify_one();
}

void WorkerPool::push_refused(PoolJob& job, std::int32_t result) noexcept {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    DIORITE_ASSERT(job.state == PoolJob::State::idle, "a job was pushed twice");
    job.result = result;
    job.refused = true;
    if (is_inline()) {
      // Behind what was pushed before it, so that a run without threads keeps its order.
      job.state = PoolJob::State::queued;
      queued_.push_back(job);
      ++queued_count_;
    } else {
      job.state = PoolJob::State::finished;
      first = finished_.empty();
      finished_.push_back(job);
    }
  }
  if (first) waker_.signal();
}

bool WorkerPool::withdraw(PoolJob& job) noexcept {
  const std::lock_guard lock(mutex_);
  if (job.state != PoolJob::State::queued || job.refused) return false;
  job.unlink();
  job.state = PoolJob::State::idle;
  --queued_count_;
  return true;
}

void WorkerPool::take_finished(PoolJobList& out) noexcept {
  if (is_inline()) {
    run_inline(out);
    return;
  }
  const std::lock_guard lock(mutex_);
  for (PoolJob* job = finished_.front(); job != nullptr; job = finished_.next(*job)) {
    job->state = PoolJob::State::idle;
  }
  out.splice_back(finished_);
}

void WorkerPool::run_inline(PoolJobList& out) noexcept {
  while (PoolJob* const job = queued_.pop_front()) {
    --queued_count_;
    if (!job->refused) job->result = os_execute(job->request);
    job->state = PoolJob::State::idle;
    out.push_back(*job);
  }
}

bool WorkerPool::start_thread() noexcept {
  {
    const std::lock_guard lock(mutex_);
    ++idle_count_;
  }
  try {
    // A thread inherits the mask of the one that starts it.
    const OsSignalBlock no_signals;
    threads_.emplace_back([this] { work(); });
    return true;
  } catch (const std::exception&) {
    const std::lock_guard lock(mutex_);
    --idle_count_;
    return false;
  }
}

void WorkerPool::work() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (queued_.empty() && !stopping_) work_.wait(lock);
    PoolJob* const job = queued_.pop_front();
    if (job == nullptr) return;
    --queued_count_;
    --idle_count_;
    ++running_count_;
    job->state = PoolJob::State::running;
    lock.unlock();
    const std::int32_t result = os_execute(job->request);
    lock.lock();
    job->result = result;
    job->state = PoolJob::State::finished;
    --running_count_;
    ++idle_count_;
    const bool first = finished_.empty();
    finished_.push_back(*job);
    if (!first) continue;
    // Whoever found the list empty sleeps, or will look again before it does.
    lock.unlock();
    waker_.signal();
    lock.lock();
  }
}

}  // namespace diorite::detail
