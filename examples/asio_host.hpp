// AsioHost: turns a reactor from inside an Asio io_context.
//
// It waits for the reactor's handle and for its next deadline, and gives it a turn when either
// comes. Asio's own timers, sockets and signals run beside it on the same thread.
//
// Thread: the reactor's, and no other thread runs the context. Lifetime: reactor and context
// outlive it, and its handlers must have run before it goes: call stop(), then run the context.

#pragma once

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <diorite/reactor.hpp>
#include <diorite/time.hpp>

class AsioHost {
 public:
  AsioHost(asio::io_context& context, diorite::Reactor& reactor)
      : context_(context),
        reactor_(reactor),
        handle_(context, reactor.pollable()),
        deadline_(context) {
    turn_soon();
  }
  AsioHost(const AsioHost&) = delete;
  AsioHost& operator=(const AsioHost&) = delete;
  ~AsioHost() { handle_.release(); }  // the descriptor is the reactor's

  /// No more turns: context.run() returns once nothing else is left. May be called by a task.
  void stop() {
    stopped_ = true;
    handle_.cancel();
    deadline_.cancel();
  }

 private:
  void turn() {
    if (stopped_) return;
    const bool has_more = reactor_.turn(diorite::kAtOnce);
    if (stopped_) return;
    // One turn at a time, so that a busy reactor leaves room for the other handlers.
    if (has_more) return turn_soon();
    wait_for_handle();
    wait_for_deadline();
  }

  void turn_soon() {
    if (will_turn_) return;
    will_turn_ = true;
    asio::post(context_, [this] {
      will_turn_ = false;
      turn();
    });
  }

  void wait_for_handle() {
    if (handle_waits_) return;
    handle_waits_ = true;
    handle_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
      if (error) return;
      handle_waits_ = false;
      turn();
    });
  }

  void wait_for_deadline() {
    const diorite::Instant due = reactor_.next_deadline();
    if (due == due_) return;
    due_ = due;
    if (due == diorite::kNever) {
      deadline_.cancel();
      return;
    }
    deadline_.expires_after(due - reactor_.now());  // ends the wait for an older deadline
    deadline_.async_wait([this](asio::error_code error) {
      if (error) return;
      due_ = diorite::kNever;
      turn();
    });
  }

  asio::io_context& context_;
  diorite::Reactor& reactor_;
  asio::posix::stream_descriptor handle_;
  asio::steady_timer deadline_;
  diorite::Instant due_ = diorite::kNever;  ///< what deadline_ waits for
  bool handle_waits_ = false;
  bool will_turn_ = false;
  bool stopped_ = false;
};
