// Power-cuts a small storage engine a thousand times and checks that it keeps its promises.
//
// The engine keeps one number in a file with two slots, written in turn: the slot with the higher
// valid number counts, so that a write which the power cuts short destroys no older one.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/fs.hpp>
#include <diorite/sim/run.hpp>
#include <diorite/try.hpp>

using namespace diorite;

namespace {
constexpr std::uint64_t kSlotBytes = 4096;

struct Slot {
  std::uint64_t value = 0;
  std::uint64_t check = 0;  ///< a torn or empty slot has another
  bool is_valid() const noexcept { return check == (value ^ 0x5107'5107'5107'5107); }
};

class Counter {
 public:
  static Task<Result<Counter>> open(Reactor& reactor) {
    const OpenOptions options{.write = true, .create = true};
    // Writes of a killed process may land late; a registered lock is held until they have.
    DIORITE_CO_TRY(FileLock held, co_await lock(reactor, "LOCK", std::chrono::seconds(30)));
    DIORITE_CO_CHECK(held.file().register_with_driver());
    DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open_with(reactor, "counter", options));
    // The name of a new file is durable only after this.
    DIORITE_CO_CHECK(co_await sync_dir(reactor, "."));
    // What a dead process wrote may still be in the cache only: it must not be believed before.
    DIORITE_CO_CHECK(co_await file.sync_data());
    DIORITE_CO_TRY(const std::uint64_t bytes, co_await file.size());
    Counter counter(std::move(file), std::move(held));
    for (std::uint64_t at = 0; at + kSlotBytes <= bytes; at += kSlotBytes) {
      DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
      BufIoResult read = co_await counter.file_.read_at(std::move(page), at);
      if (!read) co_return read.error();
      Slot slot;
      std::memcpy(&slot, read.buf().data(), sizeof(slot));
      if (slot.is_valid() && slot.value > counter.value_) counter.value_ = slot.value;
    }
    co_return std::move(counter);
  }

  Task<Result<void>> increment() {
    const Slot slot{value_ + 1, (value_ + 1) ^ 0x5107'5107'5107'5107};
    DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
    std::memcpy(page.data(), &slot, sizeof(slot));
    const std::uint64_t at = slot.value % 2 * kSlotBytes;
    BufIoResult written = co_await file_.write_at(std::move(page), at, WriteFlags{.dsync = true});
    if (!written) co_return written.error();
    value_ = slot.value;
    co_return Result<void>();
  }
  std::uint64_t value() const noexcept { return value_; }

 private:
  Counter(DirectFile file, FileLock held) noexcept
      : file_(std::move(file)), lock_(std::move(held)) {}
  DirectFile file_;
  FileLock lock_;
  std::uint64_t value_ = 0;
};

class CounterTest final : public sim::Engine {
 public:
  Task<> live(sim::Life& life) override {
    Result<Counter> counter = co_await Counter::open(life.reactor());
    if (!counter) co_return life.failed(counter.error());
    life.check(counter->value() >= acknowledged_, "the counter went back");
    life.check(counter->value() <= tried_, "the counter shows what nobody counted");
    while (life.goes_on()) {
      tried_ = counter->value() + 1;
      const Result<void> counted = co_await counter->increment();
      if (!counted) co_return life.failed(counted.error());
      acknowledged_ = counter->value();
      life.acknowledge();
    }
  }

 private:
  std::uint64_t acknowledged_ = 0;
  std::uint64_t tried_ = 0;
};
}  // namespace

int main() {
  const sim::Report report = sim::run<CounterTest>({.schedules = 1000});
  std::puts(report.text().c_str());
  return report.passed() ? 0 : 1;
}
