#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <diorite/buffer.hpp>

#include "buffer/bytes.hpp"
#include "support/catch.hpp"

namespace diorite {
namespace {

using test::contains;
using test::text_of;

constexpr std::size_t kP = kPageBytes;
constexpr std::size_t kSizeMax = std::numeric_limits<std::size_t>::max();

static_assert(std::forward_iterator<RawFrames::iterator>);
static_assert(std::is_convertible_v<std::span<const std::byte>, ConstIoBuf>);
static_assert(std::is_convertible_v<std::vector<std::byte>, ConstIoBuf>);
static_assert(std::is_convertible_v<RawIoBuf, ConstIoBuf>);
static_assert(!std::is_convertible_v<ConstIoBuf, RawIoBuf>);
static_assert(!std::is_convertible_v<std::string, ConstIoBuf>);

AlignedBuf arena_of(std::size_t pages) {
  Result<AlignedBuf> made = AlignedBuf::zeroed(pages * kP);
  REQUIRE(made);
  return *std::move(made);
}

// What must hold of both checked slices.
void check_both(const RawIoBuf& raw, std::size_t offset, std::size_t bytes, Errc code,
                std::uint64_t a, std::uint64_t b) {
  const Error errors[] = {raw.slice(offset, bytes).error(), raw.slice_data(offset, bytes).error()};
  for (const Error& error : errors) {
    INFO(offset << " + " << bytes << ": " << error.text());
    CHECK(error == code);
    CHECK(error.a() == a);
    CHECK(error.b() == b);
  }
}

TEST_CASE("A13 a RawIoBuf over memory begins empty, and with_len makes bytes valid") {
  AlignedBuf page = arena_of(1);
  const RawIoBuf raw(page.data(), kP);
  CHECK(raw.data() == page.data());
  CHECK(raw.size() == 0);
  CHECK(raw.capacity() == kP);
  CHECK(raw.empty());
  const Result<RawIoBuf> part = raw.with_len(512);
  REQUIRE(part);
  CHECK(part->size() == 512);
  CHECK(part->capacity() == kP);
  CHECK(part->as_span().size() == 512);
  CHECK(part->as_full_span().size() == kP);
  CHECK(raw.full().size() == kP);
  CHECK(raw.full().data() == page.data());
  CHECK(raw.size() == 0);
}

TEST_CASE("A14 from_slice takes any memory, all of it valid; only direct I/O wants alignment") {
  alignas(64) std::array<std::byte, 256> bytes{};
  bytes[0] = std::byte{42};
  const RawIoBuf raw = RawIoBuf::from_slice(bytes);
  CHECK(raw.data() == bytes.data());
  CHECK(raw.size() == 256);
  CHECK(raw.capacity() == 256);
  CHECK(raw.as_span()[0] == std::byte{42});
  // The checked slices are what direct I/O takes, so they refuse it.
  CHECK(raw.slice(0, 256).error() == Errc::misaligned);
}

TEST_CASE("A15 slices of an arena, to read into and to write from") {
  AlignedBuf arena = arena_of(4);
  arena[0] = std::byte{5};
  const RawIoBuf raw(arena.data(), arena.capacity());
  const Result<RawIoBuf> target = raw.slice(kP, kP);
  REQUIRE(target);
  CHECK(target->size() == 0);
  CHECK(target->capacity() == kP);
  CHECK(target->data() == arena.data() + kP);
  CHECK(is_aligned(target->data(), kP));
  const Result<RawIoBuf> source = raw.slice_data(0, kP);
  REQUIRE(source);
  CHECK(source->size() == kP);
  CHECK(source->capacity() == kP);
  CHECK(source->as_span()[0] == std::byte{5});
  const RawIoBuf unchecked = raw.slice_unchecked(2 * kP, kP);
  CHECK(unchecked.size() == 0);
  CHECK(unchecked.capacity() == kP);
  CHECK(unchecked.data() == arena.data() + 2 * kP);
}

TEST_CASE("A17 a copy of a RawIoBuf is the same memory") {
  AlignedBuf page = arena_of(1);
  const RawIoBuf raw = page.as_raw();
  const RawIoBuf copy = raw;
  CHECK(copy.data() == raw.data());
  CHECK(copy.size() == raw.size());
  CHECK(copy.capacity() == raw.capacity());
}

TEST_CASE("A21 a slice that leaves the memory or its alignment is an error, in release too") {
  AlignedBuf arena = arena_of(4);
  const RawIoBuf raw = arena.as_raw();
  check_both(raw, 0, 5 * kP, Errc::out_of_range, 5 * kP, 4 * kP);
  check_both(raw, 4 * kP, kP, Errc::out_of_range, 5 * kP, 4 * kP);
  check_both(raw, 3 * kP, 2 * kP, Errc::out_of_range, 5 * kP, 4 * kP);
  check_both(raw, 5 * kP, 0, Errc::out_of_range, 5 * kP, 4 * kP);
  check_both(raw, 100, kP, Errc::misaligned, 100, kP);
  check_both(raw, 4 * kP - 1, 1, Errc::misaligned, 4 * kP - 1, kP);
  check_both(raw, 0, 100, Errc::misaligned, 100, kP);
  check_both(raw, kP, kP + 1, Errc::misaligned, kP + 1, kP);

  const Error beyond = raw.with_len(4 * kP + 1).error();
  CHECK(beyond == Errc::out_of_range);
  CHECK(beyond.a() == 4 * kP + 1);
  CHECK(beyond.b() == 4 * kP);
  CHECK(raw.with_len(kSizeMax).error() == Errc::out_of_range);
  CHECK(raw.with_len(4 * kP)->size() == 4 * kP);
  CHECK(raw.with_len(0)->empty());
}

TEST_CASE("an offset and a length whose sum wraps do not pass for a small slice") {
  AlignedBuf arena = arena_of(4);
  const RawIoBuf raw = arena.as_raw();
  const std::size_t last_page = kSizeMax - (kP - 1);
  check_both(raw, last_page, kP, Errc::out_of_range, kSizeMax, 4 * kP);
  check_both(raw, last_page, 2 * kP, Errc::out_of_range, kSizeMax, 4 * kP);
  check_both(raw, kP, last_page, Errc::out_of_range, kSizeMax, 4 * kP);
  check_both(raw, kSizeMax, kSizeMax, Errc::out_of_range, kSizeMax, 4 * kP);
}

TEST_CASE("slices at the edges of the memory") {
  AlignedBuf arena = arena_of(4);
  const RawIoBuf raw = arena.as_raw();
  CHECK(raw.slice(0, 4 * kP)->capacity() == 4 * kP);
  CHECK(raw.slice(3 * kP, kP)->data() == arena.data() + 3 * kP);
  CHECK(raw.slice(4 * kP, 0)->capacity() == 0);
  CHECK(raw.slice_data(4 * kP, 0)->empty());
  const RawIoBuf none;
  CHECK(none.slice(0, 0)->data() == nullptr);
  check_both(none, 0, kP, Errc::out_of_range, kP, 0);
}

TEST_CASE("the length does not limit a slice, and a slice of a slice is limited by the slice") {
  AlignedBuf arena = arena_of(4);
  const RawIoBuf empty(arena.data(), arena.capacity());
  CHECK(empty.slice_data(kP, kP)->size() == kP);
  const Result<RawIoBuf> middle = empty.slice(kP, 2 * kP);
  REQUIRE(middle);
  CHECK(middle->slice(kP, kP)->data() == arena.data() + 2 * kP);
  check_both(*middle, kP, 2 * kP, Errc::out_of_range, 3 * kP, 2 * kP);
}

TEST_CASE("a slice is aligned by its address, not by its offset") {
  AlignedBuf arena = arena_of(4);
  const RawIoBuf shifted(arena.data() + 512, 2 * kP);
  CHECK(shifted.slice(kP - 512, kP)->data() == arena.data() + kP);
  const auto address = reinterpret_cast<std::uintptr_t>(arena.data()) + 512;
  check_both(shifted, 0, kP, Errc::misaligned, address, kP);
}

TEST_CASE("slice_unchecked serves blocks smaller than a page") {
  AlignedBuf page = arena_of(1);
  const RawIoBuf sector = page.as_raw().slice_unchecked(512, 512);
  CHECK(sector.data() == page.data() + 512);
  CHECK(sector.capacity() == 512);
  CHECK(sector.full().size() == 512);
}

TEST_CASE("a ConstIoBuf is the valid bytes of what it was made from") {
  AlignedBuf page = arena_of(1);
  REQUIRE(page.set_len(100));
  const ConstIoBuf from_raw = page.as_raw();
  CHECK(from_raw.data() == page.data());
  CHECK(from_raw.size() == 100);
  const ConstIoBuf from_span = page.bytes();
  CHECK(from_span.data() == page.data());
  CHECK(from_span.size() == 100);
  const std::vector<std::byte> bytes(7);
  const ConstIoBuf from_vector = bytes;
  CHECK(from_vector.data() == bytes.data());
  CHECK(from_vector.size() == 7);
  const ConstIoBuf none;
  CHECK(none.data() == nullptr);
  CHECK(none.size() == 0);
}

TEST_CASE("errors of slices tell the operation and the numbers") {
  AlignedBuf arena = arena_of(4);
  const RawIoBuf raw = arena.as_raw();
  const std::string beyond = raw.slice(3 * kP, 2 * kP).error().text();
  INFO(beyond);
  for (const char* part : {"RawIoBuf::slice ", "offset 12288", "length 8192", "20480", "16384"}) {
    CHECK(contains(beyond, part));
  }
  const std::string misaligned = raw.slice_data(100, kP).error().text();
  INFO(misaligned);
  for (const char* part :
       {"RawIoBuf::slice_data", "100 is not a multiple of 4096", "the offset", "slice_unchecked"}) {
    CHECK(contains(misaligned, part));
  }
  CHECK(contains(raw.slice(0, 77).error().text(), "the length"));
  CHECK(contains(raw.slice_unchecked(1, kP).slice(0, kP).error().text(), "the address"));
  const std::string length = raw.with_len(20000).error().text();
  INFO(length);
  for (const char* part : {"RawIoBuf::with_len", "20000", "16384"}) CHECK(contains(length, part));
}

}  // namespace
}  // namespace diorite
