// The second ring, whose reads and writes are polled (IOPOLL): what goes there, what it refuses,
// and that neither ring waits for the other.
//
// Where no device can be polled, an ordinary ring stands in for the polled one in some of these:
// to the driver they differ in nothing but in what the kernel does to learn of an end.

#include <array>
#include <atomic>
#include <thread>

#include <diorite/buffer.hpp>

#include "driver/op_model.hpp"
#include "driver/uring_rig.hpp"
#include "support/death.hpp"
#include "support/memory_dir.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

constexpr std::size_t kPage = 4096;

DriverOptions with_polled(bool forbid = false) {
  DriverOptions options;
  options.uring.poll_transfers = true;
  options.forbid_fallback = forbid;
  return options;
}

/// A page of one letter, or of nothing yet.
AlignedBuf page_of(char letter) {
  Result<AlignedBuf> page = AlignedBuf::zeroed(kPage);
  REQUIRE(page);
  std::memset(page->data(), letter, kPage);
  return std::move(*page);
}

constexpr std::uint32_t kDirect = kOpenWrite | kOpenCreate | kOpenDirect;

/// The driver with two rings, a stand-in being the second, and a file that is polled.
struct Polled {
  explicit Polled(DriverOptions options = with_polled()) {
    kernel.stand_in = true;
    made = std::make_unique<Made>(options);
    if (!made->driver) FAIL(made->reasons);
    file = open_file(driver(), dir.file("data"), kDirect);
    given_before = kernel.given_to_polled;
  }
  ~Polled() {
    // The driver ends while its kernel is there, and after every operation.
    FakeKernel::forget_hooks();
    close_file(driver(), file);
    made.reset();
  }
  Driver& driver() { return *made->driver; }
  std::uint64_t counted(Fallback which) { return driver().counters().fallback(which); }
  /// How many entries the polled ring was given since the beginning, or since the last call.
  unsigned given() {
    return kernel.given_to_polled - std::exchange(given_before, kernel.given_to_polled);
  }
  /// The next completions of the polled ring, `times` of them, become this refusal.
  void refuse(int error, int times) {
    io_uring_cq& cq = kernel.polled->cq;
    kernel.after_enter_polled = [&cq, error, times, next = *cq.ktail]() mutable {
      for (; next != io_uring_smp_load_acquire(cq.ktail); ++next) {
        if (times-- > 0) cq.cqes[next & cq.ring_mask].res = -error;
      }
    };
  }

  TempDir dir;
  FakeKernel kernel;
  std::unique_ptr<Made> made;
  DriverFile file;
  unsigned given_before = 0;
};

/// A direct file of a file system in memory. Empty, and it is said why, where there is none.
DriverFile open_in_memory(Driver& driver, const MemoryDir& dir) {
  if (!dir) {
    WARN("skipped: no file system in memory here");
    return {};
  }
  const std::string path = dir.file();
  PathOp open = path_op(OpCode::open, path, kOpenWrite | kOpenCreate | kOpenDirect);
  if (run(driver, open) != 0) {
    WARN("skipped: the file system in memory takes no O_DIRECT");
    return {};
  }
  return open.file;
}

}  // namespace

