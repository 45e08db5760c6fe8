// What the coroutine tests share: a record of the order in which things happened.

#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace diorite::test {

/// Letters, one for each event.
using Trail = std::string;

/// Writes its letter into the trail when it dies.
class Mark {
 public:
  Mark(Trail& trail, char letter) noexcept : trail_(&trail), letter_(letter) {}
  Mark(Mark&& other) noexcept
      : trail_(std::exchange(other.trail_, nullptr)), letter_(other.letter_) {}
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  ~Mark() {
    if (trail_ != nullptr) trail_->push_back(letter_);
  }

 private:
  Trail* trail_;
  char letter_;
};

}  // namespace diorite::test
