// Uring: one ring, as the driver uses it: entries, entering the kernel, completions.
//
// It is made and proven by the ladder (uring_setup.hpp). How the kernel hears of entries depends on
// the ring: an ordinary one reads them when it is entered; with SQPOLL a thread of the kernel reads
// them from the moment on at which the tail is published, and is only woken when it sleeps.
//
// Thread: everything on the thread that creates the ring (SINGLE_ISSUER).

#pragma once

#include <liburing.h>

#include <cstdint>

#include <diorite/assert.hpp>

#include "driver/linux/uring_calls.hpp"

namespace diorite::detail {

class Uring {
 public:
  /// Completions that are kept free for what is not an operation: cancels, and the waker's poll.
  static constexpr std::uint32_t kCancelsMax = 4;
  static constexpr std::uint32_t kReserve = kCancelsMax + 4;
  static constexpr std::uint32_t kFilesMax = 64;

  explicit Uring(const UringCalls& calls) noexcept : calls_(calls) {}
  ~Uring() { discard(); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  /// Asks the kernel for a ring. Returns 0, with what was given in `params`, or a negated errno
  /// value.
  int make(std::uint32_t entries, io_uring_params& params) noexcept;
  bool is_made() const noexcept { return made_; }
  /// A thread of the kernel takes the submissions.
  bool has_thread() const noexcept { return sq_poll_; }
  /// Gives the ring back.
  void discard() noexcept;
  /// Returns 0 or a negated errno value.
  int register_descriptor() noexcept;
  /// Runs a no-op through the ring: its result, or the negated errno value of the enter.
  /// `came_back` says whether its completion was there.
  int prove(bool& came_back) noexcept;
  int probe(io_uring_probe& probe, unsigned operations) noexcept {
    return calls_.probe(&ring_, &probe, operations);
  }
  /// Makes the table of files. Returns 0 or a negated errno value.
  int register_files() noexcept;

  /// Hands every prepared entry over, then waits for `min_complete` completions, or as long as
  /// `wait` says when it is not null. Also runs the kernel's deferred work, which posts
  /// completions.
  int enter(unsigned min_complete, __kernel_timespec* wait) noexcept {
    if (sq_poll_) return enter_sq_poll(min_complete, wait, 0);
    publish();
    return enter_kernel(unsubmitted(), min_complete, wait, 0);
  }
  /// The same without waiting for completions, but until an entry is free: what a ring's own enter
  /// takes, it takes at once; a thread of the kernel may take a moment.
  int enter_for_room() noexcept {
    return sq_poll_ ? enter_sq_poll(0, nullptr, IORING_ENTER_SQ_WAIT) : enter(0, nullptr);
  }
  /// Like enter, but leaves the prepared entries alone.
  int enter_without_submit(unsigned min_complete, __kernel_timespec* wait) noexcept {
    return enter_kernel(0, min_complete, wait, 0);
  }

  /// Null when the submission ring is full.
  io_uring_sqe* next_sqe() noexcept { return io_uring_get_sqe(&ring_); }
  bool sq_full() const noexcept { return unsubmitted() == ring_.sq.ring_entries; }
  /// Where the next entry will stand; positions only grow, and wrap.
  unsigned sq_position() const noexcept { return ring_.sq.sqe_tail; }
  /// The entry at `position` if the kernel cannot have looked at it yet, else null.
  io_uring_sqe* unseen_sqe(unsigned position) noexcept {
    // A thread of the kernel reads whatever is published. Its head is no proof that it has not: it
    // copies an entry first and moves the head later, so that a rewritten entry could be done both
    // ways.
    const unsigned first = sq_poll_ ? ring_.sq.sqe_head : head_of_kernel();
    const bool unseen = ring_.sq.sqe_tail - position - 1 < ring_.sq.sqe_tail - first;
    return unseen ? &ring_.sq.sqes[position & ring_.sq.ring_mask] : nullptr;
  }
  /// Entries that are prepared and not yet taken by the kernel.
  unsigned unsubmitted() const noexcept { return ring_.sq.sqe_tail - head_of_kernel(); }
  /// True when the kernel will take some of those only if somebody enters.
  bool owes_enter() const noexcept {
    return sq_poll_ ? ring_.sq.sqe_tail != ring_.sq.sqe_head : unsubmitted() != 0;
  }
  /// True when entering would post completions. For rings that were made to tell.
  bool has_deferred_work() const noexcept {
    return (IO_URING_READ_ONCE(*ring_.sq.kflags) & (kTaskrun | IORING_SQ_CQ_OVERFLOW)) != 0;
  }

  unsigned cq_head() const noexcept { return cq_head_; }
  unsigned cq_tail() const noexcept { return io_uring_smp_load_acquire(ring_.cq.ktail); }
  const io_uring_cqe& cqe(unsigned position) const noexcept {
    return ring_.cq.cqes[position & ring_.cq.ring_mask];
  }
  void set_cq_head(unsigned head) noexcept {
    cq_head_ = head;
    io_uring_smp_store_release(ring_.cq.khead, head);
  }

  /// True when completions are posted inside enter() only, so that there are none to look for
  /// before it.
  bool posts_in_enter_only() const noexcept { return deferred_; }
  /// 0 where the kernel refused the table.
  std::uint32_t files_max() const noexcept { return files_max_; }
  /// Puts a descriptor, or -1, into the file table. Returns 0 or a negated errno value.
  int set_file(std::uint32_t index, int descriptor) noexcept;
  /// An eventfd that is signalled for every completion, before it is posted too. Returns 0 or a
  /// negated errno value.
  int set_eventfd(int descriptor) noexcept { return calls_.register_eventfd(&ring_, descriptor); }
  /// System calls made.
  std::uint64_t enters() const noexcept { return enters_; }

  // Older headers lack the newer names; the numbers are the kernel's and never change.
  static constexpr unsigned kSubmitAll = 1U << 7;
  static constexpr unsigned kTaskrunFlag = 1U << 9;
  static constexpr unsigned kSingleIssuer = 1U << 12;
  static constexpr unsigned kDeferTaskrun = 1U << 13;

 private:
  static constexpr unsigned kTaskrun = 1U << 2;  // IORING_SQ_TASKRUN
  static constexpr unsigned kEnterRegisteredRing = 1U << 4;

  unsigned head_of_kernel() const noexcept { return io_uring_smp_load_acquire(ring_.sq.khead); }
  void publish() noexcept {
    io_uring_sq& sq = ring_.sq;
    sq.sqe_head = sq.sqe_tail;
    io_uring_smp_store_release(sq.ktail, sq.sqe_tail);
  }
  int enter_kernel(unsigned to_submit, unsigned min_complete, __kernel_timespec* wait,
                   unsigned flags) noexcept {
    ++enters_;
    if (wait != nullptr) return enter_timed(to_submit, min_complete, *wait, flags);
    // GETEVENTS even when nothing is waited for: with DEFER_TASKRUN completions are posted only
    // then, and with IOPOLL the device is asked only then.
    return calls_.enter(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, min_complete,
                        enter_flags_ | flags | IORING_ENTER_GETEVENTS, nullptr, _NSIG / 8);
  }
  int enter_timed(unsigned to_submit, unsigned min_complete, __kernel_timespec& wait,
                  unsigned flags) noexcept;
  int enter_sq_poll(unsigned min_complete, __kernel_timespec* wait, unsigned flags) noexcept;

  const UringCalls& calls_;
  io_uring ring_{};
  bool made_ = false;
  bool deferred_ = false;
  bool sq_poll_ = false;
  bool io_poll_ = false;
  unsigned enter_flags_ = 0;
  unsigned cq_head_ = 0;  ///< only this side moves it
  std::uint32_t files_max_ = 0;
  std::uint64_t enters_ = 0;
};

}  // namespace diorite::detail
