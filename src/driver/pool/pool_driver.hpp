// PoolDriver: every operation is a blocking call on a worker thread. Works on every platform.
//
// Thread and lifetime: as Driver.

#pragma once

#include <memory>
#include <string>

#include <diorite/driver/driver.hpp>
#include <diorite/result.hpp>

namespace diorite::detail {

/// `reason` tells in caps() why it is the pool. Requires: options within their limits. Allocates.
Result<std::unique_ptr<Driver>> make_pool_driver(const DriverOptions& options, std::string reason);

}  // namespace diorite::detail
