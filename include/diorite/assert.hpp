// Assertions that stay on in release builds, and the hook that hears of them.
//
// DIORITE_ASSERT guards against programmer errors: a task awaited twice, a file used after close, a
// completion that nobody asked for. Going on would put data at risk, so the process ends.
// It is not for what the world may do: a full disk or a misaligned length is an Error, not an
// assertion.
//
// Thread: any thread. The handler is set once, before the first reactor is created.
//
//   DIORITE_ASSERT(durable <= appended, "the durable mark passed the last appended byte");

#pragma once

namespace diorite {

/// What a failed assertion says. The pointers live as long as the process.
struct AssertionFailure {
  const char* expression;
  const char* message;
  const char* file;
  int line;
};

/// Called before the process aborts, for instance to write a crash report. It must not return into
/// the library: when it returns, abort() follows.
using AssertionHandler = void (*)(const AssertionFailure&) noexcept;

/// Sets the handler and returns the one before it. Null restores the default, which prints the
/// failure to standard error.
AssertionHandler set_assertion_handler(AssertionHandler handler) noexcept;

namespace detail {
[[noreturn]] void assertion_failed(const char* expression, const char* message, const char* file,
                                   int line) noexcept;
}  // namespace detail
}  // namespace diorite

/// Always on. One predicted branch; the message is a string literal that says what was violated.
#define DIORITE_ASSERT(condition, message) \
  (static_cast<bool>(condition)            \
       ? static_cast<void>(0)              \
       : ::diorite::detail::assertion_failed(#condition, message, __FILE__, __LINE__))

/// For checks that cost more than a branch. Off when NDEBUG is defined. Nothing that changes the
/// layout of a type depends on it, so debug and release objects can be linked together.
#ifdef NDEBUG
#define DIORITE_DEBUG_ASSERT(condition, message) static_cast<void>(sizeof(!(condition)))
#else
#define DIORITE_DEBUG_ASSERT(condition, message) DIORITE_ASSERT(condition, message)
#endif
