#include "file/sync_gate.hpp"

#include <cerrno>

#include "file/file_core.hpp"

#include <diorite/assert.hpp>

namespace diorite::detail {

bool SyncGate::enter(Op& op) noexcept {
  DIORITE_ASSERT(op.state == OpState::idle && !op.linked(), "only a new operation can wait");
  if (!busy_) {
    busy_ = true;
    holder_ = &op;
    return true;
  }
  waiting_.push_back(op);
  return false;
}

void SyncGate::leave(Outcome outcome) noexcept {
  DIORITE_ASSERT(busy_, "an operation left the gate that was not let in");
  holder_ = nullptr;
  if (outcome == Outcome::not_begun) {
    // In front of those that came later.
    followers_.splice_back(waiting_);
    waiting_.splice_back(followers_);
  } else {
    while (Op* const op = followers_.pop_front()) {
      complete(*op, outcome == Outcome::success ? 0 : -EIO);
    }
  }
  if (waiting_.empty()) {
    busy_ = false;
    return;
  }
  // The gate stays taken until the turn comes. Nothing may be submitted from inside a poll, and the
  // file must not go away before.
  file_.add_ref();
  ReactorAccess::ready(file_.reactor).push(turn_);
}

void SyncGate::take_turn(ReadyCall& call) noexcept {
  SyncGate& gate = static_cast<Turn&>(call).gate;
  FileCore& file = gate.file_;
  if (file.poison) {
    gate.refuse_all();
  } else {
    gate.let_next_in();
  }
  file.release();
}

void SyncGate::refuse_all() noexcept {
  // Resumed idle: that it was never submitted is what tells its awaitable.
  while (Op* const op = waiting_.pop_front()) ReactorAccess::ready(file_.reactor).push(*op);
  busy_ = false;
}

void SyncGate::let_next_in() noexcept {
  Op* const next = waiting_.pop_front();
  if (next == nullptr) {  // all of them were destroyed or stopped meanwhile
    busy_ = false;
    return;
  }
  if (syncs_file(next->code)) {
    OpList others;
    while (Op* const op = waiting_.pop_front()) {
      if (!syncs_file(op->code)) {
        others.push_back(*op);
        continue;
      }
      // One that asked for all metadata gets it, whoever's operation it is that is sent.
      if (op->code == OpCode::sync_all) next->code = OpCode::sync_all;
      file_.sync_submitted(*op);
      followers_.push_back(*op);
    }
    waiting_.splice_back(others);
    file_.sync_submitted(*next);
  }
  holder_ = next;
  ReactorAccess::submit(file_.reactor, *next);
}

void SyncGate::complete(Op& op, std::int32_t result) noexcept {
  op.result = result;
  op.state = OpState::done;
  ReactorAccess::ready(file_.reactor).push(op);
}

}  // namespace diorite::detail
