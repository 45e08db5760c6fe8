// custom_driver: a driver of one's own before the real one, which prints how long operations took.
//
//   custom_driver [file]
//
// Every operation of a reactor passes its driver, so this sees them all, and whatever it does to
// them happens to the whole program: a test can fail them, a server can count them.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <diorite/driver/decorator.hpp>
#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/try.hpp>

using namespace diorite;

namespace {

class TimingDriver final : public DriverDecorator {
 public:
  using DriverDecorator::DriverDecorator;

  void submit(Op& op) noexcept override {
    begun_[&op] = now();
    inner().submit(op);
  }
  Removal remove(Op& op) noexcept override {
    const Removal removal = inner().remove(op);
    if (removal == Removal::removed) begun_.erase(&op);
    return removal;
  }
  void orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept override {
    begun_.erase(&op);  // the record goes now, and another may take its place
    inner().orphan(op, std::move(buffer), std::move(file), hook);
  }
  void poll(OpList& done, Instant until) noexcept override {
    OpList ended;
    inner().poll(ended, until);
    for (const Op* op = ended.front(); op != nullptr; op = ended.next(*op)) {
      Times& times = times_[static_cast<std::size_t>(op->code)];
      const Duration took = now() - begun_[op];
      begun_.erase(op);
      ++times.count;
      times.total += took;
      times.longest = std::max(times.longest, took);
    }
    done.splice_back(ended);
  }

  void print() const {
    for (std::size_t code = 0; code < kOpCodeCount; ++code) {
      const Times& times = times_[code];
      if (times.count == 0) continue;
      std::printf("%-10s %6llu times, %8.1f us on average, %8.1f us at most\n",
                  to_string(static_cast<OpCode>(code)),
                  static_cast<unsigned long long>(times.count),
                  microseconds(times.total) / static_cast<double>(times.count),
                  microseconds(times.longest));
    }
  }

 private:
  struct Times {
    std::uint64_t count = 0;
    Duration total{};
    Duration longest{};
  };
  static double microseconds(Duration duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
  }

  std::map<const Op*, Instant> begun_;
  std::array<Times, kOpCodeCount> times_{};
};

Task<Result<void>> read_twice(Reactor& reactor, std::string path) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open(reactor, std::move(path)));
  DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
  for (int i = 0; i < 2; ++i) {
    BufIoResult read = co_await file.read_some_at(std::move(page), 0);
    if (!read) co_return read.error();
    page = std::move(read).buf();
  }
  co_return co_await std::move(file).close();
}

}  // namespace

int main(int argc, char** argv) {
  Result<std::unique_ptr<Driver>> real = make_driver();
  if (!real) return 1;
  auto owned = std::make_unique<TimingDriver>(std::move(*real));
  const TimingDriver& timing = *owned;
  auto reactor = Reactor::create(std::move(owned));
  if (!reactor) return 1;
  const std::string path = argc > 1 ? argv[1] : "/etc/os-release";
  const Result<void> done = (*reactor)->block_on(read_twice(**reactor, path));
  if (!done) std::fprintf(stderr, "%s\n", done.error().text().c_str());
  timing.print();
  return done ? 0 : 1;
}
