#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <diorite/buffer.hpp>

#include "buffer/bytes.hpp"
#include "support/catch.hpp"

// The sanitizers end the process when an allocation cannot be served, but these tests ask for
// exactly that.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define DIORITE_TEST_SANITIZER_OPTIONS
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DIORITE_TEST_SANITIZER_OPTIONS
#endif
#ifdef DIORITE_TEST_SANITIZER_OPTIONS
extern "C" const char* __asan_default_options();
extern "C" const char* __tsan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
#endif

namespace diorite {
namespace {

using test::all_equal;
using test::bytes_of;
using test::contains;
using test::text_of;

constexpr std::size_t kP = kPageBytes;
constexpr std::size_t kSizeMax = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kPtrdiffMax = PTRDIFF_MAX;

static_assert(!std::is_copy_constructible_v<AlignedBuf> && !std::is_copy_assignable_v<AlignedBuf>);
static_assert(std::is_nothrow_move_constructible_v<AlignedBuf>);
static_assert(std::is_nothrow_move_assignable_v<AlignedBuf>);
static_assert(std::is_trivially_copyable_v<RawParts>);

AlignedBuf with_cap(std::size_t bytes, std::size_t alignment = kP) {
  Result<AlignedBuf> made = AlignedBuf::with_cap(bytes, alignment);
  INFO(made.error().text());
  REQUIRE(made);
  return *std::move(made);
}

AlignedBuf zeroed(std::size_t bytes, std::size_t alignment = kP) {
  Result<AlignedBuf> made = AlignedBuf::zeroed(bytes, alignment);
  INFO(made.error().text());
  REQUIRE(made);
  return *std::move(made);
}

std::span<const std::byte> whole(const AlignedBuf& buffer) {
  return buffer.as_raw_view().as_full_span();
}

void check_failure(const Error& error, Errc code, std::uint64_t a, std::uint64_t b) {
  INFO(error.text());
  CHECK(error == code);
  CHECK(error.a() == a);
  CHECK(error.b() == b);
}

TEST_CASE("A1 with_cap below a page is empty, aligned and has a page of room") {
  const AlignedBuf buffer = with_cap(1024);
  CHECK(buffer.size() == 0);
  CHECK(buffer.empty());
  CHECK(buffer.capacity() >= kP);
  CHECK(is_aligned(buffer.data(), kP));
}

TEST_CASE("A2 with_cap of whole pages is exact, and of nothing is a page") {
  CHECK(with_cap(4 * kP).capacity() == 4 * kP);
  CHECK(with_cap(0).capacity() == kP);
}

TEST_CASE("A3 zeroed has the length that was asked for, all zero") {
  const AlignedBuf hundred = zeroed(100);
  CHECK(hundred.size() == 100);
  CHECK(all_equal(hundred.bytes(), 0));
  const AlignedBuf one = zeroed(1);
  CHECK(one.size() == 1);
  CHECK(one.capacity() >= kP);
  const AlignedBuf pages = zeroed(8 * kP);
  CHECK(pages.size() == 8 * kP);
  CHECK(all_equal(pages.bytes(), 0));
  const AlignedBuf none = zeroed(0);
  CHECK(none.empty());
  CHECK(none.capacity() == kP);
  CHECK(all_equal(whole(none), 0));
}

TEST_CASE("A4 page is one aligned page of zeros, also when many live at once") {
  std::vector<AlignedBuf> pages;
  for (int i = 0; i < 10; ++i) {
    Result<AlignedBuf> page = AlignedBuf::page();
    REQUIRE(page);
    CHECK(page->size() == kP);
    CHECK(page->capacity() == kP);
    CHECK(all_equal(page->bytes(), 0));
    std::memset(page->data(), i + 1, kP);
    pages.push_back(*std::move(page));
  }
  for (int i = 0; i < 10; ++i) {
    CHECK(is_aligned(pages[static_cast<std::size_t>(i)].data(), kP));
    CHECK(all_equal(pages[static_cast<std::size_t>(i)].bytes(), i + 1));
  }
}

TEST_CASE("A5 extend appends, and an empty extend changes nothing") {
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.extend({}));
  CHECK(buffer.empty());
  REQUIRE(buffer.extend(bytes_of("hello")));
  REQUIRE(buffer.extend(bytes_of(" world")));
  CHECK(buffer.size() == 11);
  CHECK(text_of(buffer.bytes()) == "hello world");
}

TEST_CASE("A6 extend beyond the capacity is an overflow and changes nothing") {
  const std::vector<std::byte> many(kP + 1, std::byte{7});
  AlignedBuf buffer = with_cap(kP);
  const std::byte* address = buffer.data();
  check_failure(buffer.extend(many).error(), Errc::overflow, kP + 1, kP);
  CHECK(buffer.size() == 0);
  REQUIRE(buffer.extend(std::span(many).first(kP)));
  check_failure(buffer.extend(bytes_of("8 bytes!")).error(), Errc::overflow, kP + 8, kP);
  CHECK(buffer.size() == kP);
  CHECK(buffer.data() == address);
  CHECK(all_equal(buffer.bytes(), 7));
  REQUIRE(buffer.extend({}));
}

TEST_CASE("A7 extend up to the last byte of room") {
  const std::vector<std::byte> bytes(97, std::byte{3});
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.set_len(4000));
  check_failure(buffer.extend(bytes).error(), Errc::overflow, 4097, 4096);
  CHECK(buffer.size() == 4000);
  REQUIRE(buffer.extend(std::span(bytes).first(96)));
  CHECK(buffer.size() == 4096);
  CHECK(all_equal(buffer.bytes().subspan(4000), 3));
}

