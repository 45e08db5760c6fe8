// The ring's options: what each one does, what is left when the kernel refuses it, and what is
// counted and told then.

#include <set>
#include <string>

#include <diorite/buffer.hpp>

#include "driver/uring_rig.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

constexpr unsigned kDeferTaskrun = 1U << 13;

bool has(const io_uring_params& params, unsigned flag) { return (params.flags & flag) != 0; }

DriverOptions with_thread(std::int32_t cpu = -1) {
  DriverOptions options;
  options.uring.sq_poll = true;
  options.uring.sq_poll_idle_ms = 1;
  options.uring.sq_poll_cpu = cpu;
  return options;
}

DriverOptions with_polled() {
  DriverOptions options;
  options.uring.poll_transfers = true;
  return options;
}

/// The one fallback is counted, once, and nothing else is.
void check_only(const Driver& driver, Fallback which) {
  for (std::size_t i = 0; i < kFallbackCount; ++i) {
    INFO(to_string(static_cast<Fallback>(i)));
    CHECK(driver.counters().fallbacks[i] == (static_cast<Fallback>(i) == which ? 1 : 0));
  }
}

/// With the same refusals, forbid_fallback makes it an error that says so.
void check_forbidden(DriverOptions options, std::string_view text) {
  const int before = open_descriptors();
  options.forbid_fallback = true;
  Made made(options);
  CHECK_FALSE(made.driver);
  CHECK(made.error == Errc::unsupported);
  INFO(made.reasons);
  CHECK(made.says(std::string(text) + ", and the options forbid a fallback"));
  CHECK(open_descriptors() == before);
}

}  // namespace

TEST_CASE("nothing is given up where the kernel has everything", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made;
  REQUIRE(made.driver);
  const DriverCounters counters = made.driver->counters();
  if (made.says("ring descriptor registered")) {
    for (const std::uint64_t count : counters.fallbacks) CHECK(count == 0);
  }
  CHECK(kernel.polled == nullptr);
  CHECK((kernel.ring->flags & (IORING_SETUP_SQPOLL | IORING_SETUP_IOPOLL)) == 0);
}

TEST_CASE("every fallback has a name of its own", "[driver][uring]") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < kFallbackCount; ++i) {
    names.insert(to_string(static_cast<Fallback>(i)));
  }
  CHECK(names.size() == kFallbackCount);
  CHECK(names.count("unknown") == 0);
}

TEST_CASE("the submission ring is as large as asked for, rounded up", "[driver][uring]") {
  if (!ring_here()) return;
  struct Size {
    std::uint32_t in_flight_max;
    std::uint32_t asked;
    unsigned entries;
  };
  for (const Size& size : {Size{1024, 1, 1}, Size{1024, 3, 4}, Size{8, 512, 512},
                           Size{1024, 300, 512}, Size{8, 0, 8}, Size{1024, 0, 256}}) {
    DriverOptions options;
    options.in_flight_max = size.in_flight_max;
    options.uring.sq_entries = size.asked;
    options.forbid_fallback = true;
    FakeKernel kernel;
    Made made(options);
    INFO(made.reasons);
    if (!made.driver && made.says("the ring lacks")) return;  // an older kernel: told, not hidden
    REQUIRE(made.driver);
    CHECK(kernel.ring->sq.ring_entries == size.entries);
    CHECK(kernel.ring->cq.ring_entries >= size.in_flight_max + detail::Uring::kReserve);
    CHECK(kernel.ring->cq.ring_entries >= 2 * size.entries);
    check_that_it_works(*made.driver);
  }
}

TEST_CASE("options beyond their limits are errors", "[driver][uring]") {
  DriverOptions entries;
  entries.uring.sq_entries = 32769;
  CHECK(make_driver(entries).error() == Errc::out_of_range);
  DriverOptions cpu;
  cpu.uring.sq_poll_cpu = -2;
  CHECK(make_driver(cpu).error() == Errc::out_of_range);
}

TEST_CASE("less memory than the options ask for is counted", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  DriverOptions options;
  SECTION("for completions") {
    kernel.on_setup = [](unsigned, const io_uring_params& params) {
      return params.cq_entries > 512 ? -ENOMEM : 0;
    };
  }
  SECTION("for entries") {
    options.in_flight_max = 8;
    options.uring.sq_entries = 128;
    kernel.on_setup = [](unsigned entries, const io_uring_params&) {
      return entries > 32 ? -ENOMEM : 0;
    };
  }
  {
    Made made(options);
    REQUIRE(made.driver);
    CHECK(made.says("are what memory was there for"));
    CHECK(made.driver->counters().fallback(Fallback::smaller_ring) == 1);
    check_that_it_works(*made.driver);
  }
  check_forbidden(options, "are what memory was there for");
}