TEST_CASE("reads and writes of direct files are polled, and nothing else is", "[driver][uring]") {
  if (!ring_here()) return;
  const bool stand_in = GENERATE(false, true);
  FakeKernel kernel;
  kernel.stand_in = stand_in;
  Made made(with_polled());
  INFO(made.reasons);
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  if (driver.counters().fallback(Fallback::polled_ring) != 0) {
    // An ordinary ring cannot be missing where there is one already.
    REQUIRE_FALSE(stand_in);
    REQUIRE_FALSE(kernel_gives(RingKind::polled));
    return;
  }
  const TempDir dir;
  AlignedBuf page = page_of('p');
  const auto given_for = [&](Op op, std::int32_t result) {
    const unsigned before = kernel.given_to_polled;
    driver.submit(op);
    REQUIRE(ends(driver, op));
    CHECK(op.result == result);
    return kernel.given_to_polled - before;
  };
  const DriverFile file = open_file(driver, dir.file("data"), kDirect);
  const Op write = transfer(OpCode::write, file, 0, page.data(), kPage);
  CHECK(given_for(write, kPage) == 1);
  Op read = transfer(OpCode::read, file, 0, page.data(), kPage);
  std::memset(page.data(), '-', kPage);
  CHECK(given_for(read, kPage) == 1);
  CHECK(page.data()[kPage - 1] == std::byte{'p'});
  // A write that makes a file longer is waited for without polling, so only the read is proof.
  if (driver.counters().fallback(Fallback::polled_transfer) != 0) {
    REQUIRE_FALSE(stand_in);  // it takes every file
    CHECK(driver.counters().fallback(Fallback::polled_file) == 1);
    CHECK(given_for(read, kPage) == 0);
    WARN("skipped: the disk of the tests cannot be polled; its transfers took the main ring");
    close_file(driver, file);
    return;
  }
  read.offset = kPage;
  CHECK(given_for(read, 0) == 1);

  Op durable = write;
  durable.flags = kOpDsync;
  CHECK(given_for(durable, kPage) == 0);
  CHECK(given_for(file_op(OpCode::sync_data, file), 0) == 0);
  CHECK(given_for(Op(), 0) == 0);
  if (FileRegistrar* const files = driver.caps().files) {
    Result<DriverFile> place = files->register_file(file);
    REQUIRE(place);
    Op registered = write;
    registered.file = *place;
    CHECK(given_for(registered, kPage) == 0);
    files->release_file(*place);
  }
  const DriverFile buffered = open_file(driver, dir.file("buffered"));
  CHECK(given_for(transfer(OpCode::write, buffered, 0, page.data(), 100), 100) == 0);
  const DriverFile synced = open_file(driver, dir.file("synced"), kDirect | kOpenDsync);
  CHECK(given_for(transfer(OpCode::write, synced, 0, page.data(), kPage), kPage) == 0);

  // The descriptor of a closed file becomes another file's, which is not direct: one that somebody
  // else opened after the driver closed, or one that the driver opened after somebody else closed.
  close_file(driver, file);
  const int foreign = ::open(dir.file("foreign").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(static_cast<std::uint64_t>(foreign) == file.value);
  CHECK(given_for(transfer(OpCode::write, file, 0, page.data(), 100), 100) == 0);
  ::close(foreign);
  const DriverFile lost = open_file(driver, dir.file("lost"), kDirect);
  CHECK(given_for(transfer(OpCode::write, lost, 0, page.data(), kPage), kPage) == 1);
  ::close(static_cast<int>(lost.value));
  const DriverFile next = open_file(driver, dir.file("next"));
  REQUIRE(next == lost);
  CHECK(given_for(transfer(OpCode::write, next, 0, page.data(), 100), 100) == 0);
  for (const DriverFile each : {buffered, synced, next}) close_file(driver, each);

  // Opened by a worker, since an exclusive direct open takes several calls.
  const DriverFile fresh = open_file(driver, dir.file("fresh"), kDirect | kOpenExclusive);
  CHECK(given_for(transfer(OpCode::write, fresh, 0, page.data(), kPage), kPage) == 1);
  close_file(driver, fresh);
  CHECK(driver.counters().fallback(Fallback::polled_transfer) == 0);
  CHECK(driver.counters().fallback(Fallback::polled_file) == 0);
  CHECK_FALSE(kernel.overflowed());
}

TEST_CASE("a real file system that cannot be polled gets its transfers by the main ring",
          "[driver][uring]") {
  if (!ring_is_here(RingKind::polled)) return;
  FakeKernel kernel;
  const bool forbid = GENERATE(false, true);
  Made made(with_polled(forbid));
  INFO(made.reasons);
  if (!made.driver) {
    // It is forbidden to do without other things that an older kernel lacks.
    REQUIRE(forbid);
    REQUIRE_FALSE(made.says("no polled ring"));
    return;
  }
  REQUIRE(made.driver->counters().fallback(Fallback::polled_ring) == 0);
  Driver& driver = *made.driver;
  // A file system in memory has no device to ask; since Linux 6.6 it takes O_DIRECT all the same.
  const MemoryDir dir;
  const DriverFile file = open_in_memory(driver, dir);
  if (!file) return;
  AlignedBuf page = page_of('m');
  Op write = transfer(OpCode::write, file, 0, page.data(), kPage);
  driver.submit(write);
  REQUIRE(ends(driver, write));
  if (forbid) {
    CHECK(write.result == -EOPNOTSUPP);
    CHECK(driver.counters().fallback(Fallback::polled_transfer) == 0);
  } else {
    CHECK(write.result == kPage);
    const unsigned given = kernel.given_to_polled;
    AlignedBuf back = page_of('-');
    Op read = transfer(OpCode::read, file, 0, back.data(), kPage);
    driver.submit(read);
    REQUIRE(ends(driver, read));
    CHECK(read.result == kPage);
    CHECK(std::memcmp(back.data(), page.data(), kPage) == 0);
    // The file is known by now.
    CHECK(kernel.given_to_polled == given);
    CHECK(driver.counters().fallback(Fallback::polled_transfer) == 1);
    CHECK(driver.counters().fallback(Fallback::polled_file) == 1);
  }
  close_file(driver, file);
}

TEST_CASE("what the polled ring refuses is done once more, and counted", "[driver][uring]") {
  if (!ring_here()) return;
  struct Refusal {
    int error;
    bool of_the_file;
  };
  const Refusal refusal =
      GENERATE(Refusal{EOPNOTSUPP, true}, Refusal{EINVAL, false}, Refusal{EAGAIN, false});
  Polled rig;
  AlignedBuf page = page_of('q');
  Op write = transfer(OpCode::write, rig.file, 0, page.data(), kPage);
  // The refused attempt leaves other bytes behind: only the second one can have written these.
  AlignedBuf wrong = page_of('w');
  rig.kernel.before_enter_polled = [&](unsigned) {
    io_uring_sq& sq = rig.kernel.polled->sq;
    for (unsigned at = *sq.khead; at != *sq.ktail; ++at) {
      sq.sqes[at & sq.ring_mask].addr = reinterpret_cast<std::uintptr_t>(wrong.data());
    }
    return 0;
  };
  rig.refuse(refusal.error, 1);
  rig.driver().submit(write);
  REQUIRE(ends(rig.driver(), write));
  CHECK(write.result == kPage);
  CHECK(rig.dir.read("data") == std::string(kPage, 'q'));
  CHECK(rig.given() == 1);
  CHECK(rig.counted(Fallback::polled_transfer) == 1);
  CHECK(rig.counted(Fallback::polled_file) == (refusal.of_the_file ? 1 : 0));
  CHECK(rig.driver().counters().completed == 2);

  FakeKernel::forget_hooks();
  rig.driver().submit(write);
  REQUIRE(ends(rig.driver(), write));
  CHECK(write.result == kPage);
  CHECK(rig.given() == (refusal.of_the_file ? 0U : 1U));
  CHECK(rig.counted(Fallback::polled_transfer) == 1);
}

TEST_CASE("many refusals at once all find their way", "[driver][uring]") {
  if (!ring_here()) return;
  DriverOptions options = with_polled();
  options.in_flight_max = 32;
  options.uring.sq_entries = GENERATE(1U, 8U, 0U);
  Polled rig(options);
  rig.refuse(EAGAIN, 100);
  std::vector<AlignedBuf> pages;
  std::vector<Op> ops(200);
  std::string all;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    pages.push_back(page_of(letter));
    all += std::string(kPage, letter);
    ops[i] = transfer(OpCode::write, rig.file, i * kPage, pages[i].data(), kPage);
    rig.driver().submit(ops[i]);
  }
  for (const Op* const op : collect(rig.driver(), ops.size())) CHECK(op->result == kPage);
  CHECK(rig.dir.read("data") == all);
  CHECK(rig.counted(Fallback::polled_transfer) == 100);
  CHECK_FALSE(rig.kernel.overflowed());
}

