// Which of the known miscompilations of coroutines this compiler has.
//
// Every form is run, and every value in it counts its constructions and destructions and knows its
// own address, so that a bitwise copy, a double destruction and a missing one are counted instead
// of suffered. Each runs in a process of its own all the same. Users are told to write the forms
// marked "safe": one of them that is miscompiled fails the test, whatever the compiler. The others
// are known to be wrong somewhere, and are reported.
//
// It needs nothing but a compiler, so that one can be judged before anything else is built:
//
//   c++ -std=c++20 tests/compiler/landmines.cpp -o landmines && ./landmines
//
// The library's own awaitables are held to the safe forms by tests/coro/landmines_test.cpp.

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <tuple>
#include <utility>

namespace {

int alive = 0;
int made = 0;
int broken = 0;

class Counted {
 public:
  explicit Counted(int value = 0) noexcept : value_(value), self_(this) { count(); }
  Counted(const Counted& other) noexcept : value_(other.value_), self_(this) {
    other.check();
    count();
  }
  Counted(Counted&& other) noexcept : value_(std::exchange(other.value_, -1)), self_(this) {
    other.check();
    count();
  }
  Counted& operator=(Counted other) noexcept {
    check();
    value_ = other.value_;
    return *this;
  }
  ~Counted() {
    check();
    self_ = nullptr;
    --alive;
  }
  int value() const noexcept {
    check();
    return value_;
  }

 private:
  static void count() noexcept {
    ++alive;
    ++made;
  }
  void check() const noexcept {
    if (self_ != this) ++broken;
  }
  int value_;
  // Volatile, or the last store of a destructor is dead to an optimiser.
  Counted* volatile self_;
};

// The smallest task that does what a real one does: lazy, awaited once, its child resumed from
// inside await_suspend.
std::coroutine_handle<> pending;

template <class T>
class Task;

struct PromiseBase {
  // Aligned as operator new promises it, and at every such place in turn: what is aligned better is
  // not so by accident.
  static void* operator new(std::size_t bytes) {
    static unsigned turn = 0;
    constexpr std::size_t kStep = alignof(std::max_align_t);
    const std::size_t room = (bytes + 3 * kFrameAlign) & ~(kFrameAlign - 1);
    auto* const base = static_cast<std::byte*>(std::aligned_alloc(kFrameAlign, room));
    if (base == nullptr) throw std::bad_alloc();
    std::byte* const frame = base + kStep * (1 + turn++ % (kFrameAlign / kStep));
    std::memcpy(frame - sizeof base, &base, sizeof base);
    return frame;
  }
  static void operator delete(void* frame) noexcept {
    std::byte* base = nullptr;
    std::memcpy(&base, static_cast<std::byte*>(frame) - sizeof base, sizeof base);
    std::free(base);
  }
  static constexpr std::size_t kFrameAlign = 64;

  std::coroutine_handle<> continuation;
  std::exception_ptr exception;
  std::suspend_always initial_suspend() const noexcept { return {}; }
  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> frame) const noexcept {
      if (frame.promise().continuation) return frame.promise().continuation;
      return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  Final final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception = std::current_exception(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};

template <class T>
class Task {
 public:
  using promise_type = Promise<T>;
  explicit Task(std::coroutine_handle<Promise<T>> frame) noexcept : frame_(frame) {}
  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (frame_) frame_.destroy();
  }
  bool await_ready() const noexcept { return false; }
  // Compilers before clang 18 must not inline it.
  __attribute__((noinline)) bool await_suspend(std::coroutine_handle<> parent) {
    frame_.resume();
    if (frame_.done()) return false;
    frame_.promise().continuation = parent;
    return true;
  }
  T await_resume() {
    if (frame_.promise().exception) std::rethrow_exception(frame_.promise().exception);
    return std::move(*frame_.promise().value);
  }
  std::coroutine_handle<Promise<T>> frame() const noexcept { return frame_; }

 private:
  std::coroutine_handle<Promise<T>> frame_;
};

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}

struct Suspend {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) const noexcept { pending = frame; }
  void await_resume() const noexcept {}
};

