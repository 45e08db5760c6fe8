// The rules D1 to D10 of driver.hpp, on every driver. Raw ops, no reactor. D11 stands in
// conformance_host_test.cpp.

#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "driver/rig.hpp"
#include "driver/slots.hpp"
#include "support/death.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

DriverOptions with_in_flight(std::uint32_t in_flight_max) {
  DriverOptions options;
  options.in_flight_max = in_flight_max;
  return options;
}

/// What happened to an orphan, in order, and on which thread.
struct Ending {
  std::string order;
  std::vector<std::thread::id> threads;
  OpCode code = OpCode::nop;
  std::int64_t result = 1;

  Pin pin_buffer() {
    return Pin(this, [](void* self) noexcept { static_cast<Ending*>(self)->add('b'); });
  }
  Pin pin_file() {
    return Pin(this, [](void* self) noexcept { static_cast<Ending*>(self)->add('f'); });
  }
  OrphanHook hook() {
    OrphanHook hook;
    hook.context = this;
    hook.ended = [](void* self, OpCode op_code, std::int64_t op_result) noexcept {
      auto* const ending = static_cast<Ending*>(self);
      ending->code = op_code;
      ending->result = op_result;
      ending->add('h');
    };
    return hook;
  }
  void add(char what) {
    order += what;
    threads.push_back(std::this_thread::get_id());
  }
};

/// Overwrites and frees the op's memory, as the death of its frame does.
template <class T>
void destroy_scribbling(std::unique_ptr<T> op) {
  std::memset(static_cast<void*>(static_cast<Op*>(op.get())), 0xdb, sizeof(Op));
  ::operator delete(op.release());
}

/// Submits, and lets the driver begin.
void put_in_flight(Driver& driver, Op& op) {
  OpList done;
  driver.submit(op);
  driver.poll(done, kAtOnce);
  REQUIRE(done.empty());
  REQUIRE(op.state == OpState::in_flight);
}

}  // namespace

TEST_CASE("D1 every op comes back exactly once", "[driver]") {
  on_every_driver(with_in_flight(8), [](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    constexpr std::size_t kOps = 1000;
    std::vector<Op> ops(kOps);
    std::vector<int> reported(kOps, 0);
    std::vector<std::uint64_t> words(kOps);
    for (std::size_t i = 0; i < kOps; ++i) {
      words[i] = i * 0x9e3779b97f4a7c15U;
      ops[i] = transfer(OpCode::write, file, i * 8, &words[i], 8);
      if (i % 5 == 0) ops[i].code = OpCode::nop;
      driver.submit(ops[i]);
    }
    for (Op* const op : collect(driver, kOps)) {
      CHECK(op->result == (op->code == OpCode::nop ? 0 : 8));
      ++reported[static_cast<std::size_t>(op - ops.data())];
    }
    CHECK(std::vector<int>(kOps, 1) == reported);
    OpList more;
    driver.poll(more, kAtOnce);
    CHECK(more.empty());
    const DriverCounters counters = driver.counters();
    CHECK(counters.submitted == kOps + 1);
    CHECK(counters.completed == kOps + 1);
    CHECK(counters.backlog_max >= kOps - 8);

    Op read = transfer(OpCode::read, file, 8, &words[0], 8);
    REQUIRE(run(driver, read) == 8);
    CHECK(words[0] == words[1]);
    close_file(driver, file);
  });
}

TEST_CASE("D1 a full driver keeps what it cannot start, and loses nothing", "[driver]") {
  const std::uint32_t in_flight_max = GENERATE(1U, 2U);
  on_every_driver(with_in_flight(in_flight_max), [&](Driver& driver, bool) {
    CHECK(driver.caps().in_flight_max == in_flight_max);
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    std::array<Op, 20> ops;
    std::array<char, 20> bytes{};
    for (std::size_t i = 0; i < ops.size(); ++i) {
      bytes[i] = static_cast<char>('a' + i);
      ops[i] = transfer(OpCode::write, file, i, &bytes[i], 1);
      driver.submit(ops[i]);
      CHECK(ops[i].state == (i < in_flight_max ? OpState::in_flight : OpState::backlog));
    }
    const std::vector<Op*> order = collect(driver, ops.size());
    if (in_flight_max == 1) {
      // One at a time: the backlog is first in, first out.
      for (std::size_t i = 0; i < ops.size(); ++i) CHECK(order[i] == &ops[i]);
    }
    close_file(driver, file);
    CHECK(dir.read("data") == "abcdefghijklmnopqrst");
  });
}

