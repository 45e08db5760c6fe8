// A hit costs no allocation.

#include "lru/rig.hpp"
#include "support/alloc_counter.hpp"

namespace diorite::test {
namespace {

bool frames_are_pooled(Rig& rig) {
  // Under AddressSanitizer every frame is allocated, so that the use of a dead one is seen.
  const std::uint64_t before = rig.reactor.stats().frame_pool_hits;
  rig.let_run();
  return rig.reactor.stats().frame_pool_hits > before;
}

Task<std::uint64_t> hit(FileLru& lru, int count, std::uint64_t& news) {
  std::uint64_t good = 0;
  AlignedBuf page = new_page();
  for (int i = 0; i < count; ++i) {
    const AllocCount counter;
    const auto id = static_cast<std::uint64_t>(i % 16);
    {
      const Result<FileLease> lease = co_await lru.acquire(id);
      if (lease) ++good;
    }
    if (lru.try_acquire(id)) ++good;
    news += counter.here().news;
    // The drivers of the tests keep a log, which allocates: so only the way to the file is counted.
    BufIoResult read = co_await lru.read_into(id, std::move(page), 0);
    if (read) ++good;
    page = std::move(read).buf();
  }
  co_return good;
}

}  // namespace

TEST_CASE("a hit allocates nothing") {
  Rig rig(16);
  FileLru lru(rig.reactor, rig.dir.path());
  std::uint64_t news = 0;
  for (std::uint64_t id = 0; id < 16; ++id) REQUIRE(run(rig.reactor, touch(lru, id)));
  REQUIRE(run(rig.reactor, hit(lru, 16, news)) == 48);
  news = 0;
  REQUIRE(run(rig.reactor, hit(lru, 1000, news)) == 3000);
  if (frames_are_pooled(rig)) CHECK(news == 0);
}

TEST_CASE("a read of a cached file allocates nothing") {
  TempDir dir;
  for (std::uint64_t id = 0; id < 16; ++id) dir.write(name_of(id), page_of(id));
  const std::unique_ptr<Reactor> reactor = make_test_reactor();
  FileLru lru(*reactor, dir.path());
  const auto work = [&](int count, AllocTotals& totals) -> Task<bool> {
    AlignedBuf page = new_page();
    bool good = true;
    const AllocCount counter;
    for (int i = 0; i < count; ++i) {
      const auto id = static_cast<std::uint64_t>(i % 16);
      BufIoResult read = co_await lru.read_into(id, std::move(page), 0);
      good = good && read;
      page = std::move(read).buf();
    }
    totals = counter.here();
    co_return good;
  };
  AllocTotals totals;
  REQUIRE(run(*reactor, work(64, totals)));
  const std::uint64_t pool_hits = reactor->stats().frame_pool_hits;
  REQUIRE(run(*reactor, work(1000, totals)));
  if (reactor->stats().frame_pool_hits > pool_hits) CHECK(totals.news == 0);
  REQUIRE(run(*reactor, lru.close_all()));
}

}  // namespace diorite::test
