#include <diorite/fs.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

#include "file/locked_dir.hpp"
#include "file/path_await.hpp"

#include <diorite/timer.hpp>
#include <diorite/try.hpp>

namespace diorite {
namespace {

Error check_path(const char* operation, std::string_view path) noexcept {
  if (!path.empty() && path.find('\0') == std::string_view::npos) return {};
  return with_context(Error(Errc::out_of_range),
                      {.operation = operation,
                       .path = path,
                       .note = path.empty() ? "the path is empty" : "the path has a zero byte"});
}

/// One operation on one or two paths.
Task<Result<void>> on_path(Reactor& reactor, OpCode code, const char* operation, std::string path,
                           std::string path2, std::uint8_t flags, detail::FileRef lock = {}) {
  if (const Error bad = check_path(operation, path)) co_return bad;
  if (code == OpCode::rename) {
    if (const Error bad = check_path(operation, path2)) co_return bad;
  }
  detail::PathAwait<PathOp> acting(reactor, code, std::move(lock));
  acting.op().path = path;
  acting.op().path2 = path2;
  acting.op().flags = flags;
  const Error error = co_await acting;
  if (error) co_return with_context(error, {.operation = operation, .path = path, .note = path2});
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> rename(Reactor& reactor, std::string from, std::string to) {
  return on_path(reactor, OpCode::rename, "rename", std::move(from), std::move(to), 0);
}

Task<Result<void>> remove(Reactor& reactor, std::string path) {
  return on_path(reactor, OpCode::remove, "remove", std::move(path), std::string(), 0);
}

Task<Result<void>> detail::LockedDir::rename(std::string from, std::string to) const {
  return on_path(lock_->reactor, OpCode::rename, "rename", std::move(from), std::move(to), 0,
                 lock_);
}

Task<Result<void>> detail::LockedDir::remove(std::string path) const {
  return on_path(lock_->reactor, OpCode::remove, "remove", std::move(path), std::string(), 0,
                 lock_);
}

Task<Result<void>> remove_dir(Reactor& reactor, std::string path) {
  return on_path(reactor, OpCode::remove, "remove_dir", std::move(path), std::string(),
                 kOpDirectory);
}

Task<Result<void>> sync_dir(Reactor& reactor, std::string path) {
  return on_path(reactor, OpCode::sync_dir, "sync_dir", std::move(path), std::string(), 0);
}

Task<Result<bool>> mkdir(Reactor& reactor, std::string path, std::uint32_t mode) {
  if (const Error bad = check_path("mkdir", path)) co_return bad;
  detail::PathAwait<PathOp> making(reactor, OpCode::make_dir);
  making.op().path = path;
  making.op().mode = mode;
  const Error error = co_await making;
  if (!error) co_return true;
  if (error == std::errc::file_exists) {
    // The name is taken; listing it tells a directory from anything else.
    detail::PathAwait<ListOp> listing(reactor, OpCode::list_dir);
    listing.op().path = path;
    const Error listed = co_await listing;
    if (!listed || listed == std::errc::permission_denied) co_return false;
    co_return with_context(listed, {.operation = "mkdir", .path = path});
  }
  co_return with_context(error, {.operation = "mkdir", .path = path});
}

Task<Result<std::vector<DirEntry>>> list(Reactor& reactor, std::string path) {
  if (const Error bad = check_path("list", path)) co_return bad;
  detail::PathAwait<ListOp> listing(reactor, OpCode::list_dir);
  listing.op().path = path;
  const Error error = co_await listing;
  if (error) co_return with_context(error, {.operation = "list", .path = path});
  co_return std::move(*listing.op().entries);
}

Task<Result<FileLock>> lock(Reactor& reactor, std::string path, Duration wait) {
  using std::chrono::milliseconds;
  OpenOptions options;
  options.write = options.create = true;
  options.direct = Direct::off;
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_with(reactor, path, options));
  const Instant begin = reactor.now();
  Duration pause = milliseconds(1);
  for (;;) {
    Result<void> locked = co_await file.try_lock();
    if (locked) co_return FileLock(std::move(file));
    if (locked.error() != Errc::busy) co_return locked.error();
    // The system's own wait cannot be cancelled, nor bounded: so ask again, less and less often.
    const Duration waited = reactor.now() - begin;
    if (waited >= wait) {
      const auto ms = std::chrono::duration_cast<milliseconds>(waited).count();
      co_return with_context(Error(Errc::locked, static_cast<std::uint64_t>(ms)),
                             {.operation = "lock", .path = path});
    }
    DIORITE_CO_CHECK(co_await sleep_for(std::min(pause, wait - waited)));
    pause = std::min<Duration>(pause * 2, milliseconds(50));
  }
}

std::string join_path(std::string_view dir, std::string_view name) {
  std::string path(dir);
  if (!path.empty() && path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string parent_path(std::string_view path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

}  // namespace diorite