TEST_CASE("forbid_fallback makes a refusal the result", "[driver][uring]") {
  if (!ring_here()) return;
  Polled rig(with_polled(true));
  AlignedBuf page = page_of('f');
  Op write = transfer(OpCode::write, rig.file, 0, page.data(), kPage);
  rig.refuse(EOPNOTSUPP, 1);
  CHECK(run(rig.driver(), write) == -EOPNOTSUPP);
  CHECK(rig.counted(Fallback::polled_transfer) == 0);
  CHECK(rig.counted(Fallback::polled_file) == 0);
}

TEST_CASE("a refused write is done once more after its op is gone", "[driver][uring]") {
  if (!ring_here()) return;
  Polled rig;
  rig.refuse(EOPNOTSUPP, 1);
  AlignedBuf page = page_of('o');
  struct Ending {
    std::int64_t result = 1;
    bool buffer = false;
  } ending;
  {
    auto op = std::make_unique<Op>(transfer(OpCode::write, rig.file, 0, page.data(), kPage));
    rig.driver().submit(*op);
    OrphanHook hook;
    hook.context = &ending;
    hook.ended = [](void* self, OpCode, std::int64_t result) noexcept {
      static_cast<Ending*>(self)->result = result;
    };
    Pin buffer(&ending, [](void* self) noexcept { static_cast<Ending*>(self)->buffer = true; });
    rig.driver().orphan(*op, std::move(buffer), Pin(), hook);
    std::memset(static_cast<void*>(op.get()), 0xdb, sizeof(Op));
  }
  const Instant until = rig.driver().now() + std::chrono::seconds(20);
  OpList done;
  while (!ending.buffer && rig.driver().now() < until) rig.driver().poll(done, kAtOnce);
  REQUIRE(ending.buffer);
  CHECK(ending.result == kPage);
  CHECK(rig.driver().counters().orphan_errors == 0);
  CHECK(rig.dir.read("data") == std::string(kPage, 'o'));
}

