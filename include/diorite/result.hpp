// Result<T>: a value, or the Error that explains why there is none.
//
// The names are those of std::expected<T, Error>, as far as they exist here. Use it wherever the
// only outcomes are "the value" and "an error"; transfers of bytes have IoResult (io.hpp), which
// keeps the byte count and the buffer beside the error.
//
// Thread: a plain value. Lifetime: owns its T.
//
//   Result<AlignedBuf> page = AlignedBuf::page();
//   if (!page) return page.error();
//   use(*page);

#pragma once

#include <memory>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

#include <diorite/assert.hpp>
#include <diorite/error.hpp>

namespace diorite {

template <class T = void>
class [[nodiscard]] Result {
  static_assert(!std::is_reference_v<T> && !std::is_same_v<std::remove_cv_t<T>, Error>);

 public:
  using value_type = T;

  Result(T value) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(true) {
    std::construct_at(std::addressof(value_), std::move(value));
  }

  /// Requires: `error` is an error.
  Result(Error error) noexcept : error_(error), has_value_(false) {
    DIORITE_ASSERT(static_cast<bool>(error), "a Result was made from an Error that is no error");
  }
  Result(Errc code) noexcept : Result(Error(code)) {}

  Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
      : has_value_(other.has_value_) {
    adopt(std::move(other));
  }
  Result(const Result& other)
    requires std::is_copy_constructible_v<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(std::addressof(value_), other.value_);
    } else {
      std::construct_at(std::addressof(error_), other.error_);
    }
  }
  Result& operator=(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    if (this != &other) {
      reset();
      has_value_ = other.has_value_;
      adopt(std::move(other));
    }
    return *this;
  }
  ~Result() { reset(); }

  explicit operator bool() const noexcept { return has_value_; }
  bool has_value() const noexcept { return has_value_; }

  /// Requires: there is a value.
  T& operator*() & noexcept { return checked(); }
  const T& operator*() const& noexcept { return const_cast<Result*>(this)->checked(); }
  /// By value: a range-for over `*f()` keeps it alive.
  T operator*() && noexcept(std::is_nothrow_move_constructible_v<T>) {
    return std::move(checked());
  }
  T* operator->() noexcept { return std::addressof(checked()); }
  const T* operator->() const noexcept {
    return std::addressof(const_cast<Result*>(this)->checked());
  }

  /// For those who want exceptions: throws std::system_error when there is no value.
  T& value() & {
    require();
    return value_;
  }
  T value() && {
    require();
    return std::move(value_);
  }

  /// The error, or an Error that is none when there is a value.
  Error error() const noexcept { return has_value_ ? Error() : error_; }

  template <class U>
  T value_or(U&& other) && {
    return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(other));
  }

 private:
  T& checked() noexcept {
    DIORITE_ASSERT(has_value_, "the value of a Result that holds an error");
    return value_;
  }
  void require() const {
    if (!has_value_) throw std::system_error(error_.code(), error_.text());
  }
  void adopt(Result&& other) {
    if (has_value_) {
      std::construct_at(std::addressof(value_), std::move(other.value_));
    } else {
      std::construct_at(std::addressof(error_), other.error_);
    }
  }
  void reset() noexcept {
    if (has_value_) std::destroy_at(std::addressof(value_));
  }

  union {
    T value_;
    Error error_;
  };
  bool has_value_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() noexcept = default;
  /// Requires: `error` is an error.
  Result(Error error) noexcept : error_(error) {
    DIORITE_ASSERT(static_cast<bool>(error), "a Result was made from an Error that is no error");
  }
  Result(Errc code) noexcept : Result(Error(code)) {}

  explicit operator bool() const noexcept { return !error_; }
  bool has_value() const noexcept { return !error_; }
  void operator*() const noexcept {
    DIORITE_ASSERT(has_value(), "the value of a Result that holds an error");
  }
  void value() const {
    if (error_) throw std::system_error(error_.code(), error_.text());
  }
  Error error() const noexcept { return error_; }

 private:
  Error error_;
};

}  // namespace diorite
