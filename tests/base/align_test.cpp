#include <diorite/align.hpp>

#include "support/catch.hpp"

#include <cstdint>
#include <limits>

using namespace diorite;

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

static_assert(is_power_of_two(1) && is_power_of_two(4096) && is_power_of_two(1ull << 63));
static_assert(!is_power_of_two(0) && !is_power_of_two(3) && !is_power_of_two(4097));
static_assert(is_aligned(std::uint64_t{0}, 4096) && is_aligned(8_KiB, 4096));
static_assert(!is_aligned(8_KiB + 1, 4096) && !is_aligned(std::uint64_t{512}, 4096));
static_assert(1_KiB == 1024 && 1_MiB == 1024 * 1_KiB && 1_GiB == 1024 * 1_MiB);
static_assert(log2_of(1) == 0 && log2_of(512) == 9 && log2_of(4096) == 12);

}  // namespace

TEST_CASE("align: rounding is the nearest multiple on its side", "[align]") {
  for (const std::uint64_t alignment : {1ull, 2ull, 512ull, 4096ull, 1ull << 21}) {
    for (const std::uint64_t near :
         {0ull, 1ull, 511ull, 4095ull, 4096ull, 4097ull, 10'000'000ull}) {
      const std::uint64_t down = align_down(near, alignment);
      const std::uint64_t up = align_up(near, alignment);
      INFO("value " << near << " alignment " << alignment);
      CHECK(down % alignment == 0);
      CHECK(up % alignment == 0);
      CHECK((down <= near && near - down < alignment));
      CHECK((up >= near && up - near < alignment));
      CHECK((up == down) == (near % alignment == 0));
    }
  }
}

TEST_CASE("align: rounding up saturates at the end of the range and never wraps", "[align]") {
  CHECK(align_up(kMax, 4096) == kMax - 4095);
  CHECK(align_up(kMax - 4094, 4096) == kMax - 4095);
  CHECK(align_up(kMax - 4095, 4096) == kMax - 4095);
  CHECK(align_up(kMax - 4096, 4096) == kMax - 4095);
  CHECK(align_up(kMax, 1) == kMax);
  // The documented way to see that it happened.
  CHECK(align_up(kMax - 1, 4096) < kMax - 1);
}

TEST_CASE("align: addresses are tested by their numeric value", "[align]") {
  alignas(4096) static unsigned char page[8192];
  CHECK(is_aligned(page, 4096));
  CHECK(is_aligned(page + 512, 512));
  CHECK_FALSE(is_aligned(page + 512, 4096));
  CHECK_FALSE(is_aligned(page + 1, 2));
  CHECK(is_aligned(static_cast<const void*>(nullptr), 4096));
}
