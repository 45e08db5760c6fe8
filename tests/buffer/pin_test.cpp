#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include <diorite/pin.hpp>

#include "buffer/bytes.hpp"
#include "support/catch.hpp"

namespace diorite {
namespace {

constexpr std::size_t kP = kPageBytes;

static_assert(!std::is_copy_constructible_v<Pin> && !std::is_copy_assignable_v<Pin>);
static_assert(!std::is_copy_constructible_v<PinnedBuf> && !std::is_copy_assignable_v<PinnedBuf>);
static_assert(std::is_nothrow_move_constructible_v<Pin> && std::is_nothrow_move_assignable_v<Pin>);
static_assert(std::is_nothrow_move_constructible_v<PinnedBuf>);
static_assert(std::is_nothrow_move_assignable_v<PinnedBuf>);
static_assert(sizeof(Pin) == 2 * sizeof(void*));

// A page of an engine, as a Pin sees it.
struct Frame {
  int released = 0;
  Pin pin() noexcept { return Pin(this, &Frame::release); }
  static void release(void* frame) noexcept { static_cast<Frame*>(frame)->released += 1; }
};

AlignedBuf page() {
  Result<AlignedBuf> made = AlignedBuf::page();
  REQUIRE(made);
  return *std::move(made);
}

TEST_CASE("a Pin releases exactly once, when it dies") {
  Frame frame;
  {
    const Pin pin = frame.pin();
    CHECK(static_cast<bool>(pin));
    CHECK(pin.object() == &frame);
    CHECK(frame.released == 0);
  }
  CHECK(frame.released == 1);
}

TEST_CASE("a Pin that is reset early is not released again") {
  Frame frame;
  {
    Pin pin = frame.pin();
    pin.reset();
    CHECK(frame.released == 1);
    CHECK_FALSE(static_cast<bool>(pin));
    CHECK(pin.object() == nullptr);
    pin.reset();
  }
  CHECK(frame.released == 1);
}

TEST_CASE("an empty Pin releases nothing") {
  Pin pin;
  CHECK_FALSE(static_cast<bool>(pin));
  CHECK(pin.object() == nullptr);
  pin.reset();
}

TEST_CASE("a Pin that was moved from releases nothing") {
  Frame frame;
  {
    Pin pin = frame.pin();
    {
      const Pin moved = std::move(pin);
      CHECK_FALSE(static_cast<bool>(pin));
      CHECK(pin.object() == nullptr);
      CHECK(moved.object() == &frame);
    }
    CHECK(frame.released == 1);
  }
  CHECK(frame.released == 1);
}

TEST_CASE("an assigned Pin releases what it held before") {
  Frame before;
  Frame after;
  {
    Pin pin = before.pin();
    Pin other = after.pin();
    pin = std::move(other);
    CHECK(before.released == 1);
    CHECK(after.released == 0);
    CHECK(pin.object() == &after);
    pin = Pin();
    CHECK(after.released == 1);
  }
  CHECK(before.released == 1);
  CHECK(after.released == 1);
}

TEST_CASE("a Pin that is moved to itself stays as it is") {
  Frame frame;
  {
    Pin pin = frame.pin();
    Pin& same = pin;
    pin = std::move(same);
    CHECK(frame.released == 0);
    CHECK(pin.object() == &frame);
  }
  CHECK(frame.released == 1);
}

TEST_CASE("a release that looks at its own Pin finds it empty") {
  struct Holder {
    Pin pin;
    int released = 0;
    bool found_empty = false;
  };
  Holder holder;
  holder.pin = Pin(&holder, [](void* object) noexcept {
    Holder* const self = static_cast<Holder*>(object);
    self->released += 1;
    self->found_empty = !self->pin && self->pin.object() == nullptr;
    self->pin.reset();
  });
  holder.pin.reset();
  CHECK(holder.released == 1);
  CHECK(holder.found_empty);
}

TEST_CASE("a PinnedBuf carries the memory and releases its pin once") {
  AlignedBuf memory = page();
  Frame frame;
  {
    PinnedBuf pinned(memory.as_raw(), frame.pin());
    CHECK(static_cast<bool>(pinned));
    CHECK(pinned.raw().data() == memory.data());
    CHECK(pinned.bytes().data() == memory.data());
    CHECK(pinned.size() == kP);
    CHECK(pinned.capacity() == kP);
    REQUIRE(pinned.set_len(100));
    CHECK(pinned.size() == 100);
    CHECK(pinned.bytes().size() == 100);
    const Error error = pinned.set_len(kP + 1).error();
    CHECK(error == Errc::out_of_range);
    CHECK(error.a() == kP + 1);
    CHECK(error.b() == kP);
    CHECK(pinned.size() == 100);
    CHECK(frame.released == 0);
  }
  CHECK(frame.released == 1);
}

TEST_CASE("a PinnedBuf that was moved from refers to nothing and releases nothing") {
  AlignedBuf memory = page();
  Frame frame;
  {
    PinnedBuf pinned(memory.as_raw(), frame.pin());
    PinnedBuf moved = std::move(pinned);
    CHECK_FALSE(static_cast<bool>(pinned));
    CHECK(pinned.raw().data() == nullptr);
    CHECK(pinned.size() == 0);
    CHECK(pinned.capacity() == 0);
    CHECK(moved.raw().data() == memory.data());

    PinnedBuf& same = moved;
    moved = std::move(same);
    CHECK(moved.raw().data() == memory.data());
    CHECK(moved.size() == kP);
    CHECK(frame.released == 0);

    Frame other;
    pinned = PinnedBuf(memory.as_raw(), other.pin());
    pinned = std::move(moved);
    CHECK(other.released == 1);
    CHECK(pinned.raw().data() == memory.data());
    CHECK(moved.capacity() == 0);
    CHECK(frame.released == 0);
  }
  CHECK(frame.released == 1);
}

TEST_CASE("take_pin gives the pin away and keeps the view") {
  AlignedBuf memory = page();
  Frame frame;
  {
    Pin kept;
    {
      PinnedBuf pinned(memory.as_raw(), frame.pin());
      kept = std::move(pinned).take_pin();
      CHECK_FALSE(static_cast<bool>(pinned));
      CHECK(pinned.raw().data() == memory.data());
    }
    CHECK(frame.released == 0);
    CHECK(kept.object() == &frame);
  }
  CHECK(frame.released == 1);
}

// Whether the memory is freed, once, is for the address sanitizer to say.
TEST_CASE("pin_memory keeps an owned buffer's memory until the pin is released") {
  AlignedBuf owned = page();
  std::byte* const memory = owned.data();
  {
    const Pin pin = pin_memory(std::move(owned));
    CHECK(owned.data() == nullptr);
    CHECK(static_cast<bool>(pin));
    CHECK(pin.object() == memory);
    std::memset(memory, 0x5A, kP);
    CHECK(test::all_equal({memory, kP}, 0x5A));
  }
  CHECK_FALSE(static_cast<bool>(pin_memory(AlignedBuf())));
}

TEST_CASE("an owned buffer becomes a pinned one") {
  AlignedBuf owned = page();
  owned[0] = std::byte{1};
  const RawIoBuf raw = owned.as_raw();
  PinnedBuf pinned(raw, pin_memory(std::move(owned)));
  CHECK(pinned.bytes()[0] == std::byte{1});
  pinned = PinnedBuf();
  CHECK(pinned.capacity() == 0);
}

}  // namespace
}  // namespace diorite
