#include "journal/segment_header.hpp"

#include "journal/byte_order.hpp"
#include "journal/commit_builder.hpp"
#include "journal/crc32c.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"

#include <cstring>
#include <random>
#include <set>
#include <string>

using namespace diorite;
using namespace diorite::wal;
using diorite::test::Bytes;
using diorite::test::run_in_child;

namespace {

SegmentHeader sample() {
  SegmentHeader header;
  header.uuid = test::test_uuid();
  header.segment_seq = 0x100000007;
  header.base_lsn = 0x700000;
  header.capacity = 1_MiB;
  header.pad_unit = 512;
  header.salt = segment_salt(header.segment_seq, header.uuid);
  header.epoch = 5;
  return header;
}

Bytes encoded(const SegmentHeader& header) {
  Bytes block(kSegmentHeaderBytes, std::byte{0xEE});
  encode_segment_header(block, header);
  return block;
}

void reseal(Bytes& block) { store_le(&block[8], crc32c(0, &block[12], 4084)); }

template <class T>
BlockVerdict verdict_with(std::size_t at, T value) {
  Bytes block = encoded(sample());
  store_le(&block[at], value);
  reseal(block);
  SegmentHeader header;
  return decode_segment_header(block, header);
}

std::string name_of(std::uint64_t seq) {
  const auto name = segment_file_name(seq);
  return {name.data(), name.size()};
}

}  // namespace

TEST_CASE("segment header: the bytes are those of the format", "[journal][segment]") {
  const Bytes block = encoded(sample());
  CHECK(test::to_hex(test::without_trailing_zeros(block)) ==
        "44494f5345473031c131f5b201000000101112131415161718191a1b1c1d1e1f07000000010000000000700000"
        "0000000000100000000000001000000002000042ae93fa0000000005");
}

TEST_CASE("segment header: what was written is read", "[journal][segment]") {
  SegmentHeader header;
  REQUIRE(decode_segment_header(encoded(sample()), header) == BlockVerdict::valid);
  CHECK(header == sample());

  SegmentHeader first;
  first.salt = segment_salt(0, first.uuid);
  first.pad_unit = 65536;
  first.capacity = 4_GiB;
  REQUIRE(decode_segment_header(encoded(first), header) == BlockVerdict::valid);
  CHECK(header == first);

  const SegmentGeometry segment = geometry_of(first);
  CHECK(segment.data_begin() == 65536);
  CHECK(segment.end() == 4_GiB);
  CHECK(geometry_of(sample()).data_begin() == 0x701000);
}

TEST_CASE("segment header: every flipped bit is found", "[journal][segment]") {
  Bytes block = encoded(sample());
  for (std::size_t bit = 0; bit < block.size() * 8; ++bit) {
    test::flip(block, bit);
    SegmentHeader header;
    const BlockVerdict verdict = decode_segment_header(block, header);
    INFO("bit " << bit);
    REQUIRE(verdict == (bit < 64 ? BlockVerdict::bad_magic : BlockVerdict::bad_crc));
    REQUIRE(header == SegmentHeader{});
    test::flip(block, bit);
  }
}

