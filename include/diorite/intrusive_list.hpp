// ListNode and IntrusiveList: a doubly linked list whose links live in its members.
//
// Every queue of the library is one of these, so queueing allocates nothing, and a waiter whose
// frame dies takes itself out without knowing which list it stands in.
//
// Thread: none of it is thread-safe. Lifetime: a node must not move or die while it is linked.
//
//   struct Waiter : ListNode { ... };
//   IntrusiveList<Waiter> waiters;
//   waiters.push_back(w);  w.unlink();

#pragma once

#include <diorite/assert.hpp>

namespace diorite {

struct ListNode {
  ListNode* next = nullptr;
  ListNode* prev = nullptr;

  bool linked() const noexcept { return next != nullptr; }
  /// Leaves whichever list this stands in. Requires: linked().
  void unlink() noexcept {
    DIORITE_ASSERT(linked(), "unlinking a node that stands in no list");
    prev->next = next;
    next->prev = prev;
    next = nullptr;
    prev = nullptr;
  }
};

/// First in, first out. T derives from ListNode.
template <class T>
class IntrusiveList {
 public:
  IntrusiveList() noexcept { head_.next = head_.prev = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const noexcept { return head_.next == &head_; }
  T* front() const noexcept { return empty() ? nullptr : static_cast<T*>(head_.next); }
  T* back() const noexcept { return empty() ? nullptr : static_cast<T*>(head_.prev); }
  /// The element after `node`, or null.
  T* next(const T& node) const noexcept {
    return node.next == &head_ ? nullptr : static_cast<T*>(node.next);
  }

  /// The element before `node`, or null.
  T* prev(const T& node) const noexcept {
    return node.prev == &head_ ? nullptr : static_cast<T*>(node.prev);
  }

  void push_back(T& node) noexcept { insert(node, head_.prev, &head_); }
  void push_front(T& node) noexcept { insert(node, &head_, head_.next); }
  /// Behind `place`, which stands in this list; in front when it is null.
  void insert_after(T* place, T& node) noexcept {
    ListNode* const before = place == nullptr ? &head_ : place;
    insert(node, before, before->next);
  }
  T* pop_front() noexcept {
    T* node = front();
    if (node != nullptr) node->unlink();
    return node;
  }
  /// Moves every element of `other` behind the last one here.
  void splice_back(IntrusiveList& other) noexcept {
    if (other.empty()) return;
    ListNode* first = other.head_.next;
    ListNode* last = other.head_.prev;
    first->prev = head_.prev;
    head_.prev->next = first;
    last->next = &head_;
    head_.prev = last;
    other.head_.next = other.head_.prev = &other.head_;
  }

 private:
  static void insert(ListNode& node, ListNode* before, ListNode* after) noexcept {
    DIORITE_ASSERT(!node.linked(), "a node cannot stand in two lists");
    node.prev = before;
    node.next = after;
    before->next = &node;
    after->prev = &node;
  }

  ListNode head_;
};

}  // namespace diorite
