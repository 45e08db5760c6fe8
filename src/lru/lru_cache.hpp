// LruCache: the state behind a FileLru.
//
//   LruEntry    one id: its current handle, its removal, its sticky error
//   LruHandle   one descriptor, from the wish to open it until its close has completed
//   LruRemoval  one unlink
//
// Each handle has a keeper: a coroutine that opens the file, waits until it is told to close, syncs
// and closes. So its memory is there from the start, and eviction, the last lease and the other
// places that must not fail allocate nothing. Keepers and removals are the children of one scope,
// which dies with the cache; FileLru's destructor hands the cache to the reactor's root scope.
//
// An id may have several handles: the current one, which acquire finds, and older ones that were
// evicted while pinned or are closing. The capacity is counted in slots: a handle has one from
// before its open until after its close. Handles without a slot queue for one.

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "lru/bell.hpp"

#include <diorite/file_lru.hpp>
#include <diorite/intrusive_list.hpp>
#include <diorite/scope.hpp>

namespace diorite::detail {

class AcquireAwait;

struct LruEntry {
  explicit LruEntry(std::uint64_t number) noexcept : id(number) {}
  bool is_unused() const noexcept {
    return handles == 0 && current == nullptr && removal == nullptr && !sticky;
  }

  const std::uint64_t id;
  LruHandle* current = nullptr;
  LruRemoval* removal = nullptr;
  std::uint32_t handles = 0;  ///< that have not gone, the current one included
  std::uint32_t closing = 0;  ///< of these
  Error sticky;               ///< what was lost; outlives the handle
};

/// Where a handle stands besides the list of all: among the idle ones, in the queue for slots, or
/// in the queue for a descriptor.
struct LruPlace : ListNode {};
struct LruLink : ListNode {};

class LruHandle : public LruPlace, public LruLink {
 public:
  enum class State : std::uint8_t {
    queued,   ///< has no slot yet
    granted,  ///< has a slot, and waits for older handles of its id to be closed
    opening,
    open,
    closing,
    dropped,  ///< nobody wants it any more, and it never had a slot
  };

  LruHandle(LruCache& owner, LruEntry& of, std::uint64_t number) noexcept;
  LruHandle(const LruHandle&) = delete;
  LruHandle& operator=(const LruHandle&) = delete;
  ~LruHandle();
  bool is_current() const noexcept { return entry.current == this; }

  LruCache& cache;
  LruEntry& entry;
  const std::uint64_t serial;
  State state = State::queued;
  bool told = false;       ///< its failure is the id's, or was forgotten
  std::uint32_t pins = 0;  ///< leases
  DirectFile file;
  IntrusiveList<AcquireAwait> waiters;
  Bell bell;  ///< the keeper's
};

/// Counted: by the task that unlinks, and by every RemoveAwait.
class LruRemoval : public ListNode {
 public:
  LruRemoval(LruCache& owner, std::uint64_t of, std::uint64_t number, std::string name);
  LruRemoval(const LruRemoval&) = delete;
  LruRemoval& operator=(const LruRemoval&) = delete;

  void add_watcher() noexcept { ++refs_, ++watchers_; }
  /// A failure that the last watcher has not looked at is told to the cache.
  void drop_watcher() noexcept;
  void unref() noexcept;
  void end(Error error) noexcept;

  LruCache* cache;  ///< null when it has died
  const std::uint64_t id;
  const std::uint64_t serial;
  const std::string path;
  bool done = false;
  bool seen = false;  ///< somebody was told the outcome
  Error outcome;
  IntrusiveList<ReadyNode> waiters;
  Bell bell;  ///< the task's

 private:
  ~LruRemoval() = default;
  void tell_unseen() noexcept;

  ReadyQueue& ready_;
  std::uint32_t refs_ = 1;
  std::uint32_t watchers_ = 0;
};

/// The count of the task that unlinks.
struct LruRemovalUnref {
  void operator()(LruRemoval* removal) const noexcept { removal->unref(); }
};
using LruRemovalRef = std::unique_ptr<LruRemoval, LruRemovalUnref>;

class LruCache {
 public:
  LruCache(Reactor& reactor, std::string dir, FileLruOptions options);
  LruCache(const LruCache&) = delete;
  LruCache& operator=(const LruCache&) = delete;
  ~LruCache();

  /// Pins the open handle of an id, or null.
  LruHandle* try_pin(std::uint64_t id) noexcept;
  /// Why the id cannot be acquired, if so.
  Error refusal(std::uint64_t id) noexcept;
  /// Adds `waiter` to those of the id's handle; makes one when there is none. Requires: no refusal.
  void wait_for_handle(std::uint64_t id, AcquireAwait& waiter);
  void waiter_left(LruHandle& handle) noexcept;
  void unpin(LruHandle& handle) noexcept;
  static FileLease lease(LruHandle* pinned) noexcept { return FileLease(pinned); }

