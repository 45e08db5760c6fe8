// Which operations a FaultDriver's rules pick, and its log.

#include <algorithm>
#include <numeric>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/sim/faults.hpp>

namespace diorite::sim {
namespace {

bool has_path(OpCode code) noexcept { return code >= OpCode::open && code <= OpCode::sync_dir; }

bool has_length(OpCode code) noexcept {
  return code == OpCode::allocate || code == OpCode::truncate;
}

bool is_transfer(OpCode code) noexcept { return code == OpCode::read || code == OpCode::write; }

// A star that turns out to have taken too little takes one more: only the last one has to be
// remembered.
bool fits(std::string_view pattern, std::string_view text) noexcept {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool path_matches(std::string_view wanted, std::string_view path) noexcept {
  if (wanted.find_first_of("*?") == std::string_view::npos) return path.ends_with(wanted);
  if (wanted.find('/') == std::string_view::npos) path.remove_prefix(path.rfind('/') + 1);
  return fits(wanted, path);
}

}  // namespace

void FaultDriver::fail(OpCode code, std::uint32_t nth, int error, std::string_view path,
                       Effect effect) {
  DIORITE_ASSERT(error > 0, "a failure needs an errno value");
  Rule rule;
  rule.fault = Fault::fail;
  rule.code = code;
  rule.nth = nth;
  rule.result = -error;
  rule.effect = effect;
  rule.path = path;
  add_rule(std::move(rule));
}

void FaultDriver::shorten(OpCode code, std::uint32_t nth, std::uint32_t bytes,
                          std::string_view path) {
  DIORITE_ASSERT(is_transfer(code), "only a transfer can be short");
  Rule rule;
  rule.fault = Fault::shorten;
  rule.code = code;
  rule.nth = nth;
  rule.bytes = bytes;
  rule.path = path;
  add_rule(std::move(rule));
}

void FaultDriver::delay(OpCode code, std::uint32_t nth, Duration by, std::string_view path) {
  DIORITE_ASSERT(by >= Duration::zero(), "an operation cannot be reported before it was submitted");
  Rule rule;
  rule.fault = Fault::delay;
  rule.code = code;
  rule.nth = nth;
  rule.by = by;
  rule.path = path;
  add_rule(std::move(rule));
}

std::uint32_t FaultDriver::hold(OpCode code, std::uint32_t nth, std::string_view path) {
  Rule rule;
  rule.fault = Fault::hold;
  rule.code = code;
  rule.nth = nth;
  rule.path = path;
  return add_rule(std::move(rule));
}

std::uint32_t FaultDriver::reorder(OpCode code, std::uint32_t count, std::string_view path) {
  DIORITE_ASSERT(count > 0, "there is no order of no operations");
  Rule rule;
  rule.fault = Fault::reorder;
  rule.code = code;
  rule.nth = count;
  rule.path = path;
  return add_rule(std::move(rule));
}

void FaultDriver::fail_nth(std::uint32_t n, int error, Repeat repeat, Effect effect) {
  DIORITE_ASSERT(error > 0, "a failure needs an errno value");
  Rule rule;
  rule.fault = Fault::fail;
  rule.scope = Scope::all;
  rule.nth = n;
  rule.result = -error;
  rule.effect = effect;
  rule.repeat = repeat;
  add_rule(std::move(rule));
}

void FaultDriver::shorten_nth(std::uint32_t n, std::uint32_t bytes, Repeat repeat) {
  Rule rule;
  rule.fault = Fault::shorten;
  rule.scope = Scope::transfers;
  rule.nth = n;
  rule.bytes = bytes;
  rule.repeat = repeat;
  add_rule(std::move(rule));
}

std::uint32_t FaultDriver::add_rule(Rule rule) {
  rule.id = next_rule_++;
  rules_.push_back(std::move(rule));
  return rules_.back().id;
}

bool FaultDriver::matches(const Rule& rule, const Op& op, std::string_view path) noexcept {
  if (rule.scope == Scope::code && rule.code != op.code) return false;
  if (rule.scope == Scope::transfers && !is_transfer(op.code)) return false;
  return path_matches(rule.path, path);
}

// Every rule that matches counts, also when an earlier one decides.
FaultDriver::Rule* FaultDriver::due_rule(const Op& op, std::string_view path) noexcept {
  Rule* due = nullptr;
  for (Rule& rule : rules_) {
    if (!matches(rule, op, path)) continue;
    ++rule.seen;
    if (due != nullptr) continue;
    const bool is_nth = rule.nth == kEvery || rule.seen == rule.nth;
    const bool sticks =
        rule.repeat == Repeat::sticky && rule.fired && area_of(op.code) == rule.area;
    const bool gathers = rule.fault == Fault::reorder && rule.seen <= rule.nth;
    if (is_nth || sticks || gathers) due = &rule;
  }
  if (due == nullptr) return nullptr;
  if (!due->fired) due->area = area_of(op.code);
  due->fired = true;
  ++faults_done_;
  return due;
}

std::uint64_t FaultDriver::operations() const noexcept {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

std::string FaultDriver::path_of(const Op& op) const {
  // A driver copies paths at submit, so an op in flight may point to one that is gone.
  const auto submitted = paths_.find(&op);
  if (submitted != paths_.end()) return submitted->second;
  if (has_path(op.code)) return std::string(static_cast<const PathOp&>(op).path);
  const auto name = names_.find(op.file.value);
  return name != names_.end() ? name->second : std::string();
}

void FaultDriver::note(Event::Kind kind, const Op& op) {
  Event event{kind, op.code, path_of(op), op.offset, op.bytes, op.flags, 0};
  if (has_length(op.code)) event.length = static_cast<const InfoOp&>(op).length;
  if (kind == Event::Kind::completed) event.result = op.result;
  if (kind == Event::Kind::submitted) {
    paths_[&op] = event.path;
  } else if (kind != Event::Kind::released) {
    paths_.erase(&op);
  }
  log_.push_back(std::move(event));
}

}  // namespace diorite::sim
