#include "powercut/recorder.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fuse3/fuse_lowlevel.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "powercut/image.hpp"
#include "powercut/random.hpp"
#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

constexpr fuse_ino_t kDiskInode = 2;
constexpr fuse_ino_t kMarksInode = 3;
constexpr std::uint64_t kPauseMax = 600'000;  // ns

class Recorder {
 public:
  Recorder(const RecorderOptions& options, Trace& trace)
      : image_(options.disk_bytes), trace_(trace), random_(options.seed), faults_(options.faults) {}

  /// Until the file system is unmounted. Returns an exit status.
  int serve(int device);

  void write(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t bytes,
             std::uint64_t offset);
  void read(fuse_req_t request, fuse_ino_t inode, std::size_t bytes, std::uint64_t offset);
  void flush(fuse_req_t request, fuse_ino_t inode);
  struct stat attributes(fuse_ino_t inode) const;

 private:
  struct Waiting {
    fuse_req_t request;
    bool is_flush;
    std::uint32_t id;
    std::size_t bytes;
  };
  bool refuses(std::uint32_t kind) const noexcept;
  bool take_all(fuse_session* session, fuse_buf& buffer);
  void complete_one();

  Image image_;
  Trace& trace_;
  Random random_;
  DiskFaults* const faults_;
  std::uint32_t next_id_ = 1;
  std::vector<Waiting> waiting_;
};

std::uint32_t kind_of(const std::byte* data, std::size_t bytes) noexcept {
  constexpr std::size_t kSectorBytes = 512;
  for (std::size_t at = 0; at + kSectorBytes <= bytes; at += kSectorBytes) {
    if (std::memcmp(data + at, kDataTag.data(), kDataTag.size()) == 0) return DiskFaults::kData;
  }
  return DiskFaults::kOthers;
}

Recorder& recorder_of(fuse_req_t request) {
  return *static_cast<Recorder*>(fuse_req_userdata(request));
}

struct stat Recorder::attributes(fuse_ino_t inode) const {
  struct stat found{};
  found.st_ino = inode;
  found.st_nlink = 1;
  found.st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600;
  if (inode == kDiskInode) found.st_size = static_cast<off_t>(image_.bytes());
  return found;
}

bool Recorder::refuses(std::uint32_t kind) const noexcept {
  if (faults_ == nullptr || (faults_->kinds.load() & kind) == 0) return false;
  ++faults_->refused;
  return true;
}

void Recorder::write(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t bytes,
                     std::uint64_t offset) {
  const auto* const from = reinterpret_cast<const std::byte*>(data);
  const auto size = static_cast<std::uint32_t>(bytes);
  if (inode == kMarksInode) {
    trace_.append(EventKind::mark, 0, 0, from, size);
    fuse_reply_write(request, bytes);
    return;
  }
  if (inode != kDiskInode || offset > image_.bytes() || bytes > image_.bytes() - offset) {
    fuse_reply_err(request, ENOSPC);
    return;
  }
  if (refuses(kind_of(from, bytes))) {
    fuse_reply_err(request, EIO);
    return;
  }
  const std::uint32_t id = next_id_++;
  if (!trace_.append(EventKind::write, id, offset, from, size)) {
    fuse_reply_err(request, ENOSPC);
    return;
  }
  image_.write(offset, from, bytes);
  waiting_.push_back({request, false, id, bytes});
}

void Recorder::read(fuse_req_t request, fuse_ino_t inode, std::size_t bytes, std::uint64_t offset) {
  if (inode != kDiskInode || offset >= image_.bytes()) {
    fuse_reply_buf(request, nullptr, 0);
    return;
  }
  const std::uint64_t size = std::min<std::uint64_t>(bytes, image_.bytes() - offset);
  fuse_reply_buf(request, reinterpret_cast<const char*>(image_.at(offset)), size);
}

void Recorder::flush(fuse_req_t request, fuse_ino_t inode) {
  if (inode != kDiskInode) {
    fuse_reply_err(request, 0);
    return;
  }
  if (refuses(DiskFaults::kFlushes)) {
    fuse_reply_err(request, EIO);
    return;
  }
  const std::uint32_t id = next_id_++;
  trace_.append(EventKind::flush, id);
  waiting_.push_back({request, true, id, 0});
}

// What has arrived is written down before anything completes: a flush that was sent while a write
// was still with the disk must not be taken for one that came after it.
bool Recorder::take_all(fuse_session* session, fuse_buf& buffer) {
  for (;;) {
    const int got = fuse_session_receive_buf(session, &buffer);
    if (got == -EAGAIN) return true;
    if (got == -EINTR) continue;
    if (got <= 0) return false;
    fuse_session_process_buf(session, &buffer);
    if (fuse_session_exited(session)) return false;
  }
}

