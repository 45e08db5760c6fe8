#include "driver/linux/uring_ring.hpp"

#include <errno.h>

#include <array>
#include <cstdint>

namespace diorite::detail {

int Uring::make(std::uint32_t entries, io_uring_params& params) noexcept {
  DIORITE_ASSERT(!made_, "a ring is made twice");
  const unsigned flags = params.flags;
  if (const int result = calls_.setup(entries, &ring_, &params); result != 0) return result;
  made_ = true;
  deferred_ = (flags & kDeferTaskrun) != 0;
  sq_poll_ = (flags & IORING_SETUP_SQPOLL) != 0;
  io_poll_ = (flags & IORING_SETUP_IOPOLL) != 0;
  return 0;
}

void Uring::discard() noexcept {
  if (!made_) return;
  // The kernel takes a closed ring apart at its leisure, and until then its files would stay open
  // and locked; the table is given back first.
  if (files_max_ != 0) ::io_uring_unregister_files(&ring_);
  ::io_uring_queue_exit(&ring_);
  ring_ = {};
  made_ = false;
  files_max_ = 0;
  enter_flags_ = 0;
  cq_head_ = 0;
}

int Uring::register_descriptor() noexcept {
  const int result = calls_.register_ring(&ring_);
  if (result != 1) return result < 0 ? result : -EINVAL;
  enter_flags_ = kEnterRegisteredRing;
  return 0;
}

int Uring::prove(bool& came_back) noexcept {
  constexpr std::uint64_t kMark = 0x6469'6f72'6974'6521;
  came_back = false;
  io_uring_sqe* const sqe = next_sqe();
  io_uring_prep_nop(sqe);
  sqe->user_data = kMark;
  int result = 0;
  do {
    // A ring that polls devices has no device to poll here: a no-op ends while it is submitted.
    result = enter(io_poll_ ? 0 : 1, nullptr);
  } while (result == -EINTR);
  if (result < 0) return result;
  const unsigned head = cq_head();
  if (cq_tail() == head || cqe(head).user_data != kMark) return 0;
  came_back = true;
  result = cqe(head).res;
  set_cq_head(head + 1);
  return result;
}

int Uring::register_files() noexcept {
  int result = calls_.register_files_sparse(&ring_, kFilesMax);
  if (result == -EINVAL) {
    // Before Linux 5.19 an empty table is a table of -1.
    std::array<int, kFilesMax> none;
    none.fill(-1);
    result = calls_.register_files(&ring_, none.data(), kFilesMax);
  }
  if (result < 0) return result;
  files_max_ = kFilesMax;
  return 0;
}

int Uring::set_file(std::uint32_t index, int descriptor) noexcept {
  const int result = calls_.update_files(&ring_, index, &descriptor, 1);
  return result < 0 ? result : 0;
}

int Uring::enter_timed(unsigned to_submit, unsigned min_complete, __kernel_timespec& wait,
                       unsigned flags) noexcept {
  io_uring_getevents_arg argument{};
  argument.sigmask_sz = _NSIG / 8;
  argument.ts = reinterpret_cast<std::uintptr_t>(&wait);
  return calls_.enter(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, min_complete,
                      enter_flags_ | flags | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                      reinterpret_cast<sigset_t*>(&argument), sizeof(argument));
}

int Uring::enter_sq_poll(unsigned min_complete, __kernel_timespec* wait, unsigned flags) noexcept {
  // Before it sleeps, the kernel's thread says so and then looks at the tail once more; this side
  // moves the tail and then looks at what the thread says. Both orders are total: were the load
  // below to pass the store, each side could miss the other, and the entries would wait for ever.
  io_uring_sq& sq = ring_.sq;
  sq.sqe_head = sq.sqe_tail;
  __atomic_store_n(sq.ktail, sq.sqe_tail, __ATOMIC_SEQ_CST);
  const unsigned said = __atomic_load_n(sq.kflags, __ATOMIC_SEQ_CST);
  if ((said & IORING_SQ_NEED_WAKEUP) != 0 && unsubmitted() != 0) flags |= IORING_ENTER_SQ_WAKEUP;
  // The thread posts completions by itself; there is nothing to enter for.
  if (min_complete == 0 && flags == 0 && (said & IORING_SQ_CQ_OVERFLOW) == 0) return 0;
  // Nothing is submitted by this call, and a number here would come back in place of -ETIME.
  return enter_kernel(0, min_complete, wait, flags);
}

}  // namespace diorite::detail
