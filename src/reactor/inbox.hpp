// Inbox: what other threads post to a reactor. Many producers, one consumer, no lock.

#pragma once

#include <atomic>

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>

namespace diorite::detail {

class Inbox {
 public:
  /// Any thread. True when the reactor sleeps and the caller must wake it.
  bool push(PostNode& node) noexcept {
    DIORITE_ASSERT(node.next == nullptr, "a node was posted again before it ran");
    PostNode* head = head_.load(std::memory_order_relaxed);
    do {
      node.next = head != nullptr ? head : end();
    } while (!head_.compare_exchange_weak(head, &node, std::memory_order_seq_cst,
                                          std::memory_order_relaxed));
    return sleeping_.load(std::memory_order_seq_cst);
  }

  /// What the last node points to, so that null means: not posted.
  static PostNode* end() noexcept { return &end_; }

  /// Everything that was posted, oldest first, up to end().
  PostNode* take_all() noexcept {
    // An exchange locks the cache line, every turn, for what is nearly always empty.
    if (head_.load(std::memory_order_relaxed) == nullptr) return end();
    PostNode* newest = head_.exchange(nullptr, std::memory_order_acquire);
    PostNode* oldest = end();
    while (newest != nullptr && newest != end()) {
      PostNode* const next = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = next;
    }
    return oldest;
  }

  bool empty() const noexcept { return head_.load(std::memory_order_seq_cst) == nullptr; }

  /// The reactor is about to sleep: from here on producers wake it. It must look at empty() once
  /// more after this. Store and load on both sides are sequentially consistent, so that at least
  /// one of the two sees the other.
  void begin_sleep() noexcept { sleeping_.store(true, std::memory_order_seq_cst); }
  void end_sleep() noexcept { sleeping_.store(false, std::memory_order_relaxed); }

 private:
  static inline PostNode end_{nullptr};

  std::atomic<PostNode*> head_{nullptr};
  std::atomic<bool> sleeping_{false};
};

}  // namespace diorite::detail
