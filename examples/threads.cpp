// threads: a program made of blocking threads appends to a journal, and reads a file, through a
// reactor on a thread of its own.
//
//   threads [directory [file]]

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <diorite/buffer.hpp>
#include <diorite/file.hpp>
#include <diorite/journal.hpp>
#include <diorite/reactor_thread.hpp>
#include <diorite/shared_file.hpp>
#include <diorite/try.hpp>

using namespace diorite;

namespace {

constexpr int kThreads = 4;
constexpr int kRecords = 50;

/// Belongs to the reactor's thread: made, used and closed there.
struct Store {
  std::unique_ptr<Journal> journal;
  DirectFile table;
};

Task<Result<Store>> open_store(Reactor& reactor, std::string dir, std::string file) {
  Store store;
  DIORITE_CO_TRY(store.journal, co_await Journal::open(reactor, std::move(dir)));
  DIORITE_CO_TRY(store.table, co_await DirectFile::open(reactor, std::move(file)));
  co_return std::move(store);
}

Task<SharedFile> share(Store& store) { co_return store.table.share(); }

Task<Result<void>> close_store(Store& store) {
  const Result<void> table = co_await std::move(store.table).close();
  const Result<void> journal = co_await store.journal->close();
  store.journal.reset();
  co_return table ? journal : table;
}

/// On a thread of the program's. -> how many of its records are durable.
int append(ReactorThread& thread, Journal& journal, int number) {
  int durable = 0;
  for (int n = 0; n < kRecords; ++n) {
    // What the call refers to may live here: it returns when the record is durable.
    const std::string text = std::to_string(number) + "/" + std::to_string(n);
    const RecordRef record(std::as_bytes(std::span(text)));
    const Result<Ticket> ticket =
        thread.call([&](Reactor&) { return journal.append_durable(record); });
    if (ticket) ++durable;
  }
  return durable;
}

/// On a thread of the program's, without a detour. -> bytes read, 0 when that failed.
std::uint64_t read_page(const SharedFile& table) {
  Result<AlignedBuf> page = AlignedBuf::page();
  return page ? table.read_blocking(page->as_raw(), 0).bytes() : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string dir = argc > 1 ? argv[1] : "threads.wal";
  const std::string file = argc > 2 ? argv[2] : "/etc/os-release";
  Result<std::unique_ptr<ReactorThread>> made = ReactorThread::create();
  if (!made) return 1;
  ReactorThread& thread = **made;
  Result<Store> store =
      thread.call([&](Reactor& reactor) { return open_store(reactor, dir, file); });
  if (!store) {
    std::fprintf(stderr, "%s\n", store.error().text().c_str());
    return 1;
  }
  std::atomic<int> durable{0};
  std::atomic<int> reads{0};
  {
    const SharedFile table = thread.call([&](Reactor&) { return share(*store); });
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        durable += append(thread, *store->journal, i);
        reads += read_page(table) > 0 ? 1 : 0;
      });
    }
    for (std::thread& one : threads) one.join();
  }
  // Waits for the shares, which are gone.
  const Result<void> closed = thread.call([&](Reactor&) { return close_store(*store); });
  std::printf("%d of %d records are durable, %d of %d threads have read\n", durable.load(),
              kThreads * kRecords, reads.load(), kThreads);
  return closed && durable == kThreads * kRecords && reads == kThreads ? 0 : 1;
}
