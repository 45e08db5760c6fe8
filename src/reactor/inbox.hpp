// Inbox: what other threads post to a reactor. Many producers, one consumer, no lock.

#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>

namespace diorite::detail {

class Inbox {
 public:
  /// Held by who sends something, or asks for the end, until it has woken the reactor: what it sent
  /// may run meanwhile, and be what ends the reactor's life.
  class Visit {
   public:
    explicit Visit(Inbox& inbox) noexcept : inbox_(inbox) {
      inbox_.visitors_.fetch_add(1, std::memory_order_relaxed);
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() { inbox_.visitors_.fetch_sub(1, std::memory_order_release); }

   private:
    Inbox& inbox_;
  };
  /// For the end of the reactor: the last steps of whoever has sent it something.
  void wait_for_visitors() const noexcept {
    while (visitors_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }

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

  /// A list from its newest node to its oldest, as one.
  bool push_list(PostNode& newest, PostNode& oldest) noexcept {
    PostNode* head = head_.load(std::memory_order_relaxed);
    do {
      oldest.next = head != nullptr ? head : end();
    } while (!head_.compare_exchange_weak(head, &newest, std::memory_order_seq_cst,
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
  std::atomic<std::uint32_t> visitors_{0};
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free,
                "request_shutdown() is called from signal handlers");
};

}  // namespace diorite::detail