void Recorder::complete_one() {
  const std::size_t which = random_.below(waiting_.size());
  const Waiting done = waiting_[which];
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(which));
  trace_.append(done.is_flush ? EventKind::flush_done : EventKind::write_done, done.id);
  if (done.is_flush) {
    fuse_reply_err(done.request, 0);
  } else {
    fuse_reply_write(done.request, done.bytes);
  }
}

void on_init(void*, fuse_conn_info* connection) {
  // Requests are read one by one, not through a pipe, and reading must not block.
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                                             FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE);
}

void on_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const std::string_view wanted = name;
  fuse_entry_param entry{};
  if (parent == FUSE_ROOT_ID && wanted == kDiskName) entry.ino = kDiskInode;
  if (parent == FUSE_ROOT_ID && wanted == kMarksName) entry.ino = kMarksInode;
  if (entry.ino == 0) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  entry.attr = recorder_of(request).attributes(entry.ino);
  entry.attr_timeout = 3600;
  entry.entry_timeout = 3600;
  fuse_reply_entry(request, &entry);
}

void on_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  const struct stat found = recorder_of(request).attributes(inode);
  fuse_reply_attr(request, &found, 3600);
}

void on_open(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  info->direct_io = 1;
  fuse_reply_open(request, info);
}

void on_read(fuse_req_t request, fuse_ino_t inode, std::size_t bytes, off_t offset,
             fuse_file_info*) {
  recorder_of(request).read(request, inode, bytes, static_cast<std::uint64_t>(offset));
}

void on_write(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t bytes,
              off_t offset, fuse_file_info*) {
  recorder_of(request).write(request, inode, data, bytes, static_cast<std::uint64_t>(offset));
}

void on_fsync(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
  recorder_of(request).flush(request, inode);
}

// Sent at every close. Not what a disk calls a flush.
void on_close(fuse_req_t request, fuse_ino_t, fuse_file_info*) { fuse_reply_err(request, 0); }

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = on_init;
  ops.lookup = on_lookup;
  ops.getattr = on_getattr;
  ops.open = on_open;
  ops.read = on_read;
  ops.write = on_write;
  ops.fsync = on_fsync;
  ops.flush = on_close;
  return ops;
}

int Recorder::serve(int device) {
  const fuse_lowlevel_ops ops = operations();
  char name[] = "powercut";
  char* argv[] = {name, nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(1, argv);
  fuse_session* const session = fuse_session_new(&arguments, &ops, sizeof ops, this);
  if (session == nullptr) return 3;
  // A name of this form is an open connection, mounted already.
  const std::string connection = "/dev/fd/" + std::to_string(device);
  if (fuse_session_mount(session, connection.c_str()) != 0) return 4;
  if (::fcntl(device, F_SETFL, ::fcntl(device, F_GETFL) | O_NONBLOCK) != 0) return 5;
  fuse_buf buffer{};
  while (take_all(session, buffer)) {
    pollfd ready{device, POLLIN, 0};
    if (waiting_.empty()) {
      ::poll(&ready, 1, -1);
      continue;
    }
    // Some company for what waits: the order of completion is a choice only among several, and
    // what arrives while a flush is under way is not covered by it.
    if (random_.one_in(2)) {
      const timespec pause{0, static_cast<long>(random_.below(kPauseMax))};
      if (::ppoll(&ready, 1, &pause, nullptr) > 0) continue;
    }
    complete_one();
  }
  return 0;
}

}  // namespace

pid_t start_recorder(const RecorderOptions& options, Trace& trace) {
  Fd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device) throw Missing("/dev/fuse cannot be opened");
  const std::string data =
      "fd=" + std::to_string(device.get()) + ",rootmode=40000,user_id=0,group_id=0";
  if (::mount("powercut", options.where.c_str(), "fuse.powercut", MS_NOSUID | MS_NODEV,
              data.c_str()) != 0) {
    if (errno == ENODEV) throw Missing("the kernel has no FUSE");
    if (errno == EPERM) throw Missing("this process may not mount");
    throw_errno("mount of the recorder");
  }
  const pid_t child = ::fork();
  if (child < 0) throw_errno("fork");
  if (child > 0) return child;
  die_with_parent();
  // The kernel must not wait, for memory, for pages that only this process can write.
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  int status = 2;
  try {
    Recorder recorder(options, trace);
    status = recorder.serve(device.get());
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "powercut: recorder: %s\n", failure.what());
  }
  ::_exit(status);
}

}  // namespace diorite::powercut
