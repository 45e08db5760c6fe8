#include "support/fault_driver.hpp"

#include <algorithm>
#include <utility>

namespace diorite::test {
namespace {

bool has_path(OpCode code) noexcept { return code >= OpCode::open; }

bool has_length(OpCode code) noexcept {
  return code == OpCode::allocate || code == OpCode::truncate;
}

}  // namespace

FaultDriver::FaultDriver(std::unique_ptr<Driver> inner)
    : inner_(std::move(inner)), caps_(inner_->caps()) {
  if (caps_.files != nullptr) caps_.files = this;
}

FaultDriver::~FaultDriver() {
  DIORITE_ASSERT(proxies_.empty(), "a fault driver is destroyed with held or failed operations");
}

void FaultDriver::fail(OpCode code, std::uint32_t nth, int error, std::string_view path_suffix) {
  DIORITE_ASSERT(error > 0, "a failure needs an errno value");
  add_rule(Fault::fail, code, nth, -error, 0, path_suffix);
}

void FaultDriver::shorten(OpCode code, std::uint32_t nth, std::uint32_t bytes,
                          std::string_view path_suffix) {
  DIORITE_ASSERT(code == OpCode::read || code == OpCode::write, "only a transfer can be short");
  add_rule(Fault::shorten, code, nth, 0, bytes, path_suffix);
}

std::uint32_t FaultDriver::hold(OpCode code, std::uint32_t nth, std::string_view path_suffix) {
  return add_rule(Fault::hold, code, nth, 0, 0, path_suffix);
}

std::uint32_t FaultDriver::add_rule(Fault fault, OpCode code, std::uint32_t nth,
                                    std::int32_t result, std::uint32_t bytes,
                                    std::string_view suffix) {
  rules_.push_back({next_rule_, fault, code, nth, 0, result, bytes, std::string(suffix)});
  return next_rule_++;
}

bool FaultDriver::is_held(std::uint32_t hold) const noexcept {
  return std::any_of(proxies_.begin(), proxies_.end(), [hold](const auto& proxy) {
    return proxy->fault == Fault::hold && proxy->rule == hold && !proxy->passed_on;
  });
}

void FaultDriver::release(std::uint32_t hold) {
  std::erase_if(rules_, [hold](const Rule& rule) { return rule.id == hold; });
  for (auto& proxy : proxies_) {
    if (proxy->fault != Fault::hold || proxy->rule != hold || proxy->passed_on) continue;
    note(Event::Kind::released, proxy->op());
    pass_on(*proxy);
    if (proxy->user != nullptr) continue;
    DIORITE_ASSERT(proxy->op().state == OpState::in_flight,
                   "no free slot below for an orphan that was held");
    inner_->orphan(proxy->op(), std::move(proxy->buffer), std::move(proxy->file), proxy->hook);
    proxy.reset();
  }
  std::erase(proxies_, nullptr);
}

DriverCounters FaultDriver::counters() const noexcept {
  DriverCounters sum = inner_->counters();
  sum.submitted += own_.submitted;
  sum.completed += own_.completed;
  sum.orphans += own_.orphans;
  sum.orphan_errors += own_.orphan_errors;
  return sum;
}

// Every rule that matches counts, also when an earlier one decides.
const FaultDriver::Rule* FaultDriver::due_rule(const Op& op, std::string_view path) noexcept {
  const Rule* due = nullptr;
  for (Rule& rule : rules_) {
    if (rule.code != op.code || !path.ends_with(rule.suffix)) continue;
    ++rule.seen;
    if (due == nullptr && (rule.nth == kEvery || rule.nth == rule.seen)) due = &rule;
  }
  return due;
}

Op& FaultDriver::Proxy::op() noexcept {
  return list.code == OpCode::nop && info.code != OpCode::nop ? static_cast<Op&>(info) : list;
}

std::unique_ptr<FaultDriver::Proxy> FaultDriver::make_proxy(Op& op, const Rule& rule) const {
  auto proxy = std::make_unique<Proxy>();
  proxy->user = &op;
  proxy->fault = rule.fault;
  proxy->rule = rule.id;
  proxy->result = rule.result;
  const bool as_info = has_length(op.code) || op.code == OpCode::info;
  Op& copy = as_info ? static_cast<Op&>(proxy->info) : proxy->list;
  copy.file = op.file;
  copy.offset = op.offset;
  copy.data = op.data;
  copy.bytes = rule.fault == Fault::shorten ? std::min(op.bytes, rule.bytes) : op.bytes;
  copy.code = op.code;
  copy.flags = op.flags;
  copy.align_log2 = op.align_log2;
  if (as_info) proxy->info.length = static_cast<const InfoOp&>(op).length;
  if (has_path(op.code)) {
    const auto& from = static_cast<const PathOp&>(op);
    proxy->path = from.path;
    proxy->path2 = from.path2;
    proxy->list.path = proxy->path;
    proxy->list.path2 = proxy->path2;
    proxy->list.open_flags = from.open_flags;
    proxy->list.mode = from.mode;
  }
  return proxy;
}

FaultDriver::Proxies::iterator FaultDriver::find_user(const Op& op) noexcept {
  return std::find_if(proxies_.begin(), proxies_.end(),
                      [&op](const auto& proxy) { return proxy->user == &op; });
}

void FaultDriver::pass_on(Proxy& proxy) noexcept {
  proxy.passed_on = true;
  inner_->submit(proxy.op());
}

void FaultDriver::submit(Op& op) noexcept {
  ++counts_[static_cast<std::size_t>(op.code)];
  note(Event::Kind::submitted, op);
  const Rule* const rule = due_rule(op, log_.back().path);
  // The number may belong to another file before this close is reported.
  if (op.code == OpCode::close) names_.erase(op.file.value);
  if (rule == nullptr) {
    inner_->submit(op);
    return;
  }
  DIORITE_ASSERT(op.state == OpState::idle || op.state == OpState::done,
                 "an op was submitted while the driver owns it");
  op.state = OpState::in_flight;
  proxies_.push_back(make_proxy(op, *rule));
  if (rule->fault == Fault::shorten) pass_on(*proxies_.back());
  if (rule->fault == Fault::fail) ++own_.submitted;
}

Removal FaultDriver::remove(Op& op) noexcept {
  const auto found = find_user(op);
  if (found == proxies_.end()) {
    const Removal removal = inner_->remove(op);
    if (removal == Removal::removed) note(Event::Kind::removed, op);
    return removal;
  }
  Proxy& proxy = **found;
  if (!proxy.passed_on || inner_->remove(proxy.op()) == Removal::in_flight) {
    return Removal::in_flight;
  }
  proxies_.erase(found);
  op.state = OpState::idle;
  note(Event::Kind::removed, op);
  return Removal::removed;
}

void FaultDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  note(Event::Kind::orphaned, op);
  const auto found = find_user(op);
  if (found == proxies_.end()) {
    inner_->orphan(op, std::move(buffer), std::move(file), hook);
    return;
  }
  Proxy& proxy = **found;
  if (proxy.passed_on) {
    inner_->orphan(proxy.op(), std::move(buffer), std::move(file), hook);
    proxies_.erase(found);
    return;
  }
  proxy.user = nullptr;
  proxy.buffer = std::move(buffer);
  proxy.file = std::move(file);
  proxy.hook = hook;
}

