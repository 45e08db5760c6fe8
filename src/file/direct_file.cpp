#include <diorite/file.hpp>

#include "file/file_core.hpp"
#include "file/path_await.hpp"
#include "file/transfer_check.hpp"

#include <diorite/align.hpp>
#include <diorite/assert.hpp>
#include <diorite/try.hpp>

namespace diorite {
namespace {

detail::FileCore& require(const detail::FileRef& core) noexcept {
  DIORITE_ASSERT(static_cast<bool>(core), "an empty DirectFile was used");
  return *core;
}

Error check_transfer(const detail::FileCore& core, const char* operation, OpCode code,
                     const std::byte* data, std::uint64_t bytes, std::uint64_t offset) noexcept {
  return detail::check_transfer({.path = core.path, .align = core.align}, operation, code, data,
                                bytes, offset);
}

Error too_long(const detail::FileCore& core, const char* operation, std::uint64_t bytes) noexcept {
  return with_context(Error(Errc::overflow, bytes), {.operation = operation,
                                                     .path = core.path,
                                                     .length = bytes,
                                                     .note = "a file's size ends at 2^63 - 1"});
}

std::uint8_t write_flags(WriteFlags flags) noexcept {
  return static_cast<std::uint8_t>(kOpExact | (flags.dsync ? kOpDsync : 0));
}

}  // namespace

ReadAwait DirectFile::read_at(RawIoBuf dst, std::uint64_t offset) noexcept {
  detail::FileCore& core = require(core_);
  const Error refusal =
      check_transfer(core, "read_at", OpCode::read, dst.data(), dst.capacity(), offset);
  return ReadAwait(core_, "read_at", refusal, OpCode::read, kOpExact, dst.data(), dst.capacity(),
                   offset);
}

ReadBufAwait<AlignedBuf> DirectFile::read_owned(AlignedBuf dst, std::uint64_t offset,
                                                std::size_t bytes, const char* operation,
                                                std::uint8_t flags) noexcept {
  detail::FileCore& core = require(core_);
  const std::size_t room = dst.capacity();
  const std::size_t length = bytes == kFill ? room : bytes;
  std::byte* const data = dst.data();
  Error refusal = check_transfer(core, operation, OpCode::read, data, length, offset);
  if (length > room) {
    refusal = with_context(Error(Errc::overflow, length, room),
                           {.operation = operation,
                            .path = core.path,
                            .offset = offset,
                            .length = length,
                            .note = "more than the buffer has room for"});
  }
  return ReadBufAwait<AlignedBuf>(core_, operation, refusal, OpCode::read, flags, data, length,
                                  offset, std::move(dst));
}

ReadBufAwait<PinnedBuf> DirectFile::read_pinned(PinnedBuf dst, std::uint64_t offset,
                                                const char* operation,
                                                std::uint8_t flags) noexcept {
  detail::FileCore& core = require(core_);
  const RawIoBuf raw = dst.raw();
  const Error refusal =
      check_transfer(core, operation, OpCode::read, raw.data(), raw.capacity(), offset);
  return ReadBufAwait<PinnedBuf>(core_, operation, refusal, OpCode::read, flags, raw.data(),
                                 raw.capacity(), offset, std::move(dst));
}

ReadBufAwait<AlignedBuf> DirectFile::read_at(AlignedBuf dst, std::uint64_t offset,
                                             std::size_t bytes) noexcept {
  return read_owned(std::move(dst), offset, bytes, "read_at", kOpExact);
}

ReadBufAwait<PinnedBuf> DirectFile::read_at(PinnedBuf dst, std::uint64_t offset) noexcept {
  return read_pinned(std::move(dst), offset, "read_at", kOpExact);
}

ReadAwait DirectFile::read_some_at(RawIoBuf dst, std::uint64_t offset) noexcept {
  detail::FileCore& core = require(core_);
  const Error refusal =
      check_transfer(core, "read_some_at", OpCode::read, dst.data(), dst.capacity(), offset);
  return ReadAwait(core_, "read_some_at", refusal, OpCode::read, 0, dst.data(), dst.capacity(),
                   offset);
}

ReadBufAwait<AlignedBuf> DirectFile::read_some_at(AlignedBuf dst, std::uint64_t offset,
                                                  std::size_t bytes) noexcept {
  return read_owned(std::move(dst), offset, bytes, "read_some_at", 0);
}

ReadBufAwait<PinnedBuf> DirectFile::read_some_at(PinnedBuf dst, std::uint64_t offset) noexcept {
  return read_pinned(std::move(dst), offset, "read_some_at", 0);
}

WriteAwait DirectFile::write_at(ConstIoBuf src, std::uint64_t offset, WriteFlags flags) noexcept {
  detail::FileCore& core = require(core_);
  const Error refusal =
      check_transfer(core, "write_at", OpCode::write, src.data(), src.size(), offset);
  // An Op carries one pointer for both directions; a write only reads from it.
  return WriteAwait(core_, "write_at", refusal, OpCode::write, write_flags(flags),
                    const_cast<std::byte*>(src.data()), src.size(), offset);
}

WriteBufAwait<AlignedBuf> DirectFile::write_at(AlignedBuf src, std::uint64_t offset,
                                               WriteFlags flags) noexcept {
  detail::FileCore& core = require(core_);
  std::byte* const data = src.data();
  const std::size_t bytes = src.size();
  const Error refusal = check_transfer(core, "write_at", OpCode::write, data, bytes, offset);
  return WriteBufAwait<AlignedBuf>(core_, "write_at", refusal, OpCode::write, write_flags(flags),
                                   data, bytes, offset, std::move(src));
}

WriteBufAwait<PinnedBuf> DirectFile::write_at(PinnedBuf src, std::uint64_t offset,
                                              WriteFlags flags) noexcept {
  detail::FileCore& core = require(core_);
  const RawIoBuf raw = src.raw();
  const Error refusal =
      check_transfer(core, "write_at", OpCode::write, raw.data(), raw.size(), offset);
  return WriteBufAwait<PinnedBuf>(core_, "write_at", refusal, OpCode::write, write_flags(flags),
                                  raw.data(), raw.size(), offset, std::move(src));
}

SyncAwait DirectFile::sync_with(const char* operation, OpCode code) noexcept {
  require(core_);
  return SyncAwait(core_, operation, Error(), code);
}

SyncAwait DirectFile::sync_data() noexcept { return sync_with("sync_data", OpCode::sync_data); }
SyncAwait DirectFile::sync_all() noexcept { return sync_with("sync_all", OpCode::sync_all); }

VoidAwait DirectFile::drop_cache() noexcept {
  require(core_);
  return VoidAwait(core_, "drop_cache", Error(), OpCode::drop_cache);
}

SizeAwait DirectFile::size() noexcept {
  require(core_);
  return SizeAwait(core_, "size", Error(), OpCode::info);
}

InfoAwait DirectFile::info() noexcept {
  require(core_);
  return InfoAwait(core_, "info", Error(), OpCode::info);
}

VoidAwait DirectFile::truncate(std::uint64_t bytes) noexcept {
  detail::FileCore& core = require(core_);
  Error refusal;
  if (bytes > detail::kFileBytesMax) refusal = too_long(core, "truncate", bytes);
  return VoidAwait(core_, "truncate", refusal, OpCode::truncate, 0, bytes);
}

Task<Result<void>> DirectFile::preallocate(std::uint64_t bytes, Prealloc mode) {
  require(core_);
  return preallocate_core(core_, bytes, mode);
}

Task<Result<void>> DirectFile::preallocate_core(detail::FileRef core, std::uint64_t bytes,
                                                Prealloc mode) {
  if (bytes > detail::kFileBytesMax) co_return too_long(*core, "preallocate", bytes);
  SizeAwait sizing(core, "preallocate", Error(), OpCode::info);
  Result<std::uint64_t> size = co_await std::move(sizing);
  if (!size) co_return size.error();
  if (*size >= bytes) co_return Result<void>();
  const std::uint8_t flags = mode == Prealloc::reserve ? kOpKeepSize : std::uint8_t{0};
  VoidAwait allocating(core, "preallocate", Error(), OpCode::allocate, flags, bytes);
  co_return co_await std::move(allocating);
}

Task<Result<void>> DirectFile::try_lock() {
  require(core_);
  return try_lock_core(core_);
}

Task<Result<void>> DirectFile::try_lock_core(detail::FileRef core) {
  VoidAwait locking(core, "try_lock", Error(), OpCode::try_lock);
  Result<void> locked = co_await std::move(locking);
  if (!locked && locked.error() == std::errc::resource_unavailable_try_again) {
    co_return with_context(Error(Errc::busy), {.operation = "try_lock", .path = core->path});
  }
  co_return std::move(locked);
}

Result<void> DirectFile::register_with_driver() noexcept {
  detail::FileCore& core = require(core_);
  if (core.registered) return {};
  if (core.shared_from()) {
    return with_context(Error(Errc::unsupported), {.operation = "register_with_driver",
                                                   .path = core.path,
                                                   .note = "the file is another reactor's"});
  }
  FileRegistrar* const registrar = detail::ReactorAccess::registrar(core.reactor);
  if (registrar == nullptr) {
    return with_context(Error(Errc::unsupported), {.operation = "register_with_driver",
                                                   .path = core.path,
                                                   .note = "this driver keeps no table of files"});
  }
  Result<DriverFile> registered = registrar->register_file(core.handle);
  if (!registered) {
    return with_context(registered.error(),
                        {.operation = "register_with_driver", .path = core.path});
  }
  core.handle = *registered;
  core.registered = true;
  return {};
}

Task<Result<void>> DirectFile::close() && {
  require(core_);
  return close_core(std::move(core_));
}

Task<Result<void>> DirectFile::close_core(detail::FileRef core) {
  // A task of several operations, such as preallocate, starts the next when one has ended.
  while (core->in_flight > 0) co_await detail::IdleAwait(*core);
  core->closing = true;
  if (core->shared_from()) {
    // The handle is the file's that was shared.
    core->let_go_of_shared();
    co_return Result<void>();
  }
  detail::CloseAwait closing(core);
  const Error error = co_await closing;
  if (error) co_return with_context(error, {.operation = "close", .path = core->path});
  co_return Result<void>();
}

DioAlign DirectFile::alignment() const noexcept { return require(core_).align; }
bool DirectFile::is_direct() const noexcept { return require(core_).direct; }
std::string_view DirectFile::direct_reason() const noexcept { return require(core_).direct_reason; }
std::string_view DirectFile::path() const noexcept { return require(core_).path; }
std::uint32_t DirectFile::physical_block_bytes() const noexcept {
  return require(core_).physical_block_bytes;
}
Error DirectFile::poison() const noexcept { return require(core_).poison; }
bool DirectFile::is_dirty() const noexcept { return require(core_).is_dirty(); }
std::uint32_t DirectFile::operations_in_flight() const noexcept { return require(core_).in_flight; }
Reactor& DirectFile::reactor() const noexcept { return require(core_).reactor; }

}  // namespace diorite
