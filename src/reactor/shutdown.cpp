// How a reactor ends: run() and the request that ends it, drain(), the destructor, and shut_down(),
// which does not wait forever.

#include <atomic>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>

#include "reactor/inbox.hpp"
#include "reactor/outbox.hpp"
#include "reactor/timer_heap.hpp"

namespace diorite {
namespace {

// Keeps what is never freed in sight of leak checkers and debuggers.
std::atomic<Reactor*> leaked_reactors{nullptr};

}  // namespace

void Reactor::request_shutdown() noexcept {
  const detail::Inbox::Visit visit(*inbox_);
  shutdown_.store(true, std::memory_order_release);
  driver_->wake();
}

bool Reactor::run() {
  awaits_shutdown_ = true;
  while (!shutdown_.load(std::memory_order_acquire)) turn(kNever);
  awaits_shutdown_ = false;
  if (!join_root(later(now(), options_.shutdown_wait))) {
    tell_host();
    return false;
  }
  // A stop cannot be taken back, and the tasks of a later run() must not be born stopped.
  make_root_scope();
  // Whoever asked again has been heard with this, and so has what was written before.
  static_cast<void>(shutdown_.exchange(false, std::memory_order_acq_rel));
  tell_host();
  return true;
}

bool Reactor::join_root(Instant until) {
  root_->request_stop();
  joins_root_ = true;
  do {
    turn(until);
  } while (!is_joined() && (until == kNever || now() < until));
  joins_root_ = false;
  return is_joined();
}

// Calls whose callers died are answered, too, before the reactor may go.
bool Reactor::is_joined() const noexcept { return root_->empty() && calls_ == 0; }

std::size_t Reactor::drain(Instant until) {
  DIORITE_ASSERT(!in_turn_, "drain must not be called from inside a turn");
  while (stats_.in_flight > 0 && now() < until) {
    OpList done;
    driver_->poll(done, until);
    dispatch(done);
  }
  tell_host();
  return static_cast<std::size_t>(stats_.in_flight);
}

Reactor::~Reactor() {
  DIORITE_ASSERT(!in_turn_, "a reactor was destroyed from inside its own turn");
  DIORITE_DEBUG_ASSERT(on_own_thread(), "a reactor is destroyed on another thread");
  static_cast<void>(end_tasks(kNever));
  DIORITE_ASSERT(turn_hooks_.empty(), "a reactor was destroyed before a turn hook");
  DIORITE_ASSERT(files_ == 0, "a reactor was destroyed before its files");
  DIORITE_ASSERT(timers_->empty(), "a reactor was destroyed before a task that sleeps on it");
  // Posts of dying frames still run, so that their owners get their nodes back.
  run_posts();
  send_outboxes();
  DIORITE_ASSERT(calls_ == 0, "a reactor was destroyed before a call that it made was answered");
  inbox_->wait_for_visitors();
}

/// Destroys the tasks of the root scope, and waits for what they leave behind.
bool Reactor::end_tasks(Instant until) noexcept {
  // What was posted before this moment may still spawn; those tasks die unstarted with the others.
  run_posts();
  root_.reset();
  DIORITE_ASSERT(tasks_ == 0, "a reactor was destroyed before a task that was started on it");
  return wait_for_ops(until);
}

bool Reactor::wait_for_ops(Instant until) noexcept {
  for (;;) {
    // The last share of a file, if it died in a frame or with an orphan, has been posted home.
    run_posts();
    // Only the library's own calls may be left here: closing files, freeing records.
    while (!ready_.empty()) {
      DIORITE_ASSERT(ready_.next_is_call(), "a reactor was destroyed before a task that it runs");
      ready_.run_one();
    }
    if (!inbox_->empty()) continue;
    if (stats_.in_flight == 0) return true;
    if (until != kNever && now() >= until) return false;
    OpList done;
    driver_->poll(done, until);
    dispatch(done);
  }
}

std::size_t Reactor::shut_down(std::unique_ptr<Reactor> reactor, Instant until) {
  DIORITE_ASSERT(reactor != nullptr, "there is no reactor to shut down");
  DIORITE_DEBUG_ASSERT(reactor->on_own_thread(), "a reactor is shut down on another thread");
  static_cast<void>(reactor->join_root(until));
  // A frame that lent memory of somebody else's to an operation waits for it where it dies, so no
  // frame dies while anything is in flight.
  const bool drained = reactor->drain(until) == 0;
  if (drained && reactor->end_tasks(until) && reactor->calls_ == 0) return 0;
  const auto left = static_cast<std::size_t>(reactor->stats_.in_flight + reactor->calls_);
  Reactor* const leaked = reactor.release();
  leaked->next_leaked_ = leaked_reactors.load(std::memory_order_relaxed);
  while (!leaked_reactors.compare_exchange_weak(
      leaked->next_leaked_, leaked, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return left;
}

}  // namespace diorite
