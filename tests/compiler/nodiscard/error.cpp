// An Error that is returned must be looked at.

#include <diorite/error.hpp>

diorite::Error first_failure();

bool healthy() {
#ifdef DIORITE_FORGET
  first_failure();
  return true;
#else
  return !first_failure();
#endif
}