void FaultDriver::poll(OpList& done, Instant until) noexcept {
  const bool any = finish_failed(done);
  OpList below;
  inner_->poll(below, any ? kAtOnce : until);
  while (Op* const op = below.pop_front()) finish_inner(*op, done);
}

bool FaultDriver::finish_failed(OpList& done) noexcept {
  bool any = false;
  for (auto it = proxies_.begin(); it != proxies_.end();) {
    if ((*it)->fault != Fault::fail) {
      ++it;
      continue;
    }
    any = true;
    const std::unique_ptr<Proxy> proxy = std::move(*it);
    it = proxies_.erase(it);
    ++own_.completed;
    if (Op* const user = proxy->user) {
      user->result = proxy->result;
      user->state = OpState::done;
      note(Event::Kind::completed, *user);
      done.push_back(*user);
      continue;
    }
    ++own_.orphans;
    ++own_.orphan_errors;
    if (proxy->hook.ended != nullptr) {
      proxy->hook.ended(proxy->hook.context, proxy->op().code, proxy->result);
    }
    proxy->buffer.reset();
    proxy->file.reset();
  }
  return any;
}

void FaultDriver::finish_inner(Op& op, OpList& done) noexcept {
  Op* ended = &op;
  const auto found = std::find_if(proxies_.begin(), proxies_.end(),
                                  [&op](const auto& proxy) { return &proxy->op() == &op; });
  if (found != proxies_.end()) {
    const std::unique_ptr<Proxy> proxy = std::move(*found);
    proxies_.erase(found);
    ended = proxy->user;
    ended->result = op.result;
    ended->state = OpState::done;
    if (op.code == OpCode::open) ended->file = op.file;
    if (op.code == OpCode::info) static_cast<InfoOp*>(ended)->info = proxy->info.info;
    if (op.code == OpCode::list_dir) {
      static_cast<ListOp*>(ended)->entries = std::move(proxy->list.entries);
    }
  }
  if (ended->code == OpCode::open && ended->result >= 0) {
    names_[ended->file.value] = path_of(*ended);
  }
  note(Event::Kind::completed, *ended);
  done.push_back(*ended);
}

Result<DriverFile> FaultDriver::register_file(DriverFile file) noexcept {
  Result<DriverFile> registered = inner_->caps().files->register_file(file);
  const auto name = names_.find(file.value);
  if (registered && name != names_.end()) names_[registered->value] = name->second;
  return registered;
}

void FaultDriver::release_file(DriverFile file) noexcept {
  inner_->caps().files->release_file(file);
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
  } else {
    paths_.erase(&op);
  }
  log_.push_back(std::move(event));
}

}  // namespace diorite::test
