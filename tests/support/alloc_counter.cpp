#include "support/alloc_counter.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define DIORITE_TEST_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DIORITE_TEST_SANITIZED 1
#endif

namespace {

constinit thread_local diorite::test::AllocTotals thread_totals;
constinit std::atomic<std::uint64_t> process_news{0};
constinit std::atomic<std::uint64_t> process_deletes{0};
constinit std::atomic<std::uint64_t> process_bytes{0};

void count_new(std::size_t bytes) noexcept {
  thread_totals.news += 1;
  thread_totals.bytes += bytes;
  process_news.fetch_add(1, std::memory_order_relaxed);
  process_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

/// Which allocation of the thread fails: 0 = none.
struct FaultState {
  std::uint64_t left = 0;
  void (*on_failure)() = nullptr;
  std::uint32_t shields = 0;
  bool happened = false;
};
constinit thread_local FaultState fault;

[[maybe_unused]] bool fails() noexcept {
  if (fault.left == 0 || fault.shields > 0 || --fault.left > 0) return false;
  fault.happened = true;
  if (fault.on_failure != nullptr) fault.on_failure();
  return true;
}

void count_delete() noexcept {
  thread_totals.deletes += 1;
  process_deletes.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

namespace diorite::test {

AllocTotals thread_alloc_totals() noexcept { return thread_totals; }

AllocTotals process_alloc_totals() noexcept {
  return {process_news.load(std::memory_order_relaxed),
          process_deletes.load(std::memory_order_relaxed),
          process_bytes.load(std::memory_order_relaxed)};
}

bool can_fail_allocs() noexcept {
#ifdef DIORITE_TEST_SANITIZED
  return false;
#else
  return true;
#endif
}

AllocFault::AllocFault(std::uint64_t n, void (*on_failure)()) noexcept {
  fault.on_failure = on_failure;
  fault.left = n;
  fault.happened = false;
}
AllocFault::~AllocFault() { fault.left = 0; }
bool AllocFault::happened() const noexcept { return fault.happened; }

AllocShield::AllocShield() noexcept { ++fault.shields; }
AllocShield::~AllocShield() { --fault.shields; }

}  // namespace diorite::test

#ifdef DIORITE_TEST_SANITIZED

// A sanitizer has operators of its own, which check more than ours could, and tells of each use. It
// counts malloc too, which can only make a test for "no allocation" stricter.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*,
                                                                           std::size_t),
                                                         void (*on_free)(const volatile void*));

namespace {

[[maybe_unused]] const int hooks_installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t bytes) { count_new(bytes); },
    [](const volatile void* memory) {
      if (memory != nullptr) count_delete();
    });

}  // namespace

#else

namespace {

void* allocate(std::size_t bytes) noexcept {
  count_new(bytes);
  if (fails()) return nullptr;
  return std::malloc(bytes != 0 ? bytes : 1);
}

void* allocate(std::size_t bytes, std::align_val_t alignment) noexcept {
  count_new(bytes);
  if (fails()) return nullptr;
  const std::size_t multiple = static_cast<std::size_t>(alignment);
  if (bytes > SIZE_MAX - (multiple - 1)) return nullptr;
  const std::size_t rounded = (bytes + (multiple - 1)) & ~(multiple - 1);
  return std::aligned_alloc(multiple, rounded != 0 ? rounded : multiple);
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  count_delete();
  std::free(memory);
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// All forms, although the standard library's own would forward to the plain one: a pair of which
// only one half is ours would be counted wrongly.
void* operator new(std::size_t bytes) { return or_throw(allocate(bytes)); }
void* operator new[](std::size_t bytes) { return or_throw(allocate(bytes)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return or_throw(allocate(bytes, alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return or_throw(allocate(bytes, alignment));
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, alignment);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment,
                     const std::nothrow_t&) noexcept {
  return allocate(bytes, alignment);
}

void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  release(memory);
}

#endif
