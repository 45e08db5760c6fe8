// The life of one handle: a slot, the open, the wait, the sync, the close.

#include <new>
#include <utility>

#include "file/file_core.hpp"
#include "file/path_await.hpp"
#include "lru/lru_cache.hpp"

#include <diorite/assert.hpp>

namespace diorite::detail {
namespace {

bool is_descriptor_shortage(const Error& error) noexcept {
  return error == std::errc::too_many_files_open ||
         error == std::errc::too_many_files_open_in_system;
}

Error out_of_memory() noexcept { return Error(std::make_error_code(std::errc::not_enough_memory)); }

}  // namespace

Task<> LruCache::keep(std::unique_ptr<LruHandle> owned) {
  LruHandle& handle = *owned;
  while (handle.state == LruHandle::State::queued) co_await handle.bell.wait();
  // An older handle may be on its way out. Whether its changes got to the disk decides whether
  // there is a file to open, so that comes first.
  while (!handle.waiters.empty() && handle.entry.closing > 0) co_await handle.bell.wait();
  if (!handle.waiters.empty()) {
    handle.state = LruHandle::State::opening;
    Error error;
    try {
      error = co_await open(handle);
    } catch (const std::bad_alloc&) {
      error = out_of_memory();
    }
    settle(handle, error);
  }
  if (handle.file) {
    while (handle.state != LruHandle::State::closing) co_await handle.bell.wait();
    // Operations whose coroutines were destroyed may still be with the device, and a sync covers
    // only what has completed before it.
    FileCore& core = FileCore::of(handle.file);
    co_await IdleAwait(core);
    if (handle.file.is_dirty() && !handle.file.poison()) {
      ++stats_.syncs_before_close;
      const Result<void> synced = co_await handle.file.sync_data();
      DIORITE_ASSERT(synced || handle.file.poison(), "a sync that fails poisons its file");
    }
    if (handle.file.poison()) stick(handle);
    Error error;
    try {
      const Result<void> closed = co_await std::move(handle.file).close();
      error = closed.error();
    } catch (const std::bad_alloc&) {
      error = out_of_memory();  // the file's own record closes it then
    }
    if (error) fail(handle, error);
  }
  gone(handle);
}

Task<Error> LruCache::open(LruHandle& handle) {
  if (handle.entry.sticky) co_return poisoned(handle.entry);
  OpenOptions options;
  options.direct = options_.direct;
  options.write = options_.write;
  options.create = options_.write && options_.create;
  for (;;) {
    std::string path = path_of(handle.entry.id);
    Result<DirectFile> opened = co_await DirectFile::open_with(reactor_, std::move(path), options);
    if (opened) {
      handle.file = *std::move(opened);
      co_return Error();
    }
    if (!is_descriptor_shortage(opened.error()) || handle.waiters.empty() || !free_a_descriptor()) {
      ++stats_.open_failures;
      co_return opened.error();
    }
    shortage_.push_back(handle);
    while (handle.LruPlace::linked()) co_await handle.bell.wait();
  }
}

// The limit may be the process' own or what the rest of it leaves: either way only a close helps.
bool LruCache::free_a_descriptor() noexcept {
  if (!idle_.empty()) {
    ++stats_.evictions;
    begin_close(static_cast<LruHandle&>(*idle_.front()));
  }
  return closing_ > 0;
}

void LruCache::settle(LruHandle& handle, Error error) noexcept {
  // An older handle may have failed in the meantime.
  if (!error && handle.entry.sticky) error = poisoned(handle.entry);
  if (error) {
    detach(handle);
    fail_waiters(handle, error);
    if (handle.file) begin_close(handle);
    return;
  }
  handle.state = LruHandle::State::open;
  while (AcquireAwait* const waiter = handle.waiters.pop_front()) {
    waiter->waiting_ = false;
    --waiting_;
    pin(handle);
    ready_.push(*waiter);
  }
  if (handle.pins > 0) return;
  if (handle.is_current()) {
    idle_.push_back(handle);
    make_room();
  } else {
    begin_close(handle);
  }
}

void LruCache::stick(LruHandle& handle) noexcept {
  if (std::exchange(handle.told, true)) return;
  const Error poison = handle.file.poison();
  if (!handle.entry.sticky) handle.entry.sticky = poison;
  fail(handle, poison);
}

void LruCache::fail(LruHandle& handle, const Error& error) noexcept {
  for (Drain* drain = drains_.front(); drain != nullptr; drain = drains_.next(*drain)) {
    if (handle.serial <= drain->mark && !drain->first) drain->first = error;
  }
  report(handle.entry.id, error);
}

void LruCache::report(std::uint64_t id, const Error& error) noexcept {
  ++stats_.background_errors;
  if (owner_gone_) {
    ++ReactorAccess::stats(reactor_).deferred_close_errors;
  } else if (options_.on_error != nullptr) {
    options_.on_error(options_.error_context, id, error);
  }
}

void LruCache::gone(LruHandle& handle) noexcept {
  DIORITE_ASSERT(!handle.file && handle.pins == 0 && handle.waiters.empty(),
                 "a handle ends while it is in use");
  LruEntry& entry = handle.entry;
  if (handle.LruPlace::linked()) handle.LruPlace::unlink();
  handle.LruLink::unlink();
  detach(handle);
  if (handle.state == LruHandle::State::closing) {
    --entry.closing;
    --closing_;
  }
  if (handle.state != LruHandle::State::dropped) --stats_.open_now;
  --entry.handles;
  if (entry.current != nullptr) entry.current->bell.ring();
  if (entry.removal != nullptr) entry.removal->bell.ring();
  drop_if_unused(entry);
  while (LruPlace* const place = shortage_.pop_front()) {
    static_cast<LruHandle&>(*place).bell.ring();
  }
  ring_drains();
  make_room();
}

}  // namespace diorite::detail
