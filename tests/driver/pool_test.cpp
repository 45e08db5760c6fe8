// What is particular to the pool: its threads, its counters, and that it allocates nothing per
// operation.

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <thread>

#include "driver/os.hpp"
#include "driver/pool/worker_pool.hpp"
#include "driver/request.hpp"
#include "driver/rig.hpp"
#include "support/alloc_counter.hpp"

namespace {

using namespace diorite;
using namespace diorite::test;

DriverOptions pool_options(std::uint32_t threads = 4) {
  DriverOptions options;
  options.choice = DriverChoice::pool;
  options.pool_threads = threads;
  return options;
}

std::unique_ptr<Driver> make_pool(DriverOptions options) {
  Result<std::unique_ptr<Driver>> driver = make_driver(options);
  REQUIRE(driver);
  return std::move(*driver);
}

int threads_of_process() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "Threads:") {
      int count = 0;
      status >> count;
      return count;
    }
  }
  return -1;
}

/// The kernel lists a joined thread until it has been torn down. Sanitizers have a thread of their
/// own, so the number that remains is not always one.
int threads_that_remain() {
  int least = threads_of_process();
  for (int looks = 0; looks < 5'000; ++looks) least = std::min(least, threads_of_process());
  return least;
}

}  // namespace

TEST_CASE("threads start when they are needed, and no more than that", "[pool]") {
  const TempDir dir;
  // The pools of earlier cases are gone, or nearly so.
  const int before = threads_that_remain();
  const auto driver = make_pool(pool_options(3));
  CHECK(threads_of_process() == before);
  Op nop;
  CHECK(run(*driver, nop) == 0);
  CHECK(threads_of_process() == before);
  for (int i = 0; i < 20; ++i) {
    PathOp open = path_op(OpCode::open, dir.path());
    CHECK(run(*driver, open) == 0);
    close_file(*driver, open.file);
  }
  // One after the other: one thread does it all.
  CHECK(threads_of_process() == before + 1);

  Blocker first(dir, "first");
  Blocker second(dir, "second");
  Blocker third(dir, "third");
  Blocker fourth(dir, "fourth");
  for (Blocker* const blocker : {&first, &second, &third, &fourth}) driver->submit(*blocker->op);
  CHECK(threads_of_process() == before + 3);
  for (Blocker* const blocker : {&first, &second, &third, &fourth}) blocker->release();
  collect(*driver, 4);
  for (Blocker* const blocker : {&first, &second, &third, &fourth}) {
    close_file(*driver, blocker->op->file);
  }
  CHECK(driver->counters().pool_ops == 40 + 4 + 4);
}

TEST_CASE("an inline pool runs in order, inside poll, on no thread", "[pool]") {
  const TempDir dir;
  const int before = threads_of_process();
  DriverOptions options = pool_options();
  options.pool_inline = true;
  const auto driver = make_pool(options);
  const std::string folder = dir.file("folder");
  const std::string below = folder + "/below";
  const std::string bad("a\0b", 3);
  PathOp make_folder = path_op(OpCode::make_dir, folder, 0, 0700);
  PathOp impossible = path_op(OpCode::make_dir, bad);
  PathOp make_below = path_op(OpCode::make_dir, below, 0, 0700);
  Op nop;
  for (Op* const op : std::initializer_list<Op*>{&make_folder, &impossible, &nop, &make_below}) {
    driver->submit(*op);
  }
  CHECK_FALSE(dir.exists("folder"));
  CHECK(collect(*driver, 4) == std::vector<Op*>{&make_folder, &impossible, &nop, &make_below});
  CHECK(make_below.result == 0);
  CHECK(impossible.result == -EINVAL);
  CHECK(threads_of_process() == before);
  CHECK(driver->counters().pool_ops == 0);
  CHECK(driver->caps().threads == 0);
}

TEST_CASE("the program's signal handlers never run on a worker", "[pool]") {
  const TempDir dir;
  const auto driver = make_pool(pool_options(1));
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  PathOp open = path_op(OpCode::open, dir.path());
  REQUIRE(run(*driver, open) == 0);
  close_file(*driver, open.file);
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(::sigismember(&before, SIGUSR1) == 0);
  CHECK(::sigismember(&after, SIGUSR1) == 0);

  // With the signal blocked here, only the worker could take it; it stays pending instead.
  struct sigaction action = {};
  struct sigaction old = {};
  static std::atomic<int> handled{0};
  action.sa_handler = [](int) { handled.fetch_add(1); };
  REQUIRE(::sigaction(SIGUSR1, &action, &old) == 0);
  sigset_t mine;
  ::sigemptyset(&mine);
  ::sigaddset(&mine, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &mine, &before);
  ::kill(::getpid(), SIGUSR1);
  REQUIRE(run(*driver, open) == 0);
  close_file(*driver, open.file);
  CHECK(handled.load() == 0);
  sigset_t pending;
  ::sigpending(&pending);
  CHECK(::sigismember(&pending, SIGUSR1) == 1);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK(handled.load() == 1);
  ::sigaction(SIGUSR1, &old, nullptr);
}

