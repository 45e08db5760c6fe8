// What the tests of FileLru share: a directory of numbered files, one page each, and a reactor
// whose operations can be failed, held and counted.

#pragma once

#include <dirent.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <diorite/file_lru.hpp>
#include <diorite/io.hpp>
#include <diorite/scope.hpp>

#include "lru/base32.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {

inline constexpr std::size_t kPage = 4096;

inline std::string name_of(std::uint64_t id) {
  detail::Base32Digits digits;
  return std::string(detail::to_base32(id, digits));
}

/// What the file `id` contains.
inline std::string page_of(std::uint64_t id) {
  std::string page = "file " + std::to_string(id);
  page.resize(kPage, '.');
  return page;
}

inline AlignedBuf new_page() {
  Result<AlignedBuf> page = AlignedBuf::page();
  REQUIRE(page);
  return *std::move(page);
}

inline std::string text_of(const AlignedBuf& page) {
  return std::string(reinterpret_cast<const char*>(page.data()), page.size());
}

inline Error not_found() {
  return Error(std::make_error_code(std::errc::no_such_file_or_directory));
}

struct Rig {
  explicit Rig(std::uint64_t files = 0) { add_files(0, files); }

  void add_files(std::uint64_t first, std::uint64_t last) const {
    for (std::uint64_t id = first; id < last; ++id) dir.write(name_of(id), page_of(id));
  }
  std::uint64_t opens() const { return faults.count(OpCode::open); }

  /// Turns until `condition` holds.
  template <class F>
  void until(F condition) const {
    while (!condition()) reactor.turn(reactor.now() + std::chrono::milliseconds(1));
  }
  /// Runs what can run, and lets some operations pass that are not held.
  void let_run() const {
    for (int i = 0; i < 8; ++i) {
      REQUIRE(run(reactor, pass(reactor)));
    }
  }

  /// How many descriptors are open on files of the directory.
  std::size_t descriptors() const {
    std::vector<char> real(PATH_MAX);
    REQUIRE(::realpath(dir.path().c_str(), real.data()) != nullptr);
    const std::string prefix = std::string(real.data()) + '/';
    DIR* const folder = ::opendir("/proc/self/fd");
    REQUIRE(folder != nullptr);
    std::size_t count = 0;
    while (const dirent* const entry = ::readdir(folder)) {
      std::vector<char> target(PATH_MAX);
      const ssize_t length =
          ::readlinkat(::dirfd(folder), entry->d_name, target.data(), target.size());
      if (length <= 0) continue;
      const std::string_view path(target.data(), static_cast<std::size_t>(length));
      if (path.substr(0, prefix.size()) == prefix) ++count;
    }
    ::closedir(folder);
    return count;
  }

  TempDir dir;
  FaultReactor fault = make_fault_reactor();
  FaultDriver& faults = fault.faults;
  Reactor& reactor = *fault.reactor;

 private:
  static Task<Result<void>> pass(Reactor& reactor) {
    NopAwait passing = nop(reactor);
    co_return co_await std::move(passing);
  }
};

/// Acquires and gives back.
inline Task<Result<void>> touch(FileLru& lru, std::uint64_t id) {
  const Result<FileLease> lease = co_await lru.acquire(id);
  co_return lease ? Result<void>() : Result<void>(lease.error());
}

/// Reads the page of a file and compares it.
inline Task<Result<void>> check_page(FileLru& lru, std::uint64_t id) {
  const BufIoResult read = co_await lru.read_into(id, new_page(), 0);
  if (!read) co_return read.error();
  CHECK(text_of(read.buf()) == page_of(id));
  co_return Result<void>();
}

inline Task<Result<void>> write_page(FileLru& lru, std::uint64_t id) {
  const Result<FileLease> lease = co_await lru.acquire(id);
  if (!lease) co_return lease.error();
  AlignedBuf page = new_page();
  std::memcpy(page.data(), page_of(id).data(), kPage);
  const BufIoResult written = co_await (*lease)->write_at(std::move(page), 0);
  co_return written ? Result<void>() : Result<void>(written.error());
}

inline Task<Result<void>> await_removal(RemoveAwait removal) { co_return co_await removal; }

inline FileLruOptions writable() {
  FileLruOptions options;
  options.write = true;
  return options;
}

/// Collects what on_error is told.
struct ErrorLog {
  struct Entry {
    std::uint64_t id;
    Error error;
  };
  std::vector<Entry> entries;

  void watch(FileLruOptions& options) {
    options.error_context = this;
    options.on_error = [](void* context, std::uint64_t id, const Error& error) noexcept {
      static_cast<ErrorLog*>(context)->entries.push_back({id, error});
    };
  }
};

}  // namespace diorite::test
