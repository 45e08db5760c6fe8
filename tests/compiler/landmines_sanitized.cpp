// clang before 16 cannot put a mark of -fsanitize=function before parts of coroutines that lie in
// another section: "Cannot represent a difference across sections".

#include <coroutine>

struct Eager {
  struct promise_type {
    Eager get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void unhandled_exception() const noexcept {}
    void return_void() const noexcept {}
  };
};

#ifdef DIORITE_WITHOUT_FORM
inline Eager is_inline() { return {}; }

template <class T>
Eager is_template(T) {
  return {};
}
#else
inline Eager is_inline() { co_await std::suspend_always(); }

template <class T>
Eager is_template(T) {
  co_await std::suspend_always();
}
#endif

void calls_both() {
  is_inline();
  is_template(4);
}