TEST_CASE("A8 truncate only shrinks") {
  AlignedBuf buffer = zeroed(100);
  buffer.truncate(50);
  CHECK(buffer.size() == 50);
  buffer.truncate(200);
  CHECK(buffer.size() == 50);
  buffer.truncate(0);
  CHECK(buffer.size() == 0);
  REQUIRE(buffer.extend(bytes_of("12345")));
  buffer.truncate(10);
  CHECK(buffer.size() == 5);
}

TEST_CASE("A9 clear and set_len set the length and keep the memory") {
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.extend(bytes_of("record")));
  const std::byte* address = buffer.data();
  buffer.clear();
  CHECK(buffer.size() == 0);
  CHECK(buffer.empty());
  REQUIRE(buffer.set_len(100));
  CHECK(buffer.size() == 100);
  CHECK(text_of(buffer.bytes().first(6)) == "record");
  REQUIRE(buffer.set_len(0));
  CHECK(buffer.size() == 0);
  CHECK(buffer.data() == address);
}

TEST_CASE("A10 try_clone copies bytes, capacity and alignment to another address") {
  AlignedBuf buffer = with_cap(3 * kP, 2 * kP);
  REQUIRE(buffer.extend(bytes_of("original")));
  Result<AlignedBuf> clone = buffer.try_clone();
  REQUIRE(clone);
  CHECK(text_of(clone->bytes()) == "original");
  CHECK(clone->data() != buffer.data());
  CHECK(clone->capacity() == 4 * kP);
  CHECK(clone->alignment() == 2 * kP);
  CHECK(is_aligned(clone->data(), 2 * kP));
  (*clone)[0] = std::byte{'O'};
  CHECK(text_of(buffer.bytes()) == "original");
  buffer[1] = std::byte{'R'};
  CHECK(text_of(clone->bytes()) == "Original");
}

TEST_CASE("A11 bytes are written through the span") {
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.extend(bytes_of("test")));
  buffer.bytes()[0] = std::byte{'T'};
  CHECK(text_of(buffer.bytes()) == "Test");
}

TEST_CASE("A12 as_raw shows the owner's memory, capacity and length") {
  AlignedBuf buffer = zeroed(kP);
  buffer[0] = std::byte{42};
  const RawIoBuf raw = buffer.as_raw();
  CHECK(raw.capacity() == kP);
  CHECK(raw.size() == kP);
  CHECK(raw.data() == buffer.data());
  CHECK(raw.as_span()[0] == std::byte{42});
  raw.data()[0] = std::byte{77};
  CHECK(buffer[0] == std::byte{77});

  REQUIRE(buffer.set_len(5));
  const AlignedBuf& owner = buffer;
  const RawIoBuf view = owner.as_raw_view();
  CHECK(view.data() == buffer.data());
  CHECK(view.size() == 5);
  CHECK(view.capacity() == kP);
}

