#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <new>

#include "driver/linux/dio_align.hpp"
#include "driver/os.hpp"

namespace diorite::detail {
namespace {

std::int32_t error_or_zero(int returned) noexcept { return returned < 0 ? -errno : 0; }

std::int32_t error_or_count(ssize_t returned) noexcept {
  return returned < 0 ? -errno : static_cast<std::int32_t>(returned);
}

// An offset beyond what off_t holds would reach the kernel as a negative one.
bool fits_offset(std::uint64_t value) noexcept {
  return value <= static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
}

std::int32_t read_file(const OsRequest& request) noexcept {
  if (!fits_offset(request.offset)) return -EINVAL;
  return error_or_count(::pread(os_descriptor(request.file), request.data, request.bytes,
                                static_cast<off_t>(request.offset)));
}

std::int32_t write_file(OsRequest& request) noexcept {
  if (!fits_offset(request.offset)) return -EINVAL;
  const int descriptor = os_descriptor(request.file);
  const auto offset = static_cast<off_t>(request.offset);
  if ((request.flags & kOpDsync) == 0) {
    return error_or_count(::pwrite(descriptor, request.data, request.bytes, offset));
  }
  const iovec piece{request.data, request.bytes};
  const ssize_t durable = ::pwritev2(descriptor, &piece, 1, offset, RWF_DSYNC);
  if (durable >= 0) return static_cast<std::int32_t>(durable);
  // Without the flag (before Linux 4.7, some network and FUSE file systems) the answer is one of
  // these. EINVAL may also be about alignment: then the plain write fails in the same way.
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return -errno;
  const ssize_t written = ::pwrite(descriptor, request.data, request.bytes, offset);
  if (written < 0) return -errno;
  request.dsync_emulated = true;
  if (::fdatasync(descriptor) != 0) return -errno;
  return static_cast<std::int32_t>(written);
}

std::int32_t allocate_file(const OsRequest& request) noexcept {
  if (!fits_offset(request.offset) || !fits_offset(request.length)) return -EFBIG;
  const int mode = (request.flags & kOpKeepSize) != 0 ? FALLOC_FL_KEEP_SIZE : 0;
  return error_or_zero(::fallocate(os_descriptor(request.file), mode,
                                   static_cast<off_t>(request.offset),
                                   static_cast<off_t>(request.length)));
}

std::int32_t truncate_file(const OsRequest& request) noexcept {
  if (!fits_offset(request.length)) return -EFBIG;
  return error_or_zero(
      ::ftruncate(os_descriptor(request.file), static_cast<off_t>(request.length)));
}

std::int32_t close_file(DriverFile file) noexcept {
  // Linux has freed the descriptor when close() says EINTR; a second close would hit somebody
  // else's.
  if (::close(os_descriptor(file)) == 0 || errno == EINTR) return 0;
  return -errno;
}

std::int32_t lock_file(DriverFile file) noexcept {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  // Owned by the open file, not by the process: closing another descriptor of the same file must
  // not release it, and a second open within this process must conflict.
  if (::fcntl(os_descriptor(file), F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? -EAGAIN : -errno;
}

int basic_flags(std::uint32_t open_flags) noexcept {
  int flags = O_CLOEXEC;
  flags |= (open_flags & kOpenWrite) != 0 ? O_RDWR : O_RDONLY;
  if ((open_flags & kOpenCreate) != 0) flags |= O_CREAT;
  if ((open_flags & kOpenExclusive) != 0) flags |= O_EXCL;
  if ((open_flags & kOpenTruncate) != 0) flags |= O_TRUNC;
  if ((open_flags & kOpenDsync) != 0) flags |= O_DSYNC;
  return flags;
}

// The kernel refuses O_DIRECT, and O_NOATIME on some network file systems, only after it has
// created the file. An exclusive open that tried again would then find its own leavings, so the
// file is created without these flags, and they are set afterwards.
std::int32_t open_exclusive(OsRequest& request) noexcept {
  const int descriptor =
      ::open(request.path, basic_flags(request.open_flags), static_cast<mode_t>(request.mode));
  if (descriptor < 0) return -errno;
  int flags = ::fcntl(descriptor, F_GETFL);
  if (flags >= 0 && (request.open_flags & kOpenNoAtime) != 0 &&
      ::fcntl(descriptor, F_SETFL, flags | O_NOATIME) == 0) {
    flags |= O_NOATIME;
  }
  if (flags < 0 || ((request.open_flags & kOpenDirect) != 0 &&
                    ::fcntl(descriptor, F_SETFL, flags | O_DIRECT) != 0)) {
    const std::int32_t error = -errno;
    ::close(descriptor);
    ::unlink(request.path);
    return error;
  }
  request.file = os_driver_file(descriptor);
  return 0;
}

std::int32_t open_file(OsRequest& request) noexcept {
  const std::uint32_t wanted = request.open_flags;
  if ((wanted & kOpenCreate) != 0 && (wanted & kOpenExclusive) != 0) {
    return open_exclusive(request);
  }
  int flags = basic_flags(wanted);
  if ((wanted & kOpenDirect) != 0) flags |= O_DIRECT;
  if ((wanted & kOpenNoAtime) != 0) flags |= O_NOATIME;
  int descriptor = ::open(request.path, flags, static_cast<mode_t>(request.mode));
  if (descriptor < 0 && errno == EPERM && (flags & O_NOATIME) != 0) {
    // Only a file's owner may ask for it; it saves time and changes nothing else.
    descriptor = ::open(request.path, flags & ~O_NOATIME, static_cast<mode_t>(request.mode));
  }
  if (descriptor < 0) return -errno;
  request.file = os_driver_file(descriptor);
  return 0;
}

FileKind kind_from_mode(mode_t mode) noexcept {
  if (S_ISREG(mode)) return FileKind::regular;
  if (S_ISDIR(mode)) return FileKind::directory;
  if (S_ISBLK(mode)) return FileKind::block_device;
  return FileKind::other;
}

FileKind kind_of_entry(int folder, const dirent& entry) noexcept {
  switch (entry.d_type) {
    case DT_REG:
      return FileKind::regular;
    case DT_DIR:
      return FileKind::directory;
    case DT_BLK:
      return FileKind::block_device;
    case DT_UNKNOWN:
      break;
    default:
      return FileKind::other;
  }
  struct stat info;
  if (::fstatat(folder, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) return FileKind::other;
  return kind_from_mode(info.st_mode);
}

std::int32_t read_entries(DIR* folder, std::vector<DirEntry>& entries) noexcept try {
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(folder);
    if (entry == nullptr) return -errno;
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    entries.push_back({entry->d_name, kind_of_entry(::dirfd(folder), *entry)});
  }
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

std::int32_t list_folder(OsRequest& request) noexcept {
  std::unique_ptr<std::vector<DirEntry>> entries(new (std::nothrow) std::vector<DirEntry>);
  if (entries == nullptr) return -ENOMEM;
  DIR* const folder = ::opendir(request.path);
  if (folder == nullptr) return -errno;
  const std::int32_t result = read_entries(folder, *entries);
  ::closedir(folder);
  if (result == 0) request.entries = std::move(entries);
  return result;
}

std::int32_t sync_folder(const OsRequest& request) noexcept {
  const int folder = ::open(request.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -errno;
  const std::int32_t synced = error_or_zero(::fsync(folder));
  const std::int32_t closed = close_file(os_driver_file(folder));
  return synced != 0 ? synced : closed;
}

timespec to_timespec(Duration duration) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  timespec time{};
  time.tv_sec = static_cast<time_t>(seconds.count());
  time.tv_nsec = static_cast<long>((duration - seconds).count());
  return time;
}

Duration read_clock(clockid_t clock) noexcept {
  timespec time{};
  ::clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

bool read_fully(const char* path, void* to, std::size_t bytes) noexcept {
  const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const ssize_t got = ::read(descriptor, to, bytes);
  ::close(descriptor);
  return got == static_cast<ssize_t>(bytes);
}

}  // namespace

std::int32_t os_execute(OsRequest& request) noexcept {
  switch (request.code) {
    case OpCode::nop:
      return 0;
    case OpCode::read:
      return read_file(request);
    case OpCode::write:
      return write_file(request);
    case OpCode::sync_data:
      return error_or_zero(::fdatasync(os_descriptor(request.file)));
    case OpCode::sync_all:
      return error_or_zero(::fsync(os_descriptor(request.file)));
    case OpCode::allocate:
      return allocate_file(request);
    case OpCode::truncate:
      return truncate_file(request);
    case OpCode::info:
      return file_info_of(os_descriptor(request.file), request.info);
    case OpCode::close:
      return close_file(request.file);
    case OpCode::try_lock:
      return lock_file(request.file);
    case OpCode::call:
      request.function(request.context);
      return 0;
    case OpCode::drop_cache:
      // The error is returned, not left in errno.
      return -::posix_fadvise(os_descriptor(request.file), 0, 0, POSIX_FADV_DONTNEED);
    case OpCode::open:
      return open_file(request);
    case OpCode::make_dir:
      return error_or_zero(::mkdir(request.path, static_cast<mode_t>(request.mode)));
    case OpCode::list_dir:
      return list_folder(request);
    case OpCode::rename:
      return error_or_zero(::rename(request.path, request.path2));
    case OpCode::remove:
      return error_or_zero((request.flags & kOpDirectory) != 0 ? ::rmdir(request.path)
                                                               : ::unlink(request.path));
    case OpCode::sync_dir:
      return sync_folder(request);
  }
  return -EINVAL;
}

int os_descriptor(DriverFile file) noexcept {
  return static_cast<int>(static_cast<std::uint32_t>(file.value));
}

DriverFile os_driver_file(int descriptor) noexcept {
  return DriverFile{static_cast<std::uint32_t>(descriptor)};
}

void os_close(DriverFile file) noexcept { static_cast<void>(close_file(file)); }

OsSignalBlock::OsSignalBlock() noexcept {
  static_assert(sizeof(sigset_t) <= kMaskBytes && alignof(sigset_t) <= alignof(std::uint64_t));
  auto* const before = ::new (before_.data()) sigset_t;
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, before);
}

OsSignalBlock::~OsSignalBlock() {
  const auto* const before = std::launder(reinterpret_cast<const sigset_t*>(before_.data()));
  ::pthread_sigmask(SIG_SETMASK, before, nullptr);
}

Instant os_now() noexcept { return Instant(read_clock(CLOCK_MONOTONIC)); }

WallTime os_wall_now() noexcept { return WallTime(read_clock(CLOCK_REALTIME)); }

std::uint64_t os_entropy() noexcept {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof(value), 0) == static_cast<ssize_t>(sizeof(value))) return value;
  // A sandbox may forbid the call and still have the device.
  const bool read = read_fully("/dev/urandom", &value, sizeof(value));
  DIORITE_ASSERT(read, "the system gives no random numbers");
  return value;
}

std::array<std::uint8_t, 16> os_boot_id() noexcept {
  constexpr std::size_t kTextBytes = 36;
  char text[kTextBytes];
  std::array<std::uint8_t, 16> id{};
  if (!read_fully("/proc/sys/kernel/random/boot_id", text, kTextBytes)) return id;
  std::size_t digits = 0;
  for (const char c : text) {
    unsigned value = 0;
    if (c >= '0' && c <= '9') {
      value = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = static_cast<unsigned>(c - 'a') + 10U;
    } else if (c == '-') {
      continue;
    } else {
      return {};
    }
    if (digits == 2 * id.size()) return {};
    std::uint8_t& byte = id[digits / 2];
    byte = static_cast<std::uint8_t>((static_cast<unsigned>(byte) << 4) | value);
    ++digits;
  }
  if (digits != 2 * id.size()) return {};
  return id;
}

Result<std::unique_ptr<OsWaker>> OsWaker::create() {
  const int descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) return Error::from_driver(-errno);
  return std::unique_ptr<OsWaker>(new OsWaker(descriptor));
}

OsWaker::~OsWaker() { ::close(descriptor_); }

void OsWaker::signal() noexcept {
  // A signal handler must leave errno as it was. EAGAIN means that the counter is full: signalled.
  const int before = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof(one));
  errno = before;
}

void OsWaker::consume() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(descriptor_, &count, sizeof(count));
}

bool OsWaker::wait_until(Instant until) noexcept {
  for (;;) {
    timespec timeout{};
    if (until != kNever) {
      const Instant now = os_now();
      if (until > now) timeout = to_timespec(until - now);
    }
    pollfd wanted{descriptor_, POLLIN, 0};
    const int ready = ::ppoll(&wanted, 1, until == kNever ? nullptr : &timeout, nullptr);
    if (ready > 0) {
      consume();
      return true;
    }
    if (ready == 0) return false;
    // A signal handler ran; whatever it wanted to tell, it told through signal().
    DIORITE_ASSERT(errno == EINTR || errno == EAGAIN || errno == ENOMEM,
                   "waiting for a driver's own descriptor failed");
  }
}

}  // namespace diorite::detail
