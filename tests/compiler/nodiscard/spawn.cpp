// A task is started through a scope or start(); a Running that is dropped at once ends its task.

#include <chrono>

#include <diorite/result.hpp>
#include <diorite/scope.hpp>
#include <diorite/task.hpp>
#include <diorite/timer.hpp>

diorite::Task<diorite::Result<void>> flush_page(int page);

diorite::Task<diorite::Result<void>> flush_all(diorite::Reactor& reactor,
                                               diorite::TaskScope& scope) {
#ifdef DIORITE_FORGET
  flush_page(1);                                     // forgotten
  diorite::start(reactor, flush_page(2));            // forgotten
  diorite::sleep_for(std::chrono::milliseconds(1));  // forgotten
  scope.join();                                      // forgotten
  co_return diorite::Result<void>();
#else
  scope.spawn(flush_page(1));
  diorite::Running<diorite::Result<void>> second = diorite::start(reactor, flush_page(2));
  const diorite::Result<void> slept = co_await diorite::sleep_for(std::chrono::milliseconds(1));
  const diorite::Result<void> joined = co_await scope.join();
  const diorite::Result<void> flushed = co_await std::move(second);
  co_return slept&& joined ? flushed : diorite::Result<void>(diorite::Errc::closed);
#endif
}
