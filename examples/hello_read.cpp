// hello_read: reads the first page of a file, directly, and says how it was read.
//
//   hello_read [file]

#include <cstdio>
#include <string>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/try.hpp>

using namespace diorite;

Task<Result<void>> print_page(Reactor& reactor, std::string path) {
  DIORITE_CO_TRY(DirectFile file, co_await DirectFile::open(reactor, std::move(path)));
  DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
  BufIoResult read = co_await file.read_some_at(std::move(page), 0);
  if (!read) co_return read.error();
  std::fwrite(read.buf().data(), 1, read.buf().size(), stdout);
  std::fprintf(stderr, "%zu bytes, %s\n", read.buf().size(),
               std::string(file.direct_reason()).c_str());
  co_return co_await std::move(file).close();
}

int main(int argc, char** argv) {
  auto reactor = Reactor::create();
  if (!reactor) return 1;
  const std::string path = argc > 1 ? argv[1] : "/etc/os-release";
  const Result<void> done = (*reactor)->block_on(print_page(**reactor, path));
  if (!done) std::fprintf(stderr, "%s\n", done.error().text().c_str());
  return done ? 0 : 1;
}