template <class T>
T run(Task<T> task) {
  task.frame().resume();
  while (!task.frame().done()) std::exchange(pending, nullptr).resume();
  return task.await_resume();
}

// Targets of the awaits. Each suspends, so that the caller's temporaries have to live in its frame.

struct Aggregate {
  int number = 0;
  Counted counted;
};
struct Options {
  int first = 1;
  int second = 2;
};
class Named {
 public:
  Named(int number, Counted counted) : number_(number), counted_(std::move(counted)) {}
  int sum() const noexcept { return number_ + counted_.value(); }

 private:
  int number_;
  Counted counted_;
};

Task<int> takes_value(Counted counted) {
  co_await Suspend();
  co_return counted.value();
}
Task<int> takes_reference(const Counted& counted) {
  co_await Suspend();
  co_return counted.value();
}
Task<int> takes_aggregate(Aggregate aggregate) {
  co_await Suspend();
  co_return aggregate.number + aggregate.counted.value();
}
Task<int> takes_named(Named named) {
  co_await Suspend();
  co_return named.sum();
}
Task<int> takes_options(Options options, Counted counted) {
  co_await Suspend();
  co_return options.first * 10 + options.second + counted.value();
}
Task<int> takes_function(std::function<int()> function) {
  co_await Suspend();
  co_return function();
}
template <class F>
Task<int> takes_callable(F function) {
  co_await Suspend();
  co_return function();
}
Task<int> takes_pointer(int (*function)(const Counted&), Counted counted) {
  co_await Suspend();
  co_return function(counted);
}
Task<int> takes_array(const std::array<Counted, 2>& values) {
  co_await Suspend();
  co_return values[0].value() + values[1].value();
}
Task<Counted> gives(int value) {
  co_await Suspend();
  co_return Counted(value);
}
using Pair = std::tuple<Counted, Counted>;
Task<Pair> gives_pair() {
  co_await Suspend();
  co_return Pair(Counted(4), Counted(5));
}
Task<Aggregate> gives_aggregate() {
  Aggregate aggregate;
  aggregate.number = 4;
  co_await Suspend();
  co_return std::move(aggregate);
}

// The forms. Each gives 9.

Task<int> safe_value() { co_return co_await takes_value(Counted(9)); }
Task<int> safe_reference() { co_return co_await takes_reference(Counted(9)); }
Task<int> safe_class() { co_return co_await takes_named(Named(4, Counted(5))); }
Task<int> safe_options() {
  const int a = co_await takes_options({.second = 5}, Counted(-15));
  const int b = co_await takes_options(Options{3, 4}, Counted(-25));
  co_return a + b;
}
Task<int> safe_named_aggregate() {
  Aggregate aggregate;
  aggregate.number = 4;
  aggregate.counted = Counted(5);
  co_return co_await takes_aggregate(std::move(aggregate));
}
Task<int> safe_function_pointer() {
  co_return co_await takes_pointer([](const Counted& c) { return c.value() * 3; }, Counted(3));
}
Task<int> safe_lambda_by_reference() {
  const Counted here(9);
  co_return co_await takes_callable([&] { return here.value(); });
}
Task<int> safe_named_lambda() {
  auto callable = [counted = Counted(9)] { return counted.value(); };
  co_return co_await takes_callable(std::move(callable));
}
Task<int> safe_array() {
  const std::array<Counted, 2> values = {Counted(4), Counted(5)};
  co_return co_await takes_array(values);
}
Task<int> safe_named_binding() {
  auto pair = co_await gives_pair();
  auto& [a, b] = pair;
  co_return a.value() + b.value();
}
Task<int> safe_result() {
  const Counted counted = co_await gives(9);
  co_return counted.value();
}
Task<int> safe_condition() {
  int rounds = 0;
  while (co_await takes_value(Counted(rounds)) < 3) ++rounds;
  if (const int got = co_await takes_value(Counted(6)); got == 6) co_return rounds + got;
  co_return 0;
}
Task<int> safe_if_instead_of_conditional() {
  Counted chosen(1);
  if (made > 0) chosen = Counted(9);
  co_return co_await takes_value(std::move(chosen));
}
Task<int> aggregate_temporary() { co_return co_await takes_aggregate(Aggregate{4, Counted(5)}); }
Task<int> aggregate_designated() {
  co_return co_await takes_aggregate({.number = 4, .counted = Counted(5)});
}
Task<int> aggregate_of_await() {
  struct Maker {
    static Task<Aggregate> make() { co_return Aggregate{4, co_await gives(5)}; }
  };
  const Aggregate aggregate = co_await Maker::make();
  co_return aggregate.number + aggregate.counted.value();
}
Task<int> lambda_by_value() {
  const Counted here(9);
  co_return co_await takes_callable([here] { return here.value(); });
}
Task<int> lambda_to_function() {
  const Counted here(9);
  co_return co_await takes_function([here] { return here.value(); });
}
Task<int> conditional_argument() {
  const bool first = made > 0;
  co_return co_await takes_value(first ? Counted(9) : Counted(8));
}
Task<int> conditional_await() {
  const bool first = made >= 0;
  const Counted counted = first ? co_await gives(9) : co_await gives(8);
  co_return counted.value();
}
Task<int> direct_binding() {
  auto [a, b] = co_await gives_pair();
  co_return a.value() + b.value();
}
Task<int> direct_binding_of_aggregate() {
  auto [number, counted] = co_await gives_aggregate();
  co_return number + counted.value() + 5;
}
Task<int> awaits_as_arguments() {
  co_return co_await takes_named(Named((co_await gives(4)).value(), co_await gives(5)));
}

