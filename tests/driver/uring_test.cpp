// The io_uring driver on a real ring: files in its table, cancels, wakes, a kernel short of memory.
// What every driver does is in conformance.cpp.

#include "driver/linux/uring_driver.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "driver/uring_rig.hpp"
#include "support/alloc_counter.hpp"
#include "support/death.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

DriverOptions with_in_flight(std::uint32_t in_flight_max) {
  DriverOptions options;
  options.in_flight_max = in_flight_max;
  return options;
}

// ThreadSanitizer keeps a signal until the thread makes a call that it watches; entering a ring is
// none.
#if defined(__SANITIZE_THREAD__)
constexpr bool kSignalsWaitForCalls = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kSignalsWaitForCalls = true;
#else
constexpr bool kSignalsWaitForCalls = false;
#endif
#else
constexpr bool kSignalsWaitForCalls = false;
#endif

/// Locks the whole file for this open file description.
int lock_file(int descriptor, bool wait) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const int command = wait ? F_OFD_SETLKW : F_OFD_SETLK;
  return ::fcntl(descriptor, command, &lock) == 0 ? 0 : -errno;
}

}  // namespace

TEST_CASE("a registered file stays open and locked until it is released", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  FileRegistrar* const files = made.driver->caps().files;
  REQUIRE(files != nullptr);
  const TempDir dir;
  const std::string path = dir.write("LOCK", "locked");
  const DriverFile file = open_file(*made.driver, path, kOpenWrite);
  Op lock = file_op(OpCode::try_lock, file);
  REQUIRE(run(*made.driver, lock) == 0);
  Result<DriverFile> registered = files->register_file(file);
  REQUIRE(registered);
  CHECK(*registered != file);
  close_file(*made.driver, file);

  const int other = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(other >= 0);
  CHECK(lock_file(other, false) == -EAGAIN);
  // The descriptor is closed, so this can only have gone through the table.
  std::string text(6, '-');
  Op read = transfer(OpCode::read, *registered, 0, text.data(), text.size());
  CHECK(run(*made.driver, read) == 6);
  CHECK(text == "locked");
  CHECK(lock_file(other, false) == -EAGAIN);

  files->release_file(*registered);
  // The kernel may take a moment to let go; a lock that stayed would make this wait for ever.
  CHECK(lock_file(other, true) == 0);
  ::close(other);
}

TEST_CASE("a driver that ends lets its files go", "[driver][uring]") {
  if (!ring_here()) return;
  const TempDir dir;
  const std::string path = dir.write("LOCK", "");
  {
    FakeKernel kernel;
    Made made;
    REQUIRE(made.driver);
    const DriverFile file = open_file(*made.driver, path, kOpenWrite);
    Op lock = file_op(OpCode::try_lock, file);
    REQUIRE(run(*made.driver, lock) == 0);
    REQUIRE(made.driver->caps().files->register_file(file));
    close_file(*made.driver, file);
  }
  const int other = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  CHECK(lock_file(other, true) == 0);
  ::close(other);
}

TEST_CASE("the file table has its limit, and places are used again", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  FileRegistrar& files = *made.driver->caps().files;
  const TempDir dir;
  const DriverFile file = open_file(*made.driver, dir.file("data"));
  std::vector<DriverFile> places;
  for (std::uint32_t i = 0; i < detail::Uring::kFilesMax; ++i) {
    Result<DriverFile> place = files.register_file(file);
    REQUIRE(place);
    places.push_back(*place);
  }
  Result<DriverFile> beyond = files.register_file(file);
  CHECK(beyond.error() == Errc::limit);
  CHECK(beyond.error().b() == detail::Uring::kFilesMax);
  files.release_file(places[17]);
  Result<DriverFile> again = files.register_file(file);
  REQUIRE(again);
  CHECK(*again == places[17]);
  std::string text = "through a place";
  for (const DriverFile place : places) {
    Op write = transfer(OpCode::write, place, 0, text.data(), text.size());
    CHECK(run(*made.driver, write) == 15);
    Op sync = file_op(OpCode::sync_all, place);
    CHECK(run(*made.driver, sync) == 0);
    InfoOp info;
    info.code = OpCode::info;
    info.file = place;
    CHECK(run(*made.driver, info) == 0);
    CHECK(info.info.bytes == 15);
  }
  const int before = open_descriptors();
  close_file(*made.driver, places[5]);
  CHECK(open_descriptors() == before - 1);
  // Closing gave the place back.
  const DriverFile next = open_file(*made.driver, dir.file("data"));
  Result<DriverFile> fifth = files.register_file(next);
  REQUIRE(fifth);
  CHECK(fifth->value >> 32 == places[5].value >> 32);
  close_file(*made.driver, *fifth);
}

