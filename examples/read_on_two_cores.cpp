// read_on_two_cores: one file, opened once, read by two reactors on two threads.
//
//   read_on_two_cores [file]
//
// The reactor that opened the file shares it; each of the others has a file of its own for reading.

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/reactor.hpp>
#include <diorite/shared_file.hpp>
#include <diorite/try.hpp>

using namespace diorite;

namespace {

constexpr std::uint64_t kPageSize = 4096;

/// Every second page, beginning with `first`.
Task<Result<std::uint64_t>> read_pages(DirectFile file, std::uint64_t first) {
  DIORITE_CO_TRY(const std::uint64_t size, co_await file.size());
  DIORITE_CO_TRY(AlignedBuf page, AlignedBuf::page());
  std::uint64_t total = 0;
  for (std::uint64_t at = first * kPageSize; at < size; at += 2 * kPageSize) {
    BufIoResult read = co_await file.read_at(std::move(page), at);
    // The last page is short, and its beginning is there.
    if (!read && read.error() != Errc::short_io) co_return read.error();
    total += read.bytes();
    page = std::move(read).buf();
  }
  DIORITE_CO_CHECK(co_await std::move(file).close());
  co_return total;
}

void read_half(SharedFile shared, std::uint64_t first, Result<std::uint64_t>& bytes) {
  auto reactor = Reactor::create();
  if (!reactor) return;
  bytes = (*reactor)->block_on(read_pages(shared.on(**reactor), first));
}

Task<Result<std::uint64_t>> size_of(DirectFile& file) { co_return co_await file.size(); }

}  // namespace

int main(int argc, char** argv) {
  auto reactor = Reactor::create();
  if (!reactor) return 1;
  const std::string path = argc > 1 ? argv[1] : "/etc/os-release";
  Result<DirectFile> file = (*reactor)->block_on(DirectFile::open(**reactor, path));
  if (!file) {
    std::fprintf(stderr, "%s\n", file.error().text().c_str());
    return 1;
  }
  const Result<std::uint64_t> size = (*reactor)->block_on(size_of(*file));
  Result<std::uint64_t> bytes[2] = {Error(Errc::cancelled), Error(Errc::cancelled)};
  std::thread even(read_half, file->share(), 0, std::ref(bytes[0]));
  std::thread odd(read_half, file->share(), 1, std::ref(bytes[1]));
  even.join();
  odd.join();
  // Waits until the last share has come home.
  const Result<void> closed = (*reactor)->block_on(std::move(*file).close());
  if (!size || !closed || !bytes[0] || !bytes[1]) return 1;
  std::printf("%llu + %llu of %llu bytes\n", static_cast<unsigned long long>(*bytes[0]),
              static_cast<unsigned long long>(*bytes[1]), static_cast<unsigned long long>(*size));
  return *bytes[0] + *bytes[1] == *size ? 0 : 1;
}
