#include "ingest/child.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ingest {
namespace {

[[noreturn]] void give_up(const char* what) {
  fmt::print(stderr, "journal_ingest: {}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

}  // namespace

Child::Child(std::vector<std::string> arguments) {
  int ends[2];
  if (pipe(ends) != 0) give_up("pipe");
  std::fflush(stdout);
  pid_ = fork();
  if (pid_ < 0) give_up("fork");
  if (pid_ == 0) {
    close(ends[0]);
    arguments.insert(arguments.end(), {"--acks", std::to_string(ends[1])});
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv("/proc/self/exe", argv.data());
    give_up("exec");
  }
  close(ends[1]);
  pipe_ = ends[0];
}

Child::~Child() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    reap();
  }
  close(pipe_);
}

bool Child::read_some() {
  std::byte buffer[64 * 1024];
  const ssize_t got = read(pipe_, buffer, sizeof(buffer));
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  partial_.insert(partial_.end(), buffer, buffer + got);
  std::size_t at = 0;
  for (; partial_.size() - at >= sizeof(Ack); at += sizeof(Ack)) {
    Ack ack;
    std::memcpy(&ack, partial_.data() + at, sizeof(Ack));
    acks_.push_back(ack);
  }
  partial_.erase(partial_.begin(), partial_.begin() + static_cast<std::ptrdiff_t>(at));
  return true;
}

bool Child::kill_after(std::uint64_t count, std::uint32_t delay_us) {
  while (acks_.size() < count) {
    if (!read_some()) {
      reap();
      return false;
    }
  }
  usleep(delay_us);
  kill(pid_, SIGKILL);
  // What it wrote to the pipe before it died is still there.
  while (read_some()) continue;
  reap();
  return true;
}

void Child::reap() {
  while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

void PipeAcks::acknowledged(const Ack& ack) {
  // Smaller than PIPE_BUF, so it arrives whole or not at all.
  while (write(pipe_, &ack, sizeof(ack)) < 0) {
    if (errno != EINTR) give_up("the parent is gone");
  }
}

}  // namespace ingest