TEST_CASE("A16 slice_into_raws gives frames of the arena and leaves the remainder out") {
  AlignedBuf arena = with_cap(8 * kP);
  const Result<RawFrames> frames = arena.slice_into_raws(kP);
  REQUIRE(frames);
  REQUIRE(frames->size() == 8);
  std::size_t index = 0;
  for (const RawIoBuf frame : *frames) {
    CHECK(frame.size() == 0);
    CHECK(frame.capacity() == kP);
    CHECK(frame.data() == arena.data() + index * kP);
    CHECK((*frames)[index].data() == frame.data());
    ++index;
  }
  CHECK(index == 8);

  AlignedBuf three_pages = with_cap(12288);
  const Result<RawFrames> remainder = three_pages.slice_into_raws(8192);
  REQUIRE(remainder);
  CHECK(remainder->size() == 1);
  CHECK((*remainder)[0].capacity() == 8192);

  const Result<RawFrames> none = three_pages.slice_into_raws(16384);
  REQUIRE(none);
  CHECK(none->empty());
  CHECK(none->begin() == none->end());
}

TEST_CASE("A18 raw parts give up the memory and take it back") {
  AlignedBuf page = zeroed(kP, 2 * kP);
  page[9] = std::byte{9};
  const std::byte* address = page.data();
  const RawParts parts = std::move(page).into_raw_parts();
  CHECK(page.data() == nullptr);
  CHECK(page.capacity() == 0);
  CHECK(parts.data == address);
  CHECK(parts.size == kP);
  CHECK(parts.capacity == 2 * kP);
  CHECK(parts.alignment == 2 * kP);
  const AlignedBuf again = AlignedBuf::from_raw_parts(parts);
  CHECK(again.data() == address);
  CHECK(again.size() == kP);
  CHECK(again.capacity() == 2 * kP);
  CHECK(again.alignment() == 2 * kP);
  CHECK(again[9] == std::byte{9});

  const AlignedBuf empty = AlignedBuf::from_raw_parts(AlignedBuf().into_raw_parts());
  CHECK(empty.data() == nullptr);
  CHECK(empty.capacity() == 0);
}

TEST_CASE("A19 the length follows what a read filled") {
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.set_len(256));
  CHECK(buffer.size() == 256);
  REQUIRE(buffer.set_len(512));
  CHECK(buffer.size() == 512);
}

TEST_CASE("A20 impossible sizes are errors, and so are huge legal ones") {
  const std::size_t most = kPtrdiffMax - 4095;
  for (const std::size_t bytes :
       {kSizeMax, kSizeMax - 4095, kPtrdiffMax + 1, kPtrdiffMax, most + 1}) {
    check_failure(AlignedBuf::with_cap(bytes).error(), Errc::out_of_range, bytes, most);
    check_failure(AlignedBuf::zeroed(bytes).error(), Errc::out_of_range, bytes, most);
  }
  for (const std::size_t bytes : {most, most - 1}) {
    const Error refused = AlignedBuf::with_cap(bytes).error();
    CHECK(refused == std::errc::not_enough_memory);
    CHECK(refused.a() == most);
    CHECK(AlignedBuf::zeroed(bytes).error() == std::errc::not_enough_memory);
  }
}

TEST_CASE("A21 a chunk of 0 or of a part of a page is an error") {
  AlignedBuf arena = with_cap(8 * kP);
  check_failure(arena.slice_into_raws(0).error(), Errc::out_of_range, 0, 8 * kP);
  check_failure(arena.slice_into_raws(100).error(), Errc::misaligned, 100, kP);
  check_failure(arena.slice_into_raws(kP + 1).error(), Errc::misaligned, kP + 1, kP);
  check_failure(arena.slice_into_raws(kSizeMax).error(), Errc::misaligned, kSizeMax, kP);
  CHECK(arena.slice_into_raws(kSizeMax - 4095)->empty());
}

TEST_CASE("A22 the capacity is rounded up, and zeroed zeroes all of it") {
  CHECK(with_cap(5000).capacity() == 8192);
  // Memory that was dirty before is what a recycling allocator gives out next.
  for (int i = 0; i < 8; ++i) {
    AlignedBuf dirty = with_cap(5000);
    std::memset(dirty.data(), 0xEE, dirty.capacity());
  }
  const AlignedBuf buffer = zeroed(5000);
  CHECK(buffer.size() == 5000);
  CHECK(buffer.capacity() == 8192);
  CHECK(all_equal(whole(buffer), 0));
}

