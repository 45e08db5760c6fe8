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
  /// A sign for whoever looks at what stands in the queue; a new target takes it away.
  void mark() noexcept { target_ |= kMarkBit; }
  bool is_marked() const noexcept { return (target_ & kMarkBit) != 0; }

 private:
  friend class ReadyQueue;
  friend class ReadyCall;
  // Frames are aligned to 16 at least; the lowest bit says that it is a ReadyCall.
  static constexpr std::uintptr_t kCallBit = 1;
  static constexpr std::uintptr_t kMarkBit = 2;
  static constexpr std::uintptr_t kBits = kCallBit | kMarkBit;
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
  /// Told when there is something to do while nobody looks: see Reactor::pollable.
  struct Bell {
    void (*ring)(Bell& bell) noexcept;
  };

  bool empty() const noexcept { return nodes_.empty(); }
  void push(ReadyNode& node) noexcept {
    DIORITE_ASSERT(node.has_target(), "nothing to resume in a ready node");
    nodes_.push_back(node);
    touch();
  }
  /// The next push() or touch() rings it, once. Null takes it away.
  void set_bell(Bell* bell) noexcept { bell_ = bell; }
  void touch() noexcept {
    if (bell_ == nullptr) return;
    Bell& bell = *bell_;
    bell_ = nullptr;
    bell.ring(bell);
  }
  /// Runs the oldest entry. An exception of a coroutine's body never comes out of here: tasks keep
  /// theirs. Returns running() as it was at the end: that frame is suspended, or finished and not
  /// yet destroyed. Requires: not empty.
  void* run_one() {
    ReadyNode* node = nodes_.pop_front();
    DIORITE_ASSERT(node != nullptr, "running from an empty ready queue");
    const std::uintptr_t target = node->target_;
    // Cleared however the resumption ends, or nobody could destroy the frame any more.
    struct Mark {
      void*& running;
      ~Mark() { running = nullptr; }
    } mark{running_};
    void* const address = reinterpret_cast<void*>(target & ~ReadyNode::kBits);
    if ((target & ReadyNode::kCallBit) != 0) {
      auto& call = *static_cast<ReadyCall*>(address);
      call.function_(call);
    } else {
      mark.running = address;
      std::coroutine_handle<>::from_address(address).resume();
    }
    return mark.running;
  }
  /// The oldest entry. Requires: not empty.
  ReadyNode& front() noexcept { return *nodes_.front(); }
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
  Bell* bell_ = nullptr;
};

}  // namespace diorite
