#include "powercut/system.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace diorite::powercut {
namespace {

using Clock = std::chrono::steady_clock;

void nap(Millis time) noexcept { ::poll(nullptr, 0, static_cast<int>(time.count())); }

std::string find_command(const std::string& name) {
  for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/"}) {
    std::string path = folder + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return {};
}

[[noreturn]] void exec_command(const std::string& path, const std::vector<std::string>& words,
                               int output) {
  die_with_parent();
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execv(path.c_str(), argv.data());
  ::_exit(127);
}

// Reads until the other end is closed or the time is over.
std::string read_until(int from, Clock::time_point limit) {
  std::string text;
  for (;;) {
    const auto left = std::chrono::duration_cast<Millis>(limit - Clock::now());
    if (left.count() <= 0) break;
    pollfd wait{from, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(left.count())) <= 0) continue;
    std::array<char, 4096> chunk;
    const ssize_t got = ::read(from, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

void throw_errno(const std::string& what) { throw Trouble(what + ": " + std::strerror(errno)); }

void Fd::reset() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void die_with_parent() noexcept { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

bool wait_for(pid_t child, Millis limit, int* status) noexcept {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const auto end = Clock::now() + limit;
  bool killed = false;
  for (;;) {
    const pid_t ended = ::waitpid(child, status, WNOHANG);
    if (ended == child) return !killed;
    if (ended < 0 && errno != EINTR) return false;
    const auto now = Clock::now();
    if (!killed && now > end) {
      ::kill(child, SIGKILL);
      killed = true;
    }
    // One that even a kill does not end is stuck in the kernel.
    if (killed && now > end + std::chrono::seconds(10)) return false;
    pollfd over{process.get(), POLLIN, 0};
    ::poll(&over, 1, process ? 100 : 1);
  }
}

Finished run_command(const std::vector<std::string>& words, Millis limit) {
  const std::string path = find_command(words.front());
  if (path.empty()) throw Missing("no program " + words.front());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe");
  const Fd from(ends[0]);
  Fd to(ends[1]);
  const auto begin = Clock::now();
  const pid_t child = ::fork();
  if (child < 0) throw_errno("fork");
  if (child == 0) exec_command(path, words, to.get());
  to.reset();
  Finished finished;
  finished.output = read_until(from.get(), begin + limit);
  const auto left = std::chrono::duration_cast<Millis>(begin + limit - Clock::now());
  finished.in_time = wait_for(child, left, &finished.status);
  return finished;
}

bool has_command(const std::string& name) { return !find_command(name).empty(); }

LoopDevice attach_loop(int backing, bool direct) {
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) throw Missing("/dev/loop-control cannot be opened");
  // Another process may take the free device before we do.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) throw_errno("LOOP_CTL_GET_FREE");
    LoopDevice device;
    device.path = "/dev/loop" + std::to_string(number);
    device.fd = Fd(::open(device.path.c_str(), O_RDWR | O_CLOEXEC));
    if (!device.fd) throw Missing(device.path + " cannot be opened: " + std::strerror(errno));
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(backing);
    config.block_size = 512;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (direct ? LO_FLAGS_DIRECT_IO : 0);
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) != 0) {
      if (errno != EBUSY) throw_errno("LOOP_CONFIGURE of " + device.path);
      nap(Millis(1 + attempt % 10));
      continue;
    }
    if (!direct) return device;
    loop_info64 info{};
    if (::ioctl(device.fd.get(), LOOP_GET_STATUS64, &info) != 0) throw_errno("LOOP_GET_STATUS64");
    if ((info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
      throw Trouble("the loop device refuses direct I/O: the recorder would see the page cache");
    }
    return device;
  }
  throw Trouble("no free loop device after 1000 attempts");
}

int mount_at(const std::string& device, const std::string& where, const std::string& type,
             const std::string& options) noexcept {
  const unsigned long flags = MS_NOATIME | MS_NODEV | MS_NOSUID;
  return ::mount(device.c_str(), where.c_str(), type.c_str(), flags, options.c_str()) == 0 ? 0
                                                                                           : errno;
}

int unmount(const std::string& where, Millis limit) noexcept {
  const auto end = Clock::now() + limit;
  while (::umount2(where.c_str(), 0) != 0) {
    if (errno != EBUSY || Clock::now() > end) return errno;
    nap(Millis(2));
  }
  return 0;
}

void unmount_lazily(const std::string& where) noexcept { ::umount2(where.c_str(), MNT_DETACH); }

}  // namespace diorite::powercut
