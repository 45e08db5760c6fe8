// Which handle an id has, who waits for it, and which one must go to make room.

#include "lru/lru_cache.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "lru/base32.hpp"

#include <diorite/assert.hpp>
#include <diorite/fs.hpp>

namespace diorite::detail {
namespace {

constexpr std::size_t kCapacityMin = 16;

}  // namespace

LruHandle::LruHandle(LruCache& owner, LruEntry& of, std::uint64_t number) noexcept
    : cache(owner), entry(of), serial(number), bell(ReactorAccess::ready(owner.reactor())) {}

LruHandle::~LruHandle() {
  DIORITE_ASSERT(pins == 0 && waiters.empty(), "a cached file died while somebody used it");
  // Only when the whole cache is abandoned do these still stand in a list.
  if (LruPlace::linked()) LruPlace::unlink();
  if (LruLink::linked()) LruLink::unlink();
}

LruCache::LruCache(Reactor& reactor, std::string dir, FileLruOptions options)
    : reactor_(reactor),
      ready_(ReactorAccess::ready(reactor)),
      dir_(std::move(dir)),
      options_(options),
      scope_(reactor) {
  options_.capacity = std::max(options_.capacity, kCapacityMin);
}

LruEntry* LruCache::find(std::uint64_t id) noexcept {
  const auto found = entries_.find(id);
  return found != entries_.end() ? &found->second : nullptr;
}

void LruCache::drop_if_unused(LruEntry& entry) noexcept {
  if (entry.is_unused()) entries_.erase(entry.id);
}

std::string LruCache::path_of(std::uint64_t id) const {
  if (options_.path == nullptr) {
    Base32Digits digits;
    return join_path(dir_, to_base32(id, digits));
  }
  std::string path;
  options_.path(options_.path_context, dir_, id, path);
  return path;
}

Error LruCache::explain(std::uint64_t id, Error error, std::string_view note) const noexcept {
  ErrorContext context;
  context.operation = "acquire";
  context.note = note;
  try {
    const std::string path = path_of(id);
    context.path = path;
    return with_context(error, context);
  } catch (const std::bad_alloc&) {
    context.path = dir_;
    return with_context(error, context);
  }
}

Error LruCache::poisoned(const LruEntry& entry) const noexcept {
  const Error error(Errc::poisoned, static_cast<std::uint64_t>(entry.sticky.code().value()));
  return explain(entry.id, error, "a sync of this file failed; restore it, then forget() the id");
}

LruHandle* LruCache::try_pin(std::uint64_t id) noexcept {
  LruEntry* const entry = find(id);
  if (entry == nullptr || entry->current == nullptr) return nullptr;
  LruHandle& handle = *entry->current;
  if (handle.state != LruHandle::State::open) return nullptr;
  if (handle.file.poison()) {
    // Now and not when it is closed, so that the answer does not hang on what else is in the cache.
    stick(handle);
    return nullptr;
  }
  if (entry->sticky) return nullptr;
  ++stats_.hits;
  pin(handle);
  return &handle;
}

Error LruCache::refusal(std::uint64_t id) noexcept {
  const LruEntry* const entry = find(id);
  if (entry == nullptr) return {};
  if (entry->removal != nullptr) {
    return explain(id, Error(std::make_error_code(std::errc::no_such_file_or_directory)),
                   "the file is being removed");
  }
  return entry->sticky ? poisoned(*entry) : Error();
}

void LruCache::wait_for_handle(std::uint64_t id, AcquireAwait& waiter) {
  LruEntry& entry = entries_.try_emplace(id, id).first->second;
  DIORITE_ASSERT(entry.removal == nullptr && !entry.sticky, "waiting for a file that is refused");
  if (entry.current == nullptr) {
    try {
      add_handle(entry);
    } catch (const std::bad_alloc&) {
      drop_if_unused(entry);
      throw;
    }
    ++stats_.misses;
  } else {
    ++stats_.joined;
  }
  LruHandle& handle = *entry.current;
  DIORITE_ASSERT(handle.state <= LruHandle::State::opening, "waiting for a file that is open");
  waiter.handle_ = &handle;
  waiter.waiting_ = true;
  handle.waiters.push_back(waiter);
  ++waiting_;
  make_room();
}

void LruCache::add_handle(LruEntry& entry) {
  auto owned = std::make_unique<LruHandle>(*this, entry, ++serial_);
  LruHandle& handle = *owned;
  scope_.spawn(keep(std::move(owned)));
  entry.current = &handle;
  ++entry.handles;
  handles_.push_back(handle);
  queue_.push_back(handle);
  ++queued_;
}

void LruCache::pin(LruHandle& handle) noexcept {
  if (handle.pins++ > 0) return;
  ++stats_.pinned_now;
  if (handle.LruPlace::linked()) handle.LruPlace::unlink();
}

void LruCache::unpin(LruHandle& handle) noexcept {
  DIORITE_ASSERT(handle.pins > 0, "a lease was given back twice");
  DIORITE_ASSERT(static_cast<bool>(handle.file), "a file was moved out of its lease");
  if (--handle.pins > 0) return;
  --stats_.pinned_now;
  if (!handle.is_current()) {
    begin_close(handle);
    return;
  }
  idle_.push_back(handle);
  make_room();
}

void LruCache::waiter_left(LruHandle& handle) noexcept {
  --waiting_;
  // An open that has begun goes on, but nothing is evicted for one that nobody wants.
  if (!handle.waiters.empty() || handle.state > LruHandle::State::granted) return;
  if (handle.state == LruHandle::State::queued) {
    handle.LruPlace::unlink();
    --queued_;
    handle.state = LruHandle::State::dropped;
    detach(handle);
  }
  handle.bell.ring();
}

void LruCache::fail_waiters(LruHandle& handle, const Error& error) noexcept {
  while (AcquireAwait* const waiter = handle.waiters.front()) {
    waiter->unlink();
    waiter->handle_ = nullptr;
    waiter->waiting_ = false;
    waiter->error_ = error;
    ready_.push(*waiter);
    waiter_left(handle);
  }
}

void LruCache::detach(LruHandle& handle) noexcept {
  if (handle.is_current()) handle.entry.current = nullptr;
}

void LruCache::detach_all() noexcept {
  for (LruLink* link = handles_.front(); link != nullptr; link = handles_.next(*link)) {
    auto& handle = static_cast<LruHandle&>(*link);
    detach(handle);
    if (handle.state == LruHandle::State::open && handle.pins == 0) begin_close(handle);
  }
}

void LruCache::begin_close(LruHandle& handle) noexcept {
  DIORITE_ASSERT(handle.pins == 0 && handle.state < LruHandle::State::closing,
                 "closing a file that is in use, or closing it twice");
  if (handle.LruPlace::linked()) handle.LruPlace::unlink();
  detach(handle);
  handle.state = LruHandle::State::closing;
  ++handle.entry.closing;
  ++closing_;
  handle.bell.ring();
}

void LruCache::make_room() noexcept {
  while (!queue_.empty() && stats_.open_now < options_.capacity) {
    auto& handle = static_cast<LruHandle&>(*queue_.pop_front());
    --queued_;
    handle.state = LruHandle::State::granted;
    stats_.open_max = std::max(stats_.open_max, ++stats_.open_now);
    handle.bell.ring();
  }
  // Every close under way will give one of the others its slot.
  while (closing_ < queued_ && !idle_.empty()) {
    ++stats_.evictions;
    begin_close(static_cast<LruHandle&>(*idle_.front()));
  }
}

bool LruCache::evict(std::uint64_t id) noexcept {
  LruEntry* const entry = find(id);
  if (entry == nullptr || entry->current == nullptr) return false;
  LruHandle& handle = *entry->current;
  // Its open has not begun, so it will find what is there now.
  if (handle.state < LruHandle::State::opening) return false;
  ++stats_.evictions;
  detach(handle);
  if (handle.state == LruHandle::State::open && handle.pins == 0) begin_close(handle);
  return true;
}

void LruCache::forget(std::uint64_t id) noexcept {
  LruEntry* const entry = find(id);
  if (entry == nullptr) return;
  entry->sticky = Error();
  for (LruLink* link = handles_.front(); link != nullptr; link = handles_.next(*link)) {
    auto& handle = static_cast<LruHandle&>(*link);
    if (&handle.entry != entry || !handle.file || !handle.file.poison()) continue;
    // The error was this handle's: it must not come back with its close, and the next acquire needs
    // a new one.
    handle.told = true;
    if (!handle.is_current()) continue;
    detach(handle);
    if (handle.pins == 0) begin_close(handle);
  }
  drop_if_unused(*entry);
}

FileLruStats LruCache::stats() const noexcept { return stats_; }

AcquireAwait::~AcquireAwait() {
  stop_.disarm();
  if (linked()) unlink();
  if (handle_ == nullptr) return;
  if (waiting_) {
    cache_.waiter_left(*handle_);
  } else {
    cache_.unpin(*handle_);
  }
}

bool AcquireAwait::await_ready() noexcept {
  handle_ = cache_.try_pin(id_);
  if (handle_ != nullptr) return true;
  error_ = cache_.refusal(id_);
  return static_cast<bool>(error_);
}

bool AcquireAwait::suspend(std::coroutine_handle<> frame, TaskContext& context) noexcept {
  DIORITE_ASSERT(context.reactor == &cache_.reactor(), "a cache belongs to another reactor");
  context_ = &context;
  if (StopToken(context.stop).stop_requested()) {
    error_ = stop_error(context.stop->reason());
    return false;
  }
  set_frame(frame);
  try {
    cache_.wait_for_handle(id_, *this);
  } catch (const std::bad_alloc&) {
    error_ = Error(std::make_error_code(std::errc::not_enough_memory));
    return false;
  }
  if (context.stop != nullptr) stop_.arm(*context.stop);
  return true;
}

void AcquireAwait::stopped(StopCallback& callback) noexcept {
  AcquireAwait& self = static_cast<Stop&>(callback).await;
  if (!self.waiting_) return;  // served already
  self.unlink();
  self.waiting_ = false;
  LruHandle* const handle = std::exchange(self.handle_, nullptr);
  self.error_ = stop_error(self.context_->stop->reason());
  ReactorAccess::ready(*self.context_->reactor).push(self);
  self.cache_.waiter_left(*handle);
}

Result<FileLease> AcquireAwait::await_resume() noexcept {
  stop_.disarm();
  if (error_) return error_;
  return LruCache::lease(std::exchange(handle_, nullptr));
}

}  // namespace diorite::detail
