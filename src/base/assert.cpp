#include <diorite/assert.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace diorite {
namespace {

void print_failure(const AssertionFailure& failure) noexcept {
  std::fprintf(stderr, "diorite: assertion failed: %s\n  %s\n  %s:%d\n", failure.message,
               failure.expression, failure.file, failure.line);
  std::fflush(stderr);
}

std::atomic<AssertionHandler> current_handler{&print_failure};

}  // namespace

AssertionHandler set_assertion_handler(AssertionHandler handler) noexcept {
  return current_handler.exchange(handler != nullptr ? handler : &print_failure);
}

namespace detail {

void assertion_failed(const char* expression, const char* message, const char* file,
                      int line) noexcept {
  current_handler.load()(AssertionFailure{expression, message, file, line});
  std::abort();
}

}  // namespace detail
}  // namespace diorite
