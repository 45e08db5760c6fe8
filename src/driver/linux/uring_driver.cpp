#include "driver/linux/uring_driver.hpp"

#include <errno.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>

#include "driver/linux/uring_files.hpp"
#include "driver/linux/uring_prep.hpp"
#include "driver/linux/uring_setup.hpp"
#include "driver/os.hpp"
#include "driver/pool/worker_pool.hpp"
#include "driver/request.hpp"
#include "driver/slots.hpp"

// A processor that leaves the kernel has forgotten where calls return to, so every return on the
// way of a completion is mispredicted: submit() and poll() are made of one piece each, rare cases
// apart.
#define DIORITE_FAST_PATH [[gnu::flatten]]
#define DIORITE_SLOW_PATH [[gnu::noinline]]

namespace diorite::detail {
namespace {

// The low half of a slot's tag is its index; these two are above every index.
constexpr std::uint64_t kBellTag = 0xffff'ffff;
constexpr std::uint64_t kCancelTag = 0xffff'fffe;
constexpr std::uint32_t kReservedTags = 0xffff'fffe;

constexpr std::int32_t kErestartsys = 512;

// How long to wait when the kernel has no memory for a submission, and nothing is known to end
// soon.
constexpr Duration kBackOff = std::chrono::milliseconds(1);

/// Where an operation in flight is.
enum class Stage : std::uint8_t {
  ring,
  worker,
  removed,  ///< its entry became a no-op before the kernel saw it; the slot waits for that one
};

/// The node links slots whose cancel waits for an entry.
struct UringExtra : ListNode {
  Stage stage = Stage::ring;
  bool cancelled = false;  ///< a cancel was sent, or waits in the list
  std::uint32_t sq_position = 0;
  PathBlock* paths = nullptr;
  PoolJob job;
};

class UringDriver final : public Driver {
 public:
  UringDriver(const DriverOptions& options, std::string reason, std::unique_ptr<Uring> ring,
              std::unique_ptr<OsWaker> waker);
  ~UringDriver() override;

  const DriverCaps& caps() const noexcept override { return caps_; }
  DriverCounters counters() const noexcept override;
  void submit(Op& op) noexcept override;
  Removal remove(Op& op) noexcept override;
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override;
  void run_here(Op& op) noexcept override;
  void poll(OpList& done, Instant until) noexcept override;
  void wake() noexcept override;
  Instant now() const noexcept override { return os_now(); }
  WallTime wall_now() const noexcept override { return os_wall_now(); }
  std::uint64_t entropy() noexcept override { return os_entropy(); }

 private:
  using Slots = SlotTable<UringExtra>;
  using Slot = Slots::Slot;

  void check_thread() const noexcept {
    DIORITE_DEBUG_ASSERT(std::this_thread::get_id() == owner_,
                         "a driver is used on another thread than the one that created it");
  }

  bool launch(Op& op) noexcept;
  DIORITE_SLOW_PATH bool launch_request(Op& op) noexcept;
  DIORITE_SLOW_PATH void copy_request(Slot& slot, const Op& op) noexcept;
  void give_to_worker(Slot& slot) noexcept;
  DIORITE_SLOW_PATH void start() noexcept;
  void arm_bell() noexcept;
  void send_cancels() noexcept;
  io_uring_sqe* take_sqe() noexcept;

  void submit_only() noexcept { settle(ring_->enter(0, nullptr)); }
  DIORITE_SLOW_PATH bool wait_until(Instant until) noexcept;
  void settle(int entered) noexcept {
    if (entered < 0) judge(entered);
  }
  DIORITE_SLOW_PATH void judge(int error) noexcept;
  void reap() noexcept;
  DIORITE_SLOW_PATH void reap_reserved(std::uint64_t tag, std::int32_t result,
                                       std::uint32_t flags) noexcept;
  void complete(Slot& slot, std::int32_t result) noexcept;
  DIORITE_SLOW_PATH bool goes_on_at_worker(const Slot& slot, std::int32_t result) const noexcept;
  DIORITE_SLOW_PATH void collect_jobs() noexcept;
  void finish(Slot& slot, std::int32_t result) noexcept;

