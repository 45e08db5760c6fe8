#include "thread_team.hpp"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace diorite::bench {
namespace {

/// Where the threads wait for the beginning. Asleep: a thread that spins keeps the others, and the
/// kernel's, from running.
class Gate {
 public:
  void arrive_and_wait() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    while (!open_) changed_.wait(lock);
  }
  void wait_for(unsigned threads) {
    std::unique_lock lock(mutex_);
    while (arrived_ < threads) changed_.wait(lock);
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned arrived_ = 0;
  bool open_ = false;
};

}  // namespace

Sample run_team(unsigned threads, std::uint64_t count,
                const std::function<void(unsigned thread, std::uint64_t count)>& work) {
  const std::uint64_t share = count / threads;
  Gate gate;
  std::vector<std::exception_ptr> thrown(threads);
  std::vector<std::thread> team;
  for (unsigned i = 0; i < threads; ++i) {
    team.emplace_back([&, i] {
      gate.arrive_and_wait();
      try {
        work(i, share);
      } catch (...) {
        thrown[i] = std::current_exception();
      }
    });
  }
  gate.wait_for(threads);
  Meter meter;
  meter.start(0);
  gate.open();
  for (std::thread& one : team) one.join();
  const Sample sample = meter.stop(share * threads, 0);
  for (const std::exception_ptr& one : thrown) {
    if (one) std::rethrow_exception(one);
  }
  return sample;
}

}  // namespace diorite::bench
