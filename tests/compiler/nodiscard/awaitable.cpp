// An awaitable type that is nodiscard: calling the function without co_await starts nothing, and
// the compiler tells.

#include <coroutine>

#include <diorite/result.hpp>

struct [[nodiscard]] WriteAwait {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  diorite::Result<> await_resume() const noexcept { return {}; }
};

struct Started {
  struct promise_type {
    Started get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept {}
  };
};

WriteAwait write_page() { return {}; }

Started save() {
#ifdef DIORITE_FORGET
  write_page();
  co_return;
#else
  const diorite::Result<> written = co_await write_page();
  static_cast<void>(written);
#endif
}
