// SharedFile: an open file that other reactors and threads read.
//
// Use it for files that do not change while they are read, or whose reads the engine orders itself:
// sorted tables, sealed segments. One reactor opens the file, writes and syncs it, and hands out
// shares; on() makes a read-only DirectFile of another reactor from one, read_blocking() reads on
// the calling thread, which for a page in the cache is faster than any hand-over. There is no
// shared writing: the kernel tells a write-back error once for an open file, and a sync elsewhere
// would swallow it.
//
// Thread: any; copies are independent. A DirectFile from on() belongs to the reactor it was made
// for. Lifetime: the reactor of the file that was shared outlives every share and every DirectFile
// from on() (asserted by its destructor). The descriptor stays open until the last of them is gone;
// close() of the original waits for that.
// Allocates: on() one record; nothing else.
//
//   SharedFile table = file.share();                        // on the file's reactor
//   DirectFile mine = table.on(reactor);                    // on another one
//   IoResult read = table.read_blocking(page.as_raw(), 0);  // on any thread

#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/io.hpp>
#include <diorite/reactor.hpp>

namespace diorite {

class SharedFile {
 public:
  /// Empty.
  SharedFile() noexcept = default;

  explicit operator bool() const noexcept { return static_cast<bool>(core_); }
  std::string_view path() const noexcept;
  DioAlign alignment() const noexcept;
  bool is_direct() const noexcept;

  /// A file for reading, of `reactor`. Called on that reactor's thread. Its writes are refused, its
  /// close() closes nothing but itself.
  DirectFile on(Reactor& reactor) const;

  /// Fills the whole capacity of `dst`, on the calling thread, which sleeps until it is done.
  /// Errors: as DirectFile::read_at. Cancel: nothing can.
  IoResult read_blocking(RawIoBuf dst, std::uint64_t offset) const noexcept;

 private:
  friend class DirectFile;
  explicit SharedFile(detail::SharedRef core) noexcept : core_(std::move(core)) {}
  detail::SharedRef core_;
};

}  // namespace diorite
