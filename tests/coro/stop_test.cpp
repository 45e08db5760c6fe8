// StopSource, StopToken, StopCallback.

#include <diorite/stop.hpp>

#include <memory>
#include <string>

#include "support/catch.hpp"
#include "support/death.hpp"

namespace diorite::test {
namespace {

struct Letter : StopCallback {
  Letter(std::string& log_, char letter_) : StopCallback(&called), log(log_), letter(letter_) {}
  static void called(StopCallback& callback) noexcept {
    auto& self = static_cast<Letter&>(callback);
    self.log.push_back(self.letter);
    if (self.also_disarms != nullptr) self.also_disarms->disarm();
    if (self.also_stops != nullptr) {
      self.second_stop = self.also_stops->request_stop(StopReason::deadline);
    }
    if (self.also_destroys != nullptr) self.also_destroys->reset();
  }
  std::string& log;
  char letter;
  StopCallback* also_disarms = nullptr;
  StopSource* also_stops = nullptr;
  std::unique_ptr<Letter>* also_destroys = nullptr;
  bool second_stop = false;
};

}  // namespace

TEST_CASE("an empty token is never stopped", "[stop]") {
  const StopToken token;
  CHECK_FALSE(token.stop_possible());
  CHECK_FALSE(token.stop_requested());
  CHECK(token.reason() == StopReason::none);
}

TEST_CASE("every callback runs once, in the order of arming", "[stop]") {
  StopSource source;
  std::string log;
  Letter a(log, 'a');
  Letter b(log, 'b');
  Letter c(log, 'c');
  a.arm(*source.token().state());
  b.arm(*source.token().state());
  c.arm(*source.token().state());
  b.disarm();
  CHECK_FALSE(source.stop_requested());
  CHECK(source.request_stop());
  CHECK(log == "ac");
  CHECK_FALSE(source.request_stop());
  CHECK(log == "ac");
  CHECK_FALSE(a.linked());
  a.disarm();  // harmless
}

TEST_CASE("the first reason stays", "[stop]") {
  StopSource source;
  const StopToken token = source.token();
  CHECK(source.request_stop(StopReason::deadline));
  CHECK_FALSE(source.request_stop(StopReason::cancelled));
  CHECK(token.stop_requested());
  CHECK(token.reason() == StopReason::deadline);
  CHECK(stop_error(token.reason()) == Errc::deadline);
  CHECK(stop_error(StopReason::cancelled) == Errc::cancelled);
}

TEST_CASE("a callback may disarm itself, and others, and destroy them", "[stop]") {
  StopSource source;
  std::string log;
  Letter a(log, 'a');
  Letter b(log, 'b');
  auto c = std::make_unique<Letter>(log, 'c');
  Letter d(log, 'd');
  a.also_disarms = &b;
  d.also_disarms = &d;
  a.also_destroys = &c;
  a.arm(*source.token().state());
  b.arm(*source.token().state());
  c->arm(*source.token().state());
  d.arm(*source.token().state());
  source.request_stop();
  CHECK(log == "ad");
  CHECK(c == nullptr);
}

TEST_CASE("a stop from inside a callback is the second one", "[stop]") {
  StopSource source;
  std::string log;
  Letter a(log, 'a');
  Letter b(log, 'b');
  a.also_stops = &source;
  a.arm(*source.token().state());
  b.arm(*source.token().state());
  CHECK(source.request_stop(StopReason::cancelled));
  CHECK_FALSE(a.second_stop);
  CHECK(log == "ab");
  CHECK(source.token().reason() == StopReason::cancelled);
}

TEST_CASE("misuse of stop sources ends the process", "[stop][death]") {
  std::string log;
  const Death late = run_in_child([&] {
    StopSource source;
    source.request_stop();
    Letter a(log, 'a');
    a.arm(*source.token().state());
  });
  CHECK(late.aborted());
  CHECK(late.said("arming a callback of a source that was stopped"));

  const Death early = run_in_child([&] {
    Letter a(log, 'a');
    StopSource source;
    a.arm(*source.token().state());
  });
  CHECK(early.aborted());
  CHECK(early.said("a stop source died before its callbacks"));

  const Death twice = run_in_child([&] {
    StopSource source;
    Letter a(log, 'a');
    a.arm(*source.token().state());
    a.arm(*source.token().state());
  });
  CHECK(twice.aborted());

  const Death reasonless = run_in_child([&] {
    StopSource source;
    source.request_stop(StopReason::none);
  });
  CHECK(reasonless.aborted());
  CHECK(reasonless.said("a stop needs a reason"));
}

}  // namespace diorite::test
