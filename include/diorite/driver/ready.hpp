// ReadyQueue: the only place from which coroutines are resumed.
//
// Drivers, timers, journals and wait lists never resume anything: they push a ReadyNode here, and
// the reactor's turn resumes in first-in, first-out order. So a completion never runs user code
// from inside the library, recursion stays bounded, and a run can be repeated from its seed.
//
// Thread: the reactor's. Lifetime: a node stays put while it is queued; a dying waiter unlinks
// itself.
//
//   node.set_frame(handle);  queue.push(node);

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>

#include <diorite/assert.hpp>
#include <diorite/intrusive_list.hpp>

namespace diorite {

class ReadyCall;

/// What waits to run: a suspended coroutine, or a ReadyCall. Three words.
class ReadyNode : public ListNode {
 public:
  void set_frame(std::coroutine_handle<> frame) noexcept {
    target_ = reinterpret_cast<std::uintptr_t>(frame.address());
  }
  /// Runs `call` instead of resuming a frame. `call` need not be queued itself.
  void set_call(ReadyCall& call) noexcept;
  bool has_target() const noexcept { return target_ != 0; }
  void clear_target() noexcept { target_ = 0; }

 private:
  friend class ReadyQueue;
  friend class ReadyCall;
  // Frames are aligned to 16 at least; the lowest bit marks a ReadyCall.
  static constexpr std::uintptr_t kCallBit = 1;
  std::uintptr_t target_ = 0;
};
static_assert(sizeof(ReadyNode) == 3 * sizeof(void*));

/// A library function that runs from the ready queue, for work that must not run where it was
/// found, such as freeing a frame that is still on the stack.
class ReadyCall : public ReadyNode {
 public:
  using Function = void (*)(ReadyCall&) noexcept;
  explicit ReadyCall(Function function) noexcept : function_(function) { set_call(*this); }
  ReadyCall(const ReadyCall&) = delete;
  ReadyCall& operator=(const ReadyCall&) = delete;

 protected:
  void set_function(Function function) noexcept { function_ = function; }

 private:
  friend class ReadyQueue;
  Function function_;
};

inline void ReadyNode::set_call(ReadyCall& call) noexcept {
  target_ = reinterpret_cast<std::uintptr_t>(&call) | kCallBit;
}

class ReadyQueue {
 public:
  bool empty() const noexcept { return nodes_.empty(); }
  void push(ReadyNode& node) noexcept {
    DIORITE_ASSERT(node.has_target(), "nothing to resume in a ready node");
    nodes_.push_back(node);
  }
  /// Runs the oldest entry. An exception of a coroutine's body never comes out of here: tasks keep
  /// theirs. Requires: not empty.
  void run_one() {
    ReadyNode* node = nodes_.pop_front();
    DIORITE_ASSERT(node != nullptr, "running from an empty ready queue");
    const std::uintptr_t target = node->target_;
    if ((target & ReadyNode::kCallBit) != 0) {
      auto& call = *reinterpret_cast<ReadyCall*>(target & ~ReadyNode::kCallBit);
      call.function_(call);
    } else {
      // Cleared however the resumption ends, or nobody could destroy the frame any more.
      struct Mark {
        void*& running;
        ~Mark() { running = nullptr; }
      } mark{running_};
      mark.running = reinterpret_cast<void*>(target);
      std::coroutine_handle<>::from_address(mark.running).resume();
    }
  }
  /// Whether the oldest entry is a ReadyCall. Requires: not empty.
  bool next_is_call() const noexcept {
    return (nodes_.front()->target_ & ReadyNode::kCallBit) != 0;
  }
  /// The frame that runs now, as far as the queue knows: the one it resumed, or the one that frame
  /// handed over to. A frame must not be destroyed while it runs.
  void* running() const noexcept { return running_; }
  void set_running(void* frame) noexcept { running_ = frame; }

 private:
  IntrusiveList<ReadyNode> nodes_;
  void* running_ = nullptr;
};

}  // namespace diorite
