// IntrusiveList and ReadyQueue.

#include <diorite/driver/ready.hpp>
#include <diorite/intrusive_list.hpp>

#include <array>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <random>
#include <string>

#include "support/catch.hpp"
#include "support/death.hpp"

namespace diorite::test {
namespace {

struct Item : ListNode {
  explicit Item(int value_ = 0) : value(value_) {}
  int value;
};

std::deque<int> values_of(const IntrusiveList<Item>& list) {
  std::deque<int> values;
  for (const Item* item = list.front(); item != nullptr; item = list.next(*item)) {
    values.push_back(item->value);
  }
  return values;
}

struct Call : ReadyCall {
  Call(std::string& log_, char letter_) : ReadyCall(&run), log(log_), letter(letter_) {}
  static void run(ReadyCall& call) noexcept {
    auto& self = static_cast<Call&>(call);
    self.log.push_back(self.letter);
    if (self.then != nullptr) self.queue->push(*self.then);
  }
  std::string& log;
  char letter;
  ReadyQueue* queue = nullptr;
  ReadyNode* then = nullptr;
};

/// A coroutine of no library type: the queue knows handles only.
struct Bare {
  struct promise_type {
    Bare get_return_object() noexcept {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept {}
  };
  std::coroutine_handle<> handle;
};

Bare writes(std::string& log, char letter, ReadyQueue& queue, void*& seen) {
  log.push_back(letter);
  seen = queue.running();
  co_return;
}

}  // namespace

TEST_CASE("an empty list", "[list]") {
  IntrusiveList<Item> list;
  CHECK(list.empty());
  CHECK(list.front() == nullptr);
  CHECK(list.back() == nullptr);
  CHECK(list.pop_front() == nullptr);
  IntrusiveList<Item> other;
  list.splice_back(other);
  CHECK(list.empty());
}

TEST_CASE("a list keeps order through every operation", "[list]") {
  std::mt19937 random(20240607);
  std::array<Item, 64> items;
  for (int i = 0; i < 64; ++i) items[static_cast<std::size_t>(i)].value = i;
  IntrusiveList<Item> lists[2];
  std::deque<int> models[2];
  const auto forget = [&](int value) {
    for (auto& model : models) {
      for (auto it = model.begin(); it != model.end(); ++it) {
        if (*it == value) {
          model.erase(it);
          return;
        }
      }
    }
  };
  for (int step = 0; step < 20'000; ++step) {
    Item& item = items[random() % items.size()];
    const std::size_t which = random() % 2;
    switch (random() % 5) {
      case 0:
        if (!item.linked()) {
          lists[which].push_back(item);
          models[which].push_back(item.value);
        }
        break;
      case 1:
        if (!item.linked()) {
          lists[which].push_front(item);
          models[which].push_front(item.value);
        }
        break;
      case 2:
        if (item.linked()) {
          item.unlink();
          forget(item.value);
        }
        break;
      case 3: {
        Item* const first = lists[which].pop_front();
        REQUIRE((first == nullptr) == models[which].empty());
        if (first != nullptr) {
          REQUIRE(first->value == models[which].front());
          REQUIRE_FALSE(first->linked());
          models[which].pop_front();
        }
        break;
      }
      default:
        if (random() % 16 == 0) {
          lists[which].splice_back(lists[1 - which]);
          for (const int value : models[1 - which]) models[which].push_back(value);
          models[1 - which].clear();
        }
    }
    for (int i = 0; i < 2; ++i) {
      REQUIRE(values_of(lists[i]) == models[i]);
      if (!models[i].empty()) REQUIRE(lists[i].back()->value == models[i].back());
    }
  }
  for (auto& list : lists) {
    while (list.pop_front() != nullptr) {
    }
  }
}

TEST_CASE("misuse of lists ends the process", "[list][death]") {
  const Death twice = run_in_child([] {
    IntrusiveList<Item> a;
    IntrusiveList<Item> b;
    Item item;
    a.push_back(item);
    b.push_back(item);
  });
  CHECK(twice.aborted());
  CHECK(twice.said("a node cannot stand in two lists"));
  const Death unlinked = run_in_child([] { Item().unlink(); });
  CHECK(unlinked.aborted());
}

TEST_CASE("the ready queue runs frames and calls first in, first out", "[ready]") {
  ReadyQueue queue;
  std::string log;
  void* seen = nullptr;
  Call a(log, 'a');
  Call c(log, 'c');
  const Bare frame = writes(log, 'b', queue, seen);
  ReadyNode node;
  CHECK_FALSE(node.has_target());
  node.set_frame(frame.handle);
  CHECK(node.has_target());
  queue.push(a);
  queue.push(node);
  queue.push(c);
  CHECK(queue.next_is_call());
  queue.run_one();
  CHECK_FALSE(queue.next_is_call());
  queue.run_one();
  CHECK(seen == frame.handle.address());
  CHECK(queue.running() == nullptr);
  queue.run_one();
  CHECK(queue.empty());
  CHECK(log == "abc");
  frame.handle.destroy();
}

TEST_CASE("what runs from the ready queue may push to it", "[ready]") {
  ReadyQueue queue;
  std::string log;
  Call a(log, 'a');
  Call b(log, 'b');
  ReadyNode alias;
  alias.set_call(b);
  a.queue = &queue;
  a.then = &a;
  queue.push(a);
  queue.push(alias);
  queue.run_one();
  a.then = nullptr;
  queue.run_one();
  queue.run_one();
  CHECK(log == "aba");
  CHECK(queue.empty());
}

TEST_CASE("a waiter that unlinks itself is not run", "[ready]") {
  ReadyQueue queue;
  std::string log;
  Call a(log, 'a');
  {
    Call b(log, 'b');
    queue.push(b);
    queue.push(a);
    b.unlink();
  }
  queue.run_one();
  CHECK(log == "a");
  CHECK(queue.empty());
}

TEST_CASE("misuse of the ready queue ends the process", "[ready][death]") {
  const Death empty = run_in_child([] { ReadyQueue().run_one(); });
  CHECK(empty.aborted());
  const Death targetless = run_in_child([] {
    ReadyQueue queue;
    ReadyNode node;
    queue.push(node);
  });
  CHECK(targetless.aborted());
  CHECK(targetless.said("nothing to resume"));
}

}  // namespace diorite::test
