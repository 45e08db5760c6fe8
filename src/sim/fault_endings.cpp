// How the operations that a FaultDriver picked come to their end.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

#include <diorite/sim/faults.hpp>

namespace diorite::sim {

void FaultDriver::orphan_ended(void* context, OpCode code, std::int64_t result) noexcept {
  Proxy& proxy = *static_cast<Proxy*>(context);
  FaultDriver& self = *proxy.owner;
  const OrphanHook hook = proxy.hook;
  const std::int64_t told = orphan_result(proxy, result);
  if (told < 0 && result >= 0) ++self.own_.orphan_errors;
  std::erase_if(self.proxies_, [&proxy](const auto& each) { return each.get() == &proxy; });
  if (hook.ended != nullptr) hook.ended(hook.context, code, told);
}

// Nobody is left to send the rest of a write that was cut short.
std::int64_t FaultDriver::orphan_result(const Proxy& proxy, std::int64_t result) noexcept {
  if (proxy.fault == Fault::fail) return proxy.result;
  const bool is_write = proxy.list.code == OpCode::write;
  return is_write && result >= 0 && result < proxy.user_bytes ? -EIO : result;
}

Instant FaultDriver::next_due() const noexcept {
  Instant earliest = kNever;
  for (const auto& proxy : proxies_) {
    if (proxy->stage == Stage::withheld) earliest = std::min(earliest, proxy->due);
  }
  return earliest;
}

// The driver below may return for a completion that is not to be reported yet; then the wait goes
// on, unless a wake() came with it.
void FaultDriver::poll(OpList& done, Instant until) noexcept {
  for (;;) {
    bool reported = finish_ready(done);
    if (!reported && until > now()) let_stalled_go();
    OpList below;
    inner_->poll(below, reported ? kAtOnce : std::min(until, next_due()));
    const bool woken = woken_.exchange(false, std::memory_order_acquire);
    bool withheld = false;
    while (Op* const op = below.pop_front()) {
      --below_;
      if (finish_below(*op, done) == Ended::reported) {
        reported = true;
      } else {
        withheld = true;
      }
    }
    if (!reported) reported = finish_ready(done);
    if (reported || woken || !withheld || now() >= until) return;
  }
}

bool FaultDriver::finish_ready(OpList& done) noexcept {
  bool any = false;
  const Instant at = proxies_.empty() ? Instant{} : now();
  for (std::size_t i = 0; i < proxies_.size();) {
    Proxy& proxy = *proxies_[i];
    const bool is_due = proxy.stage == Stage::withheld && proxy.due <= at;
    if (proxy.stage != Stage::failed && !is_due) {
      ++i;
      continue;
    }
    if (is_due && proxy.user == nullptr && proxy.op().code == OpCode::open && proxy.result >= 0) {
      close_handle(proxy, proxy.op().file);
      ++i;
      continue;
    }
    any = true;
    const std::unique_ptr<Proxy> ended = std::move(proxies_[i]);
    proxies_.erase(proxies_.begin() + static_cast<std::ptrdiff_t>(i));
    if (ended->stage == Stage::failed) ++own_.completed;
    report(*ended, done);
  }
  return any;
}

FaultDriver::Ended FaultDriver::finish_below(Op& op, OpList& done) noexcept {
  const auto found = find_below(op);
  if (found == proxies_.end()) {
    report(op, done);
    return Ended::reported;
  }
  Proxy& proxy = **found;
  if (&op == &proxy.closer) {
    ++closers_done_;
  } else if (proxy.fault == Fault::fail) {
    if (op.code == OpCode::open && op.result >= 0) {
      close_handle(proxy, op.file);
      return Ended::withheld;
    }
  } else {
    proxy.result = op.result;
    if (proxy.fault == Fault::delay && now() < proxy.due) {
      proxy.stage = Stage::withheld;
      return Ended::withheld;
    }
  }
  const std::unique_ptr<Proxy> ended = std::move(*found);
  proxies_.erase(found);
  report(*ended, done);
  return Ended::reported;
}

void FaultDriver::close_handle(Proxy& proxy, DriverFile handle) noexcept {
  proxy.stage = Stage::closing;
  proxy.closer.code = OpCode::close;
  proxy.closer.file = handle;
  ++closers_;
  send(proxy.closer);
}

void FaultDriver::report(Proxy& proxy, OpList& done) noexcept {
  if (proxy.user == nullptr) {
    const std::int64_t told = orphan_result(proxy, proxy.result);
    ++own_.orphans;
    if (told < 0) ++own_.orphan_errors;
    if (proxy.hook.ended != nullptr) proxy.hook.ended(proxy.hook.context, proxy.op().code, told);
    proxy.buffer.reset();
    proxy.file.reset();
    return;
  }
  Op& user = *proxy.user;
  user.result = proxy.result;
  user.state = OpState::done;
  if (user.result >= 0) {
    if (user.code == OpCode::open) user.file = proxy.op().file;
    if (user.code == OpCode::info) static_cast<InfoOp&>(user).info = proxy.info.info;
    if (user.code == OpCode::list_dir) {
      static_cast<ListOp&>(user).entries = std::move(proxy.list.entries);
    }
  }
  report(user, done);
}

void FaultDriver::report(Op& op, OpList& done) noexcept {
  if (op.code == OpCode::open && op.result >= 0) names_[op.file.value] = path_of(op);
  note(Event::Kind::completed, op);
  done.push_back(op);
}

}  // namespace diorite::sim
