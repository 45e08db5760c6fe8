// Random operations on a reactor that is hosted by another loop, each of which must be told to a
// host that sleeps.

#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <diorite/file.hpp>
#include <diorite/io.hpp>
#include <diorite/scope.hpp>
#include <diorite/timer.hpp>

#include "support/catch.hpp"
#include "support/reactor.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {

/// A file of so many zeros.
inline DirectFile make_file(Reactor& reactor, const TempDir& dir, std::uint64_t bytes) {
  auto make = [](Reactor& r, std::string path, std::uint64_t length) -> Task<Result<DirectFile>> {
    Result<DirectFile> file = co_await DirectFile::create(r, std::move(path));
    if (!file) co_return file.error();
    AlignedBuf page = *AlignedBuf::page();
    for (std::uint64_t at = 0; at < length; at += kPageBytes) {
      const IoResult written = co_await file->write_at(ConstIoBuf(page.as_raw_view()), at);
      if (!written) co_return written.error();
    }
    co_return std::move(file);
  };
  Result<DirectFile> file = run(reactor, make(reactor, dir.file("data"), bytes));
  REQUIRE(file);
  return std::move(*file);
}

/// Random operations of several workers on one file, of which each worker writes pages of its own.
struct Load {
  static constexpr std::uint64_t kPages = 64;
  Reactor& reactor;
  DirectFile& file;
  std::uint32_t workers;
  int left;
  bool sleeps;
  std::array<std::uint8_t, kPages> written{};  ///< what each page is full of
};

inline Task<BufIoResult> read_page(DirectFile& file, std::uint64_t page) {
  co_return co_await file.read_at(*AlignedBuf::page(), page * kPageBytes);
}

inline bool is_full_of(const AlignedBuf& page, std::uint8_t letter) {
  return std::all_of(page.data(), page.data() + kPageBytes,
                     [letter](std::byte each) { return each == std::byte{letter}; });
}

inline Task<> reads_or_writes(Load& load, bool writes, std::uint64_t page, std::uint8_t letter) {
  AlignedBuf buffer = *AlignedBuf::page();
  if (writes) {
    std::fill_n(buffer.data(), kPageBytes, std::byte{letter});
    const BufIoResult written = co_await load.file.write_at(std::move(buffer), page * kPageBytes);
    CHECK(written);
    CHECK(written.bytes() == kPageBytes);
    load.written[page] = letter;
    co_return;
  }
  const BufIoResult read = co_await load.file.read_at(std::move(buffer), page * kPageBytes);
  CHECK(read);
  CHECK(read.bytes() == kPageBytes);
  CHECK(is_full_of(read.buf(), load.written[page]));
}

/// One thing after the other; some end between two turns.
inline Task<> works(Load& load, std::uint32_t number) {
  std::mt19937 random(number);
  while (load.left > 0) {
    --load.left;
    const std::uint64_t page = random() % (Load::kPages / load.workers) * load.workers + number;
    const std::uint32_t kind = random() % 16;
    if (kind == 0) {
      const Result<void> synced = co_await load.file.sync_data();
      CHECK(synced);
    } else if (kind == 1) {
      const Result<std::uint64_t> size = co_await load.file.size();
      CHECK(size);
    } else if (kind == 2 && load.sleeps) {
      const Result<void> slept = co_await sleep_for(std::chrono::microseconds(random() % 200));
      CHECK(slept);
    } else if (kind == 3) {
      // Dies with its read in flight.
      const Running<BufIoResult> dropped = start(load.reactor, read_page(load.file, page));
      const Result<void> ended = co_await nop(load.reactor);
      CHECK(ended);
    } else {
      const auto letter = static_cast<std::uint8_t>(random());
      const bool writes = kind == 4 || kind == 5;
      co_await reads_or_writes(load, writes, page, letter);
    }
  }
}

/// 100,000 of them. `Host` is made of a reactor and runs it until a condition holds; `after(host)`
/// looks at what it has done.
template <class Host, class After>
void run_random_load(After after) {
  struct Round {
    int ops;
    std::uint32_t workers;
    bool sleeps;
    std::uint32_t in_flight_max;
  };
  // A timer wakes the host as well, and could hide an end that was not told. So only one round has
  // timers; the others have a full driver, where each end makes room for what waits in it, and one
  // operation at a time, where nothing else comes to the rescue.
  constexpr Round kRounds[] = {
      {47'500, 8, true, 256}, {47'500, 8, false, 2}, {5'000, 1, false, 256}};
  const TempDir dir;
  for (const Round& round : kRounds) {
    INFO(round.workers << " workers, " << (round.sleeps ? "with" : "without") << " timers");
    ReactorOptions options;
    options.driver.in_flight_max = round.in_flight_max;
    auto reactor = make_test_reactor(options);
    DirectFile file = make_file(*reactor, dir, Load::kPages * kPageBytes);
    Host host(*reactor);
    Load load{*reactor, file, round.workers, round.ops, round.sleeps};
    std::vector<Running<>> workers;
    for (std::uint32_t number = 0; number < round.workers; ++number) {
      workers.push_back(start(*reactor, works(load, number)));
    }
    REQUIRE(host.run_until([&] {
      return std::all_of(workers.begin(), workers.end(),
                         [](const Running<>& worker) { return worker.done(); });
    }));
    REQUIRE(host.run_until([&] { return reactor->stats().in_flight == 0; }));
    CHECK(load.left == 0);
    after(host);
    const Result<void> closed = run(*reactor, std::move(file).close());
    CHECK(closed);
  }
}

}  // namespace diorite::test
