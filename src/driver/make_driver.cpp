#include <string>
#include <utility>

#include <diorite/driver/driver.hpp>

#include "driver/pool/pool_driver.hpp"

#if DIORITE_HAS_URING
#include "driver/linux/uring_driver.hpp"
#endif

namespace diorite {
namespace {

constexpr std::uint32_t kInFlightMax = 32768;
constexpr std::uint32_t kPoolThreadsMax = 256;
constexpr std::uint32_t kSqEntriesMax = 32768;

Result<void> check_limit(std::uint32_t value, std::uint32_t max, std::string_view name) noexcept {
  if (value >= 1 && value <= max) return {};
  return with_context(Error(Errc::out_of_range, value, max), {"make_driver", name});
}

Result<void> check_options(const DriverOptions& options) noexcept {
  if (auto ok = check_limit(options.in_flight_max, kInFlightMax, "in_flight_max"); !ok) return ok;
  if (auto ok = check_limit(options.pool_threads, kPoolThreadsMax, "pool_threads"); !ok) return ok;
  const UringOptions& uring = options.uring;
  if (uring.sq_entries > kSqEntriesMax) {
    return with_context(Error(Errc::out_of_range, uring.sq_entries, kSqEntriesMax),
                        {"make_driver", "sq_entries"});
  }
  if (uring.sq_poll_cpu < -1) {
    return with_context(Error(Errc::out_of_range), {"make_driver", "sq_poll_cpu"});
  }
  return {};
}

// Appends to `reasons` why there is no ring.
std::unique_ptr<Driver> try_uring([[maybe_unused]] const DriverOptions& options,
                                  std::string& reasons) {
#if DIORITE_HAS_URING
  Result<std::unique_ptr<Driver>> driver = detail::make_uring_driver(options, reasons);
  if (driver) return std::move(*driver);
  if (reasons.empty()) reasons = "io_uring: " + driver.error().text();
#else
  reasons += "io_uring: not built in";
#endif
  return nullptr;
}

Error refused(const std::string& reasons) noexcept {
  ErrorContext context;
  context.operation = "make_driver";
  context.note = reasons;
  return with_context(Error(Errc::unsupported), context);
}

}  // namespace

Result<std::unique_ptr<Driver>> make_driver(DriverOptions options) {
  if (auto ok = check_options(options); !ok) return ok.error();
  std::string reasons;
  if (options.choice == DriverChoice::pool) {
    reasons = "pool: requested";
  } else if (options.choice == DriverChoice::automatic && options.pool_inline) {
    reasons = "pool: requested, inline";
  } else {
    if (std::unique_ptr<Driver> driver = try_uring(options, reasons)) return driver;
    if (options.choice == DriverChoice::uring || options.forbid_fallback) return refused(reasons);
  }
  return detail::make_pool_driver(options, std::move(reasons));
}

}  // namespace diorite
