#include "powercut/supervisor.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

// Longer than any single step may take with its own limit.
constexpr auto kSilenceMax = std::chrono::seconds(240);

int skip(const char* what) {
  std::printf("powercut: skipped: %s\n", what);
  return kSkipped;
}

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) sigaddset(&set, one);
  return set;
}

int run_body(const Workspace& workspace, int (*body)(const Workspace&, void*), void* context) {
  try {
    return body(workspace, context);
  } catch (const Missing& missing) {
    return skip(missing.what());
  } catch (const std::exception& failure) {
    std::printf("powercut: the test could not be run: %s\n", failure.what());
    return 1;
  }
}

int exit_status_of(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  std::printf("powercut: the test was ended by signal %d\n", WTERMSIG(status));
  return 1;
}

void kill_and_reap(pid_t child) {
  ::kill(child, SIGKILL);
  int status = 0;
  if (!wait_for(child, std::chrono::seconds(60), &status) && status == 0) {
    std::printf("powercut: a process is stuck in the kernel\n");
  }
}

// Until the child ends, a signal comes, or nothing has moved for too long.
int watch(pid_t child, const sigset_t& signals, const std::atomic<std::uint64_t>& beats) {
  using Clock = std::chrono::steady_clock;
  std::uint64_t seen = beats.load();
  auto since = Clock::now();
  for (;;) {
    int status = 0;
    if (::waitpid(child, &status, WNOHANG) == child) return exit_status_of(status);
    const timespec second{1, 0};
    const int signal = ::sigtimedwait(&signals, nullptr, &second);
    if (signal > 0 && signal != SIGCHLD) {
      kill_and_reap(child);
      return 128 + signal;
    }
    if (beats.load() != seen) {
      seen = beats.load();
      since = Clock::now();
    } else if (Clock::now() - since > kSilenceMax) {
      std::printf("powercut: nothing has moved for %lld s\n",
                  static_cast<long long>(kSilenceMax.count()));
      kill_and_reap(child);
      return 1;
    }
  }
}

}  // namespace

std::string parent_folder() {
  const char* const folder = std::getenv("DIORITE_TEST_DIR");
  return folder != nullptr && *folder != '\0' ? folder : DIORITE_TEST_DIR_DEFAULT;
}

int run_isolated(const std::string& parent, int (*body)(const Workspace&, void*), void* context) {
  if (::geteuid() != 0) return skip("it needs root");
  if (::unshare(CLONE_NEWNS | CLONE_NEWPID) != 0) {
    return skip("namespaces for mounts and processes are not to be had");
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return skip("mounts cannot be made private");
  }
  std::string folder = parent + "/powercut-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    std::printf("powercut: %s: %s\n", folder.c_str(), std::strerror(errno));
    return 1;
  }
  Workspace workspace;
  workspace.recorder = folder + "/recorder";
  workspace.disk = folder + "/disk";
  ::mkdir(workspace.recorder.c_str(), 0700);
  ::mkdir(workspace.disk.c_str(), 0700);
  void* const shared = ::mmap(nullptr, sizeof(std::atomic<std::uint64_t>), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  workspace.beats = new (shared) std::atomic<std::uint64_t>(0);

  const sigset_t signals = watched_signals();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    die_with_parent();
    // A Ctrl-C is the supervisor's alone.
    ::setsid();
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    const int status = run_body(workspace, body, context);
    std::fflush(stdout);
    ::_exit(status);
  }
  const int status = child < 0 ? 1 : watch(child, signals, *workspace.beats);
  unmount_lazily(workspace.disk);
  unmount_lazily(workspace.recorder);
  ::rmdir(workspace.disk.c_str());
  ::rmdir(workspace.recorder.c_str());
  ::rmdir(folder.c_str());
  return status;
}

}  // namespace diorite::powercut