  bool evict(std::uint64_t id) noexcept;
  LruRemoval& remove(std::uint64_t id);
  void forget(std::uint64_t id) noexcept;
  Task<Result<FileLease>> acquire(std::uint64_t id);
  Task<BufIoResult> read_into(std::uint64_t id, AlignedBuf dst, std::uint64_t offset,
                              std::size_t bytes);
  Task<Result<void>> close_all();

  /// The FileLru dies. False when nothing is left to do.
  bool begin_farewell() noexcept;
  /// Owns the cache until its last keeper and removal have ended.
  static Task<> linger(std::unique_ptr<LruCache> cache);

  /// Tells of a failure that nobody awaits.
  void report(std::uint64_t id, const Error& error) noexcept;
  void removal_ended(LruRemoval& removal) noexcept;

  FileLruStats stats() const noexcept;
  std::size_t capacity() const noexcept { return options_.capacity; }
  Reactor& reactor() const noexcept { return reactor_; }

 private:
  /// A close_all() that waits for everything up to `mark`.
  struct Drain : ListNode {
    Drain(ReadyQueue& ready, std::uint64_t last) noexcept : bell(ready), mark(last) {}
    ~Drain() {
      if (linked()) unlink();
    }
    Bell bell;
    const std::uint64_t mark;
    Error first;
  };

  // Look-up and slots (lru_cache.cpp).
  LruEntry* find(std::uint64_t id) noexcept;
  void drop_if_unused(LruEntry& entry) noexcept;
  std::string path_of(std::uint64_t id) const;
  Error explain(std::uint64_t id, Error error, std::string_view note) const noexcept;
  Error poisoned(const LruEntry& entry) const noexcept;
  void add_handle(LruEntry& entry);
  void pin(LruHandle& handle) noexcept;
  void fail_waiters(LruHandle& handle, const Error& error) noexcept;
  void detach(LruHandle& handle) noexcept;
  void detach_all() noexcept;
  void begin_close(LruHandle& handle) noexcept;
  void make_room() noexcept;

  // A handle's life (keeper.cpp).
  Task<> keep(std::unique_ptr<LruHandle> handle);
  Task<Error> open(LruHandle& handle);
  bool free_a_descriptor() noexcept;
  void settle(LruHandle& handle, Error error) noexcept;
  /// Makes a handle's failure the id's. Requires: its file is poisoned.
  void stick(LruHandle& handle) noexcept;
  void fail(LruHandle& handle, const Error& error) noexcept;
  void gone(LruHandle& handle) noexcept;

  // removal.cpp
  Task<> unlink(LruRemovalRef removal, LruEntry& entry);
  bool is_drained(std::uint64_t mark) const noexcept;
  void ring_drains() noexcept;

  Reactor& reactor_;
  ReadyQueue& ready_;
  const std::string dir_;
  FileLruOptions options_;
  FileLruStats stats_;
  std::unordered_map<std::uint64_t, LruEntry> entries_;
  IntrusiveList<LruPlace> idle_;        ///< least recently used first
  IntrusiveList<LruPlace> queue_;       ///< for slots
  IntrusiveList<LruPlace> shortage_;    ///< has a slot, but the process had no descriptor
  IntrusiveList<LruLink> handles_;      ///< all, oldest first
  IntrusiveList<LruRemoval> removals_;  ///< under way, oldest first
  IntrusiveList<LruRemoval> removed_;   ///< ended, but still watched
  IntrusiveList<Drain> drains_;
  std::size_t queued_ = 0;
  std::size_t closing_ = 0;
  std::size_t waiting_ = 0;
  std::uint64_t serial_ = 0;
  bool owner_gone_ = false;
  TaskScope scope_;  ///< the first to die: its frames refer to all of the above
};

/// Waits for a pinned handle. -> Result<FileLease>
class [[nodiscard]] AcquireAwait : public ReadyNode {
 public:
  AcquireAwait(LruCache& cache, std::uint64_t id) noexcept : cache_(cache), id_(id) {}
  AcquireAwait(const AcquireAwait&) = delete;
  AcquireAwait& operator=(const AcquireAwait&) = delete;
  ~AcquireAwait();
  bool await_ready() noexcept;
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return suspend(frame, *frame.promise().context);
  }
  Result<FileLease> await_resume() noexcept;

 private:
  friend class LruCache;
  struct Stop : StopCallback {
    explicit Stop(AcquireAwait& owner) noexcept
        : StopCallback(&AcquireAwait::stopped), await(owner) {}
    AcquireAwait& await;
  };
  bool suspend(std::coroutine_handle<> frame, TaskContext& context) noexcept;
  static void stopped(StopCallback& callback) noexcept;

  LruCache& cache_;
  const std::uint64_t id_;
  LruHandle* handle_ = nullptr;  ///< while waiting: whose; afterwards: pinned for us
  TaskContext* context_ = nullptr;
  Stop stop_{*this};
  Error error_;
  bool waiting_ = false;
};

}  // namespace diorite::detail
