// What is checked in every source file, as functions of its path and text.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace diorite::tidy {

struct Finding {
  int line = 0;
  std::string text;
  /// False for what a person should look at, such as a long function.
  bool fatal = true;
};

/// `path` is relative to the project's root and has forward slashes.
std::vector<Finding> check_file(std::string_view path, std::string_view text);

}  // namespace diorite::tidy
