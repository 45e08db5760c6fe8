// Puts a formatted note beside an error. Allocates nothing, since it also reports that memory is
// gone.

#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include <diorite/error.hpp>

namespace diorite::detail {

/// with_context, with `note` as the context's note. What exceeds 192 characters is cut.
template <class... Args>
Error explain(Error error, ErrorContext context, fmt::format_string<Args...> note,
              Args&&... args) noexcept {
  std::array<char, 192> text;
  const auto end = fmt::format_to_n(text.data(), text.size(), note, std::forward<Args>(args)...);
  context.note = std::string_view(text.data(), std::min<std::size_t>(end.size, text.size()));
  return with_context(error, context);
}

/// For the numbers in an error: a sum that wrapped would report a small length as too large.
constexpr std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) noexcept {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  return a > kMax - b ? kMax : a + b;
}

}  // namespace diorite::detail
