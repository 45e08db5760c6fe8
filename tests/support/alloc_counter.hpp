// Counts calls of the global operator new and delete. A test executable that is declared with
// COUNT_ALLOCS replaces them; an AllocCount then tells what happened since it was made.
//
//   AllocCount count;
//   run_the_steady_state();
//   CHECK(count.here().news == 0);

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

}  // namespace diorite::test
