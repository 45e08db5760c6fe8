// A Result that nobody looks at hides a failure.

#include <diorite/result.hpp>

diorite::Result<int> read_header();
diorite::Result<> sync_all();

bool checkpoint() {
#ifdef DIORITE_FORGET
  sync_all();
  read_header();
  return true;
#else
  return sync_all() && read_header();
#endif
}
