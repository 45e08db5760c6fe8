// Gate: keeps worker threads for as long as a test wants.

#pragma once

#include <condition_variable>
#include <mutex>

namespace diorite::test {

class Gate {
 public:
  /// On a worker thread: returns once the gate is open.
  void pass() noexcept {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.notify_all();
    while (!open_) changed_.wait(lock);
  }
  void open() noexcept {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool entered() noexcept {
    const std::lock_guard lock(mutex_);
    return entered_ > 0;
  }
  /// Until so many have come.
  void wait_for(int count) noexcept {
    std::unique_lock lock(mutex_);
    while (entered_ < count) changed_.wait(lock);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int entered_ = 0;
  bool open_ = false;
};

}  // namespace diorite::test
