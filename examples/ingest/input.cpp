#include "ingest/input.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include <diorite/fs.hpp>
#include <diorite/scope.hpp>
#include <diorite/try.hpp>

namespace ingest {

using diorite::AlignedBuf;
using diorite::BufIoResult;
using diorite::DirEntry;
using diorite::FileKind;
using diorite::FileLease;
using diorite::Reactor;
using diorite::Result;
using diorite::Task;

Task<Result<std::vector<std::string>>> find_files(Reactor& reactor, std::string folder) {
  std::vector<std::string> files;
  std::vector<std::string> folders;
  folders.push_back(std::move(folder));
  while (!folders.empty()) {
    const std::string here = std::move(folders.back());
    folders.pop_back();
    DIORITE_CO_TRY(std::vector<DirEntry> entries, co_await diorite::list(reactor, here));
    for (const DirEntry& entry : entries) {
      if (entry.kind == FileKind::directory)
        folders.push_back(diorite::join_path(here, entry.name));
      if (entry.kind == FileKind::regular) files.push_back(diorite::join_path(here, entry.name));
    }
  }
  std::sort(files.begin(), files.end());
  co_return std::move(files);
}

Input::Input(Reactor& reactor, const std::vector<std::string>& paths)
    : reactor_(reactor), paths_(paths), cache_(reactor, std::string(), [this] {
        diorite::FileLruOptions options;
        options.capacity = 128;
        options.path = &Input::name_file;
        options.path_context = this;
        return options;
      }()) {}

void Input::name_file(void* context, std::string_view, std::uint64_t id, std::string& path) {
  path = static_cast<Input*>(context)->paths_[static_cast<std::size_t>(id)];
}

Task<Result<void>> Input::measure(std::uint32_t& next, std::vector<std::uint64_t>& sizes) {
  while (next < sizes.size()) {
    const std::uint32_t id = next++;
    DIORITE_CO_TRY(FileLease file, co_await cache_.acquire(id));
    DIORITE_CO_TRY(sizes[id], co_await file->size());
  }
  co_return Result<void>();
}

Task<Result<std::vector<std::uint32_t>>> Input::by_size() {
  std::vector<std::uint64_t> sizes(paths_.size(), 0);
  std::uint32_t next = 0;
  diorite::TaskScope scope(reactor_);
  for (int i = 0; i < 16; ++i) scope.spawn(measure(next, sizes));
  DIORITE_CO_CHECK(co_await scope.join());
  std::vector<std::uint32_t> order(paths_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return sizes[a] != sizes[b] ? sizes[a] > sizes[b] : a < b;
  });
  co_return std::move(order);
}

Task<Result<std::string>> Input::read(std::uint32_t id) {
  DIORITE_CO_TRY(FileLease file, co_await cache_.acquire(id));
  DIORITE_CO_TRY(const std::uint64_t size, co_await file->size());
  std::string text;
  text.reserve(static_cast<std::size_t>(size));
  const std::size_t chunk = 256 * 1024;
  DIORITE_CO_TRY(AlignedBuf buffer, AlignedBuf::with_cap(std::min<std::size_t>(chunk, size + 1)));
  while (text.size() < size) {
    BufIoResult got = co_await file->read_at(std::move(buffer), text.size());
    if (!got && got.error() != diorite::Errc::short_io) co_return got.error();
    buffer = std::move(got).buf();
    if (buffer.empty()) break;  // the file became shorter meanwhile
    const auto bytes = buffer.bytes();
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  co_return std::move(text);
}

bool next_line(std::string_view& rest, std::string_view& line) {
  if (rest.empty()) return false;
  const std::size_t end = rest.find('\n');
  line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return true;
}

}  // namespace ingest
