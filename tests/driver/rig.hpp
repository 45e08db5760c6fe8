// What the driver tests share: the list of drivers, raw ops, and operations that stay in flight
// until the test lets them go.

#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <diorite/driver/driver.hpp>

#include "support/catch.hpp"
#include "support/descriptors.hpp"
#include "support/fault_driver.hpp"
#include "support/kernel_ring.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {

struct Candidate {
  const char* name;
  DriverChoice choice;
  bool is_inline;
  bool faulty;
  UringOptions uring = {};
};

inline bool ring_is_wanted() {
  const char* const choice = std::getenv("DIORITE_TEST_DRIVER");
  return choice == nullptr || std::string_view(choice) != "pool";
}

/// Options that ask for such a ring.
inline DriverOptions ring_options(RingKind kind) {
  DriverOptions options;
  options.choice = DriverChoice::uring;
  options.uring.sq_poll = kind == RingKind::sq_poll;
  // Its thread soon sleeps: it is met asleep as well, and leaves the processor to the tests.
  if (options.uring.sq_poll) options.uring.sq_poll_idle_ms = 1;
  options.uring.poll_transfers = kind == RingKind::polled;
  return options;
}

/// False where the kernel gives no such ring. Where it gives one and the driver does not take it,
/// the test that asks has failed.
inline bool ring_is_here(RingKind kind = RingKind::plain) {
  if (!kernel_gives(kind)) return false;
  Result<std::unique_ptr<Driver>> driver = make_driver(ring_options(kind));
  if (!driver) FAIL("the kernel gives a ring and the driver takes none: " << driver.error().text());
  const DriverCounters counters = (*driver)->counters();
  if (counters.fallback(Fallback::sq_poll) + counters.fallback(Fallback::polled_ring) != 0) {
    FAIL("the driver does without what the kernel gives: " << (*driver)->caps().reason);
  }
  return true;
}

/// Every driver that works here. The rings are among them that the kernel gives; it is said which
/// it refuses.
inline std::vector<Candidate> candidates() {
  std::vector<Candidate> all = {
      {"pool", DriverChoice::pool, false, false},
      {"pool inline", DriverChoice::pool, true, false},
      {"faults before pool", DriverChoice::pool, false, true},
      {"faults before pool inline", DriverChoice::pool, true, true},
  };
  if (!ring_is_wanted() || !ring_is_here()) return all;
  const auto add_ring = [&all](const char* name, RingKind kind, bool is_faulty) {
    all.push_back({name, DriverChoice::uring, false, is_faulty, ring_options(kind).uring});
  };
  add_ring("uring", RingKind::plain, false);
  add_ring("faults before uring", RingKind::plain, true);
  if (ring_is_here(RingKind::sq_poll)) {
    add_ring("uring with a thread of the kernel", RingKind::sq_poll, false);
  }
  if (ring_is_here(RingKind::polled)) {
    add_ring("uring with a polled ring", RingKind::polled, false);
  }
  return all;
}

inline std::unique_ptr<Driver> make_candidate(const Candidate& candidate, DriverOptions options) {
  options.choice = candidate.choice;
  options.pool_inline = candidate.is_inline;
  options.uring = candidate.uring;
  Result<std::unique_ptr<Driver>> driver = make_driver(options);
  if (!driver) FAIL(driver.error().text());
  if (!candidate.faulty) return std::move(*driver);
  return std::make_unique<FaultDriver>(std::move(*driver));
}

/// Runs `body(driver, is_inline)` on every driver, and checks that nothing stays open.
template <class F>
void on_every_driver(DriverOptions options, F body) {
  for (const Candidate& candidate : candidates()) {
    DYNAMIC_SECTION(candidate.name) {
      const int before = open_descriptors();
      {
        const std::unique_ptr<Driver> driver = make_candidate(candidate, options);
        body(*driver, candidate.is_inline);
      }
      CHECK(open_descriptors() == before);
    }
  }
}

template <class F>
void on_every_driver(F body) {
  on_every_driver(DriverOptions{}, body);
}

/// Submits, and polls until the op is reported. Nothing else may be in flight.
inline std::int32_t run(Driver& driver, Op& op) {
  OpList done;
  driver.submit(op);
  while (op.state != OpState::done) driver.poll(done, kNever);
  REQUIRE(done.pop_front() == &op);
  REQUIRE(done.empty());
  op.state = OpState::idle;
  return op.result;
}

/// Polls until `count` ops are reported, in this order.
inline std::vector<Op*> collect(Driver& driver, std::size_t count) {
  std::vector<Op*> ops;
  while (ops.size() < count) {
    OpList done;
    driver.poll(done, kNever);
    while (Op* const op = done.pop_front()) {
      op->state = OpState::idle;
      ops.push_back(op);
    }
  }
  REQUIRE(ops.size() == count);
  return ops;
}

inline PathOp path_op(OpCode code, std::string_view path, std::uint32_t open_flags = 0,
                      std::uint32_t mode = 0600) {
  PathOp op;
  op.code = code;
  op.path = path;
  op.open_flags = open_flags;
  op.mode = mode;
  return op;
}

inline Op file_op(OpCode code, DriverFile file) {
  Op op;
  op.code = code;
  op.file = file;
  return op;
}

inline Op transfer(OpCode code, DriverFile file, std::uint64_t offset, void* data,
                   std::size_t bytes) {
  Op op = file_op(code, file);
  op.offset = offset;
  op.data = static_cast<std::byte*>(data);
  op.bytes = static_cast<std::uint32_t>(bytes);
  return op;
}

inline DriverFile open_file(Driver& driver, std::string_view path,
                            std::uint32_t open_flags = kOpenWrite | kOpenCreate) {
  PathOp op = path_op(OpCode::open, path, open_flags);
  REQUIRE(run(driver, op) == 0);
  REQUIRE(static_cast<bool>(op.file));
  return op.file;
}

inline void close_file(Driver& driver, DriverFile file) {
  Op op = file_op(OpCode::close, file);
  REQUIRE(run(driver, op) == 0);
}

/// An open that does not end before release(): of a FIFO, for reading, while nobody writes. The
/// create flag makes a ring hand it to a worker of the kernel instead of opening without waiting.
class Blocker {
 public:
  Blocker(const TempDir& dir, std::string_view name) : path_(dir.file(name)) {
    REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    op = std::make_unique<PathOp>(path_op(OpCode::open, path_, kOpenCreate));
  }
  ~Blocker() {
    if (writer_ >= 0) ::close(writer_);
  }
  Blocker(const Blocker&) = delete;
  Blocker& operator=(const Blocker&) = delete;

  /// A FIFO that is open for both ends lets readers in, those to come as well. Any thread.
  void release() {
    writer_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    DIORITE_ASSERT(writer_ >= 0, "the test's own FIFO cannot be opened");
  }

  std::unique_ptr<PathOp> op;

 private:
  std::string path_;
  int writer_ = -1;
};

}  // namespace diorite::test
