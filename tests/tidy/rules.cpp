#include "tidy/rules.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "tidy/layers.hpp"

namespace diorite::tidy {
namespace {

constexpr std::size_t kContractLinesMin = 4;
constexpr std::size_t kColumnsMax = 100;
constexpr std::size_t kFileLinesAsked = 400;
constexpr std::size_t kFunctionLinesAsked = 70;

using Lines = std::vector<std::string_view>;
using Findings = std::vector<Finding>;

struct Include {
  std::string_view name;
  bool quoted = false;
};

Lines split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::string_view without_comment(std::string_view line) { return line.substr(0, line.find("//")); }

// UTF-8: continuation bytes take no column.
std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::optional<Include> parse_include(std::string_view line) {
  constexpr std::string_view kWord = "#include";
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  if (!line.starts_with(kWord)) return std::nullopt;
  const std::size_t open = line.find_first_of("<\"");
  if (open == std::string_view::npos) return std::nullopt;
  const bool quoted = line[open] == '"';
  const std::size_t close = line.find(quoted ? '"' : '>', open + 1);
  if (close == std::string_view::npos) return std::nullopt;
  return Include{line.substr(open + 1, close - open - 1), quoted};
}

template <std::size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_os_header(std::string_view name) {
  constexpr auto kNames = std::to_array<std::string_view>(
      {"aio.h", "dirent.h", "fcntl.h", "io.h", "liburing.h", "poll.h", "pthread.h", "sched.h",
       "signal.h", "spawn.h", "unistd.h", "windows.h", "Windows.h", "winsock2.h"});
  constexpr auto kFolders =
      std::to_array<std::string_view>({"asm/", "liburing/", "linux/", "mach/", "sys/"});
  return is_one_of(name, kNames) ||
         std::any_of(kFolders.begin(), kFolders.end(),
                     [name](std::string_view folder) { return name.starts_with(folder); });
}

// Headers that one of the supported standard libraries lacks or has only in part.
bool is_not_portable(std::string_view name) {
  constexpr auto kNames = std::to_array<std::string_view>(
      {"barrier", "expected", "format", "generator", "latch", "print", "ranges", "semaphore",
       "source_location", "stop_token"});
  return is_one_of(name, kNames);
}

// Headers that are too heavy for a user to pay for.
bool is_heavy(std::string_view name) {
  constexpr auto kNames =
      std::to_array<std::string_view>({"filesystem", "functional", "iostream", "regex", "thread"});
  return is_one_of(name, kNames);
}

std::string check_system_include(std::string_view path, std::string_view name) {
  const bool is_public = path.starts_with("include/");
  if (is_os_header(name) && (is_public || !may_use_os_headers(path))) {
    return "an operating system's header outside of src/driver";
  }
  if (is_not_portable(name)) return "not every supported standard library has it";
  if (is_public && is_heavy(name)) return "too heavy for a public header";
  if (is_public && name.starts_with("fmt/") && path != "include/diorite/format.hpp") {
    return "fmt is private: of the public headers only format.hpp may include it";
  }
  return {};
}

std::string check_include(std::string_view path, const Include& include) {
  if (include.name.starts_with("diorite/")) {
    if (include.quoted) return "public headers are included with angle brackets";
    return forbidden_include(path, "include/" + std::string(include.name));
  }
  if (!include.quoted) return check_system_include(path, include.name);
  if (include.name.find('/') == std::string_view::npos) {
    return "private headers are named from src, with their folder";
  }
  return forbidden_include(path, "src/" + std::string(include.name));
}

void check_includes(std::string_view path, const Lines& lines, Findings& findings) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::optional<Include> include = parse_include(lines[i]);
    if (!include) continue;
    const std::string reason = check_include(path, *include);
    if (reason.empty()) continue;
    findings.push_back({static_cast<int>(i) + 1, std::string(include->name) + ": " + reason});
  }
}

