#include "driver/linux/uring_calls.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace diorite::detail {
namespace {

int read_disabled_sysctl() {
  const int descriptor = ::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  char digit = 0;
  const ssize_t count = ::read(descriptor, &digit, 1);
  ::close(descriptor);
  return count == 1 && digit >= '0' && digit <= '9' ? digit - '0' : -1;
}

std::string errno_name(int error) {
  switch (error) {
    case EPERM:
      return "EPERM";
    case EACCES:
      return "EACCES";
    case EINVAL:
      return "EINVAL";
    case ENOMEM:
      return "ENOMEM";
    case ENOSYS:
      return "ENOSYS";
    case EMFILE:
      return "EMFILE";
    case ENFILE:
      return "ENFILE";
    case EBUSY:
      return "EBUSY";
    case EAGAIN:
      return "EAGAIN";
    default:
      return "errno " + std::to_string(error);
  }
}

std::string limit_text(rlim_t value) {
  return value == RLIM_INFINITY ? std::string("unlimited") : std::to_string(value);
}

/// What an operator can do about a refused ring.
std::string remedy(int error, const UringCalls& calls) {
  rlimit limit{};
  switch (error) {
    case EPERM:
    case EACCES: {
      const int disabled = calls.disabled_sysctl();
      if (disabled == 2) {
        return "the sysctl kernel.io_uring_disabled is 2: set it to 0 to allow io_uring";
      }
      if (disabled == 1) {
        return "the sysctl kernel.io_uring_disabled is 1: set it to 0, or add the user to the "
               "group "
               "in kernel.io_uring_group";
      }
      return "a seccomp filter or a security module refuses it: allow io_uring_setup, "
             "io_uring_enter and io_uring_register (container runtimes forbid them by default)";
    }
    case ENOSYS:
      return "the kernel is built without io_uring or older than 5.1, or a seccomp filter hides it";
    case ENOMEM:
      ::getrlimit(RLIMIT_MEMLOCK, &limit);
      return "not even the smallest ring fits: raise the limit of locked memory (ulimit -l; now " +
             limit_text(limit.rlim_cur) + " bytes) or the memory of the control group";
    case EMFILE:
      ::getrlimit(RLIMIT_NOFILE, &limit);
      return "the process has no descriptor left: raise the limit of open files (ulimit -n; now " +
             limit_text(limit.rlim_cur) + ")";
    case ENFILE:
      return "the system has no file left: raise the sysctl fs.file-max";
    case EINVAL:
      return "the kernel knows none of the forms asked for: Linux 5.11 is needed";
    default:
      return "the kernel gives no known reason";
  }
}

}  // namespace

const UringCalls& uring_kernel_calls() noexcept {
  static constexpr UringCalls kCalls{&io_uring_queue_init_params,
                                     &io_uring_enter2,
                                     &io_uring_register_probe,
                                     &io_uring_register_ring_fd,
                                     &io_uring_register_files_sparse,
                                     &io_uring_register_files,
                                     &io_uring_register_files_update,
                                     &io_uring_register_eventfd,
                                     &read_disabled_sysctl};
  return kCalls;
}

std::string uring_error_name(int result) { return errno_name(-result); }

std::string uring_remedy(int result, const UringCalls& calls) { return remedy(-result, calls); }

std::string uring_refusal_text(int result, const UringCalls& calls) {
  return uring_error_name(result) + ", " + uring_remedy(result, calls);
}

void uring_tell(std::string& reasons, std::string_view text) {
  if (!reasons.empty()) reasons += "; ";
  reasons += text;
}

}  // namespace diorite::detail
