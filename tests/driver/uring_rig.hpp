// What the tests of the io_uring driver share: a kernel that refuses on demand.

#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "driver/linux/uring_driver.hpp"
#include "driver/linux/uring_setup.hpp"
#include "driver/rig.hpp"

namespace diorite::test {

/// The real kernel behind a layer that can refuse. One at a time, since the calls are plain
/// functions.
class FakeKernel {
 public:
  FakeKernel() { current() = this; }
  ~FakeKernel() { current() = nullptr; }
  /// From here on the kernel is entered as it is.
  static void forget_hooks() {
    current()->before_enter = nullptr;
    current()->after_enter = nullptr;
    current()->before_enter_polled = nullptr;
    current()->after_enter_polled = nullptr;
  }
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  /// Gives 0 to go on to the kernel, or a negated errno value.
  std::function<int(unsigned entries, const io_uring_params& params)> on_setup;
  std::function<int(unsigned to_submit)> before_enter;
  std::function<void()> after_enter;
  /// The same for the polled ring; 1 leaves the kernel out and says that all is well.
  std::function<int(unsigned to_submit)> before_enter_polled;
  std::function<void()> after_enter_polled;
  /// An ordinary ring stands in for the polled one: it takes every file, and ends by itself.
  bool stand_in = false;
  /// The kernel's thread is not woken.
  bool loses_wakeups = false;
  unsigned features_hidden = 0;
  std::vector<int> ops_hidden;
  int probe_result = 0;
  int register_ring_result = 0;
  int register_polled_result = 0;
  int sparse_result = 0;
  int files_result = 0;
  int sysctl = -1;

  io_uring* ring = nullptr;
  io_uring* polled = nullptr;
  unsigned setups = 0;
  unsigned registrations = 0;
  unsigned wakeups = 0;
  unsigned waits_for_room = 0;
  unsigned given_to_polled = 0;  ///< entries, the no-op of the ladder among them
  bool tables_of_minus_one = false;

  static const detail::UringCalls& calls() {
    static const detail::UringCalls kCalls{&setup,         &enter,           &probe,
                                           &register_ring, &register_sparse, &files,
                                           &update_file,   &eventfd,         &disabled};
    return kCalls;
  }

  /// True when completions had to be put aside because the completion ring was full.
  bool overflowed() const {
    return overflowed(*ring) || (polled != nullptr && overflowed(*polled));
  }
  static bool overflowed(const io_uring& of) {
    return *of.cq.koverflow != 0 || (*of.sq.kflags & IORING_SQ_CQ_OVERFLOW) != 0;
  }
  /// The kernel's thread says that it sleeps.
  bool thread_sleeps() const {
    return (__atomic_load_n(ring->sq.kflags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP) != 0;
  }

  /// Calls `change` with every completion that the driver has not seen yet.
  template <class F>
  void each_completion(F change) {
    each_completion(*ring, change);
  }
  template <class F>
  static void each_completion(io_uring& of, F change) {
    for (unsigned at = *of.cq.khead; at != io_uring_smp_load_acquire(of.cq.ktail); ++at) {
      change(of.cq.cqes[at & of.cq.ring_mask]);
    }
  }

 private:
  int polled_descriptor = -1;  // the ring itself may be gone

  static FakeKernel*& current() {
    static FakeKernel* kernel = nullptr;
    return kernel;
  }
  static const detail::UringCalls& real() { return detail::uring_kernel_calls(); }

  static int setup(unsigned entries, io_uring* ring, io_uring_params* params) {
    FakeKernel& self = *current();
    ++self.setups;
    if (self.on_setup) {
      if (const int refused = self.on_setup(entries, *params); refused != 0) return refused;
    }
    const bool polls = (params->flags & IORING_SETUP_IOPOLL) != 0;
    if (self.stand_in) params->flags &= ~static_cast<unsigned>(IORING_SETUP_IOPOLL);
    const int result = real().setup(entries, ring, params);
    (polls ? self.polled : self.ring) = ring;
    if (polls) self.polled_descriptor = result == 0 ? ring->enter_ring_fd : -1;
    params->features &= ~self.features_hidden;
    return result;
  }
  static int enter(unsigned descriptor, unsigned to_submit, unsigned min_complete, unsigned flags,
                   sigset_t* argument, std::size_t bytes) {
    FakeKernel& self = *current();
    if (static_cast<int>(descriptor) == self.polled_descriptor) {
      return self.enter_polled(descriptor, to_submit, min_complete, flags);
    }
    if ((flags & IORING_ENTER_SQ_WAKEUP) != 0) {
      if (self.loses_wakeups) return 0;
      ++self.wakeups;
    }
    if ((flags & IORING_ENTER_SQ_WAIT) != 0) ++self.waits_for_room;
    if (self.before_enter) {
      if (const int refused = self.before_enter(to_submit); refused != 0) return refused;
    }
    const int result = real().enter(descriptor, to_submit, min_complete, flags, argument, bytes);
    if (self.after_enter) self.after_enter();
    return result;
  }
  int enter_polled(unsigned descriptor, unsigned to_submit, unsigned min_complete, unsigned flags) {
    // The kernel would look for ever, deaf to everything else.
    if (min_complete != 0) FAIL("the polled ring was told to wait");
    if (before_enter_polled) {
      const int answer = before_enter_polled(to_submit);
      if (answer != 0) return std::min(answer, 0);
    }
    given_to_polled += to_submit;
    const int result = real().enter(descriptor, to_submit, min_complete, flags, nullptr, _NSIG / 8);
    if (after_enter_polled) after_enter_polled();
    return result;
  }
  static int probe(io_uring* ring, io_uring_probe* probe, unsigned count) {
    FakeKernel& self = *current();
    if (self.probe_result != 0) return self.probe_result;
    const int result = real().probe(ring, probe, count);
    for (const int op : self.ops_hidden) probe->ops[op].flags = 0;
    return result;
  }
  static int register_ring(io_uring* ring) {
    FakeKernel& self = *current();
    ++self.registrations;
    const int refused =
        ring == self.polled ? self.register_polled_result : self.register_ring_result;
    if (refused != 0) return refused;
    const int result = real().register_ring(ring);
    if (ring == self.polled) self.polled_descriptor = ring->enter_ring_fd;
    return result;
  }
  static int register_sparse(io_uring* ring, unsigned count) {
    const int refused = current()->sparse_result;
    return refused != 0 ? refused : real().register_files_sparse(ring, count);
  }
  static int files(io_uring* ring, const int* descriptors, unsigned count) {
    FakeKernel& self = *current();
    if (self.files_result != 0) return self.files_result;
    self.tables_of_minus_one = true;
    for (unsigned i = 0; i < count; ++i) self.tables_of_minus_one &= descriptors[i] == -1;
    return real().register_files(ring, descriptors, count);
  }
  static int update_file(io_uring* ring, unsigned first, const int* descriptors, unsigned count) {
    return real().update_files(ring, first, descriptors, count);
  }
  static int eventfd(io_uring* ring, int descriptor) {
    return real().register_eventfd(ring, descriptor);
  }
  static int disabled() { return current()->sysctl; }
};

/// A driver on the fake kernel, and what the ladder told.
struct Made {
  explicit Made(DriverOptions options = {}) {
    Result<std::unique_ptr<Driver>> made =
        detail::make_uring_driver(options, reasons, FakeKernel::calls());
    if (made) {
      driver = std::move(*made);
    } else {
      error = made.error();
    }
  }
  // The driver enters the kernel once more, when what the hooks refer to may be gone.
  ~Made() { FakeKernel::forget_hooks(); }
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;
  bool says(std::string_view text) const { return reasons.find(text) != std::string::npos; }

