#include <diorite/driver/driver.hpp>

namespace diorite {

const char* to_string(Fallback fallback) noexcept {
  switch (fallback) {
    case Fallback::smaller_ring:
      return "smaller_ring";
    case Fallback::sq_poll:
      return "sq_poll";
    case Fallback::sq_poll_cpu:
      return "sq_poll_cpu";
    case Fallback::ring_descriptor:
      return "ring_descriptor";
    case Fallback::polled_ring:
      return "polled_ring";
    case Fallback::polled_transfer:
      return "polled_transfer";
    case Fallback::polled_file:
      return "polled_file";
    case Fallback::polled_host:
      return "polled_host";
  }
  return "unknown";
}

}  // namespace diorite
