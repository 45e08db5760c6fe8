#include "journal/frame.hpp"

#include "journal/byte_order.hpp"
#include "journal/commit_builder.hpp"
#include "journal/commit_verify.hpp"
#include "journal/crc32c.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"

#include <cstring>
#include <limits>
#include <random>
#include <string>

using namespace diorite;
using namespace diorite::wal;
using diorite::test::as_bytes;
using diorite::test::Bytes;
using diorite::test::run_in_child;

namespace {

constexpr std::uint32_t kSalt = 0x5EED5A17;
constexpr std::uint64_t kLsn = 0x701040;

static_assert(frame_bytes(0) == 16 && frame_bytes(1) == 24 && frame_bytes(8) == 24);
static_assert(frame_bytes(0xFFFFFFFF) == 0x100000010);
static_assert(commit_footprint(0, 4096) == 4096 && commit_footprint(4032, 4096) == 4096 &&
              commit_footprint(4040, 4096) == 8192);
static_assert(commit_footprint(0xFFFFFFF8, 65536) == 0x100010000);
static_assert(record_bytes_max(1_MiB, 4096) == 1_MiB - 4096 - 80);
static_assert(record_bytes_max(1_MiB, 65536) == 1_MiB - 65536 - 80);
static_assert(record_bytes_max(64_MiB, 4096) == 16_MiB);

FrameSpec spec_at(std::uint32_t commit_off = 64) {
  return {kLsn, commit_off, 0x1234, FrameKind::data, BatchPosition::only};
}

Bytes framed(std::string_view head, std::string_view body, std::uint32_t& frames_state) {
  Bytes frame(frame_bytes(head.size() + body.size()), std::byte{0xEE});
  const std::uint64_t size =
      encode_frame(frame, spec_at(), as_bytes(head), as_bytes(body), kSalt, frames_state);
  REQUIRE(size == frame.size());
  return frame;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

CommitVerdict decode(std::span<const std::byte> bytes) {
  Frame frame;
  return decode_frame(bytes, kLsn, 64, kSalt, frame);
}

void reseal(Bytes& frame, std::size_t payload) {
  std::uint32_t state = crc32c_begin(kSalt);
  std::byte position[8];
  store_le(position, kLsn);
  state = crc32c_extend(state, position, 8);
  state = crc32c_extend(state, &frame[4], 12 + payload);
  store_le(frame.data(), crc32c_finish(state));
}

}  // namespace

TEST_CASE("frame: what was written is read, at every small length", "[journal][frame]") {
  std::mt19937_64 rng(3);
  for (std::size_t size = 0; size <= 300; ++size) {
    std::string payload(size, '\0');
    for (char& c : payload) c = static_cast<char>(rng());
    std::uint32_t state = crc32c_begin(kSalt);
    const Bytes bytes = framed(payload, "", state);
    CHECK(crc32c_finish(state) == crc32c(kSalt, bytes.data(), 16));
    Frame frame;
    REQUIRE(decode_frame(bytes, kLsn, 64, kSalt, frame) == CommitVerdict::valid);
    CHECK(frame.kind == FrameKind::data);
    CHECK(frame.batch == BatchPosition::only);
    CHECK(frame.tag == 0x1234);
    CHECK(frame.begin == kLsn);
    CHECK(frame.end == kLsn + bytes.size());
    CHECK(text_of(frame.payload) == payload);
    CHECK((size == 0 || frame.payload.data() == bytes.data() + 16));
  }
}

TEST_CASE("frame: two pieces give the bytes of one", "[journal][frame]") {
  for (const Crc32cKernel* kernel : crc32c_kernels()) {
    crc32c_force(kernel);
    for (const std::size_t size : {0U, 1U, 7U, 8U, 100U, 255U, 777U}) {
      std::string payload(size, 'x');
      for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<char>(i * 31);
      std::uint32_t state = crc32c_begin(kSalt);
      const Bytes whole = framed(payload, "", state);
      for (std::size_t at = 0; at <= size; ++at) {
        std::uint32_t split_state = crc32c_begin(kSalt);
        const std::string_view view(payload);
        REQUIRE(framed(view.substr(0, at), view.substr(at), split_state) == whole);
        REQUIRE(split_state == state);
      }
    }
    crc32c_force(nullptr);
  }
}

TEST_CASE("frame: the largest record", "[journal][frame]") {
  const std::string payload(kRecordBytesMax, 'r');
  std::uint32_t state = crc32c_begin(kSalt);
  const Bytes bytes = framed(payload, "", state);
  Frame frame;
  REQUIRE(decode_frame(bytes, kLsn, 64, kSalt, frame) == CommitVerdict::valid);
  CHECK(text_of(frame.payload) == payload);

  CHECK(run_in_child([] {
          const std::string too_long(kRecordBytesMax, 'r');
          Bytes room(kRecordBytesMax + 64);
          std::uint32_t s = 0;
          encode_frame(room, spec_at(), as_bytes(too_long), as_bytes("1"), kSalt, s);
        }).said("a record of more than 16 MiB"));
  CHECK(run_in_child([] {
          Bytes room(23);
          std::uint32_t s = 0;
          encode_frame(room, spec_at(), as_bytes("1"), {}, kSalt, s);
        }).said("does not fit the room"));
}

TEST_CASE("frame: every flipped bit, another place and another salt are found",
          "[journal][frame]") {
  std::uint32_t state = 0;
  Bytes bytes = framed("a payload of 29 bytes, padded.", "", state);
  REQUIRE(decode(bytes) == CommitVerdict::valid);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    test::flip(bytes, bit);
    INFO("bit " << bit);
    REQUIRE(decode(bytes) != CommitVerdict::valid);
    test::flip(bytes, bit);
  }
  Frame frame;
  CHECK(decode_frame(bytes, kLsn + 8, 64, kSalt, frame) == CommitVerdict::bad_frame_crc);
  CHECK(decode_frame(bytes, kLsn, 64, kSalt + 1, frame) == CommitVerdict::bad_frame_crc);
  CHECK(decode_frame(bytes, kLsn, 72, kSalt, frame) == CommitVerdict::bad_commit_off);
}