  std::string reasons;
  std::unique_ptr<Driver> driver;
  Error error;
};

/// False where the kernel gives this process no ring at all, as under a seccomp filter.
inline bool ring_here() { return ring_is_here(); }

/// False where the kernel gives no thread that takes submissions. Where it gives one, the driver
/// has to have it.
inline bool thread_here(const Made& made) {
  INFO(made.reasons);
  if (!kernel_gives(RingKind::sq_poll)) return false;
  REQUIRE(made.driver);
  REQUIRE(made.driver->counters().fallback(Fallback::sq_poll) == 0);
  return true;
}

/// Polls until the op is reported. False after a long time: what was lost must not make a test that
/// never ends.
inline bool ends(Driver& driver, Op& op) {
  const Instant until = driver.now() + std::chrono::seconds(20);
  OpList done;
  while (op.state != OpState::done && driver.now() < until) driver.poll(done, until);
  while (done.pop_front() != nullptr) {
  }
  const bool ended = op.state == OpState::done;
  if (ended) op.state = OpState::idle;
  return ended;
}

/// One poll for each wake: a wake that were lost would leave both sides waiting.
inline void check_wakes(Driver& driver, int wakes) {
  std::atomic<int> seen{0};
  std::thread waker([&] {
    for (int i = 0; i < wakes; ++i) {
      while (seen.load(std::memory_order_acquire) != i) std::this_thread::yield();
      driver.wake();
    }
  });
  OpList done;
  for (int i = 1; i <= wakes; ++i) {
    driver.poll(done, kNever);
    seen.store(i, std::memory_order_release);
  }
  waker.join();
  CHECK(done.empty());
}

inline void set_length(Driver& driver, DriverFile file, std::uint64_t length) {
  InfoOp op;
  op.code = OpCode::truncate;
  op.file = file;
  op.length = length;
  REQUIRE(run(driver, op) == 0);
}

/// A little of everything, through whatever the ladder left.
inline void check_that_it_works(Driver& driver) {
  const TempDir dir;
  const DriverFile file = open_file(driver, dir.file("data"));
  std::string text = "0123456789";
  Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
  write.flags = kOpDsync;
  CHECK(run(driver, write) == 10);
  set_length(driver, file, 4);
  std::string back(10, '-');
  Op read = transfer(OpCode::read, file, 0, back.data(), back.size());
  CHECK(run(driver, read) == 4);
  CHECK(back == "0123------");
  Op sync = file_op(OpCode::sync_data, file);
  CHECK(run(driver, sync) == 0);
  close_file(driver, file);

  std::vector<Op> nops(300);
  for (Op& op : nops) driver.submit(op);
  CHECK(collect(driver, nops.size()).size() == nops.size());

  Blocker blocker(dir, "fifo");
  OpList done;
  driver.submit(*blocker.op);
  driver.poll(done, kAtOnce);
  driver.wake();
  driver.poll(done, kNever);
  CHECK(done.empty());
  if (driver.remove(*blocker.op) == Removal::in_flight) {
    blocker.release();
    collect(driver, 1);
    if (blocker.op->result == 0) close_file(driver, blocker.op->file);
  }
}

}  // namespace diorite::test