TEST_CASE("the capacity at every boundary of the rounding") {
  for (const std::size_t alignment : {kP, 4 * kP}) {
    for (const std::size_t units : {1, 2, 7}) {
      const std::size_t edge = units * alignment;
      CHECK(with_cap(edge - 1, alignment).capacity() == edge);
      CHECK(with_cap(edge, alignment).capacity() == edge);
      CHECK(with_cap(edge + 1, alignment).capacity() == edge + alignment);
    }
  }
  CHECK(with_cap(1).capacity() == kP);
}

TEST_CASE("the alignment is a power of two, a page at least") {
  for (const std::size_t small : {1, 2, 512, 2048, 4096}) {
    const AlignedBuf buffer = with_cap(1, small);
    CHECK(buffer.alignment() == kP);
    CHECK(buffer.capacity() == kP);
  }
  constexpr std::size_t most = kPtrdiffMax / 2 + 1;
  for (const std::size_t wrong :
       {std::size_t{0}, std::size_t{3}, kP + 1, 3 * kP, kSizeMax, 2 * most}) {
    check_failure(AlignedBuf::with_cap(1, wrong).error(), Errc::out_of_range, wrong, most);
  }
}

TEST_CASE("a huge alignment is kept, or fails as memory does") {
  for (const std::size_t alignment :
       {std::size_t{64} << 10, std::size_t{2} << 20, std::size_t{64} << 20}) {
    AlignedBuf buffer = with_cap(10, alignment);
    CHECK(is_aligned(buffer.data(), alignment));
    CHECK(buffer.alignment() == alignment);
    CHECK(buffer.capacity() == alignment);
    REQUIRE(buffer.extend(bytes_of("far")));
    CHECK(text_of(buffer.bytes()) == "far");
  }
  constexpr std::size_t most = kPtrdiffMax / 2 + 1;
  CHECK(AlignedBuf::with_cap(1, most).error() == std::errc::not_enough_memory);
  check_failure(AlignedBuf::with_cap(most + 1, most).error(), Errc::out_of_range, most + 1, most);
}

TEST_CASE("extend takes bytes of the buffer itself") {
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.extend(bytes_of("abc")));
  REQUIRE(buffer.extend(buffer.bytes()));
  CHECK(text_of(buffer.bytes()) == "abcabc");
  // A source in the room behind the length, overlapping the place it is moved to.
  std::memcpy(buffer.data() + 8, "0123456789", 10);
  REQUIRE(buffer.extend(buffer.as_raw().as_full_span().subspan(8, 10)));
  CHECK(text_of(buffer.bytes()) == "abcabc0123456789");
}

TEST_CASE("a buffer without memory holds nothing and takes nothing") {
  AlignedBuf none;
  CHECK(none.data() == nullptr);
  CHECK(none.alignment() == 0);
  REQUIRE(none.extend({}));
  check_failure(none.extend(bytes_of("x")).error(), Errc::overflow, 1, 0);
  REQUIRE(none.pad_to(kP));
  REQUIRE(none.set_len(0));
  check_failure(none.set_len(1).error(), Errc::out_of_range, 1, 0);
  CHECK(none.as_raw().data() == nullptr);
  CHECK(none.slice_into_raws(kP)->empty());
  const Result<AlignedBuf> clone = none.try_clone();
  REQUIRE(clone);
  CHECK(clone->capacity() == 0);
}

TEST_CASE("pad_to appends zeros up to the next multiple") {
  AlignedBuf buffer = with_cap(2 * kP);
  std::memset(buffer.data(), 0xEE, buffer.capacity());
  REQUIRE(buffer.pad_to(kP));
  CHECK(buffer.size() == 0);
  REQUIRE(buffer.extend(bytes_of("12345")));
  REQUIRE(buffer.pad_to(1));
  CHECK(buffer.size() == 5);
  REQUIRE(buffer.pad_to(7));
  CHECK(buffer.size() == 7);
  REQUIRE(buffer.pad_to(512));
  CHECK(buffer.size() == 512);
  CHECK(text_of(buffer.bytes().first(5)) == "12345");
  CHECK(all_equal(buffer.bytes().subspan(5), 0));
  CHECK(all_equal(whole(buffer).subspan(512), 0xEE));
  REQUIRE(buffer.pad_to(512));
  CHECK(buffer.size() == 512);

  check_failure(buffer.pad_to(3 * kP).error(), Errc::overflow, 3 * kP, 2 * kP);
  check_failure(buffer.pad_to(kSizeMax).error(), Errc::overflow, kSizeMax, 2 * kP);
  check_failure(buffer.pad_to(0).error(), Errc::out_of_range, 0, 2 * kP);
  CHECK(buffer.size() == 512);
  REQUIRE(buffer.pad_to(2 * kP));
  CHECK(buffer.size() == 2 * kP);
  CHECK(all_equal(buffer.bytes().subspan(512), 0));
  REQUIRE(buffer.pad_to(kP));
  check_failure(buffer.pad_to(3 * kP).error(), Errc::overflow, 3 * kP, 2 * kP);
}

