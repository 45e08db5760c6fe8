// SharedFile: one open file, read by several reactors and threads.

#include <diorite/shared_file.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <diorite/file.hpp>
#include <diorite/scope.hpp>
#include <diorite/sync.hpp>

#include "file/forms.hpp"
#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {
namespace {

constexpr std::uint64_t kPages = 16;

/// A file whose page n is full of bytes n.
DirectFile make_numbered(Reactor& reactor, const TempDir& dir) {
  auto make = [](Reactor& r, std::string path) -> Task<Result<DirectFile>> {
    Result<DirectFile> file = co_await DirectFile::create(r, std::move(path));
    if (!file) co_return file.error();
    for (std::uint64_t n = 0; n < kPages; ++n) {
      AlignedBuf page = *AlignedBuf::page();
      for (std::byte& byte : page.bytes()) byte = static_cast<std::byte>(n);
      const BufIoResult written = co_await file->write_at(std::move(page), n * 4096);
      if (!written) co_return written.error();
    }
    const Result<void> synced = co_await file->sync_data();
    if (!synced) co_return synced.error();
    co_return std::move(file);
  };
  Result<DirectFile> file = run(reactor, make(reactor, dir.file("numbered")));
  REQUIRE(file);
  return std::move(*file);
}

bool is_page(std::span<const std::byte> page, std::uint64_t number) {
  for (const std::byte byte : page) {
    if (byte != static_cast<std::byte>(number)) return false;
  }
  return page.size() == 4096;
}

Task<bool> reads_all(DirectFile file) {
  bool right = true;
  for (std::uint64_t n = 0; n < kPages; ++n) {
    BufIoResult read = co_await file.read_at(*AlignedBuf::page(), n * 4096);
    right = right && read && is_page(read.buf().bytes(), n);
  }
  const Result<void> closed = co_await std::move(file).close();
  co_return right&& closed;
}

}  // namespace

TEST_CASE("a share reads on the calling thread", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    const SharedFile shared = file.share();
    CHECK(shared.path() == file.path());
    CHECK(shared.is_direct() == file.is_direct());
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&wrong, share = shared] {
        AlignedBuf page = *AlignedBuf::page();
        for (std::uint64_t n = 0; n < kPages; ++n) {
          const IoResult read = share.read_blocking(page.as_raw(), n * 4096);
          if (!read || read.bytes() != 4096 || !is_page(page.as_raw().as_full_span(), n)) ++wrong;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
}

TEST_CASE("what is wrong with a read of a share is said", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    const SharedFile shared = file.share();
    AlignedBuf two = *AlignedBuf::with_cap(8192);
    const IoResult past = shared.read_blocking(two.as_raw(), (kPages - 1) * 4096);
    CHECK(past.error() == Errc::short_io);
    CHECK(past.bytes() == 4096);
    CHECK(past.error().text().find("numbered") != std::string::npos);
    CHECK(shared.read_blocking(RawIoBuf(), 0).error() == Errc::out_of_range);
    if (shared.is_direct()) {
      CHECK(shared.read_blocking(two.as_raw(), 1).error() == Errc::misaligned);
    }
  }
}

TEST_CASE("reactors on other threads read through files of their own", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&right, share = file.share()]() mutable {
        auto mine = make_test_reactor();
        DirectFile own = share.on(*mine);
        share = SharedFile();
        if (run(*mine, reads_all(std::move(own)))) ++right;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(right == 3);
    // The shares have come home by now, or will in the next turns.
    while (file.operations_in_flight() != 0) reactor->turn(kAtOnce);
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

TEST_CASE("a shared file refuses to be written", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  auto other = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    DirectFile mine = file.share().on(*other);
    auto writes = [&]() -> Task<Error> {
      const BufIoResult written = co_await mine.write_at(*AlignedBuf::zeroed(4096), 0);
      co_return written.error();
    };
    CHECK(run(*other, writes()) == std::errc::bad_file_descriptor);
  }
}

// The system tells a write-back error once for each open file: a sync of a share would hear of what
// the owner has to know.
TEST_CASE("a shared file refuses to be synced or registered", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  auto other = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    DirectFile shared = file.share().on(*other);
    auto syncs = [](DirectFile& f) -> Task<Result<void>> { co_return co_await f.sync_data(); };
    auto syncs_all = [](DirectFile& f) -> Task<Result<void>> { co_return co_await f.sync_all(); };
    CHECK(run(*other, syncs(shared)).error() == std::errc::bad_file_descriptor);
    CHECK(run(*other, syncs_all(shared)).error() == std::errc::bad_file_descriptor);
    CHECK(other->stats().syncs == 0);
    const Result<void> registered = shared.register_with_driver();
    REQUIRE(!registered);
    CHECK(registered.error() == Errc::unsupported);
    CHECK(run(*reactor, syncs(file)));
    CHECK(run(*other, std::move(shared).close()));
    CHECK(run(*reactor, std::move(file).close()));
  }
}

TEST_CASE("a task that holds a file and a share of it may die with its reactor", "[shared]") {
  const TempDir dir;
  {
    auto reactor = make_test_reactor();
    auto holds = [](DirectFile file, SharedFile share) -> Task<> {
      Event never;
      static_cast<void>(co_await never.wait());
      CHECK(file.path() == share.path());
    };
    DirectFile file = make_numbered(*reactor, dir);
    SharedFile share = file.share();
    reactor->spawn(holds(std::move(file), std::move(share)));
    reactor->turn(kAtOnce);
  }
  CHECK(descriptors_of(dir.file("numbered")) == 0);
}

TEST_CASE("close waits for the shares, and the descriptor for the last one", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  auto other = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    SharedFile shared = file.share();
    SharedFile copy = shared;
    DirectFile mine = copy.on(*other);
    bool closed = false;
    auto closes = [&]() -> Task<> {
      const Result<void> done = co_await std::move(file).close();
      CHECK(done);
      closed = true;
    };
    const Running<> closing = start(*reactor, closes());
    for (int i = 0; i < 10; ++i) reactor->turn(kAtOnce);
    CHECK_FALSE(closed);
    shared = SharedFile();
    CHECK(run(*other, reads_all(std::move(mine))));
    for (int i = 0; i < 10; ++i) reactor->turn(kAtOnce);
    CHECK_FALSE(closed);  // the copy is there still
    copy = SharedFile();
    while (!closing.done()) reactor->turn(kAtOnce);
    CHECK(closed);
  }
}

TEST_CASE("a share of a share is a share of the file", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  auto other = make_test_reactor();
  auto third = make_test_reactor();
  {
    DirectFile file = make_numbered(*reactor, dir);
    DirectFile mine = file.share().on(*other);
    DirectFile theirs = mine.share().on(*third);
    mine = DirectFile();
    CHECK(run(*third, reads_all(std::move(theirs))));
  }
}

TEST_CASE("the owner may drop the file before the shares", "[shared]") {
  const TempDir dir;
  auto reactor = make_test_reactor();
  SharedFile shared;
  {
    const DirectFile file = make_numbered(*reactor, dir);
    shared = file.share();
  }
  for (int i = 0; i < 10; ++i) reactor->turn(kAtOnce);
  AlignedBuf page = *AlignedBuf::page();
  CHECK(shared.read_blocking(page.as_raw(), 4096));
  shared = SharedFile();
}

}  // namespace diorite::test
