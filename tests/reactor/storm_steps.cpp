// What clients of the storm do.

#include <chrono>
#include <optional>
#include <utility>

#include <diorite/call_on.hpp>
#include <diorite/fs.hpp>
#include <diorite/offload.hpp>
#include <diorite/timer.hpp>
#include <diorite/when.hpp>

#include "reactor/storm_rig.hpp"

namespace diorite::storm {
namespace {

using std::chrono::microseconds;

enum class Form : std::uint8_t { owned, pinned, borrowed };
Form form_of(Random& random) noexcept { return static_cast<Form>(random.below(3)); }

/// A moment that may come before the operation ends, or after.
Instant soon(World& world, Random& random) {
  return world.reactor.now() + microseconds(random.below(400));
}

Task<> reads(World& world, std::uint64_t seed) {
  Random random(seed);
  world.begin_operation();
  const Range range = world.blocks.pick(random);
  const Blocks::Before before = world.blocks.before_read(range);
  DirectFile& file = world.files[range.file];
  switch (form_of(random)) {
    case Form::owned: {
      AlignedBuf room = make_buffer(range.bytes());
      BufIoResult result = co_await file.read_at(std::move(room), range.offset());
      if (world.ended(result.error())) {
        world.blocks.check_read(range, before, result.buf().bytes());
      }
      break;
    }
    case Form::pinned: {
      PinnedBuf page = Page::make(world.blocks, range, false);
      PinIoResult result = co_await file.read_at(std::move(page), range.offset());
      if (world.ended(result.error())) {
        world.blocks.check_read(range, before, result.buf().bytes());
      }
      break;
    }
    case Form::borrowed: {
      AlignedBuf memory = make_buffer(range.bytes());
      const RawIoBuf raw = RawIoBuf::from_slice(memory.bytes());
      const IoResult result = co_await file.read_at(raw, range.offset());
      if (world.ended(result.error())) world.blocks.check_read(range, before, memory.bytes());
      break;
    }
  }
}

void settle(World& world, Claim& claim, const IoResult& result) {
  if (world.ended(result.error())) {
    claim.took_place();
  } else if (result.bytes() == 0) {
    claim.did_not_begin();
  } else {
    claim.was_cut();
  }
}

Task<> writes(World& world, std::uint64_t seed) {
  Random random(seed);
  const Range range = world.blocks.pick_free(random);
  if (range.count == 0) co_return;
  world.begin_operation();
  WriteFlags flags;
  flags.dsync = random.one_in(256);
  DirectFile& file = world.files[range.file];
  const Form form = form_of(random);
  Claim claim(world.blocks, range, form == Form::owned);
  switch (form) {
    case Form::owned: {
      AlignedBuf content = make_buffer(range.bytes());
      claim.fill(content.bytes());
      BufIoResult result = co_await file.write_at(std::move(content), range.offset(), flags);
      settle(world, claim, result);
      break;
    }
    case Form::pinned: {
      PinnedBuf page = Page::make(world.blocks, range, true);
      claim.fill(page.bytes());
      PinIoResult result = co_await file.write_at(std::move(page), range.offset(), flags);
      settle(world, claim, result);
      break;
    }
    case Form::borrowed: {
      AlignedBuf memory = make_buffer(range.bytes());
      claim.fill(memory.bytes());
      const ConstIoBuf raw(memory.bytes());
      const IoResult result = co_await file.write_at(raw, range.offset(), flags);
      settle(world, claim, result);
      break;
    }
  }
}

Task<> syncs(World& world, std::uint64_t seed) {
  Random random(seed);
  world.begin_operation();
  DirectFile& file = world.files[random.below(kFiles)];
  if (random.one_in(2)) {
    const Result<void> synced = co_await file.sync_data();
    world.ended(synced ? Error() : synced.error());
  } else {
    const Result<void> synced = co_await file.sync_all();
    world.ended(synced ? Error() : synced.error());
  }
}

Task<> asks_size(World& world, std::uint64_t seed) {
  Random random(seed);
  world.begin_operation();
  const Result<std::uint64_t> size = co_await world.files[random.below(kFiles)].size();
  if (world.ended(size ? Error() : size.error())) {
    require(*size == std::uint64_t{kBlocks} * kBlockBytes, "a file has another size");
  }
}

/// Closed, or dropped.
Task<> opens(World& world, std::uint64_t seed) {
  Random random(seed);
  world.begin_operation();
  std::string path = join_path(world.directory, "scratch" + std::to_string(random.below(4)));
  Result<DirectFile> opened = co_await DirectFile::open_rw(world.reactor, std::move(path));
  if (!world.ended(opened ? Error() : opened.error())) co_return;
  if (random.one_in(3)) co_return;
  world.begin_operation();
  const Result<void> closed = co_await std::move(*opened).close();
  world.ended(closed ? Error() : closed.error());
}

Task<> lists(World& world) {
  world.begin_operation();
  const Result<std::vector<DirEntry>> entries = co_await list(world.reactor, world.directory);
  if (world.ended(entries ? Error() : entries.error())) {
    require(entries->size() >= kFiles, "files are missing");
  }
}

Task<> sleeps(World& world, std::uint64_t seed) {
  Random random(seed);
  world.begin_operation();
  const Result<void> slept = co_await sleep_for(microseconds(random.below(200)));
  world.ended(slept ? Error() : slept.error());
}

Task<> offloads(World& world, std::uint64_t seed) {
  world.begin_operation();
  auto triples = [seed] { return seed * 3; };
  const Result<std::uint64_t> tripled = co_await world.reactor.offload(triples);
  if (world.ended(tripled ? Error() : tripled.error())) {
    require(*tripled == seed * 3, "an offloaded function gave something else");
  }
}

/// Runs on the other reactor.
Task<Result<std::uint64_t>> serves(Reactor* reactor, std::uint64_t seed) {
  if (seed % 2 == 0) {
    const Result<void> slept = co_await sleep_for(microseconds(seed % 50));
    if (!slept) co_return slept.error();
  }
  const Result<void> turned = co_await nop(*reactor);
  if (!turned) co_return turned.error();
  co_return seed ^ 4;
}

Task<> calls(World& world, std::uint64_t seed) {
  world.begin_operation();
  const Result<std::uint64_t> answer = co_await call_on(world.remote, &serves, &world.remote, seed);
  ++world.tally.calls;
  if (world.ended(answer ? Error() : answer.error())) {
    require(*answer == (seed ^ 4), "a call gave something else");
  }
}

/// One operation that waits for nobody else's.
Task<> leaf(World& world, std::uint64_t seed) {
  Random random(seed);
  const std::uint32_t which = random.below(100);
  if (which < 46) return reads(world, random.next());
  if (which < 78) return writes(world, random.next());
  if (which < 79) return syncs(world, random.next());
  if (which < 83) return asks_size(world, random.next());
  if (which < 87) return opens(world, random.next());
  if (which < 88) return lists(world);
  if (which < 94) return sleeps(world, random.next());
  if (which < 96) return offloads(world, random.next());
  return calls(world, random.next());
}

Task<> sends(World& world) {
  world.begin_operation();
  Token token;
  const Result<void> sent = co_await world.channel.send(std::move(token));
  world.ended(sent ? Error() : sent.error());
}

Task<> receives(World& world) {
  world.begin_operation();
  const Result<Token> token = co_await world.channel.receive();
  world.ended(token ? Error() : token.error());
}

Task<> waits_for_event(World& world) {
  world.begin_operation();
  const Result<void> set = co_await world.event.wait();
  world.ended(set ? Error() : set.error());
}

Task<> with_permits(World& world, std::uint64_t seed) {
  Random random(seed);
  world.begin_operation();
  Result<Permit> permit = co_await world.permits.acquire(1 + random.below(3));
  if (!world.ended(permit ? Error() : permit.error())) co_return;
  co_await leaf(world, random.next());
}

class Inside {
 public:
  explicit Inside(bool& flag) : flag_(flag) {
    require(!flag, "two coroutines are in one mutex");
    flag = true;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { flag_ = false; }

 private:
  bool& flag_;
};

Task<> in_mutex(World& world, std::uint64_t seed) {
  world.begin_operation();
  const Guard guard = co_await world.mutex.lock();
  ++world.tally.ended;
  const Inside inside(world.in_mutex);
  co_await leaf(world, seed);
}

Task<> before_deadline(World& world, std::uint64_t seed) {
  Random random(seed);
  const Instant due = soon(world, random);
  co_await with_deadline(leaf(world, random.next()), due);
}

Task<> first_of(World& world, std::uint64_t seed) {
  Random random(seed);
  Task<> one = leaf(world, random.next());
  Task<> two = leaf(world, random.next());
  if (random.one_in(2)) {
    auto both = co_await when_all(std::move(one), std::move(two));
    static_cast<void>(both);
    co_return;
  }
  auto either =
      co_await when_any(std::move(one), std::move(two), sleep_for(microseconds(random.below(100))));
  require(either.index() < 3, "nobody was first");
}

Task<> in_scope(World& world, std::uint64_t seed) {
  Random random(seed);
  const std::uint32_t children = 1 + random.below(4);
  const bool fails = random.one_in(3);
  const Result<void> joined = co_await with_scope([&](TaskScope& scope) -> Task<Result<void>> {
    for (std::uint32_t i = 0; i < children; ++i) scope.spawn(leaf(world, random.next()));
    const Result<void> slept = co_await sleep_for(microseconds(random.below(60)));
    if (fails || !slept) co_return Error(Errc::busy);
    co_return Result<void>();
  });
  require(joined || joined.error() == Errc::busy, "a scope failed by itself");
}

/// Something beside, that is awaited or dropped.
Task<> beside(World& world, std::uint64_t seed) {
  Random random(seed);
  Running<> other = start(world.reactor, leaf(world, random.next()));
  co_await leaf(world, random.next());
  if (random.one_in(2)) co_await std::move(other);
}

Task<> step(World& world, std::uint64_t seed) {
  Random random(seed);
  const std::uint32_t which = random.below(100);
  if (which < 50) return leaf(world, random.next());
  if (which < 60) return before_deadline(world, random.next());
  if (which < 68) return first_of(world, random.next());
  if (which < 75) return in_scope(world, random.next());
  if (which < 82) return beside(world, random.next());
  if (which < 89) return with_permits(world, random.next());
  if (which < 92) return in_mutex(world, random.next());
  if (which < 95) return sends(world);
  if (which < 98) return receives(world);
  return waits_for_event(world);
}

}  // namespace

Task<> client(World& world, std::uint64_t seed) {
  Random random(seed);
  const std::uint32_t steps = 1 + random.below(8);
  for (std::uint32_t i = 0; i < steps; ++i) co_await step(world, random.next());
}

}  // namespace diorite::storm
