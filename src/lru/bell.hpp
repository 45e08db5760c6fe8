// Bell: wakes the one coroutine that looks after something, when its surroundings have changed.
//
// A ring while nobody waits is forgotten: the coroutine looks at its condition before it waits, and
// after every ring.
//
//   while (!ready_to_go()) co_await bell.wait();

#pragma once

#include <coroutine>

#include <diorite/assert.hpp>
#include <diorite/driver/ready.hpp>

namespace diorite::detail {

class Bell {
 public:
  explicit Bell(ReadyQueue& ready) noexcept : ready_(ready) {}
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  void ring() noexcept {
    if (node_.has_target() && !node_.linked()) ready_.push(node_);
  }

  class [[nodiscard]] Wait {
   public:
    explicit Wait(ReadyNode& node) noexcept : node_(node) {}
    Wait(const Wait&) = delete;
    ~Wait() {
      if (node_.linked()) node_.unlink();
      node_.clear_target();
    }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) noexcept {
      DIORITE_ASSERT(!node_.has_target(), "two coroutines wait for one bell");
      node_.set_frame(frame);
    }
    void await_resume() const noexcept {}

   private:
    ReadyNode& node_;
  };
  Wait wait() noexcept { return Wait(node_); }

 private:
  ReadyQueue& ready_;
  ReadyNode node_;
};

}  // namespace diorite::detail
