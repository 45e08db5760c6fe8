#include "reactor/storm_rig.hpp"

#include <cstdlib>
#include <functional>
#include <new>
#include <set>
#include <utility>

#include <diorite/fs.hpp>

#include "support/alloc_counter.hpp"

// The linker sends the program's own calls here (--wrap), so that aligned buffers are counted under
// sanitizers, too.
extern "C" {
int __real_posix_memalign(void** memory, std::size_t alignment, std::size_t bytes);
void __real_free(void* memory);
int __wrap_posix_memalign(void** memory, std::size_t alignment, std::size_t bytes);
void __wrap_free(void* memory);
}

namespace {

/// For what is allocated inside the functions that are watched.
template <class T>
struct Unwatched {
  using value_type = T;
  Unwatched() noexcept = default;
  template <class U>
  explicit Unwatched(const Unwatched<U>&) noexcept {}
  T* allocate(std::size_t count) {
    void* const memory = std::malloc(count * sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) noexcept { __real_free(memory); }
  friend bool operator==(Unwatched, Unwatched) noexcept { return true; }
};

std::atomic<std::int64_t> aligned_alive{0};
std::mutex aligned_mutex;
std::set<void*, std::less<>, Unwatched<void*>> aligned_blocks;

}  // namespace

extern "C" {
int __wrap_posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) {
  const int refused = __real_posix_memalign(memory, alignment, bytes);
  // operator new with an alignment comes here as well, and its blocks are counted elsewhere.
  if (refused == 0 && alignment >= 512) {
    const std::lock_guard lock(aligned_mutex);
    aligned_blocks.insert(*memory);
    aligned_alive.fetch_add(1, std::memory_order_relaxed);
  }
  return refused;
}

void __wrap_free(void* memory) {
  // An aligned buffer begins at a multiple of 512; few others do.
  if (memory != nullptr && reinterpret_cast<std::uintptr_t>(memory) % 512 == 0) {
    const std::lock_guard lock(aligned_mutex);
    if (aligned_blocks.erase(memory) != 0) aligned_alive.fetch_sub(1, std::memory_order_relaxed);
  }
  __real_free(memory);
}
}

