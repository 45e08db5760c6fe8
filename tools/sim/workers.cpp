#include "workers.hpp"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "shared_keys.hpp"

#include <fmt/format.h>

namespace diorite::sim {
namespace {

// Seeds are dealt out in pieces of this size, so that every job gets early and late ones.
constexpr std::uint64_t kPiece = 32;

/// What one job shows of itself while it runs; in memory that is shared with the parent.
struct Shown {
  std::atomic<std::uint64_t> seed{0};
  std::atomic<std::uint64_t> schedules{0};
  std::atomic<std::uint64_t> crashes{0};
  std::atomic<std::uint64_t> acknowledged{0};
  std::atomic<std::uint64_t> failures{0};
};

struct Board {
  std::atomic<std::uint64_t> stop{0};
  std::atomic<std::uint64_t> keys{0};  ///< how many the jobs share
  SharedKeys* shared_keys = nullptr;   ///< null unless they explore
  Shown jobs[256];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

struct Job {
  pid_t process = -1;
  int from = -1;  ///< the report comes from here
  std::string bytes;
  bool running = false;
};

/// The part of a run that one child does.
class Child {
 public:
  Child(const Settings& settings, Board& board, std::uint32_t number) noexcept
      : settings_(settings), board_(board), shown_(board.jobs[number]), number_(number) {}

  Report run();

 private:
  static std::unique_ptr<Engine> make(void* context, Choices& choices) {
    auto& self = *static_cast<Child*>(context);
    self.shown_.seed.store(choices.seed(), std::memory_order_relaxed);
    return self.settings_.factory.make(self.settings_.factory.context, choices);
  }
  static bool keep_going(void* context, const Report& piece) {
    auto& self = *static_cast<Child*>(context);
    self.show(piece);
    return self.board_.stop.load(std::memory_order_relaxed) == 0;
  }
  void show(const Report& piece) {
    shown_.schedules.store(total_.schedules + piece.schedules, std::memory_order_relaxed);
    shown_.crashes.store(total_.crashes() + piece.crashes(), std::memory_order_relaxed);
    shown_.acknowledged.store(total_.acknowledged + piece.acknowledged, std::memory_order_relaxed);
    shown_.failures.store(total_.failures.size() + piece.failures.size(),
                          std::memory_order_relaxed);
  }