TEST_CASE("an op is taken back from the polled ring before it is entered", "[driver][uring]") {
  if (!ring_here()) return;
  Polled rig;
  AlignedBuf page = page_of('r');
  std::array<Op, 3> writes;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    writes[i] = transfer(OpCode::write, rig.file, i * kPage, page.data(), kPage);
    rig.driver().submit(writes[i]);
  }
  CHECK(rig.driver().remove(writes[1]) == Removal::removed);
  CHECK(rig.driver().remove(writes[2]) == Removal::removed);
  CHECK(collect(rig.driver(), 1) == std::vector<Op*>{&writes[0]});
  CHECK(rig.dir.read("data") == std::string(kPage, 'r'));
  // One that waits for its second attempt may have reached a part of its file.
  rig.refuse(EAGAIN, 1);
  rig.kernel.before_enter = [](unsigned to_submit) { return to_submit != 0 ? -EAGAIN : 0; };
  rig.driver().submit(writes[1]);
  OpList done;
  while (rig.counted(Fallback::polled_transfer) == 0) rig.driver().poll(done, kAtOnce);
  REQUIRE(done.empty());
  CHECK(rig.driver().remove(writes[1]) == Removal::in_flight);
  rig.kernel.before_enter = nullptr;
  REQUIRE(ends(rig.driver(), writes[1]));
  CHECK(writes[1].result == kPage);
  CHECK(rig.dir.read("data") == std::string(2 * kPage, 'r'));
}