TEST_CASE("the pool allocates nothing per operation", "[pool]") {
  const bool is_inline = GENERATE(false, true);
  const TempDir dir;
  DriverOptions options = pool_options(1);
  options.in_flight_max = 4;
  options.pool_inline = is_inline;
  const auto driver = make_pool(options);
  const std::string path = dir.write("data", std::string(4096, 'x'));
  std::array<PathOp, 8> opens;
  std::array<Op, 8> reads;
  std::array<char, 4096> buffer;
  const auto round = [&] {
    OpList done;
    const auto finish = [&] {
      for (std::size_t left = 8; left > 0;) {
        driver->poll(done, kNever);
        while (Op* const op = done.pop_front()) {
          op->state = OpState::idle;
          --left;
        }
      }
    };
    for (PathOp& open : opens) {
      open = path_op(OpCode::open, path);
      driver->submit(open);
    }
    finish();
    for (std::size_t i = 0; i < reads.size(); ++i) {
      reads[i] = transfer(OpCode::read, opens[i].file, 0, buffer.data(), 512);
      driver->submit(reads[i]);
    }
    finish();
    for (std::size_t i = 0; i < reads.size(); ++i) {
      reads[i] = file_op(OpCode::close, opens[i].file);
      driver->submit(reads[i]);
    }
    finish();
  };
  round();
  const AllocCount count;
  for (int i = 0; i < 20; ++i) round();
  CHECK(count.everywhere().news == 0);
}

TEST_CASE("path blocks are reused, and grow with their paths", "[pool]") {
  detail::PathBlocks blocks;
  detail::PathBlock* const small = blocks.take(10);
  detail::PathBlock* const other = blocks.take(10);
  REQUIRE(small != nullptr);
  REQUIRE(other != nullptr);
  CHECK(small != other);
  blocks.give_back(small);
  CHECK(blocks.take(small->capacity) == small);
  blocks.give_back(small);
  detail::PathBlock* const large = blocks.take(5000);
  REQUIRE(large != nullptr);
  CHECK(large->capacity >= 5000);
  blocks.give_back(large);
  blocks.give_back(other);
  blocks.give_back(nullptr);
}

TEST_CASE("run_here reads on any thread", "[pool]") {
  const TempDir dir;
  const auto driver = make_pool(pool_options());
  const DriverFile file = open_file(*driver, dir.write("data", "0123456789"), 0);
  std::array<std::thread, 4> threads;
  std::array<int, 4> right{};
  for (std::size_t t = 0; t < threads.size(); ++t) {
    threads[t] = std::thread([&, t] {
      for (int i = 0; i < 100; ++i) {
        char byte = 0;
        Op read = transfer(OpCode::read, file, t, &byte, 1);
        driver->run_here(read);
        if (read.result == 1 && byte == static_cast<char>('0' + t)) ++right[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == std::array<int, 4>{100, 100, 100, 100});
  close_file(*driver, file);
}

TEST_CASE("options beyond their limits are refused", "[pool]") {
  DriverOptions options = pool_options();
  options.in_flight_max = 0;
  CHECK(make_driver(options).error() == Errc::out_of_range);
  options.in_flight_max = 32769;
  const Error error = make_driver(options).error();
  CHECK(error == Errc::out_of_range);
  CHECK(error.a() == 32769);
  CHECK(error.b() == 32768);
  CHECK(error.text().find("in_flight_max") != std::string::npos);
  options = pool_options(0);
  CHECK(make_driver(options).error() == Errc::out_of_range);
  options = pool_options(257);
  CHECK(make_driver(options).error().text().find("pool_threads") != std::string::npos);
  options = pool_options(256);
  options.in_flight_max = 32768;
  CHECK(make_driver(options));
}

TEST_CASE("every operation has a name", "[pool]") {
  for (std::size_t i = 0; i < kOpCodeCount; ++i) {
    CHECK(std::string_view(to_string(static_cast<OpCode>(i))) != "unknown");
  }
  CHECK(std::string_view(to_string(OpCode::sync_data)) == "sync_data");
}
