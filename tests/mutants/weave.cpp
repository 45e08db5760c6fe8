// Weaves planted bugs into copies of the library's sources.
//
// Usage: weave SPECIFICATION SOURCE_ROOT OUTPUT_ROOT
//
// The specification lists mutants (see mutants.txt). Every text that a mutant replaces must stand
// exactly once in its file, so that a mutant cannot silently go stale when the code changes. The
// copy holds both versions, and `diorite::mutants::active` decides at run time, so one build has
// all mutants. Writes the copies, and table.inc with one line for each mutant.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

struct Edit {
  std::string file;
  bool is_expression = false;
  std::string old_text;
  std::string new_text;
};

struct Mutant {
  std::string name;
  std::string engine;
  std::string profile;
  std::string budget;
  std::vector<Edit> edits;
};

[[noreturn]] void fail(const std::string& text) {
  std::fprintf(stderr, "weave: %s\n", text.c_str());
  std::exit(EXIT_FAILURE);
}

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// Only when it changes: what is compiled from it need not be compiled again.
void write_file(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  if (fs::exists(path) && read_file(path) == text) return;
  std::ofstream stream(path, std::ios::binary);
  stream << text;
  if (!stream.flush()) fail("cannot write " + path.string());
}

// Lines up to one that is just `end`.
std::string block(std::istream& stream, std::string_view end, const std::string& mutant) {
  std::string text;
  for (std::string line; std::getline(stream, line);) {
    if (line == end) {
      if (!text.empty()) text.pop_back();
      return text;
    }
    text += line + '\n';
  }
  fail(mutant + ": no " + std::string(end) + " at the end of a text");
}

std::vector<Mutant> parse(const fs::path& path) {
  std::istringstream stream(read_file(path));
  std::vector<Mutant> mutants;
  for (std::string line; std::getline(stream, line);) {
    if (line.empty() || line.front() == '#') continue;
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word == "mutant") {
      Mutant& mutant = mutants.emplace_back();
      words >> mutant.name >> mutant.engine >> mutant.profile >> mutant.budget;
      if (mutant.budget.empty()) fail("a mutant needs a name, engine, profile and budget: " + line);
      continue;
    }
    if (mutants.empty() || (word != "expression" && word != "statement")) {
      fail("what is this line? " + line);
    }
    Mutant& mutant = mutants.back();
    Edit edit;
    edit.is_expression = word == "expression";
    words >> edit.file;
    edit.old_text = block(stream, "----", mutant.name);
    edit.new_text = block(stream, "====", mutant.name);
    mutant.edits.push_back(edit);
  }
  return mutants;
}

// `otherwise` is what stands there already: the original, or what other mutants made of it.
std::string woven(const Edit& edit, std::size_t number, const std::string& otherwise) {
  const std::string is_active = "::diorite::mutants::active == " + std::to_string(number);
  if (edit.is_expression) {
    return '(' + is_active + " ? (" + edit.new_text + ") : (" + otherwise + "))";
  }
  return "if (" + is_active + ") {\n" + edit.new_text + "\n} else {\n" + otherwise + "\n}";
}

struct Place {
  std::size_t length = 0;
  bool is_expression = false;
  std::string text;
};

void weave_file(const std::string& name, const std::map<std::size_t, Place>& places,
                const fs::path& source_root, const fs::path& output_root) {
  const std::string source = read_file(source_root / name);
  std::string result =
      "namespace diorite::mutants {\nextern int active;\n}\n#line 1 \"" + name + "\"\n";
  std::size_t at = 0;
  for (const auto& [offset, place] : places) {
    if (offset < at) fail(name + ": two mutants replace overlapping texts");
    result += source.substr(at, offset - at) + place.text;
    at = offset + place.length;
  }
  write_file(output_root / name, result + source.substr(at));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) fail("usage: weave SPECIFICATION SOURCE_ROOT OUTPUT_ROOT");
  const fs::path source_root = argv[2];
  const fs::path output_root = argv[3];
  const std::vector<Mutant> mutants = parse(argv[1]);
  std::map<std::string, std::map<std::size_t, Place>> files;
  std::string table;
  for (std::size_t i = 0; i < mutants.size(); ++i) {
    const Mutant& mutant = mutants[i];
    if (mutant.edits.empty()) fail(mutant.name + " changes nothing");
    for (const Edit& edit : mutant.edits) {
      const std::string source = read_file(source_root / edit.file);
      const std::size_t at = source.find(edit.old_text);
      if (edit.old_text.empty() || at == std::string::npos) {
        fail(mutant.name + ": its text does not stand in " + edit.file);
      }
      if (source.find(edit.old_text, at + 1) != std::string::npos) {
        fail(mutant.name + ": its text stands more than once in " + edit.file);
      }
      Place& place = files[edit.file][at];
      if (place.text.empty()) {
        place = {edit.old_text.size(), edit.is_expression, edit.old_text};
      } else if (place.length != edit.old_text.size() ||
                 place.is_expression != edit.is_expression) {
        fail(mutant.name + ": it and another mutant replace overlapping texts");
      }
      place.text = woven(edit, i + 1, place.text);
    }
    table += "{\"" + mutant.name + "\", \"" + mutant.engine + "\", \"" + mutant.profile + "\", " +
             mutant.budget + "},\n";
  }
  for (const auto& [name, places] : files) weave_file(name, places, source_root, output_root);
  write_file(output_root / "table.inc", table);
  return EXIT_SUCCESS;
}
