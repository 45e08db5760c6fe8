#include <diorite/shared_file.hpp>

#include <atomic>
#include <memory>
#include <string>

#include "file/file_core.hpp"
#include "file/transfer_check.hpp"
#include "reactor/exact.hpp"

#include <diorite/assert.hpp>

namespace diorite {
namespace detail {

/// What the shares of a file have in common. The count is any thread's; the file is its reactor's,
/// so the last share goes home to let go of it.
class SharedCore : public PostNode {
 public:
  explicit SharedCore(FileRef file)
      : PostNode(&SharedCore::came_home),
        home(file->reactor),
        handle(file->handle),
        path(file->path),
        align(file->align),
        direct_reason(file->direct_reason),
        physical_block_bytes(file->physical_block_bytes),
        direct(file->direct),
        file_(std::move(file)) {
    file_->shares_begun();
  }
  SharedCore(const SharedCore&) = delete;
  SharedCore& operator=(const SharedCore&) = delete;

  void add_ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) home.post(*this);
  }

  Reactor& home;
  const DriverFile handle;
  const std::string path;
  const DioAlign align;
  const std::string_view direct_reason;
  const std::uint32_t physical_block_bytes;
  const bool direct;

 private:
  ~SharedCore() { file_->shares_ended(); }
  static void came_home(PostNode& node) noexcept { delete static_cast<SharedCore*>(&node); }

  FileRef file_;
  std::atomic<std::uint32_t> refs_{1};
};

SharedRef::SharedRef(const SharedRef& other) noexcept : core_(other.core_) {
  if (core_ != nullptr) core_->add_ref();
}

void SharedRef::release(SharedCore* core) noexcept { core->release(); }

namespace {

SharedCore& require(const SharedRef& core) noexcept {
  DIORITE_ASSERT(static_cast<bool>(core), "an empty SharedFile was used");
  return *core;
}

}  // namespace
}  // namespace detail

SharedFile DirectFile::share() const {
  DIORITE_ASSERT(static_cast<bool>(core_), "an empty DirectFile was used");
  // A share of a share reads from the same handle.
  if (core_->shared_from()) return SharedFile(core_->shared_from());
  DIORITE_ASSERT(!core_->registered, "a file that is registered with its driver cannot be shared");
  return SharedFile(detail::SharedRef(new detail::SharedCore(core_)));
}

std::string_view SharedFile::path() const noexcept { return detail::require(core_).path; }
DioAlign SharedFile::alignment() const noexcept { return detail::require(core_).align; }
bool SharedFile::is_direct() const noexcept { return detail::require(core_).direct; }

DirectFile SharedFile::on(Reactor& reactor) const {
  const detail::SharedCore& shared = detail::require(core_);
  detail::FileRef core = detail::FileCore::make(reactor, shared.handle, shared.path);
  core->align = shared.align;
  core->direct_reason = shared.direct_reason;
  core->physical_block_bytes = shared.physical_block_bytes;
  core->direct = shared.direct;
  core->read_from(core_);
  return DirectFile(std::move(core));
}

IoResult SharedFile::read_blocking(RawIoBuf dst, std::uint64_t offset) const noexcept {
  constexpr const char* kOperation = "read_blocking";
  const detail::SharedCore& shared = detail::require(core_);
  const std::uint64_t bytes = dst.capacity();
  const Error refusal = detail::check_transfer({.path = shared.path, .align = shared.align},
                                               kOperation, OpCode::read, dst.data(), bytes, offset);
  if (refusal) return IoResult(refusal, 0);
  detail::TransferOp op;
  op.code = OpCode::read;
  op.file = shared.handle;
  op.offset = offset;
  op.data = dst.data();
  op.total = bytes;
  op.bytes = static_cast<std::uint32_t>(bytes < kIoBytesMax ? bytes : kIoBytesMax);
  op.align_log2 = shared.direct ? log2_of(shared.align.read_offset) : std::uint8_t{0};
  do {
    detail::ReactorAccess::run_here(shared.home, op);
    op.state = OpState::done;
  } while (!detail::transfer_step(op));
  const ErrorContext about{
      .operation = kOperation, .path = shared.path, .offset = offset, .length = bytes};
  if (op.result < 0) return IoResult(with_context(Error::from_driver(op.result), about), op.done);
  if (op.done == op.total) return IoResult(Error(), op.done);
  ErrorContext at_end = about;
  at_end.note = "the file ends here";
  return IoResult(with_context(Error(Errc::short_io, op.total, op.done), at_end), op.done);
}

}  // namespace diorite
