#include "driver/linux/uring_setup.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string_view>

namespace diorite::detail {
namespace {

constexpr std::uint32_t kSqMin = 8;
constexpr std::uint32_t kSqMax = 256;
constexpr std::uint32_t kCqMin = 16;
static_assert(kCqMin > Uring::kReserve);

// Older headers lack the newer names; the numbers are the kernel's and never change.
constexpr unsigned kSubmitAll = 1U << 7;
constexpr unsigned kSingleIssuer = 1U << 12;
constexpr unsigned kDeferTaskrun = 1U << 13;
constexpr unsigned kEnterRegisteredRing = 1U << 4;

/// From the most to the least. DEFER_TASKRUN needs SINGLE_ISSUER, so it goes first.
constexpr unsigned kRungs[] = {
    kSubmitAll | kSingleIssuer | kDeferTaskrun,
    kSubmitAll | kSingleIssuer,
    kSubmitAll,
    0,
};

struct Flag {
  unsigned bit;
  const char* name;
};
constexpr Flag kOptionalFlags[] = {
    {kSingleIssuer, "SINGLE_ISSUER"}, {kDeferTaskrun, "DEFER_TASKRUN"}, {kSubmitAll, "SUBMIT_ALL"}};
/// Without these an operation's arguments could not be freed after the submission, completions
/// could be lost, or a wait could have no limit. All are there since Linux 5.11.
constexpr Flag kRequiredFeatures[] = {{IORING_FEAT_SUBMIT_STABLE, "SUBMIT_STABLE"},
                                      {IORING_FEAT_NODROP, "NODROP"},
                                      {IORING_FEAT_EXT_ARG, "EXT_ARG"}};

struct RingOp {
  OpCode code;
  int op;
  const char* name;
};
constexpr RingOp kRingOps[] = {
    {OpCode::nop, IORING_OP_NOP, "NOP"},
    {OpCode::read, IORING_OP_READ, "READ"},
    {OpCode::write, IORING_OP_WRITE, "WRITE"},
    {OpCode::sync_data, IORING_OP_FSYNC, "FSYNC"},
    {OpCode::sync_all, IORING_OP_FSYNC, "FSYNC"},
    {OpCode::allocate, IORING_OP_FALLOCATE, "FALLOCATE"},
    {OpCode::truncate, kUringOpFtruncate, "FTRUNCATE"},
    {OpCode::close, IORING_OP_CLOSE, "CLOSE"},
    {OpCode::drop_cache, IORING_OP_FADVISE, "FADVISE"},
    {OpCode::open, IORING_OP_OPENAT, "OPENAT"},
    {OpCode::make_dir, IORING_OP_MKDIRAT, "MKDIRAT"},
    {OpCode::rename, IORING_OP_RENAMEAT, "RENAMEAT"},
    {OpCode::remove, IORING_OP_UNLINKAT, "UNLINKAT"},
};
/// What the driver itself lives on.
constexpr RingOp kDriverOps[] = {{OpCode::nop, IORING_OP_NOP, "NOP"},
                                 {OpCode::nop, IORING_OP_POLL_ADD, "POLL_ADD"},
                                 {OpCode::nop, IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"}};

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
    default:
      return "errno " + std::to_string(error);
  }
}

std::string limit_text(rlim_t value) {
  return value == RLIM_INFINITY ? std::string("unlimited") : std::to_string(value);
}

/// Each reason stands apart from the one before it.
void tell(std::string& reasons, std::string_view text) {
  if (!reasons.empty()) reasons += "; ";
  reasons += text;
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

std::string rung_name(std::uint32_t sq, std::uint32_t cq, unsigned flags) {
  std::string name = "io_uring " + std::to_string(sq) + "/" + std::to_string(cq);
  for (const Flag& flag : kOptionalFlags) {
    if ((flags & flag.bit) != 0) name.append(" ").append(flag.name);
  }
  return name;
}

}  // namespace

const UringCalls& uring_kernel_calls() noexcept {
  static constexpr UringCalls kCalls{&io_uring_queue_init_params,     &io_uring_enter2,
                                     &io_uring_register_probe,        &io_uring_register_ring_fd,
                                     &io_uring_register_files_sparse, &io_uring_register_files,
                                     &io_uring_register_files_update, &read_disabled_sysctl};
  return kCalls;
}

Result<std::unique_ptr<Uring>> Uring::create(const DriverOptions& options, std::string& reasons,
                                             const UringCalls& calls) {
  std::unique_ptr<Uring> uring(new Uring(calls));
  if (!uring->climb(options, reasons)) return Errc::unsupported;
  uring->register_ring(reasons);
  if (!uring->verify(reasons)) return Errc::unsupported;
  if (!uring->choose_routes(options.forbid_fallback, reasons)) return Errc::unsupported;
  uring->register_files(reasons);
  return uring;
}

Uring::~Uring() {
  if (!made_) return;
  // The kernel takes a closed ring apart at its leisure, and until then its files would stay open
  // and locked; the table is given back first.
  if (files_max_ != 0) ::io_uring_unregister_files(&ring_);
  ::io_uring_queue_exit(&ring_);
}

bool Uring::climb(const DriverOptions& options, std::string& reasons) {
  std::uint32_t sq = std::clamp(std::bit_ceil(options.in_flight_max), kSqMin, kSqMax);
  std::uint32_t cq = std::max(std::bit_ceil(options.in_flight_max + kReserve), 2 * sq);
  std::size_t rung = 0;
  for (;;) {
    io_uring_params params{};
    params.flags = kRungs[rung] | IORING_SETUP_CQSIZE;
    params.cq_entries = cq;
    const int result = calls_.setup(sq, &ring_, &params);
    const std::string name = rung_name(sq, cq, kRungs[rung]);
    if (result == 0) {
      made_ = true;
      deferred_ = (kRungs[rung] & kDeferTaskrun) != 0;
      in_flight_max_ = std::min(options.in_flight_max, params.cq_entries - kReserve);
      for (const Flag& feature : kRequiredFeatures) {
        if ((params.features & feature.bit) != 0) continue;
        tell(reasons, name + ": the kernel lacks " + feature.name + ", Linux 5.11 is needed");
        return false;
      }
      tell(reasons, name + ": made");
      return true;
    }
    tell(reasons, name + ": " + errno_name(-result));
    if (result == -EINVAL && rung + 1 < std::size(kRungs)) {
      ++rung;
    } else if (result == -ENOMEM && (sq > kSqMin || cq > kCqMin)) {
      sq = std::max(sq / 2, kSqMin);
      cq = std::max(cq / 2, kCqMin);
    } else {
      reasons += ", " + remedy(-result, calls_);
      return false;
    }
  }
}

void Uring::register_ring(std::string& reasons) {
  // Spares the look-up of the descriptor, with its atomic count, in every enter.
  const int result = calls_.register_ring(&ring_);
  if (result == 1) {
    enter_flags_ = kEnterRegisteredRing;
    tell(reasons, "ring descriptor registered");
  } else {
    tell(reasons, "ring descriptor not registered: " + errno_name(-result));
  }
}

bool Uring::verify(std::string& reasons) noexcept {
  constexpr std::uint64_t kMark = 0x6469'6f72'6974'6521;
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_nop(sqe);
  sqe->user_data = kMark;
  int result = 0;
  do {
    result = enter(1, nullptr);
  } while (result == -EINTR);
  if (result < 0) {
    tell(reasons, "a no-op was refused: " + errno_name(-result) + ", " + remedy(-result, calls_));
    return false;
  }
  const unsigned head = cq_head();
  if (cq_tail() == head || cqe(head).user_data != kMark || cqe(head).res != 0) {
    tell(reasons, "a no-op did not come back as it should");
    return false;
  }
  set_cq_head(head + 1);
  return true;
}

bool Uring::choose_routes(bool forbid_fallback, std::string& reasons) {
  constexpr unsigned kOps = 256;
  alignas(io_uring_probe)
      std::byte memory[sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op)] = {};
  auto* probe = reinterpret_cast<io_uring_probe*>(memory);
  const int result = calls_.probe(&ring_, probe, kOps);
  if (result < 0) {
    tell(reasons,
         "the opcode probe was refused: " + errno_name(-result) + ", " + remedy(-result, calls_));
    return false;
  }
  for (const RingOp& op : kDriverOps) {
    if (io_uring_opcode_supported(probe, op.op) != 0) continue;
    tell(reasons, std::string("the ring lacks ") + op.name + ", which the driver needs");
    return false;
  }
  routes_.fill(OpRoute::worker);
  std::string missing;
  for (const RingOp& op : kRingOps) {
    if (io_uring_opcode_supported(probe, op.op) != 0) {
      routes_[static_cast<std::size_t>(op.code)] = OpRoute::ring;
    } else if (missing.find(op.name) == std::string::npos) {
      missing.append(missing.empty() ? "" : " ").append(op.name);
    }
  }
  if (missing.empty()) return true;
  tell(reasons,
       "the ring lacks " + missing +
           (forbid_fallback ? ", and the options forbid a fallback" : ": done by worker threads"));
  return !forbid_fallback;
}

void Uring::register_files(std::string& reasons) {
  int result = calls_.register_files_sparse(&ring_, kFilesMax);
  if (result == -EINVAL) {
    // Before Linux 5.19 an empty table is a table of -1.
    std::array<int, kFilesMax> none;
    none.fill(-1);
    result = calls_.register_files(&ring_, none.data(), kFilesMax);
  }
  if (result < 0) {
    tell(reasons, "no file table: " + errno_name(-result));
    return;
  }
  files_max_ = kFilesMax;
  tell(reasons, std::to_string(kFilesMax) + " file places");
}

int Uring::set_file(std::uint32_t index, int descriptor) noexcept {
  const int result = calls_.update_files(&ring_, index, &descriptor, 1);
  return result < 0 ? result : 0;
}

int Uring::enter_timed(unsigned to_submit, unsigned min_complete,
                       __kernel_timespec& wait) noexcept {
  io_uring_getevents_arg argument{};
  argument.sigmask_sz = _NSIG / 8;
  argument.ts = reinterpret_cast<std::uintptr_t>(&wait);
  return calls_.enter(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, min_complete,
                      enter_flags_ | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                      reinterpret_cast<sigset_t*>(&argument), sizeof(argument));
}

}  // namespace diorite::detail