TEST_CASE("the ring's descriptor is registered, unless that is refused or unwanted",
          "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  SECTION("refused") {
    kernel.register_ring_result = -EINVAL;
    {
      Made made;
      REQUIRE(made.driver);
      CHECK(made.says("ring descriptor not registered: EINVAL"));
      check_only(*made.driver, Fallback::ring_descriptor);
      check_that_it_works(*made.driver);
    }
    check_forbidden({}, "ring descriptor not registered: EINVAL");
  }
  SECTION("unwanted") {
    DriverOptions options;
    options.uring.register_descriptor = false;
    Made made(options);
    REQUIRE(made.driver);
    CHECK(kernel.registrations == 0);
    CHECK(made.says("ring descriptor not registered, as requested"));
    CHECK(made.driver->counters().fallback(Fallback::ring_descriptor) == 0);
    CHECK(kernel.ring->enter_ring_fd == kernel.ring->ring_fd);
    check_that_it_works(*made.driver);
  }
}

TEST_CASE("a thread of the kernel takes the submissions", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  Made made(with_thread(0));
  if (!thread_here(made)) return;
  CHECK(made.says("SQPOLL"));
  CHECK((kernel.ring->flags & IORING_SETUP_SQPOLL) != 0);
  CHECK((kernel.ring->flags & kDeferTaskrun) == 0);
  check_that_it_works(*made.driver);
  CHECK_FALSE(kernel.overflowed());
}

TEST_CASE("a thread that the kernel refuses is done without", "[driver][uring]") {
  if (!ring_here()) return;
  // EPERM: Linux 5.11 and 5.12 without CAP_SYS_NICE. EAGAIN: no more threads. ENOMEM: no memory for
  // its stack, which is no reason for a smaller ring.
  const int error = GENERATE(EPERM, EINVAL, EAGAIN, ENOMEM);
  FakeKernel kernel;
  kernel.on_setup = [&](unsigned, const io_uring_params& params) {
    return has(params, IORING_SETUP_SQPOLL) ? -error : 0;
  };
  {
    Made made(with_thread());
    REQUIRE(made.driver);
    CHECK(made.says("no thread of the kernel submits"));
    CHECK(made.driver->counters().fallback(Fallback::sq_poll) == 1);
    CHECK(made.driver->counters().fallback(Fallback::smaller_ring) == 0);
    CHECK((kernel.ring->flags & IORING_SETUP_SQPOLL) == 0);
    check_that_it_works(*made.driver);
  }
  check_forbidden(with_thread(), "no thread of the kernel submits");
}

TEST_CASE("a processor that the kernel's thread cannot have is done without", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  kernel.on_setup = [&](unsigned, const io_uring_params& params) {
    if (!has(params, IORING_SETUP_SQ_AFF)) return 0;
    CHECK(params.sq_thread_cpu == 7777);
    return -EINVAL;
  };
  {
    Made made(with_thread(7777));
    if (!thread_here(made)) return;
    CHECK(made.says("the kernel's thread runs on any processor"));
    CHECK(made.driver->counters().fallback(Fallback::sq_poll_cpu) == 1);
    CHECK((kernel.ring->flags & IORING_SETUP_SQPOLL) != 0);
    check_that_it_works(*made.driver);
  }
  check_forbidden(with_thread(7777), "the kernel's thread runs on any processor");
}

TEST_CASE("older flags are given up before the kernel's thread is", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  kernel.on_setup = [&](unsigned, const io_uring_params& params) {
    return has(params, (1U << 12) | (1U << 7)) ? -EINVAL : 0;
  };
  Made made(with_thread());
  if (!thread_here(made)) return;
  CHECK(made.says("io_uring 256/2048 SQPOLL: made"));
  check_that_it_works(*made.driver);
}

