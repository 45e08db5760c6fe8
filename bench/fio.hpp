// The same random reads by fio, where it is installed.

#pragma once

#include <cstdint>
#include <string>

#include "measure.hpp"

namespace diorite::bench {

/// Version text of fio, or empty where it cannot be run.
std::string fio_version();

/// Random reads of 4 KiB through fio's io_uring engine, direct. Errors: throws Failure.
Sample run_fio(const std::string& path, std::uint64_t file_bytes, unsigned depth, double seconds);

}  // namespace diorite::bench
