// A task that was awaited still has a Result that must be looked at.

#include <diorite/result.hpp>
#include <diorite/task.hpp>

diorite::Task<diorite::Result<>> flush_pages();

diorite::Task<bool> checkpoint() {
#ifdef DIORITE_FORGET
  co_await flush_pages();  // forgotten
  co_return true;
#else
  const diorite::Result<> flushed = co_await flush_pages();
  co_return static_cast<bool>(flushed);
#endif
}