void check_names(const Lines& lines, Findings& findings) {
  constexpr auto kNames = std::to_array<std::string_view>(
      {"std::jthread", "std::atomic_ref", "std::stop_token", "std::source_location", "std::format(",
       "std::views::", "std::ranges::views"});
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view code = without_comment(lines[i]);
    for (const std::string_view name : kNames) {
      if (code.find(name) == std::string_view::npos) continue;
      findings.push_back({static_cast<int>(i) + 1,
                          std::string(name) + ": not every supported standard library has it"});
    }
  }
}

void check_header(std::string_view path, const Lines& lines, Findings& findings) {
  if (std::find(lines.begin(), lines.end(), "#pragma once") == lines.end()) {
    findings.push_back({1, "a header without #pragma once"});
  }
  if (!path.starts_with("include/")) return;
  std::size_t contract = 0;
  while (contract < lines.size() && lines[contract].starts_with("//")) ++contract;
  if (contract < kContractLinesMin) {
    findings.push_back({1,
                        "a public header opens with its contract: what it is, when to use it, "
                        "threads, lifetime; at least " +
                            std::to_string(kContractLinesMin) + " lines of comment"});
  }
}

bool has_word(std::string_view line, std::string_view word) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  for (std::size_t at = line.find(word); at != std::string_view::npos;
       at = line.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool begins = at == 0 || !is_letter(line[at - 1]);
    if (begins && (end == line.size() || !is_letter(line[end]))) return true;
  }
  return false;
}

void check_lines(const Lines& lines, Findings& findings) {
  // Written apart, so that this file passes its own check.
  constexpr auto kMarks =
      std::to_array<std::string_view>({"TO"
                                       "DO",
                                       "FIX"
                                       "ME",
                                       "X"
                                       "XX"});
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const int number = static_cast<int>(i) + 1;
    if (columns(lines[i]) > kColumnsMax && lines[i].find("://") == std::string_view::npos) {
      findings.push_back({number, std::to_string(columns(lines[i])) + " columns, at most " +
                                      std::to_string(kColumnsMax)});
    }
    for (const std::string_view mark : kMarks) {
      if (!has_word(lines[i], mark)) continue;
      findings.push_back({number, std::string(mark) + ": finish it, or say what is not done"});
    }
  }
}

bool opens_function(std::string_view line) {
  constexpr auto kOthers = std::to_array<std::string_view>(
      {"namespace", "class ", "struct ", "union ", "enum ", "extern ", "template", "#", "}"});
  const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
  line.remove_prefix(indent);
  // Members of a class inside a function's body are indented deeper than any function we ask about.
  if (indent > 2 || !line.ends_with('{') || line.find(')') == std::string_view::npos) return false;
  return std::none_of(kOthers.begin(), kOthers.end(),
                      [line](std::string_view other) { return line.starts_with(other); });
}

// Relies on the formatter: a function ends where its closing brace stands below its first line.
void ask_about_long_functions(const Lines& lines, Findings& findings) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!opens_function(lines[i])) continue;
    std::string closing(std::min(lines[i].find_first_not_of(' '), lines[i].size()), ' ');
    closing += '}';
    std::size_t end = i + 1;
    while (end < lines.size() && !lines[end].starts_with(closing)) ++end;
    const std::size_t length = end - i + 1;
    if (length > kFunctionLinesAsked) {
      findings.push_back(
          {static_cast<int>(i) + 1, "a function of " + std::to_string(length) + " lines", false});
    }
    i = end;
  }
}

}  // namespace

std::vector<Finding> check_file(std::string_view path, std::string_view text) {
  const Lines lines = split(text);
  Findings findings;
  check_lines(lines, findings);
  const bool is_library = path.starts_with("include/") || path.starts_with("src/");
  if (path.ends_with(".hpp")) check_header(path, lines, findings);
  if (is_library) {
    check_includes(path, lines, findings);
    check_names(lines, findings);
    ask_about_long_functions(lines, findings);
  }
  if (lines.size() > kFileLinesAsked) {
    findings.push_back(
        {1, std::to_string(lines.size()) + " lines: is it still one concern?", false});
  }
  return findings;
}

}  // namespace diorite::tidy
