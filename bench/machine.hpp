// What the benchmark runs on, and whether it has the machine to itself.

#pragma once

#include <string>
#include <utility>
#include <vector>

namespace diorite::bench {

/// Name and value, for the head of the report. `dir` is where the files lie.
std::vector<std::pair<std::string, std::string>> machine_facts(const std::string& dir);

/// CPU seconds that were spent since boot by others: user-space processes apart from this one and
/// its children, and the hypervisor (steal). Kernel threads are left out: they carry out our own
/// I/O.
double foreign_cpu_seconds();

/// CPU seconds of this process, user and system.
double own_cpu_seconds() noexcept;

/// Share of one core that others take, watched for a moment.
double foreign_share_now();

}  // namespace diorite::bench
