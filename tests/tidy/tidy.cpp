// Checks the source tree: layers, forbidden headers, contracts, line length. Ends with status 1
// when something is wrong; what is only long is printed, and a person decides.
//
// Usage: tidy project_root

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tidy/rules.hpp"

namespace fs = std::filesystem;

namespace {

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::vector<std::string> files_below(const fs::path& root) {
  std::vector<std::string> files;
  for (const char* folder : {"include", "src", "tests", "bench", "examples"}) {
    if (!fs::is_directory(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file()) {
        files.push_back(fs::relative(entry.path(), root).generic_string());
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_code(const std::string& path) { return path.ends_with(".hpp") || path.ends_with(".cpp"); }

// A file that no CMakeLists.txt names is not built, not installed, and not verified.
bool is_listed(const std::string& path, const std::string& all_lists) {
  constexpr std::string_view kPublic = "include/diorite/";
  const std::string name =
      path.starts_with(kPublic) ? path.substr(kPublic.size()) : path.substr(path.rfind('/') + 1);
  for (std::size_t at = all_lists.find(name); at != std::string::npos;
       at = all_lists.find(name, at + 1)) {
    const char before = at == 0 ? '\n' : all_lists[at - 1];
    if (before == ' ' || before == '\n' || before == '(' || before == '/') return true;
  }
  return false;
}

bool must_be_listed(const std::string& path) {
  return path.starts_with("include/") || (path.starts_with("src/") && path.ends_with(".cpp"));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tidy project_root\n");
    return 2;
  }
  const fs::path root = argv[1];
  const std::vector<std::string> files = files_below(root);
  std::string lists;
  for (const std::string& path : files) {
    if (path.starts_with("src/") && path.ends_with("CMakeLists.txt")) lists += read(root / path);
  }

  int checked = 0;
  int wrong = 0;
  for (const std::string& path : files) {
    if (!is_code(path)) continue;
    ++checked;
    std::vector<diorite::tidy::Finding> findings =
        diorite::tidy::check_file(path, read(root / path));
    if (must_be_listed(path) && !is_listed(path, lists)) {
      findings.push_back({1, "no CMakeLists.txt in src names this file"});
    }
    for (const diorite::tidy::Finding& finding : findings) {
      wrong += finding.fatal ? 1 : 0;
      std::printf("%s:%d: %s%s\n", path.c_str(), finding.line, finding.fatal ? "" : "(long) ",
                  finding.text.c_str());
    }
  }
  std::printf("%d files checked, %d findings\n", checked, wrong);
  return wrong == 0 && checked > 0 ? 0 : 1;
}
