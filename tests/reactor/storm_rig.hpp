// What the storm runs on: one reactor with everything that its clients fight for, another reactor
// that they call, and four threads that post to it.

#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <diorite/channel.hpp>
#include <diorite/reactor.hpp>
#include <diorite/reactor_thread.hpp>
#include <diorite/scope.hpp>
#include <diorite/sim/machine.hpp>
#include <diorite/sync.hpp>

#include "reactor/storm_world.hpp"

namespace diorite::storm {

enum class Lane : std::uint8_t { uring, pool, pool_inline, sim };
const char* to_string(Lane lane) noexcept;

/// What happened, for the last line and for asking whether it stormed at all.
struct Tally {
  std::uint64_t operations = 0;
  std::uint64_t ended = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t deadlines = 0;
  std::uint64_t clients = 0;
  std::uint64_t destroyed = 0;  ///< clients, before their end
  std::uint64_t calls = 0;      ///< that were answered
  std::uint64_t quiet_moments = 0;
};

/// A client and what stops it. The source outlives the task.
struct Slot {
  std::unique_ptr<StopSource> stop;
  Running<> running;
};

class World {
 public:
  World(Reactor& reactor, Reactor& remote, std::string directory, std::uint64_t seed);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Task<> open_files();
  Task<> close_files();
  Task<> read_everything();

  /// True when it succeeded; ends the process for an error that no stop explains.
  bool ended(const Error& error);
  void begin_operation() noexcept;
  void start_client(Slot& slot);
  void destroy(Slot& slot);
  /// One thing that ends something, or nothing.
  void strike(std::uint32_t kind, std::uint32_t where);
  /// Destroys every client there is.
  void destroy_all();
  /// Requires: no client, and nothing in flight.
  void check_quiet();

  Reactor& reactor;
  Reactor& remote;
  const std::string directory;
  Random random;
  Tally tally;
  Blocks blocks;
  std::array<DirectFile, kFiles> files;
  Semaphore permits{24};
  Mutex mutex;
  bool in_mutex = false;
  Event event;
  Event progress;
  Channel<Token> channel{8};
  std::array<Slot, 48> slots;
  std::optional<TaskScope> scope;
};

/// A life of a client: a few random things in a row. In storm_steps.cpp.
Task<> client(World& world, std::uint64_t seed);

/// Four threads that post to the reactor, a few nodes each round. Where there is but one thread, it
/// posts itself.
class Posters {
 public:
  Posters(World& world, bool has_threads, std::uint64_t seed);
  Posters(const Posters&) = delete;
  Posters& operator=(const Posters&) = delete;
  ~Posters();
  /// Lets each thread post once more.
  void next_round();
  /// No more posts; those on their way are still run by later turns.
  void stop();
  std::uint64_t posted() const noexcept { return posted_.load(std::memory_order_relaxed); }
  std::uint64_t ran() const noexcept { return ran_; }

 private:
  static constexpr std::size_t kThreads = 4;
  static constexpr std::size_t kNodes = 8;  ///< of each thread
  struct Node : PostNode {
    Node() noexcept : PostNode(&Posters::run) {}
    Posters* posters = nullptr;
    std::uint32_t kind = 0;
    std::uint32_t where = 0;
    std::atomic<bool> is_out{false};
  };
  static void run(PostNode& node) noexcept;
  void post_some(std::size_t thread, Random& random);
  void work(std::size_t thread, std::uint64_t seed);

  World& world_;
  std::array<std::array<Node, kNodes>, kThreads> nodes_;
  std::atomic<std::uint64_t> posted_{0};
  std::uint64_t ran_ = 0;
  Random random_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t round_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

/// Blocks of memory from operator new and of aligned buffers that are not given back. Always 0
/// where the program's allocator cannot be watched.
std::int64_t blocks_alive() noexcept;
std::int64_t buffers_alive() noexcept;

}  // namespace diorite::storm
