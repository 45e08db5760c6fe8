// The fault driver under the name that the tests use.

#pragma once

#include <diorite/sim/faults.hpp>

namespace diorite::test {
using sim::FaultDriver;
}
