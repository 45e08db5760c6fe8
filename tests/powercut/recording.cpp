#include "powercut/recording.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "powercut/check.hpp"
#include "powercut/recorder.hpp"
#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

constexpr std::size_t kTraceBytes = std::size_t{1} << 30;
constexpr std::uint32_t kLives = 5;
constexpr std::uint64_t kAcksPerLife = 160;
constexpr Millis kLifeLimit = std::chrono::seconds(120);
constexpr Millis kUnmountLimit = std::chrono::seconds(60);

// Something else that the file system is busy with: buffered writes, names that come and go, and
// now and then a sync, so that its own log has more in it than the journal's doings.
[[noreturn]] void make_noise(const std::string& folder, std::uint64_t seed) {
  die_with_parent();
  Random random(seed);
  ::mkdir(folder.c_str(), 0700);
  const std::string bytes(64 << 10, 'n');
  for (;;) {
    const std::string name = folder + '/' + std::to_string(random.below(20));
    const std::string other = folder + '/' + std::to_string(random.below(20));
    const Fd file(::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    // What becomes of it does not matter: nobody reads it.
    const ssize_t written = ::pwrite(file.get(), bytes.data(), random.below(bytes.size()),
                                     static_cast<off_t>(random.below(bytes.size())));
    if (written < 0 && errno != EINTR) ::_exit(1);
    if (random.one_in(6)) ::fdatasync(file.get());
    if (random.one_in(3)) ::rename(name.c_str(), other.c_str());
    if (random.one_in(3)) ::unlink(other.c_str());
    const timespec pause{0, static_cast<long>(random.below(8'000'000))};
    ::nanosleep(&pause, nullptr);
  }
}

void run_life(const LifeOptions& options) {
  const pid_t child = ::fork();
  if (child < 0) throw_errno("fork");
  if (child == 0) {
    die_with_parent();
    live(options);
  }
  int status = 0;
  if (!wait_for(child, kLifeLimit, &status)) throw Trouble("the workload did not end in time");
  const bool as_planned = options.closes ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                                         : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  if (!as_planned) {
    throw Trouble("the workload ended with wait status " + std::to_string(status));
  }
}

}  // namespace

Recording::Recording(const RecordingOptions& options, const Workspace& workspace)
    : trace_(kTraceBytes), salt_(mix(options.seed)) {
  const pid_t recorder =
      start_recorder({workspace.recorder, options.fs->disk_bytes, options.seed}, trace_);
  trace_.keep_from_children();
  std::vector<Extents> extents;
  work(options, workspace, extents);
  const int unmounted = unmount(workspace.recorder, kUnmountLimit);
  if (unmounted != 0) throw Trouble(std::string("umount: ") + std::strerror(unmounted));
  int status = 0;
  if (!wait_for(recorder, kUnmountLimit, &status) || status != 0) {
    throw Trouble("the recorder ended with wait status " + std::to_string(status));
  }
  if (trace_.incomplete()) throw Trouble("the trace has no room for this workload");

  events_ = trace_.events();
  std::vector<std::size_t> lives;
  for (std::size_t i = 0; i < events_.size(); ++i) {
    if (events_[i].kind == EventKind::mark && mark_of(events_[i]).kind == MarkKind::life) {
      lives.push_back(i);
    }
  }
  if (lives.size() != extents.size()) throw Trouble("the trace lacks marks");
  first_ = lives.front();
  for (std::size_t i = 0; i < lives.size(); ++i) {
    const std::size_t end = i + 1 < lives.size() ? lives[i + 1] : events_.size();
    files_.add(lives[i], end, std::move(extents[i]));
  }
}

void Recording::work(const RecordingOptions& options, const Workspace& workspace,
                     std::vector<Extents>& extents) {
  const std::string image = workspace.recorder + '/' + kDiskName;
  Fd backing(::open(image.c_str(), O_RDWR | O_CLOEXEC));
  if (!backing) throw_errno(image);
  LoopDevice device = attach_loop(backing.get(), true);
  backing.reset();
  make_file_system(*options.fs, device.path);
  const int mounted = mount_at(device.path, workspace.disk, options.fs->name, options.fs->options);
  if (mounted == ENODEV) throw Missing(std::string("the kernel has no ") + options.fs->name);
  if (mounted == EPERM) throw Missing("this process may not mount a block device");
  if (mounted != 0) throw Trouble(std::string("mount: ") + std::strerror(mounted));
  device.fd.reset();

  Random random(options.seed);
  LifeOptions life;
  life.journal_dir = workspace.disk + '/' + kJournalName;
  life.marks = workspace.recorder + '/' + kMarksName;
  life.writer = options.writer;
  life.unsynced = options.unsynced;
  life.salt = salt_;
  const pid_t noise = ::fork();
  if (noise < 0) throw_errno("fork");
  if (noise == 0) make_noise(workspace.disk + "/noise", options.seed);
  for (; life.life < kLives; ++life.life) {
    life.closes = random.one_in(3);
    life.acks = 1 + random.below(2 * kAcksPerLife);
    run_life(life);
    ++*workspace.beats;
    extents.push_back(extents_of_files(*options.fs, life.journal_dir));
  }
  ::kill(noise, SIGKILL);
  int status = 0;
  wait_for(noise, kUnmountLimit, &status);
  const int unmounted = unmount(workspace.disk, kUnmountLimit);
  if (unmounted != 0) throw Trouble(std::string("umount: ") + std::strerror(unmounted));
  forget_device(*options.fs, device.path);
}

Mark Recording::mark_of(const Event& event) {
  Mark mark;
  if (event.data == nullptr || event.bytes != sizeof mark) throw Trouble("a mark is cut short");
  std::memcpy(&mark, event.data, sizeof mark);
  return mark;
}

}  // namespace diorite::powercut
