// The steady state allocates nothing: no read, write or sync costs the heap, on any thread.

#include "file/forms.hpp"
#include "support/alloc_counter.hpp"

namespace diorite::test {
namespace {

// One frame for all of it: what is counted begins when it runs.
Task<Result<void>> rounds(DirectFile& file, Frame& frame, AllocTotals& here, AllocTotals& all) {
  constexpr int kWarmUp = 20;
  constexpr int kRounds = 200;  // of six transfers
  AlignedBuf owned = filled(kPage, 1);
  AllocCount count;
  for (int i = 0; i < kWarmUp + kRounds; ++i) {
    if (i == kWarmUp) count = AllocCount();
    BufIoResult written = co_await file.write_at(std::move(owned), 0, {.dsync = i % 16 == 0});
    if (!written) co_return written.error();
    BufIoResult read = co_await file.read_at(std::move(written.buf()), 0);
    if (!read) co_return read.error();
    owned = std::move(read.buf());
    PinIoResult pinned = co_await file.write_at(frame.pinned(), kPage);
    if (!pinned) co_return pinned.error();
    PinIoResult again = co_await file.read_at(std::move(pinned.buf()), kPage);
    if (!again) co_return again.error();
    const IoResult borrowed = co_await file.write_at(ConstIoBuf(frame.raw()), 0);
    if (!borrowed) co_return borrowed.error();
    const IoResult back = co_await file.read_some_at(frame.raw(), 0);
    if (!back) co_return back.error();
    if (i % 64 == 0) {
      const Result<void> synced = co_await file.sync_data();
      if (!synced) co_return synced.error();
    }
  }
  here = count.here();
  all = count.everywhere();
  co_return Result<void>();
}

}  // namespace

TEST_CASE("reads, writes and syncs in steady state allocate nothing") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  const Direct direct = GENERATE(Direct::preferred, Direct::off);
  DirectFile file = open_file(*reactor, dir.file("data"), writable(direct));
  REQUIRE(run(*reactor, file.preallocate(2 * kPage)));
  Frame frame(kPage);
  AllocTotals here;
  AllocTotals everywhere;
  const Result<void> done = run(*reactor, rounds(file, frame, here, everywhere));
  if (!done) FAIL(done.error().text());
  CHECK(here.news == 0);
  CHECK(everywhere.news == 0);
  close_file(*reactor, std::move(file));
}

TEST_CASE("transfers side by side in steady state allocate nothing") {
  const TempDir dir;
  const auto reactor = make_test_reactor();
  DirectFile file = open_file(*reactor, dir.file("data"), writable());
  constexpr std::uint64_t kWriters = 32;
  Frame frame(kWriters * kPage);
  struct Writer {
    static Task<Result<void>> write(DirectFile& to, std::span<std::byte> page, std::uint64_t offset,
                                    int count) {
      for (int i = 0; i < count; ++i) {
        const IoResult written = co_await to.write_at(ConstIoBuf(page), offset);
        if (!written) co_return written.error();
      }
      co_return Result<void>();
    }
    static Task<Result<void>> measured(Reactor& on, DirectFile& to, Frame& memory, int count,
                                       std::uint64_t& news) {
      TaskScope scope(on);
      for (std::uint64_t i = 0; i < kWriters; ++i) {
        scope.spawn(write(to, memory.bytes().subspan(i * kPage, kPage), i * kPage, count));
      }
      // The frames are there; from now on nothing is.
      const AllocCount allocations;
      Result<void> joined = co_await scope.join();
      news = allocations.everywhere().news;
      co_return joined;
    }
  };
  std::uint64_t news = 0;
  REQUIRE(run(*reactor, Writer::measured(*reactor, file, frame, 4, news)));
  REQUIRE(run(*reactor, Writer::measured(*reactor, file, frame, 40, news)));
  CHECK(news == 0);
  close_file(*reactor, std::move(file));
}

}  // namespace diorite::test
