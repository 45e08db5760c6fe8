// What happens to files and names when a disk fails for a moment: the same steps on a real file
// system and on a simulated machine, and what either shows afterwards.
//
// A scenario makes a durable beginning, changes something, lets the disk fail once while it syncs
// or writes, and then looks: at what later syncs say, at what reads show through the page cache and
// past it, and at what a power cut leaves. What is seen is put in words, so that a thing seen on a
// real file system can be looked for among all that the simulator can do.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <diorite/driver/driver.hpp>

namespace diorite::powercut {

/// What was seen, in order.
class Sight {
 public:
  /// An operation's result: "ok", or the errno's name.
  void result(const char* what, std::int32_t result);
  void note(const char* what, std::string value) { facts_.emplace_back(what, std::move(value)); }
  std::string text() const;
  /// Which error it was makes no difference.
  std::string key() const;

 private:
  std::vector<std::pair<std::string, std::string>> facts_;
};

/// A machine with one disk that is about to fail.
class Computer {
 public:
  virtual ~Computer() = default;
  virtual Driver& driver() = 0;
  /// Of a name at the root of the disk.
  virtual std::string path(std::string_view name) const = 0;

  /// From now on the disk refuses `kinds` (DiskFaults).
  virtual void fail(std::uint32_t kinds) = 0;
  /// It works again.
  virtual void heal() = 0;
  /// The power goes; `look` sees every state that is told apart.
  class Look {
   public:
    virtual ~Look() = default;
    virtual void see(Computer& after, const char* state) = 0;
  };
  virtual void cut_power(Look& look) = 0;
};

class Scenario {
 public:
  virtual ~Scenario() = default;
  virtual const char* name() const noexcept = 0;
  /// What the failing disk is to make fail first.
  virtual OpCode suffers() const noexcept = 0;
  /// Makes what is there before, durably.
  virtual void prepare(Computer& computer) const = 0;
  /// One sight for each state that the power cut left.
  virtual std::vector<std::pair<std::string, Sight>> run(Computer& computer) const = 0;
};

const std::vector<std::unique_ptr<Scenario>>& all_scenarios();

}  // namespace diorite::powercut
