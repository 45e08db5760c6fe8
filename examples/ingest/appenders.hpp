// The work itself: coroutines that take files in turn and append every line, each durable before
// the next.

#pragma once

#include <cstdint>
#include <vector>

#include "ingest/input.hpp"
#include "ingest/progress.hpp"
#include "ingest/record.hpp"

#include <diorite/journal.hpp>
#include <diorite/reactor.hpp>
#include <diorite/result.hpp>
#include <diorite/task.hpp>

namespace ingest {

/// Told of every record that is durable, in the order of acknowledgement.
struct AckSink {
  virtual ~AckSink() = default;
  virtual void acknowledged(const Ack& ack) = 0;
};

struct Appending {
  diorite::Reactor& reactor;
  diorite::Journal& journal;
  Input& input;
  Progress& progress;
  /// By file: how many of its lines are in the journal already.
  const std::vector<std::uint32_t>& lines_done;
  AckSink* acks = nullptr;
};

/// Runs `appenders` coroutines until every line of every file is durable. The first failure stops
/// all.
diorite::Task<diorite::Result<void>> append_all(Appending work, std::uint32_t appenders);

}  // namespace ingest
