// epoll_host: diorite inside a program that has an event loop of its own.
//
//   epoll_host [file]
//
// The loop sleeps in epoll_wait for the reactor's handle and for a timer of the host's, and gives
// the reactor a turn each time it wakes. Nothing blocks in the reactor.

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/scope.hpp>
#include <diorite/try.hpp>

using namespace diorite;

namespace {

Task<Result<std::uint64_t>> count_lines(Reactor& reactor, std::string path) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open(reactor, std::move(path)));
  DIORITE_CO_TRY(const std::uint64_t size, co_await file.size());
  DIORITE_CO_TRY(AlignedBuf block, AlignedBuf::with_cap(64 * 1024));
  std::uint64_t lines = 0;
  for (std::uint64_t at = 0; at < size; at += block.capacity()) {
    BufIoResult read = co_await file.read_at(std::move(block), at);
    // The last block is short, and its beginning is there.
    if (!read && read.error() != Errc::short_io) co_return read.error();
    block = std::move(read).buf();
    const auto bytes = block.bytes();
    lines += static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.end(), std::byte{'\n'}));
  }
  DIORITE_CO_CHECK(co_await std::move(file).close());
  co_return lines;
}

Task<> keep_result(Task<Result<std::uint64_t>> task, Result<std::uint64_t>& result) {
  result = co_await std::move(task);
}

int milliseconds_until(const Reactor& reactor, Instant due) {
  if (due == kNever) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - reactor.now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

bool watch(int epoll, int descriptor) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = descriptor;
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  auto made = Reactor::create();
  if (!made) return 1;
  Reactor& reactor = **made;
  const std::string path = argc > 1 ? argv[1] : "/etc/os-release";

  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  const int host_timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  const itimerspec every_millisecond{{0, 1'000'000}, {0, 1'000'000}};
  ::timerfd_settime(host_timer, 0, &every_millisecond, nullptr);
  if (!watch(epoll, host_timer) || !watch(epoll, reactor.pollable())) return 1;

  std::uint64_t host_ticks = 0;
  Result<std::uint64_t> lines = std::uint64_t{0};
  const Running<> work = start(reactor, keep_result(count_lines(reactor, path), lines));
  for (;;) {
    const bool has_more = reactor.turn(kAtOnce);
    if (work.done()) break;
    // With more to do the host only looks; else it sleeps until the handle is readable.
    const int limit_ms = has_more ? 0 : milliseconds_until(reactor, reactor.next_deadline());
    epoll_event events[4];
    const int ready = ::epoll_wait(epoll, events, 4, limit_ms);
    for (int i = 0; i < ready; ++i) {
      if (events[i].data.fd != host_timer) continue;
      std::uint64_t ticks = 0;
      if (::read(host_timer, &ticks, sizeof(ticks)) > 0) host_ticks += ticks;
    }
  }
  ::close(host_timer);
  ::close(epoll);

  if (!lines) {
    std::fprintf(stderr, "%s\n", lines.error().text().c_str());
    return 1;
  }
  std::printf("%llu lines; the host ticked %llu times meanwhile\n",
              static_cast<unsigned long long>(*lines), static_cast<unsigned long long>(host_ticks));
  return 0;
}
