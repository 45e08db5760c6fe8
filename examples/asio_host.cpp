// asio_host: diorite inside a program that runs on Asio.
//
//   asio_host [file]
//
// A timer of Asio's ticks beside the reads, on the same thread. What joins the two loops is in
// asio_host.hpp.

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

#include "asio_host.hpp"

using namespace diorite;

namespace {

class Ticker {
 public:
  explicit Ticker(asio::io_context& context) : timer_(context) { tick(); }
  void stop() { timer_.cancel(); }
  int ticks() const { return ticks_; }

 private:
  void tick() {
    timer_.expires_after(std::chrono::milliseconds(1));
    timer_.async_wait([this](asio::error_code error) {
      if (error) return;
      ++ticks_;
      tick();
    });
  }
  asio::steady_timer timer_;
  int ticks_ = 0;
};

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

Task<> report(Reactor& reactor, std::string path, AsioHost& host, Ticker& ticker, int& status) {
  const Result<std::uint64_t> lines = co_await count_lines(reactor, std::move(path));
  if (lines) {
    std::printf("%llu lines; Asio's timer ticked %d times meanwhile\n",
                static_cast<unsigned long long>(*lines), ticker.ticks());
    status = 0;
  } else {
    std::fprintf(stderr, "%s\n", lines.error().text().c_str());
  }
  ticker.stop();
  host.stop();
}

}  // namespace

int main(int argc, char** argv) {
  auto reactor = Reactor::create();
  if (!reactor) return 1;
  const std::string path = argc > 1 ? argv[1] : "/etc/os-release";
  int status = 1;
  asio::io_context context(1);
  Ticker ticker(context);
  AsioHost host(context, **reactor);
  (*reactor)->spawn(report(**reactor, path, host, ticker, status));
  context.run();
  return status;
}
