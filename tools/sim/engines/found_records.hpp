// What a reader finds in a journal, for the oracles of the engines that test one.

#pragma once

#include <vector>

#include <diorite/journal.hpp>
#include <diorite/result.hpp>
#include <diorite/sim/oracle.hpp>
#include <diorite/task.hpp>

namespace diorite::sim {

/// Every record from the head to what was durable at the open. Errors: the reader's.
Task<Result<std::vector<FoundRecord>>> read_records(Journal& journal);

}  // namespace diorite::sim
