#include "support/death.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace diorite::test {
namespace {

[[noreturn]] void run_child(int output, void (*code)(void*), void* context) {
  // The expected abort shall leave no core file, and not be taken by the test framework for its
  // own.
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(number, SIG_DFL);
  ::dup2(output, STDERR_FILENO);
  code(context);
  // Not exit(): the destructors and buffered output of the parent are not the child's to run.
  ::_exit(EXIT_SUCCESS);
}

}  // namespace

bool Death::aborted() const noexcept {
  return WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGABRT;
}

bool Death::survived() const noexcept {
  return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_SUCCESS;
}

Death run_in_child(void (*code)(void* context), void* context) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) {
    std::perror("run_in_child: pipe");
    std::exit(EXIT_FAILURE);
  }
  const pid_t child = ::fork();
  if (child < 0) {
    std::perror("run_in_child: fork");
    std::exit(EXIT_FAILURE);
  }
  if (child == 0) run_child(ends[1], code, context);
  ::close(ends[1]);
  Death death;
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t bytes = ::read(ends[0], chunk.data(), chunk.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) break;
    death.error_output.append(chunk.data(), static_cast<std::size_t>(bytes));
  }
  ::close(ends[0]);
  while (::waitpid(child, &death.wait_status, 0) < 0 && errno == EINTR) {
  }
  return death;
}

}  // namespace diorite::test
