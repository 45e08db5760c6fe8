// The layers of diorite: which file may include which.

#pragma once

#include <string>
#include <string_view>

namespace diorite::tidy {

/// Says why `from` may not include `target`, or nothing when it may. Both are paths from the
/// project's root, such as "include/diorite/pin.hpp" and "src/driver/slots.hpp".
std::string forbidden_include(std::string_view from, std::string_view target);

/// True when the file may name headers of an operating system.
bool may_use_os_headers(std::string_view path);

}  // namespace diorite::tidy
