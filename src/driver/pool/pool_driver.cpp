#include "driver/pool/pool_driver.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "driver/os.hpp"
#include "driver/pool/worker_pool.hpp"
#include "driver/request.hpp"
#include "driver/slots.hpp"

namespace diorite::detail {
namespace {

struct PoolExtra {
  PoolJob job;
  PathBlock* paths = nullptr;
};

class PoolDriver final : public Driver {
 public:
  PoolDriver(const DriverOptions& options, std::string reason, std::unique_ptr<OsWaker> waker);
  ~PoolDriver() override;

  const DriverCaps& caps() const noexcept override { return caps_; }
  DriverCounters counters() const noexcept override { return counters_; }
  void submit(Op& op) noexcept override;
  Removal remove(Op& op) noexcept override;
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override;
  void run_here(Op& op) noexcept override;
  void poll(OpList& done, Instant until) noexcept override;
  void wake() noexcept override;
  NativeHandle pollable() noexcept override;
  bool measure(OpMeter* meter) noexcept override {
    slots_.set_meter(meter);
    return true;
  }
  Instant now() const noexcept override { return os_now(); }
  WallTime wall_now() const noexcept override { return os_wall_now(); }
  std::uint64_t entropy() noexcept override { return os_entropy(); }

 private:
  using Slot = SlotTable<PoolExtra>::Slot;

  void start(Op& op) noexcept;
  void promote() noexcept;
  bool reap(OpList& done) noexcept;
  void finish(PoolJob& job, OpList& done) noexcept;

  const std::string reason_;
  const std::unique_ptr<OsWaker> waker_;
  std::atomic<bool> woken_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "wake() is called from signal handlers");
  DriverCaps caps_;
  DriverCounters counters_;
  PathBlocks path_blocks_;
  SlotTable<PoolExtra> slots_;
  OpList backlog_;
  std::uint64_t backlog_count_ = 0;
  bool hosted_ = false;  ///< somebody else sleeps on the waker
  WorkerPool workers_;   // the last member: its threads end before anything that they use
};

PoolDriver::PoolDriver(const DriverOptions& options, std::string reason,
                       std::unique_ptr<OsWaker> waker)
    : reason_(std::move(reason)),
      waker_(std::move(waker)),
      slots_(options.in_flight_max),
      workers_(options.pool_inline ? 0 : options.pool_threads, *waker_) {
  caps_.kind = DriverKind::pool;
  caps_.name = options.pool_inline ? "pool (inline)" : "pool";
  caps_.reason = reason_;
  caps_.in_flight_max = options.in_flight_max;
  caps_.threads = options.pool_inline ? 0 : options.pool_threads;
  caps_.boot_id = os_boot_id();
}

PoolDriver::~PoolDriver() {
  DIORITE_ASSERT(slots_.in_flight() == 0 && backlog_.empty(),
                 "a driver is destroyed with operations in flight");
}

void PoolDriver::submit(Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::idle || op.state == OpState::done,
                 "an op was submitted while the driver owns it");
  slots_.submitted(op);
  ++counters_.submitted;
  if (!slots_.full() && backlog_.empty()) {
    start(op);
    return;
  }
  op.state = OpState::backlog;
  backlog_.push_back(op);
  ++backlog_count_;
  counters_.backlog_max = std::max(counters_.backlog_max, backlog_count_);
}

void PoolDriver::start(Op& op) noexcept {
  Slot& slot = slots_.acquire(op);
  PoolJob& job = slot.extra.job;
  job.tag = slots_.tag(slot);
  const std::int32_t refused = fill_request(job.request, op, path_blocks_, slot.extra.paths);
  if (refused != 0) {
    workers_.push_refused(job, refused);
  } else if (op.code == OpCode::nop) {
    workers_.push_refused(job, 0);
  } else {
    workers_.push(job);
  }
}

void PoolDriver::promote() noexcept {
  while (!slots_.full()) {
    Op* const op = backlog_.pop_front();
    if (op == nullptr) return;
    DIORITE_ASSERT(op->state == OpState::backlog, "an op in the backlog has another state");
    --backlog_count_;
    start(*op);
  }
}

Removal PoolDriver::remove(Op& op) noexcept {
  if (op.state == OpState::backlog) {
    op.unlink();
    op.state = OpState::idle;
    --backlog_count_;
    return Removal::removed;
  }
  Slot& slot = slots_.of(op);
  if (!workers_.withdraw(slot.extra.job)) return Removal::in_flight;
  path_blocks_.give_back(std::exchange(slot.extra.paths, nullptr));
  slots_.release(slot);
  promote();
  return Removal::removed;
}

void PoolDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  slots_.orphan(op, std::move(buffer), std::move(file), hook);
  ++counters_.orphans;
}

void PoolDriver::run_here(Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::idle && op.code == OpCode::read,
                 "only an idle read can run on the caller's thread");
  OsRequest request;
  request.code = op.code;
  request.file = op.file;
  request.offset = op.offset;
  request.data = op.data;
  request.bytes = op.bytes;
  op.result = os_execute(request);
}

void PoolDriver::poll(OpList& done, Instant until) noexcept {
  // Before anything is looked at: what comes later signals again.
  if (hosted_) waker_->consume();
  for (;;) {
    // First the flag, then the list: a wake that comes later is kept for the next round.
    const bool woken = woken_.exchange(false, std::memory_order_acquire);
    if (reap(done) || woken || until == kAtOnce) return;
    ++counters_.enters;
    if (!waker_->wait_until(until)) {
      reap(done);
      return;
    }
    // The descriptor also tells of jobs that an earlier reap has taken; then there is nothing, and
    // the wait goes on.
  }
}

bool PoolDriver::reap(OpList& done) noexcept {
  PoolJobList finished;
  workers_.take_finished(finished);
  if (finished.empty()) return false;
  while (PoolJob* const job = finished.pop_front()) finish(*job, done);
  promote();
  // No thread will tell of what runs inside the next poll.
  if (hosted_ && workers_.is_inline() && slots_.in_flight() != 0) waker_->signal();
  return true;
}

void PoolDriver::finish(PoolJob& job, OpList& done) noexcept {
  Slot& slot = slots_.resolve(job.tag);
  const std::int32_t result = job.result;
  ++counters_.completed;
  if (!job.refused && !workers_.is_inline()) ++counters_.pool_ops;
  if (job.request.dsync_emulated) ++counters_.dsync_emulated;
  if (slot.op != nullptr) {
    deliver(job.request, result, *slot.op);
  } else {
    discard(job.request, result);
    if (result < 0) ++counters_.orphan_errors;
  }
  path_blocks_.give_back(std::exchange(slot.extra.paths, nullptr));
  slots_.finish(slot, result, done);
}

void PoolDriver::wake() noexcept {
  woken_.store(true, std::memory_order_release);
  waker_->signal();
}

NativeHandle PoolDriver::pollable() noexcept {
  if (!hosted_) waker_->signal();
  hosted_ = true;
  return waker_->descriptor();
}

}  // namespace

Result<std::unique_ptr<Driver>> make_pool_driver(const DriverOptions& options, std::string reason) {
  Result<std::unique_ptr<OsWaker>> waker = OsWaker::create();
  if (!waker) return waker.error();
  return std::unique_ptr<Driver>(
      std::make_unique<PoolDriver>(options, std::move(reason), std::move(*waker)));
}

}  // namespace diorite::detail