TEST_CASE("segment header: the verdict says what is wrong with an intact header",
          "[journal][segment]") {
  CHECK(verdict_with<std::uint16_t>(12, 2) == BlockVerdict::unknown_version);
  CHECK(verdict_with<std::uint64_t>(88, 1ull << 40) == BlockVerdict::unknown_feature);
  CHECK(verdict_with<std::uint32_t>(68, 1) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint64_t>(80, 1ull << 63) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint8_t>(104, 1) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint8_t>(4095, 0x80) == BlockVerdict::reserved_not_zero);
  CHECK(verdict_with<std::uint32_t>(56, 8192) == BlockVerdict::bad_block_size);
  CHECK(verdict_with<std::uint32_t>(60, 768) == BlockVerdict::bad_pad_unit);
  CHECK(verdict_with<std::uint64_t>(48, 1_MiB + 512) == BlockVerdict::bad_capacity);
  CHECK(verdict_with<std::uint64_t>(48, 8_GiB) == BlockVerdict::bad_capacity);
  CHECK(verdict_with<std::uint64_t>(32, kNoSegment) == BlockVerdict::bad_sequence);
  CHECK(verdict_with<std::uint64_t>(32, 0) == BlockVerdict::bad_base_lsn);
  CHECK(verdict_with<std::uint64_t>(40, 0) == BlockVerdict::bad_base_lsn);
  CHECK(verdict_with<std::uint64_t>(40, 0x700200) == BlockVerdict::bad_base_lsn);
  CHECK(verdict_with<std::uint64_t>(40, ~0ull - 4095) == BlockVerdict::bad_base_lsn);
  CHECK(verdict_with<std::uint64_t>(32, 0x100000008) == BlockVerdict::bad_salt);
  CHECK(verdict_with<std::uint32_t>(64, 0) == BlockVerdict::bad_salt);
  CHECK(verdict_with<std::uint8_t>(16, 0x11) == BlockVerdict::bad_salt);
  // A later minor version may use what is reserved now.
  Bytes block = encoded(sample());
  store_le<std::uint16_t>(&block[14], 7);
  block[4000] = std::byte{1};
  reseal(block);
  SegmentHeader header;
  CHECK(decode_segment_header(block, header) == BlockVerdict::valid);
}

TEST_CASE("segment header: short and random bytes are no header", "[journal][segment]") {
  SegmentHeader header;
  const Bytes block = encoded(sample());
  for (std::size_t size = 0; size < block.size(); size += 13) {
    const Bytes cut(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(size));
    REQUIRE(decode_segment_header(cut, header) == BlockVerdict::too_short);
  }
  std::mt19937_64 rng(2);
  Bytes noise(kSegmentHeaderBytes);
  for (int round = 0; round < 2000; ++round) {
    for (std::size_t at = 0; at < noise.size(); at += 8) store_le<std::uint64_t>(&noise[at], rng());
    if (round % 2 == 0) std::memcpy(noise.data(), block.data(), 8);
    if (round % 4 == 0) {
      std::memcpy(&noise[12], &block[12], 4);
      std::memset(&noise[88], 0, 16);
      reseal(noise);
    }
    REQUIRE(decode_segment_header(noise, header) != BlockVerdict::valid);
  }
}

TEST_CASE("segment header: salts of successive segments differ", "[journal][segment]") {
  std::set<std::uint32_t> salts;
  const Uuid uuid = test::test_uuid();
  for (std::uint64_t seq = 0; seq < 10000; ++seq) salts.insert(segment_salt(seq, uuid));
  CHECK(salts.size() == 10000);
  CHECK(segment_salt(0, Uuid{}) == crc32c(0, Uuid{}.data(), 16));
  CHECK(segment_salt(0, uuid) != segment_salt(0, Uuid{}));
}

TEST_CASE("segment header: an illegal header is never written", "[journal][segment]") {
  CHECK(run_in_child([] {
          SegmentHeader header = sample();
          header.base_lsn = 0;
          encoded(header);
        }).said("an illegal segment header"));
}

TEST_CASE("segment name: sixteen lower-case hexadecimal digits", "[journal][segment]") {
  CHECK(name_of(0) == "0000000000000000.seg");
  CHECK(name_of(0xABCDEF) == "0000000000abcdef.seg");
  CHECK(name_of(~0ull) == "ffffffffffffffff.seg");
  std::uint64_t seq = 1;
  for (const std::uint64_t value : {0ull, 1ull, 0xABCDEFull, 0x123456789ABCDEF0ull, ~0ull}) {
    REQUIRE(parse_segment_file_name(name_of(value), seq));
    CHECK(seq == value);
  }
  for (const char* name :
       {"", ".seg", "MANIFEST", "LOCK", "0000000000abcdef.tmp", "0000000000ABCDEF.seg",
        "000000000000000.seg", "00000000000000000.seg", "000000000000000g.seg",
        "0000000000000000.seg ", "+000000000000000.seg", "0000000000000000.sef"}) {
    seq = 99;
    INFO(name);
    CHECK_FALSE(parse_segment_file_name(name, seq));
    CHECK(seq == 99);
  }
}
