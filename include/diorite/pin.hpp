// Pin: the promise that an object stays where it is until the device is done with it.
//
// A database's pages live in its own frame table. When a coroutine that awaits I/O on such a page
// is destroyed, the library cannot free the page, but the device may still write to it. A PinnedBuf
// carries, beside the page's memory, a Pin that the driver keeps until the completion; so the frame
// dies at once, and the page is released by the engine's own function afterwards.
//
// Thread: a Pin is released on the thread of the reactor whose driver held it.
// Lifetime: the object outlives its pins; release runs exactly once per Pin and must not throw or
// start I/O.
//
//   frame->pins++;
//   PinnedBuf page(frame->memory,
//                  Pin(frame, [](void* f) noexcept { static_cast<Frame*>(f)->pins--; }));
//   auto r = co_await file.read_at(std::move(page), offset);   // r.buf() gives the page back

#pragma once

#include <span>
#include <utility>

#include <diorite/buffer.hpp>

namespace diorite {

/// Move-only, two words. Releases what it holds exactly once.
class Pin {
 public:
  Pin() noexcept = default;
  Pin(void* object, void (*release)(void*) noexcept) noexcept
      : object_(object), release_(release) {}
  Pin(Pin&& other) noexcept
      : object_(std::exchange(other.object_, nullptr)),
        release_(std::exchange(other.release_, nullptr)) {}
  Pin& operator=(Pin&& other) noexcept {
    if (this != &other) {
      reset();
      object_ = std::exchange(other.object_, nullptr);
      release_ = std::exchange(other.release_, nullptr);
    }
    return *this;
  }
  ~Pin() { reset(); }

  explicit operator bool() const noexcept { return release_ != nullptr; }
  void* object() const noexcept { return object_; }
  void reset() noexcept {
    if (release_ != nullptr) std::exchange(release_, nullptr)(std::exchange(object_, nullptr));
  }

 private:
  void* object_ = nullptr;
  void (*release_)(void*) noexcept = nullptr;
};

/// Borrowed memory together with what keeps it alive. Move-only; moved from, it refers to no
/// memory, so that nobody touches a page by accident while an operation has it.
class PinnedBuf {
 public:
  PinnedBuf() noexcept = default;
  PinnedBuf(RawIoBuf raw, Pin pin) noexcept : raw_(raw), pin_(std::move(pin)) {}
  PinnedBuf(PinnedBuf&& other) noexcept
      : raw_(std::exchange(other.raw_, RawIoBuf())), pin_(std::move(other.pin_)) {}
  PinnedBuf& operator=(PinnedBuf&& other) noexcept {
    if (this != &other) {
      raw_ = std::exchange(other.raw_, RawIoBuf());
      pin_ = std::move(other.pin_);
    }
    return *this;
  }
  ~PinnedBuf() = default;

  /// True when it holds a pin.
  explicit operator bool() const noexcept { return static_cast<bool>(pin_); }
  RawIoBuf raw() const noexcept { return raw_; }
  std::span<std::byte> bytes() const noexcept { return raw_.as_span(); }
  std::size_t size() const noexcept { return raw_.size(); }
  std::size_t capacity() const noexcept { return raw_.capacity(); }
  /// Errors: out_of_range above the capacity.
  Result<void> set_len(std::size_t bytes) noexcept {
    Result<RawIoBuf> resized = raw_.with_len(bytes);
    if (!resized) return resized.error();
    raw_ = *resized;
    return {};
  }
  /// Gives up the pin, for whoever keeps the memory alive from here on.
  Pin take_pin() && noexcept { return std::move(pin_); }

 private:
  RawIoBuf raw_;
  Pin pin_;
};

/// The memory of an owned buffer as a Pin: it is freed when the pin is released.
inline Pin pin_memory(AlignedBuf&& buffer) noexcept {
  RawParts parts = std::move(buffer).into_raw_parts();
  return parts.data == nullptr ? Pin() : Pin(parts.data, &detail::free_aligned);
}

}  // namespace diorite
