// Channel: a bounded queue between coroutines of one reactor.
//
// Use it where one coroutine produces what another consumes and must not run ahead without limit: a
// scan and its writer, requests and the workers that serve them. For values that need no order and
// no limit a shared container is simpler; for other threads see Reactor::post.
//
// Fair on both sides: values arrive in the order in which they were sent, senders and receivers are
// served first come, first served. What can be done at once is done, stop or not; only waiting is
// ended by a stop.
//
// Thread: the reactor's. Lifetime: the channel outlives all that wait for it (asserted). Values
// that are left in it die with it. Nothing is lost: a value that could not be sent is still the
// sender's, unmoved; one that was kept for a receiver whose coroutine dies goes to the next one.
// Allocates: its places, once, at construction.
//
//   Channel<Page> pages(16);
//   Result<void> sent = co_await pages.send(std::move(page));   // one coroutine
//   Result<Page> next = co_await pages.receive();               // another; Errc::closed at the end

#pragma once

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/result.hpp>
#include <diorite/stop.hpp>
#include <diorite/sync.hpp>
#include <diorite/task.hpp>

namespace diorite {

template <class T>
class Channel;

/// What Channel::send returns. -> Result<void>
template <class T>
class [[nodiscard]] SendAwait {
 public:
  SendAwait(SendAwait&&) noexcept = default;
  ~SendAwait() { place_.leave(); }
  bool await_ready() noexcept {
    closed_ = channel_->is_closed();
    sent_ = channel_->try_send(std::move(*place_.value));
    return closed_ || sent_;
  }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    return place_.wait(channel_->senders_, frame, *frame.promise().context,
                       detail::Waiter::Stoppable::yes);
  }
  Result<void> await_resume() noexcept {
    if (closed_) return Error(Errc::closed);
    if (const Error error = place_.error()) return error;
    return {};
  }

 private:
  friend class Channel<T>;
  struct Place : detail::Waiter {
    explicit Place(T& wanted) noexcept : value(&wanted) {}
    T* value;
  };
  SendAwait(Channel<T>& channel, T& value) noexcept : channel_(&channel), place_(value) {}

  Channel<T>* channel_;
  Place place_;
  bool closed_ = false;
  bool sent_ = false;  ///< without waiting
};

/// What Channel::receive returns. -> Result<T>
template <class T>
class [[nodiscard]] ReceiveAwait {
 public:
  ReceiveAwait(ReceiveAwait&&) noexcept = default;
  ~ReceiveAwait() {
    // Linked and not waiting: it was woken for a value, but its coroutine dies before it takes it.
    const bool unheard = !waiter_.is_waiting() && waiter_.linked() && !waiter_.error();
    waiter_.leave();
    if (unheard) channel_->give_up_kept();
  }
  bool await_ready() const noexcept { return channel_->can_take() || channel_->is_drained(); }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> frame) noexcept {
    waited_ = waiter_.wait(channel_->receivers_, frame, *frame.promise().context,
                           detail::Waiter::Stoppable::yes);
    if (waited_) channel_->keep_for_receiver();
    return waited_;
  }
  Result<T> await_resume() noexcept {
    if (const Error error = waiter_.error()) return error;
    if (waited_) {
      --channel_->kept_;
    } else if (!channel_->can_take()) {
      return Error(Errc::closed);
    }
    return channel_->take();
  }

 private:
  friend class Channel<T>;
  explicit ReceiveAwait(Channel<T>& channel) noexcept : channel_(&channel) {}

  Channel<T>* channel_;
  detail::Waiter waiter_;
  bool waited_ = false;
};

template <class T>
class Channel {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a value on its way must not be lost to an exception");

 public:
  /// Requires: capacity > 0.
  explicit Channel(std::size_t capacity)
      : places_(std::make_unique<std::optional<T>[]>(capacity)), capacity_(capacity) {
    DIORITE_ASSERT(capacity > 0, "a channel without places");
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() {
    DIORITE_ASSERT(senders_.empty() && receivers_.empty() && kept_ == 0,
                   "a channel died while coroutines wait for it");
  }

  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t size() const noexcept { return size_; }
  bool is_closed() const noexcept { return closed_; }

  /// -> Result<void>, once there was a place. `value` must live until then; it is moved from if and
  /// only if it was sent. Errors: closed. Cancel: a stop ends the waiting with its error; a sender
  /// whose coroutine dies has sent nothing, unless it was about to be resumed.
  SendAwait<T> send(T&& value) noexcept { return SendAwait<T>(*this, value); }
  /// -> Result<T>, the oldest value. Errors: closed, once every value has been received. Cancel: a
  /// stop ends the waiting with its error.
  ReceiveAwait<T> receive() noexcept { return ReceiveAwait<T>(*this); }

  /// False, and `value` unmoved, when send() would wait or fail.
  bool try_send(T&& value) noexcept {
    if (closed_ || size_ == capacity_) return false;
    put(std::move(value));
    return true;
  }
  /// Empty when receive() would wait or fail.
  std::optional<T> try_receive() noexcept {
    if (!can_take()) return std::nullopt;
    return std::optional<T>(take());
  }

  /// Nothing more can be sent; senders that wait end with Errc::closed. What was sent can still be
  /// received.
  void close() noexcept {
    closed_ = true;
    while (detail::Waiter* const sender = senders_.front()) sender->wake(Error(Errc::closed));
    end_receivers_when_drained();
  }

 private:
  friend class SendAwait<T>;
  friend class ReceiveAwait<T>;

  /// A value that is not kept for a receiver that was woken for it.
  bool has_free_value() const noexcept { return size_ > kept_; }
  /// The oldest value belongs to whoever was woken first, so that a newcomer stands behind them.
  bool can_take() const noexcept { return kept_ == 0 && size_ > 0; }
  bool is_drained() const noexcept { return closed_ && size_ == 0; }

  void put(T&& value) noexcept {
    const std::size_t last = (first_ + size_) % capacity_;
    places_[last].emplace(std::move(value));
    ++size_;
    keep_for_receiver();
  }

  void keep_for_receiver() noexcept {
    detail::Waiter* const receiver = receivers_.front();
    if (receiver == nullptr || !has_free_value()) return;
    ++kept_;
    receiver->wake();
  }

  T take() noexcept {
    std::optional<T>& place = places_[first_];
    T value = std::move(*place);
    place.reset();
    first_ = (first_ + 1) % capacity_;
    --size_;
    if (detail::Waiter* const sender = senders_.front()) {
      T& next = *static_cast<typename SendAwait<T>::Place*>(sender)->value;
      sender->wake();
      put(std::move(next));
    }
    end_receivers_when_drained();
    return value;
  }

  void give_up_kept() noexcept {
    --kept_;
    keep_for_receiver();
  }

  // Not before the last value is taken: a receiver for whom it is kept may die, and then the next
  // one gets it.
  void end_receivers_when_drained() noexcept {
    if (!is_drained()) return;
    while (detail::Waiter* const receiver = receivers_.front()) {
      receiver->wake(Error(Errc::closed));
    }
  }

  std::unique_ptr<std::optional<T>[]> places_;
  std::size_t capacity_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  std::size_t kept_ = 0;  ///< of them, for receivers that are about to be resumed
  bool closed_ = false;
  detail::WaitQueue senders_;
  detail::WaitQueue receivers_;
};

}  // namespace diorite