  const Settings& settings_;
  Board& board_;
  Shown& shown_;
  std::uint32_t number_;
  Report total_;
};

Report Child::run() {
  const EngineFactory factory{&Child::make, this};
  RunOptions options = settings_.run;
  options.keep_going = &Child::keep_going;
  options.context = this;
  if (settings_.explores) {
    options.shared = {[](void* board, std::uint64_t key) {
                        auto& on = *static_cast<Board*>(board);
                        const bool is_new = on.shared_keys->insert(key);
                        if (is_new && ++on.keys > SharedKeys::kKeysMax) on.stop.store(1);
                        return is_new;
                      },
                      &board_};
    return explore(options, factory);
  }
  // The parent adds up the crashes of all.
  options.crashes_max = RunOptions().crashes_max;
  for (std::uint64_t piece = number_;; piece += settings_.jobs) {
    const std::uint64_t first = piece * kPiece;
    if (first >= settings_.run.schedules || board_.stop.load() != 0) break;
    if (total_.failures.size() >= std::max(settings_.run.failures_max, 1U)) break;
    options.first_seed = settings_.run.first_seed + first;
    options.schedules = std::min(kPiece, settings_.run.schedules - first);
    total_.add(diorite::sim::run(options, factory));
  }
  return total_;
}

// A report as bytes, between two processes of one program.

template <class T>
void put(std::string& to, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  to.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <class T>
bool get(std::string_view& from, T& value) {
  if (from.size() < sizeof(T)) return false;
  std::memcpy(&value, from.data(), sizeof(T));
  from.remove_prefix(sizeof(T));
  return true;
}

std::string pack(const Report& report) {
  std::string bytes;
  put(bytes, report.schedules);
  put(bytes, report.lives);
  put(bytes, report.acknowledged);
  put(bytes, report.damages);
  put(bytes, report.shrink_steps);
  put(bytes, report.complete);
  put(bytes, report.states);
  put(bytes, report.merged);
  put(bytes, report.machine);
  put(bytes, report.failures.size());
  for (const Failure& failure : report.failures) {
    put(bytes, failure.seed);
    put(bytes, failure.schedule);
    put(bytes, failure.trace_hash);
    put(bytes, failure.explored);
    put(bytes, failure.text.size());
    bytes += failure.text;
    put(bytes, failure.decisions.size());
    for (const std::uint32_t decision : failure.decisions) put(bytes, decision);
  }
  return bytes;
}

bool unpack_failure(std::string_view& from, Failure& failure) {
  std::size_t length = 0;
  if (!get(from, failure.seed) || !get(from, failure.schedule) || !get(from, failure.trace_hash) ||
      !get(from, failure.explored) || !get(from, length) || from.size() < length) {
    return false;
  }
  failure.text = from.substr(0, length);
  from.remove_prefix(length);
  if (!get(from, length) || from.size() / sizeof(std::uint32_t) < length) return false;
  failure.decisions.resize(length);
  for (std::uint32_t& decision : failure.decisions) {
    if (!get(from, decision)) return false;
  }
  return true;
}

bool unpack(std::string_view from, Report& report) {
  std::size_t failures = 0;
  if (!get(from, report.schedules) || !get(from, report.lives) || !get(from, report.acknowledged) ||
      !get(from, report.damages) || !get(from, report.shrink_steps) ||
      !get(from, report.complete) || !get(from, report.states) || !get(from, report.merged) ||
      !get(from, report.machine) || !get(from, failures)) {
    return false;
  }
  for (std::size_t i = 0; i < failures; ++i) {
    if (!unpack_failure(from, report.failures.emplace_back())) return false;
  }
  return true;
}

[[noreturn]] void be_child(const Settings& settings, Board& board, std::uint32_t number, int to) {
#if defined(__GLIBC__)
  // Every life allocates and frees its large buffers; without this each of them is mapped anew and
  // faults in page by page, which takes a third of the time.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
  const std::string bytes = pack(Child(settings, board, number).run());
  std::string_view left = bytes;
  while (!left.empty()) {
    const ssize_t written = write(to, left.data(), left.size());
    if (written < 0 && errno != EINTR) _exit(2);
    if (written > 0) left.remove_prefix(static_cast<std::size_t>(written));
  }
  _exit(0);
}

class Parent {
 public:
  Parent(const Settings& settings, Board& board) : settings_(settings), board_(board) {}
  WorkersResult run();

 private:
  bool start(std::uint32_t number);
  void look();
  void end(std::uint32_t number, Job& job);
  void print_progress(bool last);
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  }

  const Settings& settings_;
  Board& board_;
  std::vector<Job> jobs_;
  WorkersResult result_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  bool on_terminal_ = isatty(STDERR_FILENO) != 0;
  double printed_ = 0;
  bool complete_ = true;  ///< of the jobs that have ended
};

bool Parent::start(std::uint32_t number) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  std::fflush(nullptr);
  const pid_t process = fork();
  if (process < 0) {
    close(ends[0]);
    close(ends[1]);
    return false;
  }
  if (process == 0) {
    close(ends[0]);
    be_child(settings_, board_, number, ends[1]);
  }
  close(ends[1]);
  Job& job = jobs_.emplace_back();
  job.process = process;
  job.from = ends[0];
  job.running = true;
  return true;
}

void Parent::end(std::uint32_t number, Job& job) {
  job.running = false;
  close(job.from);
  int status = 0;
  while (waitpid(job.process, &status, 0) < 0 && errno == EINTR) {
  }
  Report report;
  const bool sensible = WIFEXITED(status) && WEXITSTATUS(status) == 0 && unpack(job.bytes, report);
  if (sensible) {
    if (!report.passed()) board_.stop.store(1);
    // Each job knows of itself whether it was cut off.
    complete_ = complete_ && report.complete;
    result_.report.add(report);
    result_.report.complete = complete_;
    return;
  }
  board_.stop.store(1);
  complete_ = result_.report.complete = false;
  Failure failure;
  failure.seed = board_.jobs[number].seed.load();
  failure.schedule = board_.jobs[number].schedules.load() + 1;
  failure.text = WIFSIGNALED(status) ? fmt::format("the process died of signal {} ({})",
                                                   WTERMSIG(status), strsignal(WTERMSIG(status)))
                                     : std::string("the process gave up");
  result_.report.schedules += board_.jobs[number].schedules.load();
  result_.report.failures.push_back(std::move(failure));
}

void Parent::look() {
  for (std::uint32_t i = 0; i < jobs_.size(); ++i) {
    Job& job = jobs_[i];
    if (!job.running) continue;
    char bytes[65536];
    // Only a child that has finished writes, so a read waits for no more than the rest of it.
    fd_set set;
    FD_ZERO(&set);
    FD_SET(job.from, &set);
    timeval at_once{0, 0};
    if (select(job.from + 1, &set, nullptr, nullptr, &at_once) <= 0) continue;
    ssize_t got = 0;
    while ((got = read(job.from, bytes, sizeof(bytes))) != 0) {
      if (got < 0 && errno != EINTR) break;
      if (got > 0) job.bytes.append(bytes, static_cast<std::size_t>(got));
    }
    end(i, job);
  }
}

void Parent::print_progress(bool last) {
  const double now = seconds();
  if (!last && now - printed_ < (on_terminal_ ? 0.2 : 5.0)) return;
  if (last && !on_terminal_ && printed_ == 0) return;
  printed_ = now;
  std::uint64_t schedules = 0;
  std::uint64_t crashes = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t failures = 0;
  for (std::uint32_t i = 0; i < settings_.jobs; ++i) {
    schedules += board_.jobs[i].schedules.load();
    crashes += board_.jobs[i].crashes.load();
    acknowledged += board_.jobs[i].acknowledged.load();
    failures += board_.jobs[i].failures.load();
  }
  const std::string line = fmt::format(
      "{} {}: {:.0f} s, {} schedules ({:.0f}/s), {} crashes, {} acknowledged, {} failures",
      settings_.engine, settings_.profile, now, schedules,
      static_cast<double>(schedules) / std::max(now, 0.001), crashes, acknowledged, failures);
  if (on_terminal_) {
    fmt::print(stderr, "\r\033[K{}{}", line, last ? "\n" : "");
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

WorkersResult Parent::run() {
  const std::uint32_t jobs = settings_.jobs;
  for (std::uint32_t i = 0; i < jobs; ++i) {
    if (start(i)) continue;
    result_.trouble = fmt::format("a process could not be started: {}", std::strerror(errno));
    board_.stop.store(1);
    break;
  }
  const auto running = [this] {
    return std::any_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return job.running; });
  };
  while (running()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    look();
    std::uint64_t crashes = 0;
    for (std::uint32_t i = 0; i < jobs; ++i) crashes += board_.jobs[i].crashes.load();
    const bool late = settings_.seconds != 0 && seconds() >= static_cast<double>(settings_.seconds);
    if (late || crashes >= settings_.run.crashes_max) board_.stop.store(1);
    print_progress(false);
  }
  print_progress(true);
  return std::move(result_);
}

}  // namespace

WorkersResult run_workers(const Settings& settings) {
  void* const memory =
      mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return {Report(), "no memory to share with the processes"};
  Board* const board = new (memory) Board;
  std::optional<SharedKeys> keys;
  if (settings.explores) {
    board->shared_keys = &keys.emplace();
    if (!*keys) return {Report(), "no memory to share with the processes"};
  }
  WorkersResult result = Parent(settings, *board).run();
  munmap(memory, sizeof(Board));
  return result;
}

}  // namespace diorite::sim
