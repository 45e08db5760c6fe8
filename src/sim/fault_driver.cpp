#include <algorithm>
#include <cerrno>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/sim/faults.hpp>

namespace diorite::sim {
namespace {

bool has_path(OpCode code) noexcept { return code >= OpCode::open && code <= OpCode::sync_dir; }

bool has_info(OpCode code) noexcept {
  return code == OpCode::allocate || code == OpCode::truncate || code == OpCode::info;
}

// A cancelled close never began, and is tried again; with every other error the descriptor is free.
bool closes_anyway(const Op& op, std::int32_t result) noexcept {
  return op.code == OpCode::close && result != -ECANCELED;
}

}  // namespace

FaultDriver::FaultDriver(std::unique_ptr<Driver> inner)
    : inner_(std::move(inner)), caps_(inner_->caps()) {
  if (caps_.files != nullptr) caps_.files = this;
  // Who sees `simulated` takes the driver for a Machine's own.
  if (caps_.kind == DriverKind::simulated) caps_.kind = DriverKind::other;
}

FaultDriver::~FaultDriver() {
  DIORITE_ASSERT(proxies_.empty(), "a fault driver is destroyed with held or failed operations");
}

DriverCounters FaultDriver::counters() const noexcept {
  DriverCounters sum = inner_->counters();
  sum.submitted += own_.submitted - closers_;
  sum.completed += own_.completed - closers_done_;
  sum.orphans += own_.orphans;
  sum.orphan_errors += own_.orphan_errors;
  return sum;
}

Op& FaultDriver::Proxy::op() noexcept {
  if (call.code == OpCode::call) return call;
  return list.code == OpCode::nop && info.code != OpCode::nop ? static_cast<Op&>(info) : list;
}

std::unique_ptr<FaultDriver::Proxy> FaultDriver::make_proxy(Op& op, const Rule& rule) {
  auto proxy = std::make_unique<Proxy>();
  proxy->owner = this;
  proxy->user = &op;
  proxy->fault = rule.fault;
  proxy->rule = rule.id;
  proxy->user_bytes = op.bytes;
  proxy->result = rule.result;
  Op& copy = op.code == OpCode::call ? static_cast<Op&>(proxy->call)
             : has_info(op.code)     ? static_cast<Op&>(proxy->info)
                                     : proxy->list;
  copy.file = op.file;
  copy.offset = op.offset;
  copy.data = op.data;
  copy.bytes = rule.fault == Fault::shorten ? std::min(op.bytes, rule.bytes) : op.bytes;
  copy.code = op.code;
  copy.flags = op.flags;
  copy.align_log2 = op.align_log2;
  if (has_info(op.code)) proxy->info.length = static_cast<const InfoOp&>(op).length;
  if (op.code == OpCode::call) {
    proxy->call.function = static_cast<const CallOp&>(op).function;
    proxy->call.context = static_cast<const CallOp&>(op).context;
  }
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

FaultDriver::Proxies::iterator FaultDriver::find_below(const Op& op) noexcept {
  return std::find_if(proxies_.begin(), proxies_.end(), [&op](const auto& proxy) {
    return &proxy->op() == &op || &proxy->closer == &op;
  });
}

void FaultDriver::send(Op& op) noexcept {
  ++below_;
  inner_->submit(op);
}

void FaultDriver::submit(Op& op) noexcept {
  ++counts_[static_cast<std::size_t>(op.code)];
  note(Event::Kind::submitted, op);
  const Rule* const rule = due_rule(op, log_.back().path);
  // The number may belong to another file before this close is reported.
  if (op.code == OpCode::close) names_.erase(op.file.value);
  if (rule == nullptr) {
    send(op);
    return;
  }
  DIORITE_ASSERT(op.state == OpState::idle || op.state == OpState::done,
                 "an op was submitted while the driver owns it");
  op.state = OpState::in_flight;
  proxies_.push_back(make_proxy(op, *rule));
  start(*proxies_.back(), *rule);
}

void FaultDriver::start(Proxy& proxy, const Rule& rule) {
  switch (rule.fault) {
    case Fault::fail:
      if (rule.effect == Effect::none && !closes_anyway(proxy.op(), rule.result)) {
        proxy.stage = Stage::failed;
        ++own_.submitted;
        return;
      }
      break;
    case Fault::delay:
      proxy.due = now() + rule.by;
      break;
    case Fault::shorten:
      break;
    case Fault::hold:
      proxy.stage = Stage::waiting;
      return;
    case Fault::reorder:
      proxy.stage = Stage::waiting;
      if (rule.seen == rule.nth) release(rule.id);
      return;
  }
  send(proxy.op());
}

bool FaultDriver::is_held(std::uint32_t rule) const noexcept {
  return std::any_of(proxies_.begin(), proxies_.end(), [rule](const auto& proxy) {
    return proxy->rule == rule && proxy->stage == Stage::waiting;
  });
}

void FaultDriver::release(std::uint32_t rule) {
  std::erase_if(rules_, [rule](const Rule& each) { return each.id == rule; });
  const auto is_due = [rule](const std::unique_ptr<Proxy>& proxy) {
    return proxy->rule == rule && proxy->stage == Stage::waiting;
  };
  std::vector<std::unique_ptr<Proxy>*> due;
  for (auto& proxy : proxies_) {
    if (is_due(proxy)) due.push_back(&proxy);
  }
  const bool backwards = !due.empty() && (**due.front()).fault == Fault::reorder;
  if (backwards) std::reverse(due.begin(), due.end());
  for (std::unique_ptr<Proxy>* const proxy : due) let_go(*proxy);
  std::erase(proxies_, nullptr);
}

// Empties `proxy` when the driver below needs nothing more of it.
void FaultDriver::let_go(std::unique_ptr<Proxy>& proxy) {
  note(Event::Kind::released, proxy->op());
  proxy->stage = Stage::below;
  send(proxy->op());
  if (proxy->user != nullptr) return;
  DIORITE_ASSERT(proxy->op().state == OpState::in_flight,
                 "no free slot below for an orphan that was held");
  --below_;
  inner_->orphan(proxy->op(), std::move(proxy->buffer), std::move(proxy->file), proxy->hook);
  proxy.reset();
}

// Operations that wait for others to come are let go when nothing could bring these any more.
void FaultDriver::let_stalled_go() {
  if (below_ > 0) return;
  const auto is_due = [](const auto& proxy) {
    return proxy->stage == Stage::failed || proxy->stage == Stage::withheld;
  };
  if (std::any_of(proxies_.begin(), proxies_.end(), is_due)) return;
  for (;;) {
    const auto gathered = std::find_if(proxies_.begin(), proxies_.end(), [](const auto& proxy) {
      return proxy->stage == Stage::waiting && proxy->fault == Fault::reorder;
    });
    if (gathered == proxies_.end()) return;
    release((*gathered)->rule);
  }
}

Removal FaultDriver::remove(Op& op) noexcept {
  const auto found = find_user(op);
  if (found != proxies_.end() && (*found)->stage != Stage::below) return Removal::in_flight;
  Op& below = found != proxies_.end() ? (*found)->op() : op;
  if (inner_->remove(below) == Removal::in_flight) return Removal::in_flight;
  --below_;
  if (found != proxies_.end()) {
    proxies_.erase(found);
    op.state = OpState::idle;
  }
  note(Event::Kind::removed, op);
  return Removal::removed;
}

void FaultDriver::orphan(Op& op, Pin buffer, Pin file, OrphanHook hook) noexcept {
  note(Event::Kind::orphaned, op);
  const auto found = find_user(op);
  if (found == proxies_.end()) {
    --below_;
    inner_->orphan(op, std::move(buffer), std::move(file), hook);
    return;
  }
  if ((*found)->stage == Stage::below) {
    orphan_below(found, std::move(buffer), std::move(file), hook);
    return;
  }
  Proxy& proxy = **found;
  proxy.user = nullptr;
  proxy.due = now();
  proxy.buffer = std::move(buffer);
  proxy.file = std::move(file);
  proxy.hook = hook;
}

void FaultDriver::orphan_below(Proxies::iterator found, Pin buffer, Pin file,
                               OrphanHook hook) noexcept {
  --below_;
  Proxy& proxy = **found;
  const bool changes_result = proxy.fault == Fault::fail || proxy.fault == Fault::shorten;
  if (!changes_result) {
    inner_->orphan(proxy.op(), std::move(buffer), std::move(file), hook);
    proxies_.erase(found);
    return;
  }
  proxy.user = nullptr;
  proxy.hook = hook;
  OrphanHook ours;
  ours.ended = &FaultDriver::orphan_ended;
  ours.context = &proxy;
  inner_->orphan(proxy.op(), std::move(buffer), std::move(file), ours);
}

void FaultDriver::wake() noexcept {
  woken_.store(true, std::memory_order_release);
  inner_->wake();
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

}  // namespace diorite::sim