TEST_CASE("D1 an op in the backlog is removed, never runs and is never reported", "[driver]") {
  on_every_driver(with_in_flight(1), [](Driver& driver, bool) {
    const TempDir dir;
    std::array<PathOp, 4> ops;
    std::array<std::string, 4> paths;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      paths[i] = dir.file("folder" + std::to_string(i));
      ops[i] = path_op(OpCode::make_dir, paths[i], 0, 0700);
      driver.submit(ops[i]);
    }
    REQUIRE(ops[2].state == OpState::backlog);
    CHECK(driver.remove(ops[2]) == Removal::removed);
    CHECK(ops[2].state == OpState::idle);
    CHECK_FALSE(ops[2].linked());
    const std::vector<Op*> order = collect(driver, 3);
    CHECK(order == std::vector<Op*>{&ops[0], &ops[1], &ops[3]});
    CHECK(dir.exists("folder3"));
    CHECK_FALSE(dir.exists("folder2"));
    // It can be submitted again.
    CHECK(run(driver, ops[2]) == 0);
    CHECK(dir.exists("folder2"));
  });
}

TEST_CASE("D1 an op that no thread has taken is removed", "[driver]") {
  DriverOptions options;
  options.pool_threads = 1;
  on_every_driver(options, [](Driver& driver, bool is_inline) {
    if (driver.caps().kind != DriverKind::pool) return;
    const TempDir dir;
    Blocker blocker(dir, "fifo");
    if (!is_inline) put_in_flight(driver, *blocker.op);
    const std::string path = dir.file("never");
    PathOp queued = path_op(OpCode::make_dir, path);
    driver.submit(queued);
    // The only thread may not have begun its first request yet, but it takes them in order.
    CHECK(driver.remove(queued) == Removal::removed);
    CHECK(queued.state == OpState::idle);
    if (!is_inline) {
      blocker.release();
      CHECK(collect(driver, 1) == std::vector<Op*>{blocker.op.get()});
      close_file(driver, blocker.op->file);
    }
    CHECK_FALSE(dir.exists("never"));
  });
}

TEST_CASE("D2 ops are reported in the order in which they end", "[driver]") {
  on_every_driver([](Driver& driver, bool is_inline) {
    if (is_inline) return;
    const TempDir dir;
    Blocker first(dir, "first");
    Blocker second(dir, "second");
    Blocker third(dir, "third");
    for (Blocker* const blocker : {&first, &second, &third}) {
      put_in_flight(driver, *blocker->op);
    }
    for (Blocker* const blocker : {&second, &third, &first}) {
      blocker->release();
      CHECK(collect(driver, 1) == std::vector<Op*>{blocker->op.get()});
      CHECK(blocker->op->result == 0);
    }
    for (Blocker* const blocker : {&first, &second, &third}) {
      close_file(driver, blocker->op->file);
    }
  });
}

TEST_CASE("D2 several ops of one poll keep the order in which they ended", "[driver]") {
  DriverOptions options;
  options.pool_threads = 1;
  on_every_driver(options, [](Driver& driver, bool is_inline) {
    if (driver.caps().kind != DriverKind::pool || is_inline) return;
    const TempDir dir;
    std::array<std::string, 3> paths;
    std::array<PathOp, 3> ops;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      paths[i] = dir.file("folder" + std::to_string(i));
      ops[i] = path_op(OpCode::make_dir, paths[i], 0, 0700);
      driver.submit(ops[i]);
    }
    Blocker last(dir, "fifo");
    driver.submit(*last.op);
    // A writer waits for its reader: the only thread has come as far as the last op.
    const int writer = ::open(dir.file("fifo").c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(writer >= 0);
    const std::vector<Op*> order = collect(driver, 4);
    CHECK(order == std::vector<Op*>{&ops[0], &ops[1], &ops[2], last.op.get()});
    ::close(writer);
    close_file(driver, last.op->file);
  });
}

TEST_CASE("D3 an op that cannot be removed still completes", "[driver]") {
  on_every_driver([](Driver& driver, bool is_inline) {
    if (is_inline) return;
    const TempDir dir;
    Blocker blocker(dir, "fifo");
    put_in_flight(driver, *blocker.op);
    if (driver.remove(*blocker.op) == Removal::removed) {
      // Only before a thread has taken it.
      CHECK(blocker.op->state == OpState::idle);
      return;
    }
    CHECK(blocker.op->state == OpState::in_flight);
    blocker.release();
    CHECK(collect(driver, 1) == std::vector<Op*>{blocker.op.get()});
    if (blocker.op->result == 0) {
      close_file(driver, blocker.op->file);
    } else {
      // The cancel was faster than the writer.
      CHECK((blocker.op->result == -ECANCELED || blocker.op->result == -EINTR));
    }
  });
}

