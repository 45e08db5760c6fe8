// Uring: a ring that works, and the ladder that finds it.
//
// The ladder asks for everything that makes a ring fast and gives up what the kernel refuses, one
// thing at a time; then it proves the ring with a no-op, and asks which operations the ring knows.
// Every rung, refused or not, is told in words that an operator can act on.
//
// Thread: everything on the thread that creates the ring.

#pragma once

#include <liburing.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <diorite/driver/driver.hpp>
#include <diorite/result.hpp>

namespace diorite::detail {

/// The kernel's side of a ring. Results are liburing's: negated errno values.
struct UringCalls {
  int (*setup)(unsigned entries, io_uring* ring, io_uring_params* params);
  int (*enter)(unsigned descriptor, unsigned to_submit, unsigned min_complete, unsigned flags,
               sigset_t* argument, std::size_t argument_bytes);
  int (*probe)(io_uring* ring, io_uring_probe* probe, unsigned operations);
  int (*register_ring)(io_uring* ring);
  int (*register_files_sparse)(io_uring* ring, unsigned count);
  int (*register_files)(io_uring* ring, const int* descriptors, unsigned count);
  int (*update_files)(io_uring* ring, unsigned first, const int* descriptors, unsigned count);
  /// The value of the sysctl kernel.io_uring_disabled; negative where the kernel has none.
  int (*disabled_sysctl)();
};
const UringCalls& uring_kernel_calls() noexcept;

/// What carries out an OpCode.
enum class OpRoute : std::uint8_t { ring, worker };

/// A ring that has carried out a no-op.
class Uring {
 public:
  /// Completions that are kept free for what is not an operation: cancels, and the waker's poll.
  static constexpr std::uint32_t kCancelsMax = 4;
  static constexpr std::uint32_t kReserve = kCancelsMax + 4;
  static constexpr std::uint32_t kFilesMax = 64;

  /// Errors: unsupported; why is in `reasons`.
  static Result<std::unique_ptr<Uring>> create(const DriverOptions& options, std::string& reasons,
                                               const UringCalls& calls);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  /// Submits every prepared entry, then waits for `min_complete` completions, or as long as `wait`
  /// says when it is not null. Also runs the kernel's deferred work, which posts completions.
  int enter(unsigned min_complete, __kernel_timespec* wait) noexcept {
    io_uring_sq& sq = ring_.sq;
    sq.sqe_head = sq.sqe_tail;
    io_uring_smp_store_release(sq.ktail, sq.sqe_tail);
    return enter_kernel(unsubmitted(), min_complete, wait);
  }
  /// Like enter, but leaves the prepared entries alone.
  int enter_without_submit(unsigned min_complete, __kernel_timespec* wait) noexcept {
    return enter_kernel(0, min_complete, wait);
  }

  /// Null when the submission ring is full.
  io_uring_sqe* next_sqe() noexcept { return io_uring_get_sqe(&ring_); }
  bool sq_full() const noexcept { return unsubmitted() == ring_.sq.ring_entries; }
  /// Where the next entry will stand; positions only grow, and wrap.
  unsigned sq_position() const noexcept { return ring_.sq.sqe_tail; }
  /// The entry at `position` if the kernel has not taken it yet, else null.
  io_uring_sqe* unsubmitted_sqe(unsigned position) noexcept {
    const bool pending = ring_.sq.sqe_tail - position <= unsubmitted();
    return pending ? &ring_.sq.sqes[position & ring_.sq.ring_mask] : nullptr;
  }
  /// Entries that are prepared and not yet taken by the kernel.
  unsigned unsubmitted() const noexcept {
    return ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead);
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
  std::uint32_t in_flight_max() const noexcept { return in_flight_max_; }
  OpRoute route(OpCode code) const noexcept { return routes_[static_cast<std::size_t>(code)]; }
  /// 0 where the kernel refused the table.
  std::uint32_t files_max() const noexcept { return files_max_; }
  /// Puts a descriptor, or -1, into the file table. Returns 0 or a negated errno value.
  int set_file(std::uint32_t index, int descriptor) noexcept;
  std::uint64_t enters() const noexcept { return enters_; }

 private:
  explicit Uring(const UringCalls& calls) noexcept : calls_(calls) {}
  bool climb(const DriverOptions& options, std::string& reasons);
  bool verify(std::string& reasons) noexcept;
  bool choose_routes(bool forbid_fallback, std::string& reasons);
  void register_ring(std::string& reasons);
  void register_files(std::string& reasons);
  int enter_kernel(unsigned to_submit, unsigned min_complete, __kernel_timespec* wait) noexcept {
    ++enters_;
    if (wait != nullptr) return enter_timed(to_submit, min_complete, *wait);
    // GETEVENTS even when nothing is waited for: with DEFER_TASKRUN completions are posted only
    // then.
    return calls_.enter(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, min_complete,
                        enter_flags_ | IORING_ENTER_GETEVENTS, nullptr, _NSIG / 8);
  }
  int enter_timed(unsigned to_submit, unsigned min_complete, __kernel_timespec& wait) noexcept;

  const UringCalls& calls_;
  io_uring ring_{};
  bool made_ = false;
  bool deferred_ = false;
  unsigned enter_flags_ = 0;
  unsigned cq_head_ = 0;  ///< only this side moves it
  std::uint32_t in_flight_max_ = 0;
  std::uint32_t files_max_ = 0;
  std::uint64_t enters_ = 0;
  std::array<OpRoute, kOpCodeCount> routes_{};
};

/// IORING_OP_FTRUNCATE, which headers before Linux 6.9 do not have.
inline constexpr int kUringOpFtruncate = 55;

}  // namespace diorite::detail
