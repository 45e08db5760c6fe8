// Runs a program with io_uring refused, as many container runtimes refuse it: a seccomp filter
// answers EPERM to the three system calls. Usage: seccomp_exec program [argument...]

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// The filter compares with a range, and need not look at the architecture: since Linux 5.1 new
// system calls have the same number everywhere.
static_assert(SYS_io_uring_setup == 425 && SYS_io_uring_enter == 426 &&
              SYS_io_uring_register == 427);

bool refuse_io_uring() {
  constexpr unsigned kRefuse = SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA);
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, kRefuse),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(sizeof(code) / sizeof(code[0])), code};
  // Without no_new_privs an unprivileged process may not install a filter.
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: seccomp_exec program [argument...]\n");
    return 2;
  }
  if (!refuse_io_uring()) {
    std::fprintf(stderr, "seccomp_exec: no filter can be installed here: %s\n",
                 std::strerror(errno));
    return 2;
  }
  // The filter is only worth something if the kernel obeys it.
  if (::syscall(SYS_io_uring_setup, 0, nullptr) != -1 || errno != EPERM) {
    std::fprintf(stderr, "seccomp_exec: io_uring is not refused in spite of the filter\n");
    return 2;
  }
  ::execv(argv[1], argv + 1);
  std::fprintf(stderr, "seccomp_exec: %s: %s\n", argv[1], std::strerror(errno));
  return 2;
}