TEST_CASE("D3 a write that took place says so, also after remove", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    std::array<Op, 64> ops;
    std::array<char, 64> bytes;
    bytes.fill('x');
    std::size_t in_flight = 0;
    std::array<bool, 64> removed{};
    for (std::size_t i = 0; i < ops.size(); ++i) {
      ops[i] = transfer(OpCode::write, file, i, &bytes[i], 1);
      driver.submit(ops[i]);
      if (i % 4 == 0) {
        OpList done;
        driver.poll(done, kAtOnce);
        while (Op* const op = done.pop_front()) op->state = OpState::idle;
      }
    }
    for (std::size_t i = 0; i < ops.size(); ++i) {
      if (ops[i].state == OpState::idle) continue;
      removed[i] = driver.remove(ops[i]) == Removal::removed;
      if (!removed[i]) ++in_flight;
    }
    collect(driver, in_flight);
    close_file(driver, file);
    const std::string content = dir.read("data");
    for (std::size_t i = 0; i < ops.size(); ++i) {
      const bool written = i < content.size() && content[i] == 'x';
      CHECK(written == (!removed[i] && ops[i].result == 1));
    }
  });
}

TEST_CASE("D4 an orphan is not touched; hook, buffer and file end on the polling thread",
          "[driver]") {
  on_every_driver([](Driver& driver, bool is_inline) {
    const TempDir dir;
    Blocker blocker(dir, "fifo");
    // Where ops run inside poll, nothing is in flight but what has not begun.
    if (is_inline) {
      blocker.release();
      driver.submit(*blocker.op);
    } else {
      put_in_flight(driver, *blocker.op);
    }
    Ending ending;
    const int before = open_descriptors();
    driver.orphan(*blocker.op, ending.pin_buffer(), ending.pin_file(), ending.hook());
    destroy_scribbling(std::move(blocker.op));
    CHECK(ending.order.empty());
    if (!is_inline) blocker.release();
    while (ending.order.size() < 3) {
      OpList done;
      driver.poll(done, kNever);
      CHECK(done.empty());
    }
    CHECK(ending.order == "hbf");
    CHECK(ending.threads == std::vector<std::thread::id>(3, std::this_thread::get_id()));
    CHECK(ending.code == OpCode::open);
    CHECK(ending.result == 0);
    // The writer's end is the only one more: the handle that nobody waited for was closed.
    CHECK(open_descriptors() == before + (is_inline ? 0 : 1));
    CHECK(driver.counters().orphans == 1);
    CHECK(driver.counters().orphan_errors == 0);
  });
}

TEST_CASE("D4 an orphaned write keeps its buffer; a failed one tells its error", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    const DriverFile readable = open_file(driver, dir.file("data"), 0);
    for (const bool fails : {false, true}) {
      auto buffer = std::make_unique<std::array<char, 4096>>();
      buffer->fill('w');
      auto op = std::make_unique<Op>(
          transfer(OpCode::write, fails ? readable : file, 0, buffer->data(), buffer->size()));
      driver.submit(*op);
      REQUIRE(op->state == OpState::in_flight);
      Ending ending;
      // Freed by the pin alone; AddressSanitizer hears of every later access.
      Pin memory(buffer.release(),
                 [](void* p) noexcept { delete static_cast<std::array<char, 4096>*>(p); });
      driver.orphan(*op, std::move(memory), ending.pin_file(), ending.hook());
      destroy_scribbling(std::move(op));
      while (ending.order.size() < 2) {
        OpList done;
        driver.poll(done, kNever);
        CHECK(done.empty());
      }
      CHECK(ending.order == "hf");
      CHECK(ending.code == OpCode::write);
      CHECK(ending.result == (fails ? -EBADF : 4096));
    }
    CHECK(driver.counters().orphans == 2);
    CHECK(driver.counters().orphan_errors == 1);
    close_file(driver, file);
    close_file(driver, readable);
    CHECK(dir.read("data") == std::string(4096, 'w'));
  });
}

