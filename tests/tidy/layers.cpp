#include "tidy/layers.hpp"

#include <array>
#include <optional>

namespace diorite::tidy {
namespace {

struct Entry {
  int rank;
  std::string_view name;
};

constexpr std::string_view kPublicFolder = "include/diorite/";
constexpr std::string_view kDriverFolder = "include/diorite/driver/";

// Public headers. A header may include those of a smaller rank only.
constexpr auto kHeaders = std::to_array<Entry>({
    {0, "version.hpp"},
    {0, "assert.hpp"},
    {0, "align.hpp"},
    {1, "intrusive_list.hpp"},
    {1, "time.hpp"},
    {2, "histogram.hpp"},
    {2, "error.hpp"},
    {3, "result.hpp"},
    {4, "try.hpp"},
    {5, "file_info.hpp"},
    {5, "buffer.hpp"},
    {6, "pin.hpp"},
    {7, "driver/ready.hpp"},
    {8, "driver/op.hpp"},
    {9, "driver/driver.hpp"},
    {9, "trace.hpp"},
    {10, "latency.hpp"},
    {10, "driver/decorator.hpp"},
    {10, "sim/choices.hpp"},
    {11, "sim/profile.hpp"},
    {12, "sim/disk.hpp"},
    {12, "sim/faults.hpp"},
    {13, "sim/machine.hpp"},
    {11, "stop.hpp"},
    {12, "task.hpp"},
    {13, "when.hpp"},
    {13, "sync.hpp"},
    {14, "channel.hpp"},
    {14, "buffer_pool.hpp"},
    {14, "root_task.hpp"},
    {15, "reactor.hpp"},
    {16, "timer.hpp"},
    {16, "scope.hpp"},
    {17, "call_on.hpp"},
    {17, "reactor_thread.hpp"},
    {17, "io.hpp"},
    {18, "file.hpp"},
    {18, "offload.hpp"},
    {19, "shared_file.hpp"},
    {19, "fs.hpp"},
    {19, "stream.hpp"},
    {20, "file_lru.hpp"},
    {21, "journal.hpp"},
    {22, "journal_reader.hpp"},
    {23, "format.hpp"},
    {23, "sim/oracle.hpp"},
    {24, "sim/run.hpp"},
});

// Sources and private headers, by the beginning of their path from src/; the first match counts. A
// file may include public headers up to its rank, and private ones of its own folder or of a
// smaller rank.
constexpr auto kSources = std::to_array<Entry>({
    {4, "base/"},
    {14, "buffer/buffer_pool"},
    {6, "buffer/"},
    {10, "driver/"},
    {14, "coro/"},
    {17, "reactor/"},
    {19, "file/"},
    {20, "lru/"},
    {22, "journal/"},
    {24, "sim/"},
});

std::optional<int> header_rank(std::string_view path) {
  const std::string_view name = path.substr(kPublicFolder.size());
  for (const Entry& entry : kHeaders) {
    if (entry.name == name) return entry.rank;
  }
  return std::nullopt;
}

std::optional<int> source_rank(std::string_view path) {
  for (const Entry& entry : kSources) {
    if (path.substr(4).starts_with(entry.name)) return entry.rank;
  }
  return std::nullopt;
}

// The layer of a private file: "src/driver/" for everything below src/driver.
std::string_view layer_folder(std::string_view path) {
  return path.substr(0, path.find('/', 4) + 1);
}

std::string unknown(std::string_view path) {
  return std::string(path) + " has no layer: give it one in tests/tidy/layers.cpp";
}

std::string check_private_target(std::string_view from, std::string_view target, int from_rank) {
  if (from.starts_with(kPublicFolder)) return "a public header includes a private one";
  if (layer_folder(from) == layer_folder(target)) return {};
  // The simulated machine's driver is one of them.
  if (layer_folder(target) == "src/driver/" && layer_folder(from) != "src/sim/") {
    return "what is private to the drivers is included outside of src/driver";
  }
  const std::optional<int> rank = source_rank(target);
  if (!rank) return unknown(target);
  if (*rank >= from_rank) return "the include points down: that layer is built on this one";
  return {};
}

std::string check_public_target(std::string_view from, std::string_view target, int from_rank) {
  const std::optional<int> rank = header_rank(target);
  if (!rank) return unknown(target);
  const bool is_journal =
      from.starts_with("src/journal/") || from.starts_with("include/diorite/journal");
  if (is_journal && target.starts_with(kDriverFolder)) {
    return "the journal must not know the driver: it uses files";
  }
  const bool is_header = from.starts_with(kPublicFolder);
  if (*rank > from_rank || (is_header && *rank == from_rank)) {
    return "the include points down: that layer is built on this one";
  }
  return {};
}

}  // namespace

std::string forbidden_include(std::string_view from, std::string_view target) {
  const bool is_header = from.starts_with(kPublicFolder);
  const std::optional<int> rank = is_header ? header_rank(from) : source_rank(from);
  if (!rank) return unknown(from);
  return target.starts_with(kPublicFolder) ? check_public_target(from, target, *rank)
                                           : check_private_target(from, target, *rank);
}

bool may_use_os_headers(std::string_view path) {
  // Mapping memory is no I/O and has a small file of its own for each system.
  return path.starts_with("src/driver/") || path.starts_with("src/buffer/memory_");
}

}  // namespace diorite::tidy