namespace diorite::storm {

const char* to_string(Lane lane) noexcept {
  constexpr const char* kNames[] = {"uring", "pool", "pool_inline", "sim"};
  return kNames[static_cast<std::size_t>(lane)];
}

World::World(Reactor& its_reactor, Reactor& its_remote, std::string its_directory,
             std::uint64_t seed)
    : reactor(its_reactor), remote(its_remote), directory(std::move(its_directory)), random(seed) {}

Task<> World::open_files() {
  for (std::uint32_t number = 0; number < kFiles; ++number) {
    OpenOptions options;
    options.write = options.create = true;
    Result<DirectFile> opened = co_await DirectFile::open_with(
        reactor, join_path(directory, "data" + std::to_string(number)), options);
    if (!opened) fail("cannot open:", opened.error().text());
    files[number] = std::move(*opened);
    for (std::uint32_t first = 0; first < kBlocks; first += kRunMax) {
      const Range range{number, first, kRunMax};
      Claim claim(blocks, range, false);
      AlignedBuf content = make_buffer(range.bytes());
      claim.fill(content.bytes());
      BufIoResult wrote = co_await files[number].write_at(std::move(content), range.offset());
      if (!wrote) fail("cannot write:", wrote.error().text());
      claim.took_place();
    }
  }
}

Task<> World::read_everything() {
  for (std::uint32_t number = 0; number < kFiles; ++number) {
    for (std::uint32_t first = 0; first < kBlocks; first += kRunMax) {
      const Range range{number, first, kRunMax};
      const Blocks::Before before = blocks.before_read(range);
      AlignedBuf room = make_buffer(range.bytes());
      BufIoResult read = co_await files[number].read_at(std::move(room), range.offset());
      if (!read) fail("cannot read:", read.error().text());
      blocks.check_read(range, before, read.buf().bytes());
    }
  }
}

Task<> World::close_files() {
  for (DirectFile& file : files) {
    require(!file.poison(), "a file is poisoned");
    require(file.operations_in_flight() == 0, "a file counts operations when none is in flight");
    Result<void> synced = co_await file.sync_all();
    if (!synced) fail("cannot sync:", synced.error().text());
    require(!file.is_dirty(), "a file is dirty behind its sync");
    Result<void> closed = co_await std::move(file).close();
    if (!closed) fail("cannot close:", closed.error().text());
  }
}

bool World::ended(const Error& error) {
  if (!error) {
    ++tally.ended;
    return true;
  }
  if (error == Errc::cancelled) {
    ++tally.cancelled;
  } else if (error == Errc::deadline) {
    ++tally.deadlines;
  } else if (error != Errc::closed) {
    fail("an operation failed:", error.text());
  }
  return false;
}

void World::begin_operation() noexcept {
  if (++tally.operations % 16 == 0) progress.set();
}

void World::start_client(Slot& slot) {
  slot.running = {};
  slot.stop = std::make_unique<StopSource>();
  slot.running = start(reactor, client(*this, random.next()), slot.stop->token());
  ++tally.clients;
}

void World::destroy(Slot& slot) {
  if (!slot.running) return;
  tally.destroyed += slot.running.done() ? 0 : 1;
  slot.running = {};
}

void World::strike(std::uint32_t kind, std::uint32_t where) {
  Slot& slot = slots[where % slots.size()];
  switch (kind % 16) {
    case 0:
      destroy(slot);
      break;
    case 1:
    case 2:
      if (slot.stop != nullptr) slot.stop->request_stop();
      break;
    case 3:
      event.set();
      event.reset();
      break;
    case 4:
      static_cast<void>(channel.try_receive());
      break;
    case 5:
      static_cast<void>(channel.try_send(Token()));
      break;
    default:
      break;
  }
}

void World::destroy_all() {
  for (Slot& slot : slots) destroy(slot);
  scope.reset();
}

void World::check_quiet() {
  require(reactor.stats().in_flight == 0, "operations are in flight");
  require(permits.available() == permits.permits(), "permits did not come back");
  require(!mutex.is_locked() && !in_mutex, "a mutex is locked");
  require(Token::alive == static_cast<std::int64_t>(channel.size()), "values are lost");
  require(Page::alive == 0, "pages are pinned");
  for (DirectFile& file : files) {
    require(file.operations_in_flight() == 0, "a file counts operations when none is in flight");
    require(!file.poison(), "a file is poisoned");
  }
  blocks.all_is_quiet();
  ++tally.quiet_moments;
}

Posters::Posters(World& world, bool has_threads, std::uint64_t seed)
    : world_(world), random_(seed) {
  for (auto& nodes : nodes_) {
    for (Node& node : nodes) node.posters = this;
  }
  for (std::size_t thread = 0; has_threads && thread < kThreads; ++thread) {
    threads_.emplace_back(&Posters::work, this, thread, seed + 1 + thread);
  }
}

Posters::~Posters() { stop(); }

void Posters::run(PostNode& node) noexcept {
  auto& self = static_cast<Node&>(node);
  ++self.posters->ran_;
  self.posters->world_.strike(self.kind, self.where);
  self.is_out.store(false, std::memory_order_release);
}

void Posters::post_some(std::size_t thread, Random& random) {
  for (Node& node : nodes_[thread]) {
    if (node.is_out.load(std::memory_order_acquire)) continue;
    node.kind = random.below(64);
    node.where = random.below(1024);
    // Most of them do nothing but come.
    if (node.kind >= 16) node.kind = 15;
    node.is_out.store(true, std::memory_order_relaxed);
    posted_.fetch_add(1, std::memory_order_relaxed);
    world_.reactor.post(node);
  }
}

void Posters::work(std::size_t thread, std::uint64_t seed) {
  Random random(seed);
  std::uint64_t done = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      while (round_ == done && !stopping_) changed_.wait(lock);
      if (stopping_) return;
      done = round_;
    }
    post_some(thread, random);
  }
}

void Posters::next_round() {
  if (threads_.empty()) {
    for (std::size_t thread = 0; thread < kThreads; ++thread) post_some(thread, random_);
    return;
  }
  const std::lock_guard lock(mutex_);
  ++round_;
  changed_.notify_all();
}

void Posters::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::int64_t blocks_alive() noexcept {
  const test::AllocTotals totals = test::process_alloc_totals();
  return static_cast<std::int64_t>(totals.news) - static_cast<std::int64_t>(totals.deletes);
}

std::int64_t buffers_alive() noexcept { return aligned_alive.load(std::memory_order_relaxed); }

}  // namespace diorite::storm
