// Counts calls of the global operator new and delete. A test executable that is declared with
// COUNT_ALLOCS replaces them; an AllocCount then tells what happened since it was made.
//
//   AllocCount count;
//   run_the_steady_state();
//   CHECK(count.here().news == 0);
//
// And lets them fail: the n-th of the calling thread throws bad_alloc, or returns null where the
// form says so. Not under a sanitizer, whose operators are its own.
//
//   AllocFault fault(n);
//   run(workload);
//   if (!fault.happened()) break;

#pragma once

#include <cstdint>

namespace diorite::test {

struct AllocTotals {
  std::uint64_t news = 0;
  std::uint64_t deletes = 0;
  std::uint64_t bytes = 0;
};

AllocTotals thread_alloc_totals() noexcept;
AllocTotals process_alloc_totals() noexcept;

class AllocCount {
 public:
  AllocCount() noexcept : thread_(thread_alloc_totals()), process_(process_alloc_totals()) {}

  /// Since construction, on the calling thread. Read it on the thread that made this object.
  AllocTotals here() const noexcept { return since(thread_, thread_alloc_totals()); }
  /// Since construction, on all threads.
  AllocTotals everywhere() const noexcept { return since(process_, process_alloc_totals()); }

 private:
  static AllocTotals since(const AllocTotals& then, const AllocTotals& now) noexcept {
    return {now.news - then.news, now.deletes - then.deletes, now.bytes - then.bytes};
  }

  AllocTotals thread_;
  AllocTotals process_;
};

/// False where the operators cannot be replaced.
bool can_fail_allocs() noexcept;

/// While it lives, the n-th allocation of this thread (from 1) fails. One at a time.
class AllocFault {
 public:
  /// `on_failure` is called before it does, to tell where that is.
  explicit AllocFault(std::uint64_t n, void (*on_failure)() = nullptr) noexcept;
  ~AllocFault();
  AllocFault(const AllocFault&) = delete;
  AllocFault& operator=(const AllocFault&) = delete;
  bool happened() const noexcept;
};

/// While it lives, allocations of this thread neither fail nor count for an AllocFault: for what
/// stands between a test and the code that it is about.
class AllocShield {
 public:
  AllocShield() noexcept;
  ~AllocShield();
  AllocShield(const AllocShield&) = delete;
  AllocShield& operator=(const AllocShield&) = delete;
};

}  // namespace diorite::test
