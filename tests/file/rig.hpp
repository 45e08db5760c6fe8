// What the file tests share: waiting for single operations, memory in its three forms, open
// descriptors.

#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/pin.hpp>
#include <diorite/scope.hpp>

#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {

inline constexpr std::size_t kPage = 4096;

template <class A>
using ResultOf = decltype(std::declval<A&>().await_resume());

/// A task that does nothing but one operation.
template <class A>
Task<ResultOf<A>> awaiting(A operation) {
  co_return co_await std::move(operation);
}

/// Runs one operation to its end.
template <class A>
ResultOf<A> wait(Reactor& reactor, A operation) {
  return reactor.block_on(awaiting(std::move(operation)));
}

template <class T>
Task<T> joined(Running<T>& running) {
  co_return co_await std::move(running);
}

/// The result of a task that was started.
template <class T>
T finish(Reactor& reactor, Running<T>& running) {
  return reactor.block_on(joined(running));
}

/// Lets everything run that is ready, until no more than `held` operations are in flight.
inline void settle(Reactor& reactor, std::uint64_t held = 0) {
  for (;;) {
    run_ready(reactor);
    if (reactor.stats().in_flight <= held) return;
    reactor.turn(kNever);
  }
}

/// Stands at the end of the ready queue once: everything before it runs, and nothing is submitted
/// yet.
class Yield {
 public:
  Yield() noexcept = default;
  Yield(const Yield&) = delete;
  ~Yield() {
    if (node_.linked()) node_.unlink();
  }
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> frame) noexcept {
    node_.set_frame(frame);
    frame.promise().context->ready->push(node_);
  }
  void await_resume() const noexcept {}

 private:
  ReadyNode node_;
};

inline DirectFile open_file(Reactor& reactor, std::string path, OpenOptions options) {
  Result<DirectFile> file = run(reactor, DirectFile::open_with(reactor, std::move(path), options));
  if (!file) FAIL(file.error().text());
  return std::move(*file);
}

inline OpenOptions writable(Direct direct = Direct::preferred) {
  OpenOptions options;
  options.direct = direct;
  options.write = options.create = true;
  return options;
}

inline void close_file(Reactor& reactor, DirectFile file) {
  const Result<void> closed = run(reactor, std::move(file).close());
  if (!closed) FAIL(closed.error().text());
}

inline bool says(const Error& error, std::string_view text) {
  const bool found = error.text().find(text) != std::string::npos;
  if (!found) UNSCOPED_INFO("the text is: " << error.text());
  return found;
}

inline void fill(std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(seed + i * 31 + i / kPage);
  }
}

inline bool holds(std::span<const std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != static_cast<std::byte>(seed + i * 31 + i / kPage)) return false;
  }
  return true;
}

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline AlignedBuf buffer(std::size_t bytes) {
  Result<AlignedBuf> made = AlignedBuf::zeroed(bytes);
  REQUIRE(made);
  return std::move(*made);
}

inline AlignedBuf filled(std::size_t bytes, unsigned seed) {
  AlignedBuf made = buffer(bytes);
  fill(made.bytes(), seed);
  return made;
}

/// A frame of an engine's own page table: its memory, and how often it is pinned.
class Frame {
 public:
  explicit Frame(std::size_t bytes) : memory_(buffer(bytes)) {}
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  ~Frame() { CHECK(pins == 0); }

  std::span<std::byte> bytes() noexcept { return memory_.bytes(); }
  RawIoBuf raw() noexcept { return RawIoBuf::from_slice(bytes()); }
  PinnedBuf pinned() noexcept { return pinned(bytes()); }
  PinnedBuf pinned(std::span<std::byte> part) noexcept {
    ++pins;
    return PinnedBuf(RawIoBuf::from_slice(part), Pin(this, [](void* frame) noexcept {
                       --static_cast<Frame*>(frame)->pins;
                       ++static_cast<Frame*>(frame)->releases;
                     }));
  }

  int pins = 0;
  int releases = 0;

 private:
  AlignedBuf memory_;
};

/// How many descriptors of this process are open on the file that a path names.
inline int descriptors_of(const std::string& path, int* flags = nullptr) {
  struct stat wanted;
  if (::stat(path.c_str(), &wanted) != 0) return 0;
  int count = 0;
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    struct stat found;
    if (::fstat(descriptor, &found) != 0) continue;
    if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino) continue;
    ++count;
    if (flags != nullptr) *flags = ::fcntl(descriptor, F_GETFL);
  }
  return count;
}

/// An open that stays with the system until it is released: of a FIFO, for reading, while nobody
/// writes. Takes a slot of the driver.
class BlockedOpen {
 public:
  BlockedOpen(Reactor& reactor, const TempDir& dir) : path_(dir.file("fifo")) {
    REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    // With the create flag a ring leaves it to a worker of the kernel.
    OpenOptions options;
    options.direct = Direct::off;
    options.create = true;
    running_ = start(reactor, DirectFile::open_with(reactor, path_, options));
    reactor.turn(kAtOnce);
  }
  BlockedOpen(const BlockedOpen&) = delete;
  BlockedOpen& operator=(const BlockedOpen&) = delete;
  ~BlockedOpen() {
    if (writer_ >= 0) ::close(writer_);
  }

  /// A FIFO that is open for both ends lets readers in.
  void release() {
    writer_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(writer_ >= 0);
  }
  void finish(Reactor& reactor) {
    release();
    REQUIRE(test::finish(reactor, running_));
    running_ = {};
  }

 private:
  std::string path_;
  Running<Result<DirectFile>> running_;
  int writer_ = -1;
};

/// In a child process, where the test framework has no say.
inline void child_check(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "failed in the child: %.*s\n", static_cast<int>(what.size()), what.data());
  ::_exit(EXIT_FAILURE);
}

/// Gives up root's rights for good, so that permissions mean something. Nothing to do for others.
inline void become_nobody() {
  constexpr uid_t kNobody = 65534;
  if (::geteuid() != 0) return;
  child_check(::setgid(kNobody) == 0 && ::setuid(kNobody) == 0, "setuid");
}

}  // namespace diorite::test
