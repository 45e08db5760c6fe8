// Child processes that are killed, and the pipe through which they tell what they have done.

#pragma once

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "support/catch.hpp"

namespace diorite::test {

/// All of it, however often the call is interrupted. Whole records fit into a pipe at once.
inline bool send(int to, const void* bytes, std::size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t sent = ::write(to, at, size);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

inline bool receive(int from, void* bytes, std::size_t size) {
  char* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t got = ::read(from, at, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

/// Runs `code` in a child, with the write end of a pipe; the read end is `*from`.
template <class F>
pid_t fork_child(F code, int* from) {
  int ends[2];
  if (::pipe(ends) != 0) FAIL("pipe");
  const pid_t child = ::fork();
  if (child < 0) FAIL("fork");
  if (child == 0) {
    ::close(ends[0]);
    code(ends[1]);
    ::_exit(9);
  }
  ::close(ends[1]);
  *from = ends[0];
  return child;
}

inline int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace diorite::test
