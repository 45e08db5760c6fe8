// What the tests of latencies and of the trace share: the least operation, and a file.

#pragma once

#include <memory>
#include <string>
#include <utility>

#include <diorite/file.hpp>
#include <diorite/io.hpp>

#include "support/catch.hpp"
#include "support/reactor.hpp"

namespace diorite::test {

inline Task<> one_nop(Reactor& reactor) { static_cast<void>(co_await nop(reactor)); }

inline std::unique_ptr<DirectFile> open_buffered(Reactor& reactor, const std::string& path) {
  OpenOptions options;
  options.direct = Direct::off;
  options.write = true;
  Result<DirectFile> file = run(reactor, DirectFile::open_with(reactor, path, options));
  if (!file) FAIL(file.error().text());
  return std::make_unique<DirectFile>(std::move(*file));
}

}  // namespace diorite::test