  const std::string reason_;
  const bool forbid_fallback_;
  const std::thread::id owner_ = std::this_thread::get_id();
  std::unique_ptr<OsWaker> waker_;
  std::unique_ptr<Uring> ring_;
  UringFiles files_;
  DriverCaps caps_;
  DriverCounters counters_;
  PathBlocks path_blocks_;
  Slots slots_;
  OpList backlog_;
  IntrusiveList<UringExtra> cancels_;
  OpList* done_ = nullptr;  ///< of the running poll
  std::uint64_t backlog_count_ = 0;
  std::uint32_t removed_ = 0;       ///< slots whose stage is removed
  std::uint32_t jobs_ = 0;          ///< slots that a worker has
  std::uint32_t cancels_sent_ = 0;  ///< cancels whose own completions have not come
  std::uint32_t events_ = 0;        ///< what ends the running poll: completions and wakes
  bool stalled_ = false;            ///< the kernel refused a submission for want of memory
  bool bell_armed_ = false;
  bool bell_multishot_ = true;

  // Written by other threads and signal handlers, so they have a line of the cache to themselves.
  alignas(64) std::atomic<bool> woken_{false};
  std::atomic<bool> bell_rung_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "wake() is called from signal handlers");

  alignas(64) WorkerPool workers_;  // the last member: its threads end before what they use
};

UringDriver::UringDriver(const DriverOptions& options, std::string reason,
                         std::unique_ptr<Uring> ring, std::unique_ptr<OsWaker> waker)
    : reason_(std::move(reason)),
      forbid_fallback_(options.forbid_fallback),
      waker_(std::move(waker)),
      ring_(std::move(ring)),
      files_(*ring_),
      slots_(ring_->in_flight_max()),
      workers_(options.pool_inline ? 0 : options.pool_threads, *waker_) {
  caps_.kind = DriverKind::uring;
  caps_.name = "io_uring";
  caps_.reason = reason_;
  caps_.in_flight_max = ring_->in_flight_max();
  caps_.threads = options.pool_inline ? 0 : options.pool_threads;
  caps_.files = ring_->files_max() != 0 ? &files_ : nullptr;
  caps_.boot_id = os_boot_id();
}

UringDriver::~UringDriver() {
  check_thread();
  DIORITE_ASSERT(slots_.in_flight() == removed_ && backlog_.empty(),
                 "a driver is destroyed with operations in flight");
  // The poll of the waker and late cancels end here, and not somewhere behind the closed ring.
  OpList none;
  done_ = &none;
  bool cancel_sent = false;
  while (bell_armed_ || cancels_sent_ != 0 || removed_ != 0) {
    if (bell_armed_ && !cancel_sent) {
      if (io_uring_sqe* const sqe = take_sqe(); sqe != nullptr) {
        io_uring_prep_cancel64(sqe, kBellTag, 0);
        sqe->user_data = kCancelTag;
        ++cancels_sent_;
        cancel_sent = true;
      }
    }
    static_cast<void>(wait_until(kNever));
    reap();
  }
}

DriverCounters UringDriver::counters() const noexcept {
  DriverCounters counters = counters_;
  counters.enters = ring_->enters();
  return counters;
}

DIORITE_FAST_PATH void UringDriver::submit(Op& op) noexcept {
  check_thread();
  DIORITE_ASSERT(op.state == OpState::idle || op.state == OpState::done,
                 "an op was submitted while the driver owns it");
  ++counters_.submitted;
  if (backlog_.empty() && launch(op)) return;
  op.state = OpState::backlog;
  backlog_.push_back(op);
  ++backlog_count_;
}

Removal UringDriver::remove(Op& op) noexcept {
  check_thread();
  if (op.state == OpState::backlog) {
    op.unlink();
    op.state = OpState::idle;
    --backlog_count_;
    return Removal::removed;
  }
  Slot& slot = slots_.of(op);
  UringExtra& extra = slot.extra;
  if (extra.stage == Stage::worker) {
    if (!workers_.withdraw(extra.job)) return Removal::in_flight;
    --jobs_;
    path_blocks_.give_back(std::exchange(extra.paths, nullptr));
    slots_.release(slot);
    return Removal::removed;
  }
  const std::uint64_t tag = slots_.tag(slot);
  io_uring_sqe* const sqe = ring_->unsubmitted_sqe(extra.sq_position);
  // Positions wrap, so the entry that stands there may be that of a much later operation.
  if (sqe != nullptr && sqe->user_data == tag) {
    io_uring_prep_nop(sqe);
    sqe->user_data = tag;
    extra.stage = Stage::removed;
    ++removed_;
    path_blocks_.give_back(std::exchange(extra.paths, nullptr));
    slot.op = nullptr;
    op.state = OpState::idle;
    return Removal::removed;
  }
  if (uring_can_cancel(slot.code) && !std::exchange(extra.cancelled, true)) {
    cancels_.push_back(extra);
  }
  return Removal::in_flight;
}

void UringDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  check_thread();
  slots_.orphan(op, std::move(buffer), std::move(file), hook);
  ++counters_.orphans;
}

