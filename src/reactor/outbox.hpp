// Outbox: what a turn sends to another reactor, until the end of that turn.
//
// One list and one wake for all of it: one by one, each node would lock the other reactor's cache
// line, and might wake it from a sleep of its own.
//
// Thread: the sender's.

#pragma once

#include <utility>

#include "reactor/inbox.hpp"

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>

namespace diorite::detail {

struct Outbox {
  Reactor* target = nullptr;
  PostNode* newest = nullptr;
  PostNode* oldest = nullptr;

  bool empty() const noexcept { return newest == nullptr; }
  void add(PostNode& node) noexcept {
    DIORITE_ASSERT(node.next == nullptr, "a node was sent again before it ran");
    // Not null, so that a second sending is noticed.
    node.next = newest != nullptr ? newest : Inbox::end();
    if (oldest == nullptr) oldest = &node;
    newest = &node;
  }
  /// True when the target sleeps and must be woken.
  bool send_to(Inbox& inbox) noexcept {
    PostNode& first = *std::exchange(newest, nullptr);
    return inbox.push_list(first, *std::exchange(oldest, nullptr));
  }
};

}  // namespace diorite::detail