TEST_CASE("frame: the verdict says what is wrong with an intact frame", "[journal][frame]") {
  std::uint32_t state = 0;
  const Bytes good = framed("12345", "", state);
  const auto with = [&](std::size_t at, std::byte value) {
    Bytes bytes = good;
    bytes[at] = value;
    reseal(bytes, 5);
    return decode(bytes);
  };
  CHECK(with(8, std::byte{0}) == CommitVerdict::bad_frame_kind);
  CHECK(with(8, std::byte{3}) == CommitVerdict::bad_frame_kind);
  CHECK(with(9, std::byte{3 | 4}) == CommitVerdict::bad_frame_flags);  // a codec
  CHECK(with(9, std::byte{3 | 8}) == CommitVerdict::bad_frame_flags);
  CHECK(with(9, std::byte{3 | 128}) == CommitVerdict::bad_frame_flags);
  CHECK(with(12, std::byte{72}) == CommitVerdict::bad_commit_off);
  CHECK(with(23, std::byte{1}) == CommitVerdict::bad_frame_padding);
  CHECK(with(21, std::byte{1}) == CommitVerdict::bad_frame_padding);
  // A CUT frame has no flags, no tag, and 48 bytes.
  CHECK(with(8, std::byte{2}) == CommitVerdict::bad_frame_flags);
  Bytes cut = good;
  cut[8] = std::byte{2};
  cut[9] = cut[10] = cut[11] = std::byte{0};
  reseal(cut, 5);
  CHECK(decode(cut) == CommitVerdict::bad_cut);
}

TEST_CASE("frame: hostile lengths are refused before they are used", "[journal][frame]") {
  std::uint32_t state = 0;
  Bytes bytes = framed("12345", "", state);
  for (const std::uint32_t length :
       {9U, 16U, 0xFFFFU, 0x7FFFFFF0U, 0xFFFFFFF0U, 0xFFFFFFF8U, 0xFFFFFFFFU}) {
    store_le(&bytes[4], length);
    CHECK(decode(bytes) == CommitVerdict::frame_overrun);
  }
  for (std::size_t size = 0; size < 24; ++size) {
    std::uint32_t ignored = 0;
    Bytes cut = framed("12345", "", ignored);
    cut.resize(size);
    cut.shrink_to_fit();
    CHECK(decode(cut) == CommitVerdict::frame_overrun);
  }
  // Longer than any record, though all bytes are there and the checksum holds.
  const std::uint32_t length = kRecordBytesMax + 8;
  Bytes huge(frame_bytes(length));
  store_le(&huge[4], length);
  huge[8] = std::byte{1};
  huge[9] = std::byte{3};
  store_le<std::uint32_t>(&huge[12], 64);
  reseal(huge, length);
  CHECK(decode(huge) == CommitVerdict::frame_overrun);
}

