// The process that dies: starts it, hears its acknowledgements, kills it.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ingest/appenders.hpp"
#include "ingest/record.hpp"

namespace ingest {

/// Runs this program again with `arguments` and "--acks FD".
class Child {
 public:
  /// Exits with a text when the system has no process for it.
  explicit Child(std::vector<std::string> arguments);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// Reads acknowledgements until there are `count`, then `delay_us` later kills the child. Returns
  /// false when it finished first. What it had acknowledged before it died is all in acks().
  bool kill_after(std::uint64_t count, std::uint32_t delay_us);
  const std::vector<Ack>& acks() const { return acks_; }
  /// The child's exit status, when it was not killed.
  int status() const { return status_; }

 private:
  bool read_some();
  void reap();

  int pipe_ = -1;
  pid_t pid_ = -1;
  int status_ = 0;
  std::vector<Ack> acks_;
  std::vector<std::byte> partial_;
};

/// In the child: sends each acknowledgement at once, before the record's appender goes on.
class PipeAcks final : public AckSink {
 public:
  explicit PipeAcks(int pipe) : pipe_(pipe) {}
  void acknowledged(const Ack& ack) override;

 private:
  int pipe_;
};

}  // namespace ingest
