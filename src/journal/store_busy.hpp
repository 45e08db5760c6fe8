// The mark of an operation of JournalStore that must not run twice at a time. Cleared also when its
// coroutine is destroyed.

#pragma once

#include "journal/store.hpp"

#include <diorite/assert.hpp>

namespace diorite::detail {

class JournalStore::Busy {
 public:
  Busy(bool& flag, const char* message) noexcept : flag_(flag) {
    DIORITE_ASSERT(!flag, message);
    flag_ = true;
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace diorite::detail