TEST_CASE("set_len stops at the capacity") {
  AlignedBuf buffer = zeroed(10);
  REQUIRE(buffer.set_len(kP));
  check_failure(buffer.set_len(kP + 1).error(), Errc::out_of_range, kP + 1, kP);
  check_failure(buffer.set_len(kSizeMax).error(), Errc::out_of_range, kSizeMax, kP);
  CHECK(buffer.size() == kP);
}

TEST_CASE("moves and swaps hand the memory over, also to itself") {
  AlignedBuf first = with_cap(kP);
  REQUIRE(first.extend(bytes_of("first")));
  AlignedBuf second = with_cap(2 * kP);
  REQUIRE(second.extend(bytes_of("second")));
  const std::byte* first_data = first.data();

  AlignedBuf moved = std::move(first);
  CHECK(moved.data() == first_data);
  CHECK(first.data() == nullptr);
  CHECK(first.size() == 0);
  CHECK(first.capacity() == 0);
  CHECK(first.alignment() == 0);

  moved = std::move(second);
  CHECK(text_of(moved.bytes()) == "second");
  CHECK(moved.capacity() == 2 * kP);
  CHECK(second.capacity() == 0);

  AlignedBuf& same = moved;
  moved = std::move(same);
  CHECK(text_of(moved.bytes()) == "second");
  moved.swap(same);
  CHECK(text_of(moved.bytes()) == "second");

  moved.swap(first);
  CHECK(moved.data() == nullptr);
  CHECK(text_of(first.bytes()) == "second");
}

TEST_CASE("errors tell the operation, the numbers and the remedy") {
  AlignedBuf buffer = with_cap(kP);
  REQUIRE(buffer.set_len(4000));
  const std::string extended = buffer.extend(std::array<std::byte, 97>{}).error().text();
  INFO(extended);
  for (const char* part : {"AlignedBuf::extend", "length 97", "4097", "4096", "never grows"}) {
    CHECK(contains(extended, part));
  }
  const std::string padded = buffer.pad_to(5000).error().text();
  INFO(padded);
  for (const char* part : {"AlignedBuf::pad_to", "5000 bytes", "room for 4096"}) {
    CHECK(contains(padded, part));
  }
  CHECK(contains(buffer.pad_to(0).error().text(), "AlignedBuf::pad_to: out of range"));
  const std::string sized = buffer.set_len(5000).error().text();
  INFO(sized);
  for (const char* part : {"AlignedBuf::set_len", "5000", "4096"}) CHECK(contains(sized, part));
  const std::string sliced = buffer.slice_into_raws(100).error().text();
  INFO(sliced);
  for (const char* part : {"AlignedBuf::slice_into_raws", "100 is not a multiple of 4096"}) {
    CHECK(contains(sliced, part));
  }
  const std::string aligned = AlignedBuf::with_cap(10, 5000).error().text();
  INFO(aligned);
  for (const char* part : {"AlignedBuf::with_cap", "length 10", "alignment 5000"}) {
    CHECK(contains(aligned, part));
  }
  const std::string limit = AlignedBuf::zeroed(kPtrdiffMax).error().text();
  INFO(limit);
  for (const std::string& part : {std::string("AlignedBuf::zeroed"), std::to_string(kPtrdiffMax),
                                  std::to_string(kPtrdiffMax - 4095)}) {
    CHECK(contains(limit, part));
  }
  const std::string memory = AlignedBuf::with_cap(kPtrdiffMax - 4095).error().text();
  INFO(memory);
  for (const std::string& part :
       {std::string("AlignedBuf::with_cap"), std::to_string(kPtrdiffMax - 4095),
        std::string("memory limit")}) {
    CHECK(contains(memory, part));
  }
}

}  // namespace
}  // namespace diorite
