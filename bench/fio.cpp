#include "fio.hpp"

#include <array>
#include <cstdio>
#include <memory>
#include <sstream>
#include <vector>

#include <fmt/format.h>

namespace diorite::bench {
namespace {

/// What a command prints; empty when it cannot be started or fails.
std::string output_of(const std::string& command) {
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::string text;
  std::array<char, 4096> piece{};
  while (const std::size_t bytes = std::fread(piece.data(), 1, piece.size(), pipe)) {
    text.append(piece.data(), bytes);
  }
  return ::pclose(pipe) == 0 ? text : std::string();
}

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace

std::string fio_version() {
  std::string text = output_of("fio --version 2>/dev/null");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Sample run_fio(const std::string& path, std::uint64_t file_bytes, unsigned depth, double seconds) {
  // fio counts its own start and end into nothing, but the load of others is watched all the while.
  Meter meter;
  meter.start(0);
  const std::string text = output_of(fmt::format(
      "fio --name=read --filename={} --rw=randread --bs=4k --size={} --direct=1 "
      "--ioengine=io_uring --iodepth={} --norandommap --randrepeat=0 --gtod_reduce=1 --time_based "
      "--runtime={}ms --output-format=terse --terse-version=3 2>/dev/null",
      shell_quoted(path), file_bytes, depth, static_cast<int>(seconds * 1000)));
  Sample sample = meter.stop(0, 0);
  std::vector<std::string> fields;
  std::istringstream line(text);
  for (std::string field; std::getline(line, field, ';');) fields.push_back(field);
  constexpr std::size_t kReadIops = 7;
  constexpr std::size_t kReadMilliseconds = 8;
  constexpr std::size_t kUserPercent = 87;
  if (fields.size() <= kUserPercent + 1 || fields[0] != "3") {
    throw Failure("fio did not say what was expected: " + text.substr(0, 200));
  }
  sample.seconds = std::stod(fields[kReadMilliseconds]) / 1000;
  sample.operations = static_cast<std::uint64_t>(std::stod(fields[kReadIops]) * sample.seconds);
  sample.cpu_seconds = (std::stod(fields[kUserPercent]) + std::stod(fields[kUserPercent + 1])) /
                       100 * sample.seconds;
  return sample;
}

}  // namespace diorite::bench
