#include <diorite/reactor_thread.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace diorite {
namespace detail {

/// Where a thread sleeps while it calls; one for each thread, since it can be in one call only.
struct ThreadCall::Sleeper {
  std::mutex mutex;
  std::condition_variable woken;
  bool awake = false;
};

void ThreadCall::run_on(Reactor& reactor) {
  static thread_local Sleeper mine;
  reactor_ = &reactor;
  sleeper_ = &mine;
  mine.awake = false;
  reactor.post(*this);
  std::unique_lock lock(mine.mutex);
  while (!mine.awake) mine.woken.wait(lock);
}

void ThreadCall::end() noexcept {
  Sleeper& sleeper = *sleeper_;
  const std::lock_guard lock(sleeper.mutex);
  sleeper.awake = true;
  // Under the lock: without it the caller may be gone, and its thread with the sleeper.
  sleeper.woken.notify_one();
}

void ThreadCall::arrived(PostNode& node) noexcept {
  auto& call = static_cast<ThreadCall&>(node);
  try {
    call.begin_(call, *call.reactor_);
  } catch (...) {
    call.exception_ = std::current_exception();
    call.end();
  }
}

}  // namespace detail

struct ReactorThread::Shared {
  explicit Shared(ReactorOptions how) noexcept : options(how) {}

  void run() noexcept;
  void tell(Error error, Reactor* made) noexcept;

  const ReactorOptions options;
  std::thread thread;
  std::atomic<std::uint64_t> calls{0};
  std::atomic<bool> stopping{false};

  std::mutex mutex;
  std::condition_variable told;
  bool has_told = false;
  Error error;                 ///< why there is no reactor
  Reactor* reactor = nullptr;  ///< until stop()
  std::size_t left = 0;        ///< what had not ended when the thread did
};

void ReactorThread::Shared::tell(Error why, Reactor* made) noexcept {
  const std::lock_guard lock(mutex);
  error = why;
  reactor = made;
  has_told = true;
  told.notify_one();
}

void ReactorThread::Shared::run() noexcept {
  Result<std::unique_ptr<Reactor>> made = Reactor::create(options);
  if (!made) {
    tell(made.error(), nullptr);
    return;
  }
  tell(Error(), made->get());
  // A shutdown that others request stops what runs there, and the thread serves on: its reactor is
  // theirs to name until stop().
  do {
    if ((*made)->run() || stopping.load()) continue;
    // Looks at the flag by itself: a destructor that waits may have heard the wake of stop().
    (*made)->turn(later((*made)->now(), std::chrono::milliseconds(10)));
  } while (!stopping.load());
  const Instant until = later((*made)->now(), options.shutdown_wait);
  left = Reactor::shut_down(std::move(*made), until);
}

ReactorThread::ReactorThread(std::unique_ptr<Shared> shared) noexcept
    : shared_(std::move(shared)) {}

Result<std::unique_ptr<ReactorThread>> ReactorThread::create(ReactorOptions options) {
  auto shared = std::make_unique<Shared>(options);
  Shared& there = *shared;
  std::unique_ptr<ReactorThread> made(new ReactorThread(std::move(shared)));
  try {
    there.thread = std::thread([&there] { there.run(); });
  } catch (const std::system_error& error) {
    return Error(error.code());
  }
  std::unique_lock lock(there.mutex);
  while (!there.has_told) there.told.wait(lock);
  if (there.error) return there.error;
  return made;
}

ReactorThread::~ReactorThread() { stop(); }

std::size_t ReactorThread::stop() {
  if (!shared_->thread.joinable()) return shared_->left;
  DIORITE_ASSERT(shared_->calls.load() == 0, "a reactor's thread is stopped during a call");
  // In this order: a request that comes as run() returns is lost, and the flag is not.
  shared_->stopping.store(true);
  if (shared_->reactor != nullptr) shared_->reactor->request_shutdown();
  shared_->thread.join();
  shared_->reactor = nullptr;
  return shared_->left;
}

Reactor& ReactorThread::reactor() noexcept {
  DIORITE_ASSERT(shared_->reactor != nullptr, "a reactor's thread is used after stop()");
  return *shared_->reactor;
}

void ReactorThread::run(detail::ThreadCall& call) {
  DIORITE_ASSERT(std::this_thread::get_id() != shared_->thread.get_id(),
                 "a reactor's thread calls itself, and would wait for ever");
  struct Counted {
    std::atomic<std::uint64_t>& calls;
    explicit Counted(std::atomic<std::uint64_t>& count) noexcept : calls(count) { ++calls; }
    ~Counted() { --calls; }
  };
  const Counted counted(shared_->calls);
  call.run_on(reactor());
}

}  // namespace diorite
