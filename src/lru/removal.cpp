// Deleting files, and waiting until everything is closed.

#include <new>
#include <utility>

#include "lru/lru_cache.hpp"

#include <diorite/assert.hpp>
#include <diorite/fs.hpp>

namespace diorite::detail {

LruRemoval::LruRemoval(LruCache& owner, std::uint64_t of, std::uint64_t number, std::string name)
    : cache(&owner),
      id(of),
      serial(number),
      path(std::move(name)),
      bell(ReactorAccess::ready(owner.reactor())),
      ready_(ReactorAccess::ready(owner.reactor())) {}

void LruRemoval::unref() noexcept {
  DIORITE_ASSERT(refs_ > 0, "a removal was released more often than it was held");
  if (--refs_ > 0) return;
  if (linked()) unlink();
  delete this;
}

void LruRemoval::drop_watcher() noexcept {
  DIORITE_ASSERT(watchers_ > 0, "a removal has lost a watcher that it did not have");
  --watchers_;
  tell_unseen();
  unref();
}

void LruRemoval::tell_unseen() noexcept {
  if (!done || !outcome || seen || watchers_ > 0 || cache == nullptr) return;
  seen = true;
  cache->report(id, outcome);
}

void LruRemoval::end(Error error) noexcept {
  DIORITE_ASSERT(!done, "a removal ends once");
  done = true;
  outcome = error;
  while (ReadyNode* const waiter = waiters.pop_front()) ready_.push(*waiter);
  tell_unseen();
}

LruRemoval& LruCache::remove(std::uint64_t id) {
  LruEntry& entry = entries_.try_emplace(id, id).first->second;
  if (entry.removal != nullptr) return *entry.removal;
  LruRemoval* removal = nullptr;
  try {
    LruRemovalRef owned(new LruRemoval(*this, id, ++serial_, path_of(id)));
    removal = owned.get();
    scope_.spawn(unlink(std::move(owned), entry));
  } catch (const std::bad_alloc&) {
    drop_if_unused(entry);
    throw;
  }
  entry.removal = removal;
  removals_.push_back(*removal);
  if (LruHandle* const handle = entry.current) {
    detach(*handle);
    if (!handle->waiters.empty()) fail_waiters(*handle, refusal(id));
    if (handle->state == LruHandle::State::open && handle->pins == 0) begin_close(*handle);
  }
  return *removal;
}

Task<> LruCache::unlink(LruRemovalRef removal, LruEntry& entry) {
  while (entry.handles > 0) co_await removal->bell.wait();
  Error error;
  try {
    const Result<void> removed = co_await diorite::remove(reactor_, removal->path);
    error = removed.error();
  } catch (const std::bad_alloc&) {
    error = Error(std::make_error_code(std::errc::not_enough_memory));
  }
  if (!error) {
    ++stats_.removals;
    // What had been lost was lost with the file.
    entry.sticky = Error();
  }
  entry.removal = nullptr;
  drop_if_unused(entry);
  removal->unlink();
  removed_.push_back(*removal);
  removal->end(error);
  ring_drains();
}

bool LruCache::is_drained(std::uint64_t mark) const noexcept {
  const LruLink* const link = handles_.front();
  if (link != nullptr && static_cast<const LruHandle*>(link)->serial <= mark) return false;
  const LruRemoval* const removal = removals_.front();
  return removal == nullptr || removal->serial > mark;
}

void LruCache::ring_drains() noexcept {
  for (Drain* drain = drains_.front(); drain != nullptr; drain = drains_.next(*drain)) {
    drain->bell.ring();
  }
}

Task<Result<void>> LruCache::close_all() {
  if (stats_.pinned_now > 0 || waiting_ > 0) {
    co_return with_context(Error(Errc::busy),
                           {.operation = "close_all", .path = dir_, .note = "a file is in use"});
  }
  Drain drain(ready_, ++serial_);
  drains_.push_back(drain);
  detach_all();
  while (!is_drained(drain.mark)) co_await drain.bell.wait();
  if (drain.first) co_return drain.first;
  co_return Result<void>();
}

bool LruCache::begin_farewell() noexcept {
  DIORITE_ASSERT(stats_.pinned_now == 0, "a file cache was destroyed before its leases");
  DIORITE_ASSERT(waiting_ == 0 && drains_.empty(),
                 "a file cache was destroyed while somebody waits for it");
  owner_gone_ = true;
  detach_all();
  return !handles_.empty() || !removals_.empty();
}

Task<> LruCache::linger(std::unique_ptr<LruCache> cache) {
  [[maybe_unused]] const Result<void> joined = co_await cache->scope_.join();
}

LruCache::~LruCache() {
  for (IntrusiveList<LruRemoval>* list : {&removals_, &removed_}) {
    while (LruRemoval* const removal = list->pop_front()) {
      removal->cache = nullptr;
      if (!removal->done) removal->end(Error(Errc::closed));
    }
  }
}

}  // namespace diorite::detail