void UringDriver::run_here(Op& op) noexcept {
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

DIORITE_FAST_PATH void UringDriver::poll(OpList& done, Instant until) noexcept {
  check_thread();
  done_ = &done;
  events_ = 0;
  stalled_ = false;
  for (;;) {
    if (!backlog_.empty() || !cancels_.empty() || !bell_armed_) start();
    // The bell is consumed before the workers' list is read: a job that ends later rings again.
    if (!ring_->posts_in_enter_only()) reap();
    if (jobs_ != 0) collect_jobs();
    bool time_is_up = false;
    if (events_ != 0) {
      if (ring_->unsubmitted() != 0) submit_only();
    } else if (until == kNever && !stalled_) {
      settle(ring_->enter(1, nullptr));
    } else {
      time_is_up = wait_until(until);
    }
    reap();
    if (events_ != 0 || time_is_up) return;
  }
}

void UringDriver::wake() noexcept {
  woken_.store(true, std::memory_order_release);
  // One signal is enough until the reactor has consumed it.
  if (!bell_rung_.exchange(true, std::memory_order_acq_rel)) waker_->signal();
}

/// Gives `op` a slot and prepares its entry, or hands it to a worker. False when there is no room.
bool UringDriver::launch(Op& op) noexcept {
  if (slots_.full()) return false;
  if (!uring_is_transfer(op.code) || ring_->route(op.code) != OpRoute::ring ||
      uring_refusal(op) != 0) {
    return launch_request(op);
  }
  const unsigned position = ring_->sq_position();
  io_uring_sqe* const sqe = ring_->next_sqe();
  if (sqe == nullptr) return false;
  Slot& slot = slots_.acquire(op);
  slot.extra.stage = Stage::ring;
  slot.extra.sq_position = position;
  uring_prepare_transfer(*sqe, op);
  sqe->user_data = slots_.tag(slot);
  // For the worker that takes over where the file system does not know durable writes.
  if ((op.flags & kOpDsync) != 0) copy_request(slot, op);
  return true;
}

/// The same for what has more arguments than an Op, does not belong on the ring, or is impossible.
bool UringDriver::launch_request(Op& op) noexcept {
  const bool on_ring = ring_->route(op.code) == OpRoute::ring && !uring_needs_worker(op);
  if (on_ring && ring_->sq_full()) return false;
  Slot& slot = slots_.acquire(op);
  UringExtra& extra = slot.extra;
  extra.cancelled = false;
  extra.job.tag = slots_.tag(slot);
  std::int32_t refused = fill_request(extra.job.request, op, path_blocks_, extra.paths);
  if (refused == 0) refused = uring_refusal(op);
  if (refused != 0) {
    extra.stage = Stage::worker;
    ++jobs_;
    workers_.push_refused(extra.job, refused);
  } else if (!on_ring) {
    give_to_worker(slot);
  } else {
    extra.stage = Stage::ring;
    extra.sq_position = ring_->sq_position();
    io_uring_sqe* const sqe = ring_->next_sqe();
    uring_prepare_request(*sqe, extra.job.request);
    sqe->user_data = extra.job.tag;
  }
  return true;
}

void UringDriver::copy_request(Slot& slot, const Op& op) noexcept {
  slot.extra.job.tag = slots_.tag(slot);
  const std::int32_t refused =
      fill_request(slot.extra.job.request, op, path_blocks_, slot.extra.paths);
  DIORITE_ASSERT(refused == 0, "a transfer has no argument that could be refused");
}

void UringDriver::give_to_worker(Slot& slot) noexcept {
  slot.extra.stage = Stage::worker;
  ++jobs_;
  workers_.push(slot.extra.job);
}

/// Prepares everything that there is room for, cancels first: they make room.
void UringDriver::start() noexcept {
  if (!bell_armed_) arm_bell();
  if (!cancels_.empty()) send_cancels();
  while (Op* const op = backlog_.front()) {
    DIORITE_ASSERT(op->state == OpState::backlog, "an op in the backlog has another state");
    if (slots_.full()) break;
    op->unlink();
    if (launch(*op)) {
      --backlog_count_;
      continue;
    }
    backlog_.push_front(*op);
    if (stalled_) break;
    submit_only();
  }
  counters_.backlog_max = std::max(counters_.backlog_max, backlog_count_);
}

/// Null when the submission ring is full and the kernel takes nothing now.
io_uring_sqe* UringDriver::take_sqe() noexcept {
  io_uring_sqe* const sqe = ring_->next_sqe();
  if (sqe != nullptr || stalled_) return sqe;
  submit_only();
  return ring_->next_sqe();
}

void UringDriver::arm_bell() noexcept {
  io_uring_sqe* const sqe = take_sqe();
  if (sqe == nullptr) return;
  if (bell_multishot_) {
    io_uring_prep_poll_multishot(sqe, waker_->descriptor(), POLLIN);
  } else {
    io_uring_prep_poll_add(sqe, waker_->descriptor(), POLLIN);
  }
  sqe->user_data = kBellTag;
  bell_armed_ = true;
}

void UringDriver::send_cancels() noexcept {
  while (!cancels_.empty() && cancels_sent_ < Uring::kCancelsMax) {
    io_uring_sqe* const sqe = take_sqe();
    if (sqe == nullptr) return;
    UringExtra* const extra = cancels_.pop_front();
    io_uring_prep_cancel64(sqe, extra->job.tag, 0);
    sqe->user_data = kCancelTag;
    ++cancels_sent_;
  }
}

/// Enters the kernel until something completes or `until` has come; true in the latter case.
bool UringDriver::wait_until(Instant until) noexcept {
  Duration left = Duration::max();
  if (until != kNever) {
    const Instant now = until == kAtOnce ? until : os_now();
    if (until <= now) {
      // What the ring has in flight completes only when the kernel is entered.
      if (ring_->unsubmitted() != 0 || slots_.in_flight() != jobs_) submit_only();
      return true;
    }
    left = until - now;
  }
  const bool backs_off = stalled_;
  if (backs_off) left = std::min(left, kBackOff);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  __kernel_timespec limit{};
  limit.tv_sec = seconds.count();
  limit.tv_nsec = (left - seconds).count();
  const int entered = backs_off ? ring_->enter_without_submit(1, &limit) : ring_->enter(1, &limit);
  settle(entered);
  // After the pause the submission is due, however the pause ended.
  if (backs_off) stalled_ = false;
  return entered == -ETIME && !backs_off;
}

/// Whatever may pass is tried again by the loop of poll.
void UringDriver::judge(int error) noexcept {
  if (error == -EINTR || error == -ETIME) return;
  if (error == -EAGAIN || error == -EBUSY || error == -ENOMEM) {
    stalled_ = true;
    return;
  }
  DIORITE_ASSERT(error != -EBADF, "the ring's descriptor was closed behind the driver's back");
  DIORITE_ASSERT(error != -EFAULT, "the ring was entered with a bad address");
  DIORITE_ASSERT(error != -EEXIST, "poll() on another thread than the one that made the ring");
  DIORITE_ASSERT(error != -EBADR, "the kernel had no memory for a completion and lost it");
  DIORITE_ASSERT(false, "the kernel refuses to enter a ring that it made");
}

void UringDriver::reap() noexcept {
  unsigned head = ring_->cq_head();
  const unsigned tail = ring_->cq_tail();
  if (head == tail) return;
  for (; head != tail; ++head) {
    const io_uring_cqe& cqe = ring_->cqe(head);
    if (static_cast<std::uint32_t>(cqe.user_data) >= kReservedTags) {
      reap_reserved(cqe.user_data, cqe.res, cqe.flags);
    } else {
      complete(slots_.resolve(cqe.user_data), cqe.res);
    }
  }
  ring_->set_cq_head(head);
}

void UringDriver::reap_reserved(std::uint64_t tag, std::int32_t result,
                                std::uint32_t flags) noexcept {
  if (tag == kCancelTag) {
    // The operation tells by its own completion whether it was stopped.
    DIORITE_ASSERT(cancels_sent_ != 0, "a completion for a cancel that was not sent");
    --cancels_sent_;
    return;
  }
  DIORITE_ASSERT(tag == kBellTag && bell_armed_, "a completion that nobody asked for");
  if ((flags & IORING_CQE_F_MORE) == 0) bell_armed_ = false;
  if (result < 0) {
    if (result == -ECANCELED) return;
    DIORITE_ASSERT(bell_multishot_, "the ring cannot poll the driver's own descriptor");
    bell_multishot_ = false;  // before Linux 5.13
    return;
  }
  // First the descriptor, then the flags: a wake in between finds the bell rung, and is seen below.
  waker_->consume();
  bell_rung_.exchange(false, std::memory_order_acq_rel);
  if (woken_.exchange(false, std::memory_order_acq_rel)) ++events_;
}

/// What the ring says of an operation.
void UringDriver::complete(Slot& slot, std::int32_t result) noexcept {
  if (slot.extra.stage != Stage::ring) {
    DIORITE_ASSERT(slot.extra.stage == Stage::removed, "the ring completes what it was not given");
    --removed_;
    slots_.finish(slot, 0, *done_);
    return;
  }
  // What a cancel interrupts may answer with a code that is the kernel's own, ERESTARTSYS and its
  // kin; a system call would never show it.
  if (result <= -kErestartsys) result = -EINTR;
  if (result < 0 && goes_on_at_worker(slot, result)) {
    if (slot.extra.linked()) slot.extra.unlink();
    give_to_worker(slot);
    return;
  }
  if (!uring_is_transfer(slot.code)) {
    OsRequest& request = slot.extra.job.request;
    // The descriptor is free by then, and may already be somebody else's.
    if (slot.code == OpCode::close && result == -EINTR) result = 0;
    if (slot.code == OpCode::open && result >= 0) {
      request.file = os_driver_file(result);
      result = 0;
    }
    if (slot.op != nullptr) {
      deliver(request, result, *slot.op);
    } else {
      discard(request, result);
    }
  }
  finish(slot, result);
}

/// True for results that only say that the ring's way does not work here.
bool UringDriver::goes_on_at_worker(const Slot& slot, std::int32_t result) const noexcept {
  const PoolJob& job = slot.extra.job;
  if (job.tag != slots_.tag(slot)) return false;  // the slot's last operation left it
  switch (slot.code) {
    case OpCode::write:
      return result == -EOPNOTSUPP && !forbid_fallback_;
    case OpCode::open:
      // Only a file's owner may ask for O_NOATIME; the worker opens without it then.
      return result == -EPERM && (job.request.open_flags & kOpenNoAtime) != 0;
    default:
      return false;
  }
}

void UringDriver::collect_jobs() noexcept {
  PoolJobList finished;
  workers_.take_finished(finished);
  while (PoolJob* const job = finished.pop_front()) {
    Slot& slot = slots_.resolve(job->tag);
    --jobs_;
    if (!job->refused && !workers_.is_inline()) ++counters_.pool_ops;
    if (job->request.dsync_emulated) ++counters_.dsync_emulated;
    if (slot.op != nullptr) {
      deliver(job->request, job->result, *slot.op);
    } else {
      discard(job->request, job->result);
    }
    finish(slot, job->result);
  }
}

void UringDriver::finish(Slot& slot, std::int32_t result) noexcept {
  UringExtra& extra = slot.extra;
  if (extra.linked()) extra.unlink();
  if (slot.code == OpCode::close && uring_file_place(extra.job.request.file) != 0) {
    files_.release_file(extra.job.request.file);
  }
  if (extra.paths != nullptr) path_blocks_.give_back(std::exchange(extra.paths, nullptr));
  if (slot.op == nullptr && result < 0) ++counters_.orphan_errors;
  ++counters_.completed;
  ++events_;
  slots_.finish(slot, result, *done_);
}

}  // namespace

Result<std::unique_ptr<Driver>> make_uring_driver(const DriverOptions& options,
                                                  std::string& reasons) {
  return make_uring_driver(options, reasons, uring_kernel_calls());
}

Result<std::unique_ptr<Driver>> make_uring_driver(const DriverOptions& options,
                                                  std::string& reasons, const UringCalls& calls) {
  Result<std::unique_ptr<Uring>> ring = Uring::create(options, reasons, calls);
  if (!ring) return ring.error();
  Result<std::unique_ptr<OsWaker>> waker = OsWaker::create();
  if (!waker) {
    reasons += "; no descriptor to be woken by: " + waker.error().text();
    return waker.error();
  }
  return std::unique_ptr<Driver>(
      std::make_unique<UringDriver>(options, reasons, std::move(*ring), std::move(*waker)));
}

}  // namespace diorite::detail
