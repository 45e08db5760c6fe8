// Opening: the ladder from what the options wish to what the file system gives.

#include <algorithm>
#include <utility>

#include "file/file_core.hpp"
#include "file/locked_dir.hpp"
#include "file/path_await.hpp"

#include <diorite/align.hpp>
#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/try.hpp>

namespace diorite {
namespace {

// What the kernel demands of memory may be as little as 4 bytes; a buffer that only just meets that
// on this machine fails on the next one.
constexpr std::uint32_t kMemoryAlignMin = 512;

std::uint32_t open_flags(const OpenOptions& options, bool direct, bool noatime) noexcept {
  std::uint32_t flags = 0;
  if (options.write) flags |= kOpenWrite;
  if (options.create) flags |= kOpenCreate;
  if (options.exclusive) flags |= kOpenExclusive;
  if (options.truncate) flags |= kOpenTruncate;
  if (options.dsync) flags |= kOpenDsync;
  if (direct) flags |= kOpenDirect;
  if (noatime) flags |= kOpenNoAtime;
  return flags;
}

/// A file that nobody owns yet: nothing may suspend before its record is made.
struct Opened {
  Error error;
  DriverFile handle;
};

Task<Opened> try_open(detail::FileCore& core, std::uint32_t flags, std::uint32_t mode) {
  detail::PathAwait<PathOp> opening(core.reactor, OpCode::open, core.kept_open());
  opening.op().path = core.path;
  opening.op().open_flags = flags;
  opening.op().mode = mode;
  Opened opened;
  opened.error = co_await opening;
  if (!opened.error) opened.handle = opening.op().file;
  co_return opened;
}

struct DirectOpened {
  Opened opened;
  bool direct = false;
  std::string_view reason;
};

/// With O_DIRECT if that is wanted, without where the open refuses it and the policy allows.
Task<DirectOpened> open_ladder(detail::FileCore& core, OpenOptions options) {
  DirectOpened result;
  result.direct = options.direct != Direct::off;
  result.reason = result.direct ? "direct" : "buffered: the options ask for it";
  bool noatime = options.noatime;
  for (;;) {
    const std::uint32_t flags = open_flags(options, result.direct, noatime);
    result.opened = co_await try_open(core, flags, options.mode);
    const Error& error = result.opened.error;
    if (noatime && error == std::errc::operation_not_permitted) {
      noatime = false;  // the file is another user's
    } else if (result.direct && error == std::errc::invalid_argument &&
               options.direct == Direct::preferred) {
      // An exclusive creation that fails leaves no file behind, so it may stay exclusive.
      result.direct = false;
      result.reason = "buffered: the file system refuses O_DIRECT at open";
    } else {
      co_return result;
    }
  }
}

Error direct_unsupported(std::string_view path, std::string_view why) noexcept {
  return with_context(Error(Errc::direct_unsupported),
                      {.operation = "open", .path = path, .note = why});
}

/// Fills in what transfers are checked against.
Error adopt_info(detail::FileCore& core, const FileInfo& info,
                 const OpenOptions& options) noexcept {
  core.physical_block_bytes = info.physical_block_bytes;
  if (core.direct && !info.direct_possible) {
    if (options.direct == Direct::required) {
      return direct_unsupported(core.path, "the file system takes no direct I/O (a tmpfs?)");
    }
    core.direct = false;
    core.direct_reason = "buffered: the file system has no direct I/O";
  }
  if (options.direct == Direct::off) {
    core.align = DioAlign{1, 1, 1, AlignSource::none};
  } else if (core.direct) {
    core.align = info.align;
    core.align.memory = std::max(core.align.memory, kMemoryAlignMin);
  } else {
    // Code that works here must work on a direct file too.
    core.align = DioAlign{};
  }
  return {};
}

Error check_path(std::string_view path) noexcept {
  if (!path.empty() && path.find('\0') == std::string_view::npos) return {};
  return with_context(Error(Errc::out_of_range),
                      {.operation = "open",
                       .path = path,
                       .note = path.empty() ? "the path is empty" : "the path has a zero byte"});
}

}  // namespace

Task<Result<DirectFile>> DirectFile::open_with(Reactor& reactor, std::string path,
                                               OpenOptions options) {
  return open_holding(reactor, std::move(path), options, detail::FileRef());
}

Task<Result<DirectFile>> detail::LockedDir::open(std::string path, OpenOptions options) const {
  return DirectFile::open_holding(lock_->reactor, std::move(path), options, lock_);
}

Task<Result<DirectFile>> DirectFile::open_holding(Reactor& reactor, std::string path,
                                                  OpenOptions options, detail::FileRef lock) {
  if (const Error bad = check_path(path)) co_return bad;
  // Where direct I/O is required, what the file has is not thrown away before it is sure.
  const bool truncate_later = options.truncate && options.direct == Direct::required;
  OpenOptions first = options;
  first.truncate = options.truncate && !truncate_later;
  // The record comes first: the handle of a file that is open must not be lost for want of memory.
  detail::FileRef core = detail::FileCore::make(reactor, DriverFile{}, std::move(path));
  core->keep_open(std::move(lock));
  DirectOpened ladder = co_await open_ladder(*core, first);
  if (const Error error = ladder.opened.error) {
    if (ladder.direct && options.direct == Direct::required &&
        error == std::errc::invalid_argument) {
      co_return direct_unsupported(core->path, "the file system refuses O_DIRECT at open");
    }
    co_return with_context(error, {.operation = "open", .path = core->path});
  }
  core->handle = ladder.opened.handle;
  core->direct = ladder.direct;
  core->direct_reason = ladder.reason;
  core->opened_dsync = options.dsync;
  core->writable = options.write;

  InfoAwait asking(core, "open", Error(), OpCode::info);
  Result<FileInfo> info = co_await std::move(asking);
  if (!info) co_return info.error();
  if (const Error error = adopt_info(*core, *info, options)) co_return error;
  if (truncate_later) {
    VoidAwait truncating(core, "open", Error(), OpCode::truncate);
    DIORITE_CO_CHECK(co_await std::move(truncating));
  }
  DirectFile file(std::move(core));
  if (options.preallocate_bytes > 0) {
    DIORITE_CO_CHECK(co_await file.preallocate(options.preallocate_bytes));
  }
  co_return std::move(file);
}

Task<Result<DirectFile>> DirectFile::open(Reactor& reactor, std::string path) {
  return open_with(reactor, std::move(path), OpenOptions{});
}

Task<Result<DirectFile>> DirectFile::create(Reactor& reactor, std::string path) {
  OpenOptions options;
  options.write = options.create = options.truncate = true;
  return open_with(reactor, std::move(path), options);
}

Task<Result<DirectFile>> DirectFile::open_rw(Reactor& reactor, std::string path) {
  OpenOptions options;
  options.write = options.create = true;
  return open_with(reactor, std::move(path), options);
}

Task<Result<DirectFile>> DirectFile::open_wal(Reactor& reactor, std::string path) {
  OpenOptions options;
  options.write = options.create = options.dsync = true;
  std::string parent = parent_path(path);
  DIORITE_CO_TRY(DirectFile file, co_await open_with(reactor, std::move(path), options));
  DIORITE_CO_CHECK(co_await sync_dir(reactor, std::move(parent)));
  co_return std::move(file);
}

}  // namespace diorite
