// Forms of co_await that compilers of the supported range have got wrong, in the way this library
// writes them: a new compiler is judged by one run. Every value counts its copies and deaths.

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <diorite/io.hpp>
#include <diorite/pin.hpp>
#include <diorite/scope.hpp>
#include <diorite/task.hpp>

#include "support/catch.hpp"
#include "support/reactor.hpp"

namespace diorite::test {
namespace {

/// Alive objects are counted, and each knows its own address: a bitwise copy or a double
/// destruction shows.
class Counted {
 public:
  explicit Counted(int value) noexcept : value_(value), self_(this) { ++alive; }
  Counted(const Counted& other) noexcept : value_(other.value_), self_(this) {
    other.check();
    ++alive;
  }
  Counted(Counted&& other) noexcept : value_(std::exchange(other.value_, -1)), self_(this) {
    other.check();
    ++alive;
  }
  Counted& operator=(Counted other) noexcept {
    check();
    value_ = std::exchange(other.value_, -1);
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

  static inline int alive = 0;
  static inline int broken = 0;

 private:
  void check() const noexcept {
    if (self_ != this) ++broken;
  }
  int value_;
  Counted* self_;
};

/// As the library's options: trivial, so that it may be written in place.
struct Options {
  int first = 1;
  int second = 2;
};
static_assert(std::is_trivially_copyable_v<Options>);

/// A class with a constructor is safe where an aggregate is not.
class Named {
 public:
  Named(std::string name, Counted counted) : name_(std::move(name)), counted_(std::move(counted)) {}
  std::size_t size() const { return name_.size(); }
  int value() const { return counted_.value(); }

 private:
  std::string name_;
  Counted counted_;
};

const std::string kLong = "a string that does not fit into the small buffer of any library";

Task<int> by_value(Reactor& reactor, std::string text, Counted counted) {
  static_cast<void>(co_await nop(reactor));
  co_return text == kLong ? counted.value() : -1;
}

Task<int> by_reference(Reactor& reactor, const std::string& text, const Counted& counted) {
  static_cast<void>(co_await nop(reactor));
  co_return text == kLong ? counted.value() : -1;
}

Task<int> with_class(Reactor& reactor, Named named) {
  static_cast<void>(co_await nop(reactor));
  co_return named.size() == kLong.size() ? named.value() : -1;
}

Task<int> with_options(Reactor& reactor, Options options, std::string text) {
  static_cast<void>(co_await nop(reactor));
  co_return text == kLong ? options.first * 10 + options.second : -1;
}

Task<Named> gives_class(Reactor& reactor) {
  static_cast<void>(co_await nop(reactor));
  co_return Named(kLong, Counted(6));
}

Task<int> with_callable(Reactor& reactor, int (*function)(const Counted&), Counted counted) {
  static_cast<void>(co_await nop(reactor));
  co_return function(counted);
}

struct Clean {
  Clean() { Counted::alive = Counted::broken = 0; }
  ~Clean() {
    CHECK(Counted::alive == 0);
    CHECK(Counted::broken == 0);
  }
};

}  // namespace

TEST_CASE("temporaries with constructors live as long as the co_await", "[landmines]") {
  const Clean clean;
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<int> {
    int sum = co_await by_value(*reactor, kLong, Counted(1));
    sum += co_await by_value(*reactor, std::string(kLong), Counted(2));
    sum += co_await by_reference(*reactor, std::string(kLong), Counted(3));
    sum += co_await with_class(*reactor, Named(kLong, Counted(4)));
    const Named named = co_await gives_class(*reactor);
    co_return sum + named.value();
  };
  CHECK(run(*reactor, work()) == 16);
}

TEST_CASE("trivial options may be written in place", "[landmines]") {
  const Clean clean;
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<int> {
    const int a = co_await with_options(*reactor, {.second = 5}, kLong);
    const int b = co_await with_options(*reactor, Options{3, 4}, std::string(kLong));
    co_return a * 100 + b;
  };
  CHECK(run(*reactor, work()) == 1534);
}

TEST_CASE("function pointers of lambdas may be written in place", "[landmines]") {
  const Clean clean;
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<int> {
    co_return co_await with_callable(
        *reactor, [](const Counted& counted) { return counted.value() * 2; }, Counted(21));
  };
  CHECK(run(*reactor, work()) == 42);
}

TEST_CASE("lambdas with captures by reference may be given to with_scope in place", "[landmines]") {
  const Clean clean;
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<int> {
    const Counted here(8);
    const std::string text = kLong;
    int seen = 0;
    auto child = [&]() -> Task<> {
      static_cast<void>(co_await nop(*reactor));
      seen += here.value();
    };
    const Result<void> done = co_await with_scope([&](TaskScope& scope) -> Task<Result<void>> {
      scope.spawn(child());
      scope.spawn(child());
      if (text != kLong) co_return Error(Errc::busy);
      co_return Result<void>();
    });
    co_return done ? seen : -1;
  };
  CHECK(run(*reactor, work()) == 16);
}

TEST_CASE("a task may be awaited in a condition, a loop and a return", "[landmines]") {
  const Clean clean;
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<int> {
    int rounds = 0;
    while (co_await by_value(*reactor, kLong, Counted(rounds)) < 3) ++rounds;
    if (const int got = co_await by_value(*reactor, kLong, Counted(9)); got == 9) rounds += got;
    switch (co_await by_value(*reactor, kLong, Counted(1))) {
      case 1:
        rounds += 100;
        break;
      default:
        break;
    }
    co_return rounds + co_await by_value(*reactor, kLong, Counted(1000));
  };
  CHECK(run(*reactor, work()) == 1112);
}

TEST_CASE("frames destroyed in mid-flight destroy parameters and temporaries once", "[landmines]") {
  const Clean clean;
  auto reactor = make_test_reactor();
  auto work = [&]() -> Task<int> {
    co_return co_await with_class(*reactor, Named(kLong, Counted(4)));
  };
  for (int turns = 0; turns < 2; ++turns) {
    const Running<int> running = start(*reactor, work());
    // Neither waits: the operation stays with the driver or is taken back.
    if (turns == 1) reactor->turn(kAtOnce);
  }
  CHECK(reactor->drain(kNever) == 0);
}

TEST_CASE("buffers and pins move through awaits unharmed", "[landmines]") {
  auto reactor = make_test_reactor();
  int released = 0;
  auto pass = [&](Pin pin) -> Task<Pin> {
    static_cast<void>(co_await nop(*reactor));
    co_return std::move(pin);
  };
  auto work = [&]() -> Task<int> {
    Pin pin(&released, [](void* counter) noexcept { ++*static_cast<int*>(counter); });
    pin = co_await pass(std::move(pin));
    const int before = released;
    static_cast<void>(co_await pass(std::move(pin)));
    co_return before;
  };
  CHECK(run(*reactor, work()) == 0);
  CHECK(released == 1);
}

}  // namespace diorite::test