TEST_CASE("a bad registration is an error or an assertion", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  {
    Made made;
    REQUIRE(made.driver);
    CHECK(made.driver->caps().files->register_file(DriverFile{9999}).error() ==
          std::errc::bad_file_descriptor);
  }
  const Death death = run_in_child([] {
    Made made;
    made.driver->caps().files->release_file(DriverFile{std::uint64_t{3} << 32});
  });
  CHECK(death.aborted());
  CHECK(death.said("releasing a file that is not registered"));
}

TEST_CASE("the completion ring never overflows", "[driver][uring]") {
  if (!ring_here()) return;
  const unsigned unknown = GENERATE(0U, 1U << 13);  // with DEFER_TASKRUN, and without
  FakeKernel kernel;
  kernel.on_setup = [&](unsigned, const io_uring_params& params) {
    return (params.flags & unknown) != 0 ? -EINVAL : 0;
  };
  Made made(with_in_flight(8));
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  unsigned most = 0;
  kernel.after_enter = [&] {
    most = std::max(most, io_uring_cq_ready(kernel.ring));
    REQUIRE_FALSE(kernel.overflowed());
  };
  std::vector<Op> ops(10'000);
  for (Op& op : ops) driver.submit(op);
  CHECK(collect(driver, ops.size()).size() == ops.size());
  CHECK(most >= 8);
  CHECK(most <= 8 + detail::Uring::kReserve);
  CHECK(driver.counters().backlog_max == 10'000 - 8);
  CHECK(driver.counters().completed == 10'000);

  SECTION("nor when ops are removed before the kernel sees them") {
    for (int round = 0; round < 100; ++round) {
      bool removed = true;
      for (Op& op : ops) {
        driver.submit(op);
        removed = driver.remove(op) == Removal::removed && removed;
      }
      REQUIRE(removed);
      OpList done;
      driver.poll(done, kAtOnce);
      REQUIRE(done.empty());
    }
    CHECK(driver.counters().completed == 10'000);
    CHECK(run(driver, ops[0]) == 0);
  }
}

TEST_CASE("an op that is removed before poll never reaches its file", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  const TempDir dir;
  const DriverFile file = open_file(*made.driver, dir.file("data"));
  std::array<char, 3> bytes{'a', 'b', 'c'};
  std::array<Op, 3> writes;
  for (std::size_t i = 0; i < 3; ++i) {
    writes[i] = transfer(OpCode::write, file, i, &bytes[i], 1);
    made.driver->submit(writes[i]);
  }
  const std::string path = dir.file("folder");
  PathOp folder = path_op(OpCode::make_dir, path);
  made.driver->submit(folder);
  CHECK(made.driver->remove(writes[1]) == Removal::removed);
  CHECK(made.driver->remove(folder) == Removal::removed);
  CHECK(writes[1].state == OpState::idle);
  collect(*made.driver, 2);
  CHECK(dir.read("data") == std::string("a\0c", 3));
  CHECK_FALSE(dir.exists("folder"));
  CHECK(run(*made.driver, writes[1]) == 1);
  CHECK(run(*made.driver, folder) == 0);
  CHECK(dir.read("data") == "abc");
  close_file(*made.driver, file);
}

TEST_CASE("a driver may end with removed ops that the kernel has not seen", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  std::array<Op, 3> ops;
  {
    Made made;
    REQUIRE(made.driver);
    for (Op& op : ops) made.driver->submit(op);
    for (Op& op : ops) CHECK(made.driver->remove(op) == Removal::removed);
  }
  for (const Op& op : ops) CHECK(op.state == OpState::idle);
}

TEST_CASE("no cancel is lost when the submission ring is full", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  const TempDir dir;
  constexpr std::size_t kOpens = 24;
  std::vector<std::unique_ptr<Blocker>> blockers;
  for (std::size_t i = 0; i < kOpens; ++i) {
    blockers.push_back(std::make_unique<Blocker>(dir, "fifo" + std::to_string(i)));
    driver.submit(*blockers.back()->op);
  }
  OpList none;
  driver.poll(none, kAtOnce);
  REQUIRE(none.empty());
  std::vector<Op> nops(600);
  for (Op& op : nops) driver.submit(op);
  REQUIRE(io_uring_sq_space_left(kernel.ring) == 0);
  for (auto& blocker : blockers) {
    REQUIRE(driver.remove(*blocker->op) == Removal::in_flight);
    // Asking twice sends one cancel.
    REQUIRE(driver.remove(*blocker->op) == Removal::in_flight);
  }
  // Nobody opens the other ends: without its cancel an open would never end.
  collect(driver, kOpens + nops.size());
  for (auto& blocker : blockers) {
    INFO(blocker->op->result);
    CHECK((blocker->op->result == -ECANCELED || blocker->op->result == -EINTR));
  }
  CHECK_FALSE(kernel.overflowed());
}

TEST_CASE("a cancel whose target ends first harms nobody", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  const TempDir dir;
  for (int i = 0; i < 50; ++i) {
    Blocker blocker(dir, "fifo" + std::to_string(i));
    OpList done;
    made.driver->submit(*blocker.op);
    made.driver->poll(done, kAtOnce);
    REQUIRE(done.empty());
    REQUIRE(made.driver->remove(*blocker.op) == Removal::in_flight);
    blocker.release();
    collect(*made.driver, 1);
    if (blocker.op->result == 0) close_file(*made.driver, blocker.op->file);
  }
}

TEST_CASE("a wake is never lost", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  SECTION("with a multishot poll") {}
  SECTION("with a poll for each wake, before Linux 5.13") {
    kernel.before_enter = [&](unsigned to_submit) {
      for (unsigned i = 0; i < to_submit; ++i) {
        io_uring_sqe& sqe =
            kernel.ring->sq.sqes[(*kernel.ring->sq.khead + i) & kernel.ring->sq.ring_mask];
        // A flag that no kernel knows makes it answer EINVAL, as an old one answers the multishot
        // flag.
        if (sqe.opcode == IORING_OP_POLL_ADD && sqe.len != 0) sqe.len = 1U << 30;
      }
      return 0;
    };
  }
  SECTION("without DEFER_TASKRUN") {
    kernel.on_setup = [](unsigned, const io_uring_params& params) {
      return (params.flags & (1U << 13)) != 0 ? -EINVAL : 0;
    };
  }
  Made made;
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  constexpr int kWakes = 10'000;
  check_wakes(driver, kWakes);

  // Without waiting for each other, so that wakes meet every moment of poll. Were one lost on the
  // way from the flag to the descriptor, none would ever be signalled again.
  std::atomic<bool> enough{false};
  std::thread storm([&] {
    while (!enough.load(std::memory_order_acquire)) driver.wake();
  });
  OpList done;
  for (int i = 0; i < 5 * kWakes; ++i) driver.poll(done, kNever);
  enough.store(true, std::memory_order_release);
  storm.join();
  CHECK(done.empty());
}

TEST_CASE("a wake from a signal handler ends the wait", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  static Driver* target = nullptr;
  target = made.driver.get();
  struct sigaction action = {};
  action.sa_handler = [](int) { target->wake(); };
  struct sigaction before = {};
  REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
  OpList done;
  ::raise(SIGUSR1);
  made.driver->poll(done, kNever);
  if (!kSignalsWaitForCalls) {
    const pthread_t self = ::pthread_self();
    for (int i = 0; i < 20; ++i) {
      std::thread sender([&] { ::pthread_kill(self, SIGUSR1); });
      made.driver->poll(done, kNever);
      sender.join();
    }
  }
  CHECK(done.empty());
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("one enter submits and reaps a batch; none is made for nothing", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  Op nop;
  run(driver, nop);
  std::uint64_t before = driver.counters().enters;
  for (int i = 0; i < 1000; ++i) CHECK(run(driver, nop) == 0);
  CHECK(driver.counters().enters - before == 1000);

  std::vector<Op> ops(200);
  for (Op& op : ops) driver.submit(op);
  before = driver.counters().enters;
  OpList done;
  driver.poll(done, kNever);
  CHECK(driver.counters().enters - before == 1);
  std::size_t count = 0;
  while (done.pop_front() != nullptr) ++count;
  CHECK(count == ops.size());

  before = driver.counters().enters;
  for (int i = 0; i < 10; ++i) driver.poll(done, kAtOnce);
  CHECK(driver.counters().enters == before);
}

TEST_CASE("nothing is allocated in steady state", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  const TempDir dir;
  const std::string path = dir.write("data", std::string(4096, 'x'));
  std::array<char, 4096> page;
  const auto round = [&](DriverFile file) {
    OpList done;
    Op nop;
    Op read = transfer(OpCode::read, file, 0, page.data(), page.size());
    Op write = transfer(OpCode::write, file, 0, page.data(), page.size());
    write.flags = kOpDsync;
    InfoOp info;
    info.code = OpCode::info;
    info.file = file;
    for (Op* const op : {&nop, &read, &write, static_cast<Op*>(&info)}) {
      driver.submit(*op);
      while (op->state != OpState::done) driver.poll(done, kNever);
      done.pop_front();
    }
    PathOp open = path_op(OpCode::open, path);
    driver.submit(open);
    while (open.state != OpState::done) driver.poll(done, kNever);
    done.pop_front();
    Op close = file_op(OpCode::close, open.file);
    driver.submit(close);
    while (close.state != OpState::done) driver.poll(done, kNever);
    done.pop_front();
    return read.result == 4096 && write.result == 4096 && info.result == 0 && close.result == 0;
  };
  const DriverFile file = open_file(driver, path);
  for (int i = 0; i < 10; ++i) REQUIRE(round(file));
  bool good = true;
  const AllocCount allocations;
  for (int i = 0; i < 200; ++i) good = round(file) && good;
  CHECK(allocations.everywhere().news == 0);
  CHECK(good);
  close_file(driver, file);
}

TEST_CASE("a kernel that is short of memory or interrupted is asked again", "[driver][uring]") {
  if (!ring_here()) return;
  const int error = GENERATE(EINTR, EAGAIN, EBUSY, ENOMEM);
  FakeKernel kernel;
  Made made(with_in_flight(16));
  REQUIRE(made.driver);
  unsigned calls = 0;
  unsigned refusals = 0;
  kernel.before_enter = [&](unsigned) {
    if (++calls % 3 == 0) return 0;
    ++refusals;
    return -error;
  };
  std::vector<Op> ops(200);
  for (Op& op : ops) made.driver->submit(op);
  collect(*made.driver, ops.size());
  CHECK(refusals > 10);
  CHECK(made.driver->counters().completed == ops.size());
  check_that_it_works(*made.driver);
}

TEST_CASE("poll keeps its deadline while the kernel refuses everything", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  const TempDir dir;
  const std::string path = dir.file("folder");
  PathOp op = path_op(OpCode::make_dir, path);
  made.driver->submit(op);
  kernel.before_enter = [](unsigned to_submit) { return to_submit != 0 ? -EAGAIN : 0; };
  const Instant until = made.driver->now() + std::chrono::milliseconds(5);
  const std::uint64_t before = made.driver->counters().enters;
  OpList done;
  made.driver->poll(done, until);
  CHECK(made.driver->now() >= until);
  CHECK(done.empty());
  // It sleeps between the attempts.
  CHECK(made.driver->counters().enters - before < 100);
  made.driver->poll(done, kAtOnce);
  CHECK(done.empty());
  SECTION("what the kernel has not taken can be removed") {
    CHECK(made.driver->remove(op) == Removal::removed);
    kernel.before_enter = nullptr;
    made.driver->poll(done, kAtOnce);
    CHECK_FALSE(dir.exists("folder"));
  }
  SECTION("and goes on when the kernel recovers") {
    kernel.before_enter = nullptr;
    collect(*made.driver, 1);
    CHECK(op.result == 0);
    CHECK(dir.exists("folder"));
  }
}

TEST_CASE("errors that only the driver's own mistakes explain abort", "[driver][uring]") {
  if (!ring_here()) return;
  struct Mistake {
    int error;
    const char* text;
  };
  const Mistake mistake = GENERATE(Mistake{EBADF, "the ring's descriptor was closed"},
                                   Mistake{EFAULT, "the ring was entered with a bad address"},
                                   Mistake{EEXIST, "poll() on another thread"},
                                   Mistake{EBADR, "the kernel had no memory for a completion"},
                                   Mistake{EINVAL, "the kernel refuses to enter a ring"});
  const Death death = run_in_child([&] {
    FakeKernel kernel;
    Made made;
    kernel.before_enter = [&](unsigned) { return -mistake.error; };
    OpList done;
    made.driver->poll(done, kNever);
  });
  CHECK(death.aborted());
  CHECK(death.said(mistake.text));
}

TEST_CASE("a completion that belongs to no operation aborts", "[driver][uring]") {
  if (!ring_here()) return;
  struct Foreign {
    std::uint64_t change;
    const char* text;
  };
  const Foreign foreign =
      GENERATE(Foreign{std::uint64_t{1} << 32, "a stale completion"},
               Foreign{1, "a completion for an operation that is not in flight"},
               Foreign{5000, "a completion for a slot that does not exist"},
               Foreign{0xffff'fffe, "a completion that nobody asked for"});
  const Death death = run_in_child([&] {
    FakeKernel kernel;
    Made made;
    Op nop;
    run(*made.driver, nop);
    kernel.after_enter = [&] {
      kernel.each_completion([&](io_uring_cqe& cqe) { cqe.user_data += foreign.change; });
    };
    run(*made.driver, nop);
  });
  CHECK(death.aborted());
  CHECK(death.said(foreign.text));
}

TEST_CASE("a durable write that the ring cannot do goes to a worker", "[driver][uring]") {
  if (!ring_here()) return;
  const bool forbid = GENERATE(false, true);
  FakeKernel kernel;
  DriverOptions options;
  options.forbid_fallback = forbid;
  Made made(options);
  if (forbid && !made.driver) return;  // a kernel that lacks an opcode refuses earlier
  REQUIRE(made.driver);
  const TempDir dir;
  const DriverFile file = open_file(*made.driver, dir.file("data"));
  std::string text = "durable";
  Op write = transfer(OpCode::write, file, 0, text.data(), text.size());
  write.flags = kOpDsync;
  Op plain = transfer(OpCode::write, file, 100, text.data(), text.size());
  kernel.after_enter = [&] {
    kernel.each_completion([&](io_uring_cqe& cqe) {
      if (cqe.res == static_cast<int>(text.size())) cqe.res = -EOPNOTSUPP;
    });
  };
  CHECK(run(*made.driver, write) == (forbid ? -EOPNOTSUPP : 7));
  CHECK(made.driver->counters().pool_ops == (forbid ? 0 : 1));
  // The slot's last operation was a durable write; this one is not, and its own result stands.
  CHECK(run(*made.driver, plain) == -EOPNOTSUPP);
  kernel.after_enter = nullptr;
  CHECK(dir.read("data").substr(0, 7) == "durable");
  close_file(*made.driver, file);
}

TEST_CASE("opens that take several calls go to a worker", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  const TempDir dir;
  SECTION("O_NOATIME on somebody else's file is tried again without it") {
    const std::string path = dir.write("data", "x");
    PathOp open = path_op(OpCode::open, path, kOpenNoAtime);
    kernel.after_enter = [&] {
      kernel.each_completion([&](io_uring_cqe& cqe) {
        if (cqe.res <= 2) return;
        ::close(cqe.res);
        cqe.res = -EPERM;
      });
    };
    CHECK(run(*made.driver, open) == 0);
    kernel.after_enter = nullptr;
    CHECK(made.driver->counters().pool_ops == 1);
    close_file(*made.driver, open.file);
  }
  SECTION("an exclusive direct open leaves nothing behind when it fails") {
    const std::string path = dir.file("new");
    PathOp open =
        path_op(OpCode::open, path, kOpenWrite | kOpenCreate | kOpenExclusive | kOpenDirect);
    const std::int32_t result = run(*made.driver, open);
    CHECK(made.driver->counters().pool_ops == 1);
    CHECK(dir.exists("new") == (result == 0));
    if (result == 0) close_file(*made.driver, open.file);
  }
}

TEST_CASE("an offset of all ones is no position", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  const TempDir dir;
  const DriverFile file = open_file(*made.driver, dir.file("data"));
  char byte = 'x';
  for (const std::uint64_t offset : {~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    Op write = transfer(OpCode::write, file, offset, &byte, 1);
    CHECK(run(*made.driver, write) == -EINVAL);
  }
  CHECK(dir.read("data").empty());
  close_file(*made.driver, file);
}

#ifndef NDEBUG
TEST_CASE("a driver is used on its own thread", "[driver][uring]") {
  if (!ring_here()) return;
  const Death death = run_in_child([] {
    FakeKernel kernel;
    Made made;
    std::thread([&] {
      OpList done;
      made.driver->poll(done, kAtOnce);
    }).join();
  });
  CHECK(death.aborted());
  CHECK(death.said("on another thread"));
}
#endif