TEST_CASE("cut: what was written is read", "[journal][frame]") {
  const Cut cut{0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x44444444,
                0x55555555,         0x6666666666666666, 0x7777777777777777};
  Bytes payload(kCutPayloadBytes);
  encode_cut(payload, cut);
  CHECK(test::to_hex(payload) ==
        "111111111111111122222222222222223333333333333333444444445555555566666666666666667777777777"
        "777777");
  CHECK(decode_cut(payload) == cut);

  Bytes room(kCutFrameBytes, std::byte{0xEE});
  std::uint32_t state = crc32c_begin(kSalt);
  REQUIRE(encode_cut_frame(room, kLsn - 64, cut, kSalt, state) == kCutFrameBytes);
  Frame frame;
  REQUIRE(decode_frame(room, kLsn, 64, kSalt, frame) == CommitVerdict::valid);
  CHECK(frame.kind == FrameKind::cut);
  CHECK(frame.batch == BatchPosition::middle);
  CHECK(decode_cut(frame.payload) == cut);
}

TEST_CASE("cursor: yields every frame with its number, without copying", "[journal][frame]") {
  const SegmentGeometry segment = test::test_segment();
  test::CommitPlan plan;
  plan.kind = CommitKind::epoch_with_records;
  plan.lsn = segment.data_begin();
  plan.first_record_no = plan.cut.next_record_no = 900;
  plan.records = {{"one", 1, BatchPosition::first},
                  {"", 2, BatchPosition::middle},
                  {"three", 3, BatchPosition::last},
                  {std::string(700, 'q'), 4, BatchPosition::only}};
  const Bytes commit = test::build_commit(segment, plan);
  const CommitCheck check = verify_commit(commit, segment, plan.lsn);
  REQUIRE(check.verdict == CommitVerdict::valid);

  FrameCursor cursor(commit, check.header);
  Frame frame;
  REQUIRE(cursor.next(frame));
  CHECK(frame.kind == FrameKind::cut);
  CHECK(decode_cut(frame.payload) == plan.cut);
  std::uint64_t lsn = frame.end;
  for (std::size_t i = 0; i < plan.records.size(); ++i) {
    REQUIRE(cursor.next(frame));
    CHECK(frame.kind == FrameKind::data);
    CHECK(frame.begin == lsn);
    CHECK(frame.end == lsn + frame_bytes(plan.records[i].payload.size()));
    CHECK(frame.tag == plan.records[i].tag);
    CHECK(frame.batch == plan.records[i].batch);
    CHECK(text_of(frame.payload) == plan.records[i].payload);
    CHECK(frame.payload.data() == commit.data() + (frame.begin - plan.lsn) + kFrameHeaderBytes);
    CHECK(cursor.record_no() == 900 + i);
    lsn = frame.end;
  }
  CHECK_FALSE(cursor.next(frame));
  CHECK_FALSE(cursor.next(frame));
}

TEST_CASE("cursor: stays within the body on bytes that nobody verified", "[journal][frame]") {
  std::mt19937_64 rng(4);
  for (int round = 0; round < 20000; ++round) {
    CommitHeader header;
    header.body_bytes = static_cast<std::uint32_t>(rng() % 400);
    Bytes commit(kCommitHeaderBytes + header.body_bytes);
    for (std::byte& byte : commit) byte = static_cast<std::byte>(rng() % 4 == 0 ? rng() : 0);
    FrameCursor cursor(commit, header);
    Frame frame;
    std::size_t frames = 0;
    while (cursor.next(frame)) {
      REQUIRE(frame.end <= commit.size());
      REQUIRE(++frames <= header.body_bytes / kFrameHeaderBytes);
    }
  }
}
