// A Task that is neither awaited nor started does nothing: calling the function alone is a mistake.

#include <diorite/result.hpp>
#include <diorite/task.hpp>

diorite::Task<diorite::Result<>> flush_pages();
diorite::Task<> log_progress();

diorite::Task<bool> checkpoint() {
#ifdef DIORITE_FORGET
  flush_pages();   // forgotten
  log_progress();  // forgotten
  co_return true;
#else
  const diorite::Result<> flushed = co_await flush_pages();
  co_await log_progress();
  co_return static_cast<bool>(flushed);
#endif
}
