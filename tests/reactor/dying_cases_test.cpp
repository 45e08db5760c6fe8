// The acceptance cases about stops and deaths, by their numbers, on every driver. G3 stands in
// tests/file/dying_test.cpp; the long transfers of C4 that succeed in tests/file/exact_test.cpp.

#include <sys/mman.h>

#include <algorithm>
#include <chrono>

#include <diorite/timer.hpp>

#include "reactor/dying_rig.hpp"

namespace diorite::test {
namespace {

template <class F>
void on_every_lane(F body) {
  for (const Lane& lane : kLanes) {
    if (!is_here(lane)) continue;
    DYNAMIC_SECTION(lane.name) {
      const int descriptors = open_descriptors();
      body(lane);
      CHECK(open_descriptors() == descriptors);
    }
  }
}

/// A file of `pages` pages, each filled with its own pattern.
DirectFile make_file(DyingRig& rig, std::size_t pages, std::string_view name = "data") {
  DirectFile file = open_file(rig.reactor(), rig.path(name), writable());
  for (std::size_t i = 0; i < pages; ++i) {
    REQUIRE(wait(rig.reactor(),
                 file.write_at(filled(kPage, 10 + static_cast<unsigned>(i)), i * kPage)));
  }
  return file;
}

/// Memory that costs nothing before it is touched.
class Reserved {
 public:
  explicit Reserved(std::size_t bytes) : bytes_(bytes) {
    data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(data_ != MAP_FAILED);
  }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  ~Reserved() { ::munmap(data_, bytes_); }
  std::span<std::byte> bytes() noexcept { return {static_cast<std::byte*>(data_), bytes_}; }
  RawIoBuf raw() noexcept { return RawIoBuf(static_cast<std::byte*>(data_), bytes_); }
  /// Counts its release.
  PinnedBuf pinned(int& releases) noexcept {
    return PinnedBuf(raw(),
                     Pin(&releases, [](void* count) noexcept { ++*static_cast<int*>(count); }));
  }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace

TEST_CASE("C1: a stop cancels what has not begun, and changes nothing for what has ended",
          "[dying]") {
  on_every_lane([](const Lane& lane) {
    DyingRig rig(lane);
    DirectFile file = make_file(rig, 1);
    // It finishes, and the stop comes later.
    StopSource late;
    Running<BufIoResult> first =
        start(rig.reactor(), awaiting(file.read_at(buffer(kPage), 0)), late.token());
    const BufIoResult read = finish(rig.reactor(), first);
    CHECK(read);
    CHECK(late.request_stop());
    CHECK(holds(read.buf().bytes(), 10));
    // It waits, and the stop ends it.
    StopSource stop;
    Running<Result<void>> second =
        start(rig.reactor(), awaiting(sleep_for(std::chrono::hours(1))), stop.token());
    rig.reactor().turn(kAtOnce);
    stop.request_stop();
    CHECK(finish(rig.reactor(), second).error() == Errc::cancelled);
    // It was stopped before.
    Running<BufIoResult> third =
        start(rig.reactor(), awaiting(file.read_at(buffer(kPage), 0)), stop.token());
    CHECK(finish(rig.reactor(), third).error() == Errc::cancelled);
    close_file(rig.reactor(), std::move(file));
  });
}

TEST_CASE("C2: five reads under one token all end when it is stopped", "[dying]") {
  on_every_lane([](const Lane& lane) {
    DyingRig rig(lane, 2);  // some wait in the backlog
    DirectFile file = make_file(rig, 5);
    StopSource stop;
    std::vector<Running<BufIoResult>> reads;
    for (std::uint64_t i = 0; i < 5; ++i) {
      reads.push_back(
          start(rig.reactor(), awaiting(file.read_at(buffer(kPage), i * kPage)), stop.token()));
    }
    std::uint32_t rule = 0;
    if (lane.faults) rule = rig.holds->hold(OpCode::read, FaultDriver::kEvery);
    rig.reactor().turn(kAtOnce);
    stop.request_stop();
    if (lane.faults) rig.holds->release(rule);
    for (unsigned i = 0; i < 5; ++i) {
      const BufIoResult result = finish(rig.reactor(), reads[i]);
      CHECK(result.buf().capacity() == kPage);
      if (result) {
        CHECK(holds(result.buf().bytes(), 10 + i));
      } else {
        CHECK(result.error() == Errc::cancelled);
      }
    }
    close_file(rig.reactor(), std::move(file));
  });
}

TEST_CASE("C3, C7: a reactor that goes with tasks in flight leaks nothing", "[dying]") {
  on_every_lane([](const Lane& lane) {
    Frame frame(8 * kPage);
    // Frames of the tasks, all of them and those that are left when the dying reactor first polls.
    struct Frames {
      int alive = 0;
      int at_first_poll = 0;
    } frames;
    {
      DyingRig rig(lane, 4);
      DirectFile file = make_file(rig, 8);
      for (std::uint64_t i = 0; i < 8; ++i) {
        auto reads = [](DirectFile& from, Frame& pages, std::uint64_t at, int& alive) -> Task<> {
          const Inhabitant here(alive);
          PinnedBuf pinned = pages.pinned(pages.bytes().subspan(at, kPage));
          static_cast<void>(co_await from.read_at(std::move(pinned), at));
        };
        auto writes = [](DirectFile& to, std::uint64_t at, int& alive) -> Task<> {
          const Inhabitant here(alive);
          AlignedBuf content = filled(kPage, 90);
          static_cast<void>(co_await to.write_at(std::move(content), at));
        };
        rig.reactor().spawn(reads(file, frame, i * kPage, frames.alive));
        rig.reactor().spawn(writes(file, (8 + i) * kPage, frames.alive));
      }
      rig.reactor().turn(kAtOnce);
      CHECK(rig.reactor().stats().in_flight > 0);
      CHECK(frames.alive > 0);
      rig.watch->at_next_poll(
          [](void* context) {
            Frames& now = *static_cast<Frames*>(context);
            now.at_first_poll = now.alive;
          },
          &frames);
    }
    // Memory that was owned or pinned has kept no destructor waiting.
    CHECK(frames.at_first_poll == 0);
    CHECK(frames.alive == 0);
    CHECK(frame.pins == 0);
    CHECK(frame.releases == 8);
  });
}

TEST_CASE("C4: a buffer beyond 4 GiB overflows nothing", "[dying]") {
  on_every_lane([](const Lane& lane) {
    if (lane.base == Base::sim) return;  // it watches every byte of a buffer in flight
    DyingRig rig(lane);
    close_file(rig.reactor(), make_file(rig, 2));
    OpenOptions options;
    options.direct = Direct::off;
    DirectFile file = open_file(rig.reactor(), rig.path("data"), options);
    Reserved memory((std::size_t{4} << 30) + kPage);
    const IoResult some = wait(rig.reactor(), file.read_some_at(memory.raw(), 0));
    CHECK(some);
    CHECK(some.bytes() == 2 * kPage);
    const IoResult all = wait(rig.reactor(), file.read_at(memory.raw(), 0));
    CHECK(all.error() == Errc::short_io);
    CHECK(all.bytes() == 2 * kPage);
    CHECK(holds(memory.bytes().first(kPage), 10));
    CHECK(holds(memory.bytes().subspan(kPage, kPage), 11));
    close_file(rig.reactor(), std::move(file));
  });
}

TEST_CASE("C5: a read that was begun and dropped does not disturb the next", "[dying]") {
  on_every_lane([](const Lane& lane) {
    DyingRig rig(lane);
    DirectFile file = make_file(rig, 4);
    for (unsigned i = 0; i < 40; ++i) {
      {
        const Running<BufIoResult> dropped =
            start(rig.reactor(), awaiting(file.read_at(buffer(kPage), (i + 1) % 4 * kPage)));
        for (unsigned turns = 0; turns < i % 3; ++turns) rig.reactor().turn(kAtOnce);
      }
      const BufIoResult read = wait(rig.reactor(), file.read_at(buffer(kPage), i % 4 * kPage));
      REQUIRE(read);
      CHECK(holds(read.buf().bytes(), 10 + i % 4));
    }
    close_file(rig.reactor(), std::move(file));
    settle(rig.reactor());
  });
}

TEST_CASE("C6: an open that is dropped half done leaks no descriptor", "[dying]") {
  on_every_lane([](const Lane& lane) {
    DyingRig rig(lane);
    const int before = open_descriptors();
    for (int turns = 0; turns < 12; ++turns) {
      OpenOptions options = writable();
      options.preallocate_bytes = kPage;
      {
        const Running<Result<DirectFile>> opening =
            start(rig.reactor(), DirectFile::open_with(rig.reactor(), rig.path("half"), options));
        // Odd: as far as it comes at once; even: to its next completion.
        for (int i = 0; i < turns && !opening.done(); ++i) {
          const bool waits = turns % 2 == 0 && rig.reactor().stats().in_flight > 0;
          rig.reactor().turn(waits ? kNever : kAtOnce);
        }
      }
      settle(rig.reactor());
      CHECK(open_descriptors() == before);
      CHECK(rig.reactor().stats().in_flight == 0);
    }
  });
}

TEST_CASE("G4: 200 tasks stopped or destroyed midway, and a clean end", "[dying]") {
  on_every_lane([](const Lane& lane) {
    DyingRig rig(lane, 16);
    DirectFile file = make_file(rig, 8);
    std::vector<std::unique_ptr<StopSource>> stops;
    std::vector<Running<Result<void>>> tasks;
    auto work = [](DirectFile& on, std::uint64_t number) -> Task<Result<void>> {
      for (std::uint64_t i = 0; i < 6; ++i) {
        AlignedBuf content = filled(kPage, 70);
        BufIoResult wrote = co_await on.write_at(std::move(content), (8 + number) * kPage);
        if (!wrote) co_return wrote.error();
        BufIoResult read = co_await on.read_at(std::move(wrote).buf(), number % 8 * kPage);
        if (!read) co_return read.error();
        CHECK(holds(read.buf().bytes(), 10 + static_cast<unsigned>(number % 8)));
      }
      co_return Result<void>();
    };
    for (std::uint64_t i = 0; i < 200; ++i) {
      stops.push_back(std::make_unique<StopSource>());
      tasks.push_back(start(rig.reactor(), work(file, i), stops.back()->token()));
    }
    for (int turns = 0; turns < 20; ++turns) rig.reactor().turn(kAtOnce);
    for (std::size_t i = 0; i < 200; ++i) {
      if (i % 4 == 0) tasks[i] = {};
      if (i % 2 == 0) stops[i]->request_stop();
    }
    for (std::size_t i = 0; i < 200; ++i) {
      if (!tasks[i]) continue;
      const Result<void> result = finish(rig.reactor(), tasks[i]);
      if (i % 2 == 1) {
        CHECK(result);
      } else if (!result) {
        CHECK(result.error() == Errc::cancelled);
      }
    }
    settle(rig.reactor());
    CHECK_FALSE(static_cast<bool>(file.poison()));
    CHECK(rig.reactor().stats().in_flight == 0);
    CHECK(rig.reactor().stats().orphan_errors == 0);
    close_file(rig.reactor(), std::move(file));
  });
}

TEST_CASE("F17: a file that is closed under a dead coroutine's read of 512 MiB", "[dying]") {
  on_every_lane([](const Lane& lane) {
    if (lane.base == Base::sim) return;  // it watches every byte of a buffer in flight
    constexpr std::size_t kPages = 64;
    DyingRig rig(lane);
    close_file(rig.reactor(), make_file(rig, kPages));
    OpenOptions options;
    options.direct = Direct::off;
    DirectFile file = open_file(rig.reactor(), rig.path("data"), options);
    Reserved memory(std::size_t{512} << 20);
    int releases = 0;
    std::uint32_t rule = 0;
    if (lane.faults) rule = rig.holds->hold(OpCode::read, 1);
    Running<PinIoResult> reading =
        start(rig.reactor(), awaiting(file.read_some_at(memory.pinned(releases), 0)));
    rig.reactor().turn(kAtOnce);
    reading = {};
    // Its descriptor must not become one of these.
    file = DirectFile();
    std::vector<DirectFile> others;
    for (int i = 0; i < 100; ++i) {
      others.push_back(make_file(rig, 1, "other" + std::to_string(i)));
    }
    if (lane.faults) {
      CHECK(releases == 0);
      CHECK(rig.reactor().stats().in_flight == 1);
      rig.holds->release(rule);
    }
    settle(rig.reactor());
    CHECK(releases == 1);
    CHECK(rig.reactor().stats().blocking_reaps == 0);
    if (lane.faults) {
      for (std::size_t i = 0; i < kPages; ++i) {
        CHECK(holds(memory.bytes().subspan(i * kPage, kPage), 10 + static_cast<unsigned>(i)));
      }
    }
    for (DirectFile& other : others) {
      const BufIoResult read = wait(rig.reactor(), other.read_at(buffer(kPage), 0));
      REQUIRE(read);
      CHECK(holds(read.buf().bytes(), 10));
      close_file(rig.reactor(), std::move(other));
    }
  });
}

}  // namespace diorite::test