TEST_CASE("a driver may end with removed ops in its polled ring", "[driver][uring]") {
  if (!ring_here()) return;
  AlignedBuf page = page_of('e');
  Op write;
  TempDir dir;
  FakeKernel kernel;
  kernel.stand_in = true;
  {
    Made made(with_polled());
    REQUIRE(made.driver);
    const DriverFile file = open_file(*made.driver, dir.file("data"), kDirect);
    write = transfer(OpCode::write, file, 0, page.data(), kPage);
    made.driver->submit(write);
    CHECK(made.driver->remove(write) == Removal::removed);
    ::close(static_cast<int>(file.value));
  }
  CHECK(write.state == OpState::idle);
  CHECK(dir.read("data").empty());
}

TEST_CASE("poll hears everything else while a device takes its time", "[driver][uring]") {
  if (!ring_here()) return;
  Polled rig;
  Driver& driver = rig.driver();
  AlignedBuf page = page_of('s');
  Op slow = transfer(OpCode::write, rig.file, 0, page.data(), kPage);
  // Not before it is told to: the kernel is not even entered.
  std::atomic<bool> device_is_ready{false};
  rig.kernel.before_enter_polled = [&](unsigned) { return device_is_ready.load() ? 0 : 1; };
  driver.submit(slow);
  OpList done;
  driver.poll(done, kAtOnce);
  REQUIRE(done.empty());

  SECTION("its deadline") {
    const Instant until = driver.now() + std::chrono::milliseconds(2);
    driver.poll(done, until);
    CHECK(driver.now() >= until);
    CHECK(done.empty());
  }
  SECTION("wakes") {
    std::atomic<int> seen{0};
    std::thread waker([&] {
      for (int i = 0; i < 100; ++i) {
        while (seen.load(std::memory_order_acquire) != i) std::this_thread::yield();
        driver.wake();
      }
    });
    for (int i = 1; i <= 100; ++i) {
      driver.poll(done, kNever);
      seen.store(i, std::memory_order_release);
    }
    waker.join();
    CHECK(done.empty());
  }
  SECTION("what the main ring completes at once, later, and what a worker does") {
    Op nop;
    CHECK(run(driver, nop) == 0);
    const DriverFile buffered = open_file(driver, rig.dir.file("buffered"));
    char byte = 'b';
    Op write = transfer(OpCode::write, buffered, 0, &byte, 1);
    write.flags = kOpDsync;
    CHECK(run(driver, write) == 1);
    InfoOp info;
    info.code = OpCode::info;
    info.file = buffered;
    CHECK(run(driver, info) == 0);
    close_file(driver, buffered);
  }
  CHECK(slow.state == OpState::in_flight);
  device_is_ready.store(true);
  REQUIRE(ends(driver, slow));
  CHECK(slow.result == kPage);
}

TEST_CASE("neither ring starves the other", "[driver][uring]") {
  if (!ring_here()) return;
  Polled rig;
  Driver& driver = rig.driver();
  AlignedBuf page = page_of('n');
  Op write = transfer(OpCode::write, rig.file, 0, page.data(), kPage);
  constexpr int kRounds = 100'000;
  SECTION("the main one while the polled one has an end in every round") {
    Blocker blocker(rig.dir, "fifo");
    OpList done;
    driver.submit(*blocker.op);
    driver.poll(done, kAtOnce);
    REQUIRE(done.empty());
    std::thread other([&] { blocker.release(); });
    for (int i = 0; i < kRounds && blocker.op->state != OpState::done; ++i) {
      driver.submit(write);
      while (write.state != OpState::done) driver.poll(done, kNever);
      while (done.pop_front() != nullptr) {
      }
    }
    other.join();
    CHECK(blocker.op->state == OpState::done);
    CHECK(blocker.op->result == 0);
    if (blocker.op->state == OpState::done) close_file(driver, blocker.op->file);
  }
  SECTION("the polled one while the main one has an end in every round") {
    Op nop;
    OpList done;
    driver.submit(write);
    for (int i = 0; i < kRounds && write.state != OpState::done; ++i) {
      driver.submit(nop);
      while (nop.state != OpState::done) driver.poll(done, kNever);
      while (done.pop_front() != nullptr) {
      }
    }
    CHECK(write.state == OpState::done);
    CHECK(write.result == kPage);
  }
}