TEST_CASE("a polled ring that the kernel refuses is done without", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  const char* text = "no polled ring: the kernel gives none";
  SECTION("at all") {
    kernel.on_setup = [&](unsigned, const io_uring_params& params) {
      return has(params, IORING_SETUP_IOPOLL) ? -EINVAL : 0;
    };
  }
  SECTION("for want of memory") {
    text = "no polled ring: no memory for its completions";
    kernel.on_setup = [&](unsigned, const io_uring_params& params) {
      return has(params, IORING_SETUP_IOPOLL) && params.cq_entries >= 1024 ? -ENOMEM : 0;
    };
  }
  SECTION("by a no-op that fails") {
    text = "no polled ring: a no-op did not come back as it should";
    kernel.after_enter_polled = [&] {
      FakeKernel::each_completion(*kernel.polled, [](io_uring_cqe& cqe) { cqe.res = -EIO; });
    };
  }
  {
    Made made(with_polled());
    REQUIRE(made.driver);
    INFO(made.reasons);
    CHECK(made.says(text));
    CHECK(made.driver->counters().fallback(Fallback::polled_ring) == 1);
    kernel.after_enter_polled = nullptr;
    check_that_it_works(*made.driver);
  }
  if (std::string_view(text).find("no-op") == std::string_view::npos) {
    check_forbidden(with_polled(), text);
  }
}

TEST_CASE("an old kernel's polled ring, which refuses no-ops, is good enough", "[driver][uring]") {
  if (!ring_here()) return;
  FakeKernel kernel;
  kernel.stand_in = true;
  kernel.after_enter_polled = [&] {
    FakeKernel::each_completion(*kernel.polled, [](io_uring_cqe& cqe) { cqe.res = -EINVAL; });
  };
  Made made(with_polled());
  REQUIRE(made.driver);
  CHECK(made.driver->counters().fallback(Fallback::polled_ring) == 0);
  CHECK(made.says("reads and writes of files opened for direct I/O are polled"));
}

namespace {

struct Mode {
  const char* name;
  unsigned hidden;  ///< setup flags that the kernel does not know
  bool thread;
  bool polled;
};

}  // namespace

TEST_CASE("whatever the sizes, nothing overflows and everything ends", "[driver][uring]") {
  if (!ring_here()) return;
  const Mode mode =
      GENERATE(Mode{"deferred", 0, false, false}, Mode{"not deferred", kDeferTaskrun, false, false},
               Mode{"thread", 0, true, false}, Mode{"polled", 0, false, true});
  const std::uint32_t cap = GENERATE(1U, 8U, 64U);
  const std::uint32_t entries = GENERATE(1U, 2U, 0U);
  INFO(mode.name << ", " << cap << " in flight, " << entries << " entries");
  FakeKernel kernel;
  kernel.stand_in = true;
  kernel.on_setup = [&](unsigned, const io_uring_params& params) {
    return has(params, mode.hidden) ? -EINVAL : 0;
  };
  DriverOptions options;
  options.in_flight_max = cap;
  options.uring.sq_entries = entries;
  options.uring.sq_poll = mode.thread;
  options.uring.sq_poll_idle_ms = 1;
  options.uring.poll_transfers = mode.polled;
  Made made(options);
  REQUIRE(made.driver);
  Driver& driver = *made.driver;
  if (mode.thread && !thread_here(made)) return;
  unsigned most = 0;
  kernel.after_enter = [&] { most = std::max(most, io_uring_cq_ready(kernel.ring)); };
  kernel.after_enter_polled = [&] { most = std::max(most, io_uring_cq_ready(kernel.polled)); };

  const TempDir dir;
  Result<AlignedBuf> page = AlignedBuf::zeroed(4096);
  REQUIRE(page);
  const DriverFile file = open_file(driver, dir.write("data", std::string(4096, 'x')), kOpenDirect);
  constexpr std::size_t kOps = 10'000;
  std::vector<Op> ops(kOps);
  for (std::size_t i = 0; i < kOps; ++i) {
    // Reads are what goes to the polled ring; elsewhere they would only be slow.
    if (i % (mode.polled ? 4 : 50) == 0) {
      ops[i] = transfer(OpCode::read, file, 0, page->data(), 4096);
    }
    driver.submit(ops[i]);
  }
  std::vector<int> reported(kOps, 0);
  for (Op* const op : collect(driver, kOps)) {
    ++reported[static_cast<std::size_t>(op - ops.data())];
    REQUIRE(op->result == (op->code == OpCode::read ? 4096 : 0));
  }
  CHECK(reported == std::vector<int>(kOps, 1));
  CHECK_FALSE(kernel.overflowed());
  CHECK(most <= cap + detail::Uring::kReserve);
  // All that were not in flight waited, and what the tiny submission ring could not take as well.
  CHECK(driver.counters().backlog_max >= kOps - cap);
  CHECK(driver.counters().backlog_max <= kOps);
  if (mode.polled) CHECK(kernel.given_to_polled == kOps / 4 + 1);
  close_file(driver, file);
}
