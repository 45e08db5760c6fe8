// The input of journal_ingest: every regular file below a folder, read through FileLru.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <diorite/buffer.hpp>
#include <diorite/file_lru.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace ingest {

/// The paths below a folder, sorted, so that two processes number them alike.
diorite::Task<diorite::Result<std::vector<std::string>>> find_files(diorite::Reactor& reactor,
                                                                    std::string folder);

/// Files by number, kept open by a FileLru. The paths outlive it.
class Input {
 public:
  Input(diorite::Reactor& reactor, const std::vector<std::string>& paths);

  /// The whole of file `id`. Direct reads come in blocks, so the last one is short.
  diorite::Task<diorite::Result<std::string>> read(std::uint32_t id);
  /// The numbers of all files, the largest first: so no appender is left alone with a long one.
  diorite::Task<diorite::Result<std::vector<std::uint32_t>>> by_size();
  diorite::Task<diorite::Result<void>> close() { return cache_.close_all(); }
  const std::vector<std::string>& paths() const noexcept { return paths_; }
  diorite::FileLruStats stats() const noexcept { return cache_.stats(); }

 private:
  diorite::Task<diorite::Result<void>> measure(std::uint32_t& next,
                                               std::vector<std::uint64_t>& sizes);
  static void name_file(void* context, std::string_view dir, std::uint64_t id, std::string& path);

  diorite::Reactor& reactor_;
  const std::vector<std::string>& paths_;
  diorite::FileLru cache_;
};

/// Takes the next line, without its newline, off the front of `rest`. False at the end.
bool next_line(std::string_view& rest, std::string_view& line);

}  // namespace ingest
