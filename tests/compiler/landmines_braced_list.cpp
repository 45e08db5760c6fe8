// g++ 12 rejects a braced list in the arguments of an awaited call: the library takes std::span.

#include <coroutine>
#include <initializer_list>

struct Awaitable {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return 9; }
};
struct Eager {
  struct promise_type {
    Eager get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void unhandled_exception() const noexcept {}
    void return_void() const noexcept {}
  };
};

Awaitable takes(std::initializer_list<int> values);

#ifdef DIORITE_WITHOUT_FORM
Eager awaits() {
  const std::initializer_list<int> values = {4, 5};
  static_cast<void>(co_await takes(values));
}
#else
Eager awaits() { static_cast<void>(co_await takes({4, 5})); }
#endif
