#include <diorite/file_lru.hpp>

#include <new>

#include "lru/lru_cache.hpp"

#include <diorite/assert.hpp>

namespace diorite {

FileLease::~FileLease() {
  if (handle_ != nullptr) handle_->cache.unpin(*handle_);
}

DirectFile& FileLease::operator*() const noexcept {
  DIORITE_ASSERT(handle_ != nullptr, "an empty lease was used");
  return handle_->file;
}

std::uint64_t FileLease::id() const noexcept {
  DIORITE_ASSERT(handle_ != nullptr, "an empty lease was used");
  return handle_->entry.id;
}

FileLru::FileLru(Reactor& reactor, std::string dir, FileLruOptions options)
    : cache_(std::make_unique<detail::LruCache>(reactor, std::move(dir), options)) {}

FileLru::~FileLru() {
  if (!cache_->begin_farewell()) return;
  Reactor& reactor = cache_->reactor();
  // In a task that dies with its reactor: nothing runs any more that could sync.
  if (reactor.is_ending()) return;
  try {
    reactor.spawn(detail::LruCache::linger(std::move(cache_)));
  } catch (const std::bad_alloc&) {
    // The cache went with the task: its files are closed by their own records, unsynced.
  }
}

Task<Result<FileLease>> FileLru::acquire(std::uint64_t id) { return cache_->acquire(id); }

FileLease FileLru::try_acquire(std::uint64_t id) noexcept {
  return detail::LruCache::lease(cache_->try_pin(id));
}

Task<BufIoResult> FileLru::read_into(std::uint64_t id, AlignedBuf dst, std::uint64_t offset,
                                     std::size_t bytes) {
  return cache_->read_into(id, std::move(dst), offset, bytes);
}

bool FileLru::evict(std::uint64_t id) noexcept { return cache_->evict(id); }
RemoveAwait FileLru::remove(std::uint64_t id) { return RemoveAwait(cache_->remove(id)); }
void FileLru::forget(std::uint64_t id) noexcept { cache_->forget(id); }
Task<Result<void>> FileLru::close_all() { return cache_->close_all(); }
FileLruStats FileLru::stats() const noexcept { return cache_->stats(); }
std::size_t FileLru::capacity() const noexcept { return cache_->capacity(); }

RemoveAwait::RemoveAwait(detail::LruRemoval& removal) noexcept : removal_(&removal) {
  removal.add_watcher();
}

RemoveAwait::RemoveAwait(RemoveAwait&& other) noexcept
    : removal_(std::exchange(other.removal_, nullptr)) {
  DIORITE_ASSERT(other.context_ == nullptr, "an awaitable was moved after it had been started");
}

RemoveAwait::~RemoveAwait() {
  stop_.disarm();
  if (node_.linked()) node_.unlink();
  if (removal_ != nullptr) removal_->drop_watcher();
}

bool RemoveAwait::await_ready() const noexcept {
  DIORITE_ASSERT(removal_ != nullptr, "a RemoveAwait that was moved from is awaited");
  return removal_->done;
}

bool RemoveAwait::suspend(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  DIORITE_ASSERT(context_ == nullptr, "an awaitable is awaited once");
  context_ = &context;
  if (StopToken(context.stop).stop_requested()) {
    stop_error_ = stop_error(context.stop->reason());
    return false;
  }
  node_.set_frame(frame);
  removal_->waiters.push_back(node_);
  if (context.stop != nullptr) stop_.arm(*context.stop);
  return true;
}

void RemoveAwait::stopped(StopCallback& callback) noexcept {
  RemoveAwait& self = static_cast<Stop&>(callback).await;
  if (self.removal_->done) return;  // the outcome is on its way
  self.node_.unlink();
  self.stop_error_ = stop_error(self.context_->stop->reason());
  detail::ReactorAccess::ready(*self.context_->reactor).push(self.node_);
}

Result<void> RemoveAwait::await_resume() noexcept {
  stop_.disarm();
  if (stop_error_) return stop_error_;
  removal_->seen = true;
  if (removal_->outcome) return removal_->outcome;
  return {};
}

namespace detail {

Task<Result<FileLease>> LruCache::acquire(std::uint64_t id) {
  AcquireAwait acquiring(*this, id);
  co_return co_await acquiring;
}

Task<BufIoResult> LruCache::read_into(std::uint64_t id, AlignedBuf dst, std::uint64_t offset,
                                      std::size_t bytes) {
  AcquireAwait acquiring(*this, id);
  Result<FileLease> acquired = co_await acquiring;
  if (!acquired) co_return BufIoResult(acquired.error(), 0, std::move(dst));
  const FileLease lease = *std::move(acquired);
  ReadBufAwait<AlignedBuf> reading = lease->read_at(std::move(dst), offset, bytes);
  co_return co_await reading;
}

}  // namespace detail
}  // namespace diorite
