#include "tidy/rules.hpp"

#include "support/catch.hpp"

#include <string>

using diorite::tidy::check_file;
using diorite::tidy::Finding;

namespace {

constexpr const char* kContract = "// One.\n// Two.\n// Three.\n// Four.\n\n#pragma once\n\n";

std::string header(const std::string& body) { return kContract + body; }

std::vector<Finding> include_from(const std::string& path, const std::string& name) {
  return check_file(
      path, path.ends_with(".hpp") ? header("#include " + name + "\n") : "#include " + name + "\n");
}

bool allowed(const std::string& path, const std::string& name) {
  return include_from(path, name).empty();
}

bool refused(const std::string& path, const std::string& name) {
  const std::vector<Finding> findings = include_from(path, name);
  return findings.size() == 1 && findings.front().fatal;
}

}  // namespace

TEST_CASE("tidy: public headers include upwards only", "[tidy]") {
  CHECK(allowed("include/diorite/pin.hpp", "<diorite/buffer.hpp>"));
  CHECK(refused("include/diorite/buffer.hpp", "<diorite/pin.hpp>"));
  CHECK(refused("include/diorite/error.hpp", "<diorite/result.hpp>"));
  CHECK(allowed("include/diorite/driver/driver.hpp", "<diorite/driver/op.hpp>"));
  CHECK(refused("include/diorite/driver/op.hpp", "<diorite/driver/driver.hpp>"));
  CHECK(refused("include/diorite/sync.hpp", "<diorite/when.hpp>"));
  CHECK(refused("include/diorite/task.hpp", "<diorite/reactor.hpp>"));
  CHECK(refused("include/diorite/file.hpp", "<diorite/journal.hpp>"));
  CHECK(refused("include/diorite/file.hpp", "\"file/open.hpp\""));
  CHECK(refused("include/diorite/file.hpp", "<diorite/no_such.hpp>"));
  CHECK(refused("include/diorite/no_such.hpp", "<diorite/error.hpp>"));
  CHECK(refused("include/diorite/pin.hpp", "\"diorite/buffer.hpp\""));
}

TEST_CASE("tidy: sources use their own layer and those above", "[tidy]") {
  CHECK(allowed("src/driver/pool/worker.cpp", "\"driver/slots.hpp\""));
  CHECK(allowed("src/driver/pool/worker.cpp", "\"base/error_context.hpp\""));
  CHECK(allowed("src/reactor/reactor.cpp", "<diorite/scope.hpp>"));
  CHECK(refused("src/driver/pool/worker.cpp", "<diorite/task.hpp>"));
  CHECK(refused("src/reactor/reactor.cpp", "\"driver/slots.hpp\""));
  CHECK(refused("src/base/error.cpp", "<diorite/buffer.hpp>"));
  CHECK(refused("src/file/open.cpp", "\"lru/lru_list.hpp\""));
  CHECK(refused("src/file/open.cpp", "\"open.hpp\""));
  CHECK(allowed("src/file/open.cpp", "<diorite/driver/op.hpp>"));
  CHECK(refused("src/journal/commit.cpp", "<diorite/driver/op.hpp>"));
  CHECK(refused("include/diorite/journal.hpp", "<diorite/driver/driver.hpp>"));
}

TEST_CASE("tidy: the operating system stays behind the seam", "[tidy]") {
  for (const char* name : {"<unistd.h>", "<fcntl.h>", "<sys/uio.h>", "<linux/fs.h>", "<liburing.h>",
                           "<pthread.h>", "<windows.h>"}) {
    INFO(name);
    CHECK(allowed("src/driver/linux/os_linux.cpp", name));
    CHECK(refused("src/file/open.cpp", name));
    CHECK(refused("src/buffer/aligned_buf.cpp", name));
    CHECK(refused("include/diorite/driver/driver.hpp", name));
  }
  CHECK(allowed("src/buffer/memory_posix.cpp", "<sys/mman.h>"));
  CHECK(allowed("tests/file/open_test.cpp", "<unistd.h>"));
}

TEST_CASE("tidy: public headers are light and portable", "[tidy]") {
  for (const char* name :
       {"<filesystem>", "<iostream>", "<functional>", "<thread>", "<fmt/format.h>"}) {
    INFO(name);
    CHECK(refused("include/diorite/file.hpp", name));
    CHECK(allowed("src/file/open.cpp", name));
  }
  CHECK(allowed("include/diorite/format.hpp", "<fmt/format.h>"));
  for (const char* name : {"<format>", "<stop_token>", "<source_location>", "<semaphore>"}) {
    INFO(name);
    CHECK(refused("include/diorite/file.hpp", name));
    CHECK(refused("src/file/open.cpp", name));
  }
  CHECK(check_file("src/file/open.cpp", "std::jthread worker;\n").size() == 1);
  CHECK(check_file("src/file/open.cpp", "// Not std::jthread: see below.\n").empty());
}

TEST_CASE("tidy: headers have a guard, public ones a contract", "[tidy]") {
  CHECK(check_file("include/diorite/file.hpp", header("")).empty());
  CHECK(check_file("include/diorite/file.hpp", "// One.\n// Two.\n// Three.\n\n#pragma once\n")
            .size() == 1);
  CHECK(check_file("include/diorite/file.hpp", "// 1\n// 2\n// 3\n// 4\n").size() == 1);
  CHECK(check_file("src/file/open.hpp", "#pragma once\n").empty());
  CHECK(check_file("src/file/open.hpp", "int x;\n").size() == 1);
}

TEST_CASE("tidy: columns are counted, not bytes, and addresses may be long", "[tidy]") {
  const std::string line = "// " + std::string(97, 'x');
  CHECK(check_file("src/file/open.cpp", line + "\n").empty());
  CHECK(check_file("src/file/open.cpp", line + "y\n").size() == 1);
  CHECK(check_file("src/file/open.cpp", line.substr(0, 99) + "\xC3\xA9\n").empty());
  CHECK(check_file("src/file/open.cpp", line + " https://example.org\n").empty());
  CHECK(check_file("bench/main.cpp", line + "y\n").size() == 1);
}

TEST_CASE("tidy: unfinished work is found", "[tidy]") {
  CHECK(check_file("tests/file/a.cpp", std::string("// TO") + "DO: finish\n").size() == 1);
  CHECK(check_file("tests/file/a.cpp", "path += \"/name-XXXXXX\";\n").empty());
}

TEST_CASE("tidy: what is long is told and does not fail", "[tidy]") {
  const auto function_of = [](int lines) {
    std::string text = "void f(int a) {\n";
    for (int i = 0; i < lines - 2; ++i) text += "  g();\n";
    return text + "}\n";
  };
  CHECK(check_file("src/file/open.cpp", function_of(70)).empty());
  const std::vector<Finding> one = check_file("src/file/open.cpp", function_of(71));
  REQUIRE(one.size() == 1);
  CHECK_FALSE(one.front().fatal);
  std::string many;
  for (int i = 0; i < 401; ++i) many += "int x;\n";
  const std::vector<Finding> long_file = check_file("src/file/open.cpp", many);
  REQUIRE(long_file.size() == 1);
  CHECK_FALSE(long_file.front().fatal);
}
