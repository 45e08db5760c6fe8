// Exploration: where an explore() has been, and which part of the tree of decisions is its own.
//
// A schedule asks it at two moments of a life that ends by a power cut: before the power goes, when
// what may be left of the disk is still open, and after, when it is decided. At either, a state
// that has been there before ends the schedule: everything that can follow has been tried, or is
// being tried.
//
// Several explorations of one tree share a set (RunOptions::shared). Then each part of the tree,
// that is everything behind one end of the first life, or behind its first few orders of
// completions, belongs to the one that claims it first.
//
// Thread: one. Lifetime: options and choices outlive it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <diorite/sim/choices.hpp>
#include <diorite/sim/run.hpp>

namespace diorite::sim::detail {

/// A hash of two.
std::uint64_t combine(std::uint64_t a, std::uint64_t b) noexcept;

/// Grows only.
class KeySet {
 public:
  /// True when it is new.
  bool insert(std::uint64_t key);

 private:
  static constexpr std::uint64_t kEmpty = 0;
  void grow();

  std::vector<std::uint64_t> places_;
  std::size_t count_ = 0;
};

class Exploration {
 public:
  enum class Course : std::uint8_t {
    whole,
    merged,   ///< it came to where another schedule had been
    foreign,  ///< it is another exploration's to count
  };

  /// Of one that repeats a single schedule: merges nothing and claims nothing.
  explicit Exploration(Choices& choices) noexcept : choices_(choices) {}
  Exploration(Choices& choices, const RunOptions& options) noexcept;

  void begin_schedule() noexcept;

  /// A moment of the first life, in which `asked` moments were asked for its end. False: abandon
  /// the schedule.
  bool walks_on(std::uint32_t asked);
  /// The first life ends here. False: abandon the schedule.
  bool claim();

  /// A life ends by a power cut. 0 is a state that cannot be told from others.
  void before_cut(std::uint64_t key);
  void after_cut(std::uint64_t key);

  bool stopped() const noexcept { return course_ != Course::whole; }
  Course course() const noexcept { return course_; }
  /// For Choices::next_path().
  std::size_t keep() const noexcept { return keep_; }
  /// Different ones that were seen after power cuts.
  std::uint64_t states() const noexcept { return states_; }

 private:
  void stop(Course course) noexcept;
  bool is_new(std::uint64_t key);
  bool is_fresh() const noexcept;

  Choices& choices_;
  SharedStates shared_;
  bool merges_ = false;
  KeySet seen_;
  std::uint64_t states_ = 0;
  std::uint64_t claim_ = 0;  ///< the last one, and whose it is
  bool claim_is_mine_ = false;

  // Of the present schedule.
  bool claimed_ = false;
  Course course_ = Course::whole;
  std::size_t keep_ = 0;
};

}  // namespace diorite::sim::detail