TEST_CASE("a host cannot sleep over a polled ring, so that is given up", "[driver][uring]") {
  if (!ring_here()) return;
  SECTION("and counted") {
    Polled rig;
    AlignedBuf page = page_of('h');
    Op first = transfer(OpCode::write, rig.file, 0, page.data(), kPage);
    Op second = transfer(OpCode::write, rig.file, kPage, page.data(), kPage);
    rig.refuse(EAGAIN, 1);
    rig.driver().submit(first);
    rig.driver().submit(second);
    const NativeHandle handle = rig.driver().pollable();
    REQUIRE(handle != kNoHandle);
    CHECK(rig.driver().pollable() == handle);
    CHECK(rig.counted(Fallback::polled_host) == 1);
    CHECK(rig.given() == 2);
    collect(rig.driver(), 2);
    CHECK(first.result == kPage);
    CHECK(second.result == kPage);
    rig.driver().submit(first);
    REQUIRE(ends(rig.driver(), first));
    CHECK(rig.given() == 0);
    CHECK(rig.dir.read("data") == std::string(2 * kPage, 'h'));
  }
  SECTION("unless that is forbidden") {
    Polled rig(with_polled(true));
    CHECK(rig.driver().pollable() == kNoHandle);
    CHECK(rig.counted(Fallback::polled_host) == 0);
    AlignedBuf page = page_of('h');
    Op write = transfer(OpCode::write, rig.file, 0, page.data(), kPage);
    CHECK(run(rig.driver(), write) == kPage);
    CHECK(rig.given() == 1);
  }
}

TEST_CASE("a polled completion that belongs to no operation aborts", "[driver][uring]") {
  if (!ring_here()) return;
  const Death death = run_in_child([] {
    FakeKernel kernel;
    kernel.stand_in = true;
    Made made(with_polled());
    const TempDir dir;
    const DriverFile file = open_file(*made.driver, dir.file("data"), kDirect);
    AlignedBuf page = page_of('a');
    Op write = transfer(OpCode::write, file, 0, page.data(), kPage);
    kernel.after_enter_polled = [&] {
      FakeKernel::each_completion(
          *kernel.polled, [](io_uring_cqe& cqe) { cqe.user_data += std::uint64_t{1} << 32; });
    };
    run(*made.driver, write);
  });
  CHECK(death.aborted());
  CHECK(death.said("a stale completion"));
}

TEST_CASE("random operations agree with the model on two rings", "[driver][uring]") {
  if (!ring_here()) return;
  const bool thread = GENERATE(false, true);
  DriverOptions options = with_polled();
  options.in_flight_max = 16;
  options.uring.sq_entries = 4;
  options.uring.sq_poll = thread;
  options.uring.sq_poll_idle_ms = 1;
  FakeKernel kernel;
  kernel.stand_in = true;
  Made made(options);
  REQUIRE(made.driver);
  // Unaligned transfers of a file that is direct: only a file system in memory takes them.
  const MemoryDir dir;
  const DriverFile file = open_in_memory(*made.driver, dir);
  if (!file) return;
  unsigned count = 0;
  kernel.after_enter_polled = [&] {
    FakeKernel::each_completion(*kernel.polled, [&](io_uring_cqe& cqe) {
      if (++count % 7 == 0) cqe.res = count % 2 == 0 ? -EAGAIN : -EINVAL;
    });
  };
  // Many short runs: each one waits for all that it started, however slow the disk is.
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    set_length(*made.driver, file, 0);
    run_model(*made.driver, file, seed, 400);
  }
  CHECK(made.driver->counters().fallback(Fallback::polled_transfer) > 100);
  CHECK_FALSE(kernel.overflowed());
  kernel.after_enter_polled = nullptr;
  close_file(*made.driver, file);
}