/// The coroutine is destroyed by whom it has just asked to resume it.
struct Destroys {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) const { frame.destroy(); }
  void await_resume() const noexcept {}
};
struct Eager {
  struct promise_type {
    Eager get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void unhandled_exception() const noexcept {}
    void return_void() const noexcept {}
  };
};
Eager dies_in_await_suspend(Counted counted) {
  const Counted local(counted.value());
  co_await Destroys();
}
Task<int> destroyed_in_await_suspend() {
  dies_in_await_suspend(Counted(3));
  co_await Suspend();
  co_return 9;
}

Task<int> over_aligned_local() {
  alignas(64) volatile unsigned char local[64] = {};
  co_await Suspend();
  // Volatile, or the compiler answers by what it has promised.
  volatile unsigned char* volatile where = local;
  broken += reinterpret_cast<std::uintptr_t>(where) % 64 == 0 ? 0 : 1;
  local[0] = 9;
  co_return local[0];
}

/// Promises not to throw, and does: the end of the process, by the standard.
struct MayThrow {
  MayThrow() noexcept = default;
  MayThrow(MayThrow&&) noexcept(false) { throw 4; }
};
struct Promises {
  MayThrow member;
  Promises() noexcept = default;
  Promises(Promises&&) noexcept = default;
};
Task<int> moves_what_throws() {
  Promises from;
  co_await Suspend();
  [[maybe_unused]] const Promises to = std::move(from);
  co_return 9;
}
/// 9 unless the exception comes out of resume(), past the coroutine's own handler.
Task<int> throwing_default_move() {
  Task<int> task = moves_what_throws();
  task.frame().resume();
  std::set_terminate([] { ::_exit(EXIT_SUCCESS); });
  try {
    std::exchange(pending, nullptr).resume();
  } catch (int) {
    ++broken;
  }
  // It was caught inside, as if nothing had been promised: also wrong, and harmless.
  co_return 9;
}