TEST_CASE("D4 orphans that list or ask leave nothing behind", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    dir.write("entry", "x");
    const DriverFile file = open_file(driver, dir.file("entry"));
    auto list = std::make_unique<ListOp>();
    list->code = OpCode::list_dir;
    auto path = std::make_unique<std::string>(dir.path());
    list->path = *path;
    auto info = std::make_unique<InfoOp>();
    info->code = OpCode::info;
    info->file = file;
    driver.submit(*list);
    driver.submit(*info);
    Ending list_end;
    Ending info_end;
    driver.orphan(*list, {}, list_end.pin_file(), list_end.hook());
    driver.orphan(*info, {}, info_end.pin_file(), info_end.hook());
    list.reset();
    info.reset();
    path.reset();
    while (list_end.order.size() + info_end.order.size() < 4) {
      OpList done;
      driver.poll(done, kNever);
      CHECK(done.empty());
    }
    CHECK(list_end.result == 0);
    CHECK(info_end.result == 0);
    close_file(driver, file);
  });
}

TEST_CASE("D5 submit reports nothing itself", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    Op nop;
    const std::string bad("a\0b", 3);
    PathOp impossible = path_op(OpCode::open, bad);
    driver.submit(nop);
    driver.submit(impossible);
    CHECK(nop.state == OpState::in_flight);
    CHECK(impossible.state == OpState::in_flight);
    CHECK_FALSE(nop.linked());
    CHECK_FALSE(impossible.linked());
    collect(driver, 2);
    CHECK(nop.result == 0);
    CHECK(impossible.result == -EINVAL);
  });
}

TEST_CASE("D6 what is submitted after a report sees what was reported", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const DriverFile file = open_file(driver, dir.file("data"));
    for (std::uint64_t i = 1; i <= 200; ++i) {
      Op write = transfer(OpCode::write, file, 0, &i, sizeof(i));
      REQUIRE(run(driver, write) == 8);
      std::uint64_t seen = 0;
      Op read = transfer(OpCode::read, file, 0, &seen, sizeof(seen));
      REQUIRE(run(driver, read) == 8);
      REQUIRE(seen == i);
    }
    close_file(driver, file);
  });
}

TEST_CASE("D7 poll returns at its deadline and not before", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    OpList done;
    driver.poll(done, kAtOnce);
    const Instant past = driver.now();
    driver.poll(done, past);
    // An earlier completion must not make a later wait short.
    Op nop;
    run(driver, nop);
    const Instant until = driver.now() + std::chrono::milliseconds(2);
    driver.poll(done, until);
    CHECK(driver.now() >= until);
    CHECK(done.empty());
  });
}

TEST_CASE("D7 a wake before poll is not lost, and several count as one", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    OpList done;
    for (int i = 0; i < 3; ++i) driver.wake();
    driver.poll(done, kNever);
    CHECK(done.empty());
    const Instant until = driver.now() + std::chrono::milliseconds(2);
    driver.poll(done, until);
    CHECK(driver.now() >= until);
  });
}

TEST_CASE("D7 another thread wakes poll", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    for (int round = 0; round < 50; ++round) {
      std::atomic<bool> woken{false};
      std::thread other([&] {
        woken.store(true);
        driver.wake();
      });
      OpList done;
      driver.poll(done, kNever);
      CHECK(woken.load());
      other.join();
    }
  });
}

namespace {
std::atomic<Driver*> signalled_driver{nullptr};
std::atomic<int> signals_seen{0};
}  // namespace

TEST_CASE("D7 a signal handler wakes poll; a signal alone does not end it", "[driver]") {
  struct sigaction silent = {};
  silent.sa_handler = [](int) { signals_seen.fetch_add(1); };
  struct sigaction waking = {};
  waking.sa_handler = [](int) { signalled_driver.load()->wake(); };
  struct sigaction before_silent;
  struct sigaction before_waking;
  REQUIRE(::sigaction(SIGUSR1, &silent, &before_silent) == 0);
  REQUIRE(::sigaction(SIGUSR2, &waking, &before_waking) == 0);
  on_every_driver([](Driver& driver, bool) {
    signalled_driver.store(&driver);
    std::atomic<bool> woken{false};
    const pthread_t poller = ::pthread_self();
    std::thread other([&] {
      for (int i = 0; i < 5; ++i) {
        const int seen = signals_seen.load();
        ::pthread_kill(poller, SIGUSR1);
        while (signals_seen.load() == seen) std::this_thread::yield();
      }
      woken.store(true);
      ::pthread_kill(poller, SIGUSR2);
    });
    OpList done;
    driver.poll(done, kNever);
    CHECK(woken.load());
    other.join();
  });
  ::sigaction(SIGUSR1, &before_silent, nullptr);
  ::sigaction(SIGUSR2, &before_waking, nullptr);
}

