#include "machine.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include <fmt/format.h>
#include <liburing.h>

namespace diorite::bench {
namespace {

constexpr unsigned kKernelThread = 0x0020'0000;  // PF_KTHREAD in the flags of /proc/<pid>/stat

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

double seconds_per_tick() {
  static const double seconds = 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return seconds;
}

/// User and system time of one process and of its children that have been waited for. So a process
/// that ends between two looks does not vanish from the sum: its parent has its time then.
std::uint64_t process_ticks(const std::string& pid) {
  const std::string line = first_line("/proc/" + pid + "/stat");
  // The second field is the program's name in brackets and may hold anything.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  constexpr std::size_t kFlags = 6;
  constexpr std::size_t kFirstTime = 11;
  constexpr std::size_t kLastTime = 14;
  std::uint64_t ticks = 0;
  std::string field;
  for (std::size_t i = 0; i <= kLastTime && (fields >> field); ++i) {
    if (i == kFlags && (std::stoul(field) & kKernelThread) != 0) return 0;
    if (i >= kFirstTime) ticks += std::stoull(field);
  }
  return ticks;
}

std::uint64_t steal_ticks() {
  std::istringstream fields(first_line("/proc/stat"));
  std::string label;
  fields >> label;
  constexpr std::size_t kSteal = 7;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i <= kSteal && (fields >> value); ++i) {
    if (i == kSteal) return value;
  }
  return 0;
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string filesystem_name(const std::string& dir) {
  struct statfs found;
  if (::statfs(dir.c_str(), &found) != 0) return "unknown";
  switch (static_cast<std::uint32_t>(found.f_type)) {
    case 0xEF53:
      return "ext4";
    case 0x58465342:
      return "xfs";
    case 0x9123683E:
      return "btrfs";
    case 0x01021994:
      return "tmpfs (no device below it: durable writes cost nothing)";
    case 0x794C7630:
      return "overlayfs";
    case 0xF2F52010:
      return "f2fs";
    default:
      return fmt::format("type {:#x}", static_cast<std::uint32_t>(found.f_type));
  }
}

/// What sysfs tells of the disk, looked for at the partition and at its disk.
std::string device_text(const std::string& dir) {
  struct stat info;
  if (::stat(dir.c_str(), &info) != 0) return "unknown";
  const std::string node =
      fmt::format("/sys/dev/block/{}:{}", ::major(info.st_dev), ::minor(info.st_dev));
  for (const char* place : {"/queue/", "/../queue/"}) {
    const std::string queue = node + place;
    const std::string cache = first_line(queue + "write_cache");
    if (cache.empty()) continue;
    std::array<char, 256> target{};
    const ssize_t length = ::readlink(node.c_str(), target.data(), target.size() - 1);
    std::string name(target.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    name = name.substr(name.rfind('/') + 1);
    return fmt::format("{}, cache: {}, FUA: {}, logical block {}, scheduler {}", name, cache,
                       first_line(queue + "fua") == "1" ? "yes" : "no",
                       first_line(queue + "logical_block_size"), first_line(queue + "scheduler"));
  }
  return "no block device";
}

std::string liburing_version() {
#ifdef IO_URING_VERSION_MAJOR
  return fmt::format("{}.{}", IO_URING_VERSION_MAJOR, IO_URING_VERSION_MINOR);
#else
  return "before 2.4";
#endif
}

}  // namespace

double foreign_cpu_seconds() {
  DIR* const processes = ::opendir("/proc");
  if (processes == nullptr) return 0;
  const std::string own = std::to_string(::getpid());
  std::uint64_t ticks = steal_ticks();
  while (const dirent* const entry = ::readdir(processes)) {
    const std::string_view name = entry->d_name;
    if (name.find_first_not_of("0123456789") == std::string_view::npos && name != own) {
      ticks += process_ticks(std::string(name));
    }
  }
  ::closedir(processes);
  return static_cast<double>(ticks) * seconds_per_tick();
}

double own_cpu_seconds() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double foreign_share_now() {
  constexpr double kSeconds = 0.5;
  const double before = foreign_cpu_seconds();
  std::this_thread::sleep_for(std::chrono::duration<double>(kSeconds));
  return (foreign_cpu_seconds() - before) / kSeconds;
}

std::vector<std::pair<std::string, std::string>> machine_facts(const std::string& dir) {
  utsname system{};
  ::uname(&system);
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return {
      {"kernel", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
      {"CPU", fmt::format("{}, {} online", cpu_model(), ::sysconf(_SC_NPROCESSORS_ONLN))},
      {"memory", fmt::format("{} MiB", pages * page_bytes >> 20)},
      {"clock", first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")},
      {"file system", filesystem_name(dir)},
      {"device", device_text(dir)},
      {"liburing", liburing_version()},
      {"compiler", __VERSION__},
#ifdef NDEBUG
      {"build", "without debug assertions"},
#else
      {"build", "WITH DEBUG ASSERTIONS: figures mean nothing"},
#endif
  };
}

}  // namespace diorite::bench
