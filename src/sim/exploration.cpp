#include "sim/exploration.hpp"

#include "sim/trace.hpp"

namespace diorite::sim::detail {
namespace {

// Enough to share out the orders of a life that branches, few enough that walking past the parts of
// others costs little.
constexpr std::size_t kClaimedDecisions = 6;
constexpr std::uint64_t kClaimSalt = 0x636C'6169'6D65'6421;
constexpr std::size_t kPlacesMin = 1024;
constexpr std::size_t kAll = ~std::size_t{0};

}  // namespace

std::uint64_t combine(std::uint64_t a, std::uint64_t b) noexcept {
  Trace hash;
  hash.fold(a);
  hash.fold(b);
  return hash.hash();
}

bool KeySet::insert(std::uint64_t key) {
  if (key == kEmpty) key = 1;
  if (count_ * 2 >= places_.size()) grow();
  const std::size_t mask = places_.size() - 1;
  std::size_t at = static_cast<std::size_t>(key) & mask;
  for (; places_[at] != kEmpty; at = (at + 1) & mask) {
    if (places_[at] == key) return false;
  }
  places_[at] = key;
  ++count_;
  return true;
}

void KeySet::grow() {
  std::vector<std::uint64_t> old(places_.empty() ? kPlacesMin : places_.size() * 2, kEmpty);
  old.swap(places_);
  count_ = 0;
  for (const std::uint64_t key : old) {
    if (key != kEmpty) insert(key);
  }
}

Exploration::Exploration(Choices& choices, const RunOptions& options) noexcept
    : choices_(choices),
      shared_(options.shared),
      // What damage finds depends on more than a fingerprint says.
      merges_(options.merges && options.profile.damage.per_million == 0) {}

void Exploration::begin_schedule() noexcept {
  claimed_ = false;
  course_ = Course::whole;
  keep_ = kAll;
}

void Exploration::stop(Course course) noexcept {
  course_ = course;
  keep_ = choices_.made().size();
}

bool Exploration::is_new(std::uint64_t key) {
  return shared_.insert != nullptr ? shared_.insert(shared_.context, key) : seen_.insert(key);
}

bool Exploration::walks_on(std::uint32_t asked) {
  if (shared_.insert == nullptr || claimed_) return true;
  return choices_.made().size() < asked + kClaimedDecisions || claim();
}

bool Exploration::claim() {
  if (shared_.insert == nullptr || claimed_) return true;
  std::uint64_t key = kClaimSalt;
  for (const std::uint32_t decision : choices_.made()) key = combine(key, decision);
  // All schedules behind one claim follow one another.
  if (key != claim_) {
    claim_ = key;
    claim_is_mine_ = shared_.insert(shared_.context, key);
  }
  claimed_ = true;
  if (!claim_is_mine_) stop(Course::foreign);
  return claim_is_mine_;
}

// What the schedule has in common with the one before it was noted then.
bool Exploration::is_fresh() const noexcept { return choices_.made().size() >= choices_.given(); }

void Exploration::before_cut(std::uint64_t key) {
  if (!merges_ || stopped() || key == 0 || !is_fresh()) return;
  if (!is_new(key)) stop(Course::merged);
}

void Exploration::after_cut(std::uint64_t key) {
  if (stopped() || !is_fresh()) return;
  if (key != 0 && merges_ && !is_new(key)) return stop(Course::merged);
  ++states_;
}

}  // namespace diorite::sim::detail
