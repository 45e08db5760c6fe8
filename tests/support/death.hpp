// Runs a piece of code in a child process and tells how the child ended: for code that must abort.
//
//   const Death death = run_in_child([] { buffer.truncate(1); });
//   CHECK(death.aborted());
//   CHECK(death.said("the new length is beyond the end"));

#pragma once

#include <string>
#include <string_view>

namespace diorite::test {

struct Death {
  int wait_status = 0;
  std::string error_output;

  bool aborted() const noexcept;
  /// True when the code came to its end.
  bool survived() const noexcept;
  bool said(std::string_view text) const noexcept {
    return error_output.find(text) != std::string::npos;
  }
};

/// The child gets a copy of the calling thread only: no other thread may be running.
Death run_in_child(void (*code)(void* context), void* context);

template <class F>
Death run_in_child(F code) {
  return run_in_child([](void* context) { (*static_cast<F*>(context))(); }, &code);
}

}  // namespace diorite::test