struct Form {
  const char* name;
  const char* known_on;  ///< null: safe
  Task<int> (*run)();
  bool is_safe() const noexcept { return known_on == nullptr; }
};
constexpr Form kForms[] = {
    {"temporary with a constructor, by value", nullptr, &safe_value},
    {"temporary with a constructor, by reference", nullptr, &safe_reference},
    {"temporary of a class with a constructor", nullptr, &safe_class},
    {"trivial options written in place", nullptr, &safe_options},
    {"named aggregate, moved in", nullptr, &safe_named_aggregate},
    {"function pointer of a lambda", nullptr, &safe_function_pointer},
    {"lambda in place, captures by reference", nullptr, &safe_lambda_by_reference},
    {"named lambda, moved in", nullptr, &safe_named_lambda},
    {"named array by reference", nullptr, &safe_array},
    {"structured binding of a named result", nullptr, &safe_named_binding},
    {"result of a class", nullptr, &safe_result},
    {"await in conditions and loops", nullptr, &safe_condition},
    {"if instead of a conditional expression", nullptr, &safe_if_instead_of_conditional},
    {"aggregate temporary, by value", "g++ 12", &aggregate_temporary},
    {"aggregate temporary, designated", "g++ 12", &aggregate_designated},
    {"co_return of an aggregate around an await", "g++ 12", &aggregate_of_await},
    {"lambda in place, captures by value", "g++ 12", &lambda_by_value},
    {"capturing lambda to std::function", "g++ 12", &lambda_to_function},
    {"conditional expression as an argument", "g++ 12", &conditional_argument},
    {"conditional expression of two awaits", "g++ 12, some clang", &conditional_await},
    {"structured binding on co_await, tuple", "g++ 15, 16", &direct_binding},
    {"structured binding on co_await, aggregate", "g++ 15, 16", &direct_binding_of_aggregate},
    {"awaits as arguments of an awaited call", "none", &awaits_as_arguments},
    {"frame destroyed in its await_suspend", "g++ 15", &destroyed_in_await_suspend},
    {"local aligned beyond 16 bytes", "all", &over_aligned_local},
    {"noexcept = default move that throws", "g++ 12", &throwing_default_move},
};

struct Verdict {
  bool crashed = false;
  int result = 0;
  int alive = 0;
  int broken = 0;
  bool is_right() const noexcept { return !crashed && result == 9 && alive == 0 && broken == 0; }
};

void judge_here(const Form& form, int to) {
  Verdict verdict;
  // More than once: the memory of the first frame may be what the next one gets.
  for (int round = 0; round < 4; ++round) verdict.result = run(form.run());
  verdict.alive = alive;
  verdict.broken = broken;
  if (::write(to, &verdict, sizeof verdict) != static_cast<ssize_t>(sizeof verdict)) ::abort();
  ::_exit(EXIT_SUCCESS);
}

Verdict judge(const Form& form) {
  int ends[2];
  if (::pipe(ends) != 0) ::abort();
  const pid_t child = ::fork();
  if (child < 0) ::abort();
  if (child == 0) {
    // What a crash has to say is not of interest.
    if (std::freopen("/dev/null", "w", stderr) == nullptr) ::abort();
    judge_here(form, ends[1]);
  }
  ::close(ends[1]);
  Verdict verdict;
  const bool told =
      ::read(ends[0], &verdict, sizeof verdict) == static_cast<ssize_t>(sizeof verdict);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  verdict.crashed = !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS;
  // The process ended where the standard wants it.
  if (!told && !verdict.crashed) verdict.result = 9;
  return verdict;
}

const char* optimisation() noexcept {
#if defined(__OPTIMIZE__)
  return "optimised";
#else
  return "not optimised";
#endif
}

}  // namespace

int main() {
#if defined(__clang__)
  std::printf("clang %d.%d.%d, %s\n", __clang_major__, __clang_minor__, __clang_patchlevel__,
              optimisation());
#else
  std::printf("g++ %d.%d.%d, %s\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__, optimisation());
#endif
  std::fflush(stdout);
  bool is_usable = true;
  for (const Form& form : kForms) {
    const Verdict verdict = judge(form);
    const bool right = verdict.is_right();
    std::printf("%-5s %-46s %s", form.is_safe() ? "safe" : "known", form.name,
                right ? "absent" : "PRESENT");
    if (verdict.crashed) {
      std::printf(": crashes");
    } else if (!right) {
      std::printf(": %d left over, %d wrong, gives %d", verdict.alive, verdict.broken,
                  verdict.result);
    }
    if (!form.is_safe()) std::printf(" (known: %s)", form.known_on);
    std::printf("\n");
    std::fflush(stdout);
    is_usable = is_usable && (right || !form.is_safe());
  }
  if (!is_usable) std::printf("a form that users are told to write is miscompiled\n");
  return is_usable ? EXIT_SUCCESS : EXIT_FAILURE;
}