TEST_CASE("D7 a completion ends the wait", "[driver]") {
  on_every_driver([](Driver& driver, bool is_inline) {
    if (is_inline) return;
    const TempDir dir;
    Blocker blocker(dir, "fifo");
    put_in_flight(driver, *blocker.op);
    std::thread other([&] { blocker.release(); });
    OpList done;
    driver.poll(done, kNever);
    CHECK(done.pop_front() == blocker.op.get());
    blocker.op->state = OpState::idle;
    other.join();
    close_file(driver, blocker.op->file);
  });
}

TEST_CASE("D8 a stale, doubled or foreign completion aborts", "[driver]") {
  using Table = detail::SlotTable<int>;
  const Death foreign = run_in_child([] {
    Table table(4);
    table.resolve(4);
  });
  CHECK(foreign.aborted());
  CHECK(foreign.said("a completion for a slot that does not exist"));

  const Death unasked = run_in_child([] {
    Table table(4);
    table.resolve(0);
  });
  CHECK(unasked.aborted());
  CHECK(unasked.said("a completion for an operation that is not in flight"));

  const Death doubled = run_in_child([] {
    Table table(4);
    Op op;
    OpList done;
    const std::uint64_t tag = table.tag(table.acquire(op));
    table.finish(table.resolve(tag), 0, done);
    table.resolve(tag);
  });
  CHECK(doubled.aborted());
  CHECK(doubled.said("a completion for an operation that is not in flight"));

  const Death stale = run_in_child([] {
    Table table(1);
    Op first;
    Op second;
    OpList done;
    const std::uint64_t tag = table.tag(table.acquire(first));
    table.finish(table.resolve(tag), 0, done);
    table.acquire(second);
    table.resolve(tag);
  });
  CHECK(stale.aborted());
  CHECK(stale.said("a stale completion"));
}

TEST_CASE("D8 misuse of an op aborts", "[driver]") {
  const Death twice = run_in_child([] {
    auto driver = make_driver({DriverChoice::pool, false, true});
    Op op;
    (*driver)->submit(op);
    (*driver)->submit(op);
  });
  CHECK(twice.aborted());
  CHECK(twice.said("an op was submitted while the driver owns it"));

  const Death idle = run_in_child([] {
    auto driver = make_driver({DriverChoice::pool, false, true});
    Op op;
    (*driver)->remove(op);
  });
  CHECK(idle.aborted());
  CHECK(idle.said("an op without a slot"));

  const Death early = run_in_child([] {
    Op op;
    auto driver = make_driver({DriverChoice::pool, false, true});
    (*driver)->submit(op);
    driver->reset();
  });
  CHECK(early.aborted());
  CHECK(early.said("a driver is destroyed with operations in flight"));
}

TEST_CASE("D9 a short transfer is reported as it is", "[driver]") {
  on_every_driver([](Driver& driver, bool) {
    const TempDir dir;
    const std::string path = dir.write("data", std::string(6000, 'z'));
    const DriverFile file = open_file(driver, path, 0);
    std::array<char, 8192> buffer{};
    Op read = transfer(OpCode::read, file, 0, buffer.data(), buffer.size());
    CHECK(run(driver, read) == 6000);
    CHECK(read.bytes == 8192);
    read.offset = 4096;
    CHECK(run(driver, read) == 6000 - 4096);
    read.offset = 6000;
    CHECK(run(driver, read) == 0);
    read.offset = 1U << 20;
    CHECK(run(driver, read) == 0);
    read.offset = 0;
    driver.run_here(read);
    CHECK(read.result == 6000);
    CHECK(read.state == OpState::idle);
    close_file(driver, file);
  });
}

TEST_CASE("D10 every driver says why it is the one", "[driver]") {
  on_every_driver([](Driver& driver, bool is_inline) {
    const DriverCaps& caps = driver.caps();
    CHECK_FALSE(caps.name.empty());
    CHECK_FALSE(caps.reason.empty());
    CHECK(caps.in_flight_max >= 1);
    if (caps.kind == DriverKind::pool) {
      CHECK(caps.reason.find("requested") != std::string_view::npos);
      CHECK(caps.threads == (is_inline ? 0 : DriverOptions{}.pool_threads));
    }
#ifdef __linux__
    CHECK(caps.boot_id != std::array<std::uint8_t, 16>{});
#endif
    const Instant now = driver.now();
    CHECK(driver.now() >= now);
    CHECK(driver.wall_now() > WallTime(std::chrono::hours(24) * 365 * 50));
    CHECK(driver.entropy() != driver.entropy());
  });
}
