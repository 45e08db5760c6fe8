#include "journal/commit_verify.hpp"

#include "journal/byte_order.hpp"
#include "journal/commit_builder.hpp"
#include "journal/crc32c.hpp"
#include "journal/frame.hpp"
#include "support/catch.hpp"
#include "support/death.hpp"

#include <cstring>
#include <random>
#include <string>

using namespace diorite;
using namespace diorite::wal;
using diorite::test::build_commit;
using diorite::test::Bytes;
using diorite::test::CommitPlan;
using diorite::test::reseal_header;
using diorite::test::run_in_child;
using diorite::test::test_segment;

namespace {

const SegmentGeometry kSegment = test_segment();

CommitPlan data_plan() {
  CommitPlan plan;
  plan.lsn = kSegment.base_lsn + 0x1200;
  plan.prev_lsn = kSegment.base_lsn + 0x1000;
  plan.durable_lsn = kSegment.base_lsn + 0x1000;
  plan.first_record_no = 41;
  plan.prev_crc = 0xDEADBEEF;
  plan.records = {{"first", 0x1234, BatchPosition::first},
                  {"", 0xFFFF, BatchPosition::last},
                  {"12345678", 0, BatchPosition::only}};
  return plan;
}

CommitPlan epoch_plan() {
  CommitPlan plan;
  plan.kind = CommitKind::epoch;
  plan.lsn = kSegment.data_begin();
  plan.prev_lsn = kSegment.base_lsn - 0x80200;
  plan.durable_lsn = kSegment.base_lsn - 0x80000;
  plan.first_record_no = 41;
  plan.prev_crc = 0xCAFEF00D;
  plan.cut.pred_seq = kSegment.segment_seq - 1;
  plan.cut.cut_lsn = plan.durable_lsn;
  plan.cut.pred_last_commit_lsn = plan.prev_lsn;
  plan.cut.pred_last_commit_crc = plan.prev_crc;
  plan.cut.epoch = 6;
  plan.cut.next_record_no = 41;
  return plan;
}

CommitPlan carry_plan() {
  CommitPlan plan = epoch_plan();
  plan.kind = CommitKind::epoch_with_records;
  plan.cut.records_kept = 2;
  plan.records = {{"carry", 7, BatchPosition::only}};
  return plan;
}

CommitPlan control_plan(CommitKind kind) {
  CommitPlan plan = data_plan();
  plan.kind = kind;
  plan.durable_lsn = plan.lsn;
  plan.first_record_no = 44;
  plan.records.clear();
  return plan;
}

CommitVerdict verdict_of(const CommitPlan& plan) {
  return verify_commit(build_commit(kSegment, plan), kSegment, plan.lsn).verdict;
}

template <class T>
CommitVerdict verdict_with(const CommitPlan& plan, std::size_t at, T value) {
  Bytes commit = build_commit(kSegment, plan);
  store_le(&commit[at], value);
  reseal_header(commit, kSegment);
  return verify_commit(commit, kSegment, plan.lsn).verdict;
}

std::string golden(const CommitPlan& plan) {
  const Bytes commit = build_commit(kSegment, plan);
  REQUIRE(commit.size() == 512);
  return test::to_hex(test::without_trailing_zeros(commit));
}

}  // namespace

TEST_CASE("commit: the bytes are those of the format", "[journal][commit]") {
  for (const Crc32cKernel* kernel : crc32c_kernels()) {
    INFO(kernel->name);
    crc32c_force(kernel);
    CHECK(golden(data_plan()) ==
          "c6ffc654434a0100070000000100000000127000000000000010700000000000001070000000000029000000"
          "000000000300000040000000a164ef80efbeaddeccebf98d0500000001013412400000006669727374000000"
          "d2b37275000000000102ffff58000000ad7b12810800000001030000680000003132333435363738");
    CHECK(golden(epoch_plan()) ==
          "59201549434a01110700000001000000001070000000000000fe670000000000000068000000000029000000"
          "00000000000000004000000023c2c9820df0feca7930e31f3000000002000000400000000600000001000000"
          "000068000000000000fe6700000000000df0fecaffffffff060000000000000029");
    CHECK(golden(carry_plan()) ==
          "afb6ead2434a01100700000001000000001070000000000000fe670000000000000068000000000029000000"
          "00000000010000005800000069b779990df0fecac2765e323000000002000000400000000600000001000000"
          "000068000000000000fe6700000000000df0feca020000000600000000000000290000000000"
          "00004b3e21de0500000001030700800000006361727279");
    CHECK(golden(control_plan(CommitKind::confirm)) ==
          "a6b62267434a010307000000010000000012700000000000001070000000000000127000000000002c000000"
          "00000000000000000000000042ae93faefbeadde");
    CHECK(golden(control_plan(CommitKind::close)) ==
          "433c0f52434a010907000000010000000012700000000000001070000000000000127000000000002c000000"
          "00000000000000000000000042ae93faefbeadde");
    crc32c_force(nullptr);
  }
}

TEST_CASE("commit: what was written is read", "[journal][commit]") {
  const Bytes commit = build_commit(kSegment, data_plan());
  const CommitCheck check = verify_commit(commit, kSegment, data_plan().lsn);
  REQUIRE(check.verdict == CommitVerdict::valid);
  CHECK(check.offset == 0);
  CHECK(check.header.kind == CommitKind::data);
  CHECK(check.header.segment_seq == kSegment.segment_seq);
  CHECK(check.header.lsn == data_plan().lsn);
  CHECK(check.header.prev_lsn == data_plan().prev_lsn);
  CHECK(check.header.durable_lsn == data_plan().durable_lsn);
  CHECK(check.header.first_record_no == 41);
  CHECK(check.header.record_count == 3);
  CHECK(check.header.body_bytes == 64);
  CHECK(check.header.prev_crc == 0xDEADBEEF);
  CHECK(check.header.header_crc == load_le<std::uint32_t>(commit.data()));

  const CommitCheck epoch =
      verify_commit(build_commit(kSegment, carry_plan()), kSegment, carry_plan().lsn);
  REQUIRE(epoch.verdict == CommitVerdict::valid);
  CHECK(epoch.cut == carry_plan().cut);
  CHECK(verdict_of(epoch_plan()) == CommitVerdict::valid);
  CHECK(verdict_of(control_plan(CommitKind::confirm)) == CommitVerdict::valid);
  CHECK(verdict_of(control_plan(CommitKind::close)) == CommitVerdict::valid);
}

TEST_CASE("commit: a header says nothing before it is finished", "[journal][commit]") {
  CommitHeader header;
  header.segment_seq = kSegment.segment_seq;
  header.lsn = kSegment.data_begin();
  header.kind = CommitKind::close;
  header.frames_crc = kSegment.salt;
  Bytes commit(512);
  encode_commit_header(commit, header);
  CommitHeader read;
  CHECK(decode_commit_header(commit, kSegment, header.lsn, read) == CommitVerdict::bad_header_crc);
  const std::uint32_t crc = finish_commit_header(commit, header.lsn, 5, kSegment.salt);
  REQUIRE(decode_commit_header(commit, kSegment, header.lsn, read) == CommitVerdict::valid);
  CHECK(read.header_crc == crc);
  CHECK(read.durable_lsn == header.lsn);
  CHECK(read.prev_crc == 5);
}

TEST_CASE("commit: every flipped bit is found, padding included", "[journal][commit]") {
  const SegmentGeometry segment = test_segment(4096);
  CommitPlan plan = data_plan();
  plan.lsn = segment.base_lsn + 0x3000;
  plan.records[2].payload.assign(4000, 'z');
  Bytes commit = build_commit(segment, plan);
  REQUIRE(commit.size() == 8192);
  REQUIRE(verify_commit(commit, segment, plan.lsn).verdict == CommitVerdict::valid);
  const std::size_t body_end = 64 + 24 + 16 + frame_bytes(4000);
  for (std::size_t bit = 0; bit < commit.size() * 8; ++bit) {
    test::flip(commit, bit);
    const CommitCheck check = verify_commit(commit, segment, plan.lsn);
    if (check.verdict == CommitVerdict::valid || header_is_valid(check.verdict) != (bit >= 512) ||
        (bit / 8 >= body_end && check.offset != bit / 8)) {
      FAIL("bit " << bit << ": " << text_of(check.verdict));
    }
    test::flip(commit, bit);
  }
  for (const CommitPlan& small : {epoch_plan(), carry_plan(), control_plan(CommitKind::confirm),
                                  control_plan(CommitKind::close)}) {
    Bytes bytes = build_commit(kSegment, small);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      test::flip(bytes, bit);
      if (verify_commit(bytes, kSegment, small.lsn).verdict == CommitVerdict::valid) {
        FAIL("bit " << bit);
      }
      test::flip(bytes, bit);
    }
  }
}

TEST_CASE("commit: a torn one is found, whatever was there before", "[journal][commit]") {
  const SegmentGeometry segment = test_segment(512);
  CommitPlan plan = data_plan();
  plan.records = {{std::string(300, 'a'), 0, BatchPosition::only},
                  {std::string(900, 'b'), 0, BatchPosition::only},
                  {std::string(10, 'c'), 0, BatchPosition::only}};
  const Bytes commit = build_commit(segment, plan);
  REQUIRE(commit.size() == 3 * 512);
  // What an earlier use of the segment left at the same place: same sizes, another salt.
  SegmentGeometry earlier = segment;
  earlier.segment_seq -= 5;
  earlier.base_lsn -= 5_MiB;
  earlier.salt = segment_salt(earlier.segment_seq, test::test_uuid());
  CommitPlan stale_plan = plan;
  stale_plan.lsn -= 5_MiB;
  stale_plan.prev_lsn = stale_plan.durable_lsn = 0;
  const Bytes stale = build_commit(earlier, stale_plan);
  for (unsigned kept = 0; kept < 8; ++kept) {
    for (const Bytes& before :
         {Bytes(commit.size()), Bytes(commit.size(), std::byte{0xAB}), stale}) {
      Bytes torn = before;
      for (std::size_t block = 0; block < 3; ++block) {
        if ((kept >> block & 1) != 0) std::memcpy(&torn[block * 512], &commit[block * 512], 512);
      }
      // A block inside a payload may be the same in both.
      const bool whole = torn == commit;
      if (kept == 7) CHECK(whole);
      CHECK((verify_commit(torn, segment, plan.lsn).verdict == CommitVerdict::valid) == whole);
    }
  }
}

TEST_CASE("commit: one of another segment, use or place is refused", "[journal][commit]") {
  const CommitPlan plan = data_plan();
  const Bytes commit = build_commit(kSegment, plan);
  const auto verdict_at = [&](const SegmentGeometry& segment, std::uint64_t lsn) {
    return verify_commit(commit, segment, lsn).verdict;
  };
  SegmentGeometry other = kSegment;
  other.salt = segment_salt(kSegment.segment_seq + 1, test::test_uuid());
  CHECK(verdict_at(other, plan.lsn) == CommitVerdict::bad_header_crc);
  other = kSegment;
  other.segment_seq += 1;
  CHECK(verdict_at(other, plan.lsn) == CommitVerdict::wrong_segment);
  other = kSegment;
  // The salt repeats after 2^32 segments; the whole number is in the header.
  other.segment_seq += 1ull << 32;
  REQUIRE(segment_salt(other.segment_seq, test::test_uuid()) == kSegment.salt);
  CHECK(verdict_at(other, plan.lsn) == CommitVerdict::wrong_segment);
  CHECK(verdict_at(kSegment, plan.lsn + 512) == CommitVerdict::wrong_lsn);
  CHECK(verdict_at(kSegment, plan.lsn - 512) == CommitVerdict::wrong_lsn);
  CHECK(verdict_at(kSegment, plan.lsn + 8) == CommitVerdict::misplaced);
  CHECK(verdict_at(kSegment, kSegment.base_lsn) == CommitVerdict::misplaced);
  CHECK(verdict_at(kSegment, kSegment.base_lsn - 512) == CommitVerdict::misplaced);
  CHECK(verdict_at(kSegment, kSegment.end()) == CommitVerdict::misplaced);
  CHECK(verdict_at(kSegment, 0) == CommitVerdict::misplaced);
}

TEST_CASE("commit: bytes that end too early are told from damage", "[journal][commit]") {
  CommitPlan plan = data_plan();
  plan.records[2].payload.assign(1000, 'x');
  const Bytes commit = build_commit(kSegment, plan);
  for (std::size_t size = 0; size < commit.size(); ++size) {
    const Bytes cut(commit.begin(), commit.begin() + static_cast<std::ptrdiff_t>(size));
    const CommitCheck check = verify_commit(cut, kSegment, plan.lsn);
    REQUIRE(check.verdict == (size < 64 ? CommitVerdict::too_short : CommitVerdict::incomplete));
    if (size >= 64) {
      REQUIRE(header_is_valid(check.verdict));
      REQUIRE(check.header.body_bytes == 64 - 8 + 1000);
    }
  }
  Bytes longer = commit;
  longer.resize(commit.size() + 100, std::byte{0xFF});
  CHECK(verify_commit(longer, kSegment, plan.lsn).verdict == CommitVerdict::valid);
}

TEST_CASE("commit: only the legal combinations of flags are accepted", "[journal][commit]") {
  // Each legal combination is tried on the commit that it belongs to, each other one on all of
  // them.
  for (unsigned flags = 0; flags < 256; ++flags) {
    const bool legal = flags == 0 || flags == 3 || flags == 9 || flags == 16 || flags == 17;
    for (const CommitPlan& plan :
         {data_plan(), epoch_plan(), carry_plan(), control_plan(CommitKind::confirm),
          control_plan(CommitKind::close)}) {
      const CommitVerdict verdict =
          verdict_with<std::uint8_t>(plan, 7, static_cast<std::uint8_t>(flags));
      INFO("flags " << flags << " on " << static_cast<unsigned>(plan.kind));
      if (flags == static_cast<unsigned>(plan.kind)) {
        CHECK(verdict == CommitVerdict::valid);
      } else if (!legal) {
        CHECK(verdict == CommitVerdict::bad_flags);
      } else {
        const bool controls =
            plan.records.empty() && !is_epoch(plan.kind) && (flags == 3 || flags == 9);
        CHECK((verdict == CommitVerdict::valid) == controls);
      }
    }
  }
  // EPOCH only at the start of a segment.
  CommitPlan late = epoch_plan();
  late.lsn += 512;
  CHECK(verdict_of(late) == CommitVerdict::bad_flags);
}

TEST_CASE("commit: an intact header with impossible values is refused", "[journal][commit]") {
  const CommitPlan data = data_plan();
  CHECK(verdict_with<std::uint16_t>(data, 4, 0x4A44) == CommitVerdict::bad_magic);
  CHECK(verdict_with<std::uint8_t>(data, 6, 2) == CommitVerdict::unknown_version);
  CHECK(verdict_with<std::uint8_t>(data, 6, 0) == CommitVerdict::unknown_version);
  CHECK(verdict_with<std::uint64_t>(data, 24, data.lsn) == CommitVerdict::bad_links);
  CHECK(verdict_with<std::uint64_t>(data, 24, ~0ull) == CommitVerdict::bad_links);
  CHECK(verdict_with<std::uint64_t>(data, 32, data.lsn + 1) == CommitVerdict::bad_links);
  CHECK(verdict_with<std::uint64_t>(data, 32, data.lsn) == CommitVerdict::valid);
  CHECK(verdict_with<std::uint64_t>(data, 40, ~0ull) == CommitVerdict::bad_counts);
  CHECK(verdict_with<std::uint64_t>(data, 40, ~0ull - 2) == CommitVerdict::bad_counts);
  CHECK(verdict_with<std::uint64_t>(data, 40, ~0ull - 3) == CommitVerdict::valid);
  for (const std::uint32_t count : {0U, 5U, 0x10000000U, 0xFFFFFFFFU}) {
    CHECK(verdict_with<std::uint32_t>(data, 48, count) == CommitVerdict::bad_counts);
  }
  CHECK(verdict_with<std::uint32_t>(data, 48, 2) == CommitVerdict::bad_record_count);
  CHECK(verdict_with<std::uint32_t>(data, 48, 4) == CommitVerdict::bad_record_count);
  for (const std::uint32_t body : {0U, 8U, 40U, 63U, 65U, 0xFFFFFFFFU}) {
    CHECK(verdict_with<std::uint32_t>(data, 52, body) == CommitVerdict::bad_counts);
  }
  CHECK(verdict_with<std::uint32_t>(data, 52, 56) == CommitVerdict::frame_overrun);
  CHECK(verdict_with<std::uint32_t>(data, 52, 72) == CommitVerdict::frame_overrun);
  CHECK(verdict_with<std::uint32_t>(data, 52, 80) != CommitVerdict::valid);
  CHECK(verdict_with<std::uint32_t>(data, 52, 512) == CommitVerdict::incomplete);
  CHECK(verdict_with<std::uint32_t>(data, 52, 0xFFFFFFF8) == CommitVerdict::outside_segment);
  CHECK(verdict_with<std::uint32_t>(data, 52, 1_MiB - 0x1200 - 64) == CommitVerdict::incomplete);
  CHECK(verdict_with<std::uint32_t>(data, 52, 1_MiB - 0x1200 - 56) ==
        CommitVerdict::outside_segment);
  CHECK(verdict_with<std::uint32_t>(data, 56, 0) == CommitVerdict::bad_frames_crc);
  const CommitPlan confirm = control_plan(CommitKind::confirm);
  CHECK(verdict_with<std::uint32_t>(confirm, 48, 1) == CommitVerdict::bad_counts);
  CHECK(verdict_with<std::uint32_t>(confirm, 52, 8) == CommitVerdict::bad_counts);
  CHECK(verdict_with<std::uint32_t>(confirm, 56, 1) == CommitVerdict::bad_frames_crc);
  CHECK(verdict_with<std::uint32_t>(epoch_plan(), 52, 128) == CommitVerdict::bad_counts);
  CHECK(verdict_with<std::uint32_t>(epoch_plan(), 48, 1) == CommitVerdict::bad_counts);
  CHECK(verdict_with<std::uint32_t>(carry_plan(), 52, 72) == CommitVerdict::bad_counts);
}

TEST_CASE("commit: batches lie within one commit", "[journal][commit]") {
  const auto verdict_for = [](std::initializer_list<BatchPosition> positions) {
    CommitPlan plan = data_plan();
    plan.records.clear();
    for (const BatchPosition position : positions) plan.records.push_back({"r", 0, position});
    return verdict_of(plan);
  };
  constexpr auto kOnly = BatchPosition::only;
  constexpr auto kFirst = BatchPosition::first;
  constexpr auto kMiddle = BatchPosition::middle;
  constexpr auto kLast = BatchPosition::last;
  CHECK(verdict_for({kOnly}) == CommitVerdict::valid);
  CHECK(verdict_for({kOnly, kOnly}) == CommitVerdict::valid);
  CHECK(verdict_for({kFirst, kLast}) == CommitVerdict::valid);
  CHECK(verdict_for({kFirst, kMiddle, kMiddle, kLast, kOnly, kFirst, kLast}) ==
        CommitVerdict::valid);
  CHECK(verdict_for({kFirst}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kMiddle}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kLast}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kFirst, kMiddle}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kFirst, kFirst, kLast}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kFirst, kOnly}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kOnly, kMiddle}) == CommitVerdict::bad_batch);
  CHECK(verdict_for({kFirst, kLast, kLast}) == CommitVerdict::bad_batch);
}

TEST_CASE("commit: a CUT frame opens an EPOCH commit and stands nowhere else",
          "[journal][commit]") {
  // Frames in the order given, 'C' for a CUT and 'r' for a record, under a header of the given
  // kind.
  const auto verdict_for = [](CommitKind kind, std::string_view frames) {
    const CommitPlan plan = carry_plan();
    Bytes commit(512);
    const std::span<std::byte> all(commit);
    std::uint32_t state = crc32c_begin(kSegment.salt);
    std::uint32_t at = 64;
    std::uint32_t records = 0;
    for (const char frame : frames) {
      FrameSpec spec{plan.lsn + at, at, 0, FrameKind::data, BatchPosition::only};
      Bytes payload(kCutPayloadBytes);
      encode_cut(payload, plan.cut);
      if (frame == 'C') {
        spec.kind = FrameKind::cut;
        spec.batch = BatchPosition::middle;
      } else {
        ++records;
      }
      at += static_cast<std::uint32_t>(
          encode_frame(all.subspan(at), spec, payload, {}, kSegment.salt, state));
    }
    CommitHeader header;
    header.kind = kind;
    header.segment_seq = kSegment.segment_seq;
    header.lsn = plan.lsn;
    header.prev_lsn = plan.prev_lsn;
    header.first_record_no = plan.first_record_no;
    header.record_count = records;
    header.body_bytes = at - 64;
    header.frames_crc = crc32c_finish(state);
    encode_commit_header(all, header);
    finish_commit_header(all, plan.durable_lsn, plan.prev_crc, kSegment.salt);
    return verify_commit(commit, kSegment, plan.lsn).verdict;
  };
  CHECK(verdict_for(CommitKind::epoch, "C") == CommitVerdict::valid);
  CHECK(verdict_for(CommitKind::epoch_with_records, "Cr") == CommitVerdict::valid);
  CHECK(verdict_for(CommitKind::epoch_with_records, "Crr") == CommitVerdict::valid);
  CHECK(verdict_for(CommitKind::epoch_with_records, "rr") == CommitVerdict::bad_cut);
  CHECK(verdict_for(CommitKind::epoch_with_records, "rC") == CommitVerdict::bad_cut);
  CHECK(verdict_for(CommitKind::epoch_with_records, "CCr") == CommitVerdict::bad_cut);
  CHECK(verdict_for(CommitKind::epoch_with_records, "CrC") == CommitVerdict::bad_cut);
  CHECK(verdict_for(CommitKind::data, "Cr") == CommitVerdict::bad_cut);
  CHECK(verdict_for(CommitKind::data, "rC") == CommitVerdict::bad_cut);
}

TEST_CASE("commit: a CUT must fit its commit and lie behind it", "[journal][commit]") {
  const auto verdict_for = [](auto change) {
    CommitPlan plan = epoch_plan();
    change(plan);
    return verdict_of(plan);
  };
  CHECK(verdict_for([](CommitPlan& plan) { plan.prev_lsn += 512; }) == CommitVerdict::bad_cut);
  CHECK(verdict_for([](CommitPlan& plan) { plan.prev_crc += 1; }) == CommitVerdict::bad_cut);
  CHECK(verdict_for([](CommitPlan& plan) { plan.first_record_no += 1; }) == CommitVerdict::bad_cut);
  CHECK(verdict_for([](CommitPlan& plan) { plan.cut.pred_seq = kSegment.segment_seq; }) ==
        CommitVerdict::bad_cut);
  CHECK(verdict_for([](CommitPlan& plan) { plan.cut.pred_seq += 5; }) == CommitVerdict::bad_cut);
  CHECK(verdict_for([](CommitPlan& plan) { plan.cut.pred_seq -= 5; }) == CommitVerdict::valid);
  CHECK(verdict_for([](CommitPlan& plan) { plan.cut.cut_lsn = kSegment.base_lsn; }) ==
        CommitVerdict::valid);
  CHECK(verdict_for([](CommitPlan& plan) { plan.cut.cut_lsn = kSegment.base_lsn + 1; }) ==
        CommitVerdict::bad_cut);
  CHECK(verdict_for([](CommitPlan& plan) { plan.cut.cut_lsn = plan.prev_lsn - 1; }) ==
        CommitVerdict::bad_cut);
  // Without a predecessor there is nothing to name.
  const auto none = [](CommitPlan& plan) {
    plan.cut = Cut{};
    plan.prev_lsn = plan.durable_lsn = plan.first_record_no = 0;
    plan.prev_crc = 0;
  };
  CHECK(verdict_for(none) == CommitVerdict::valid);
  CHECK(verdict_for([&](CommitPlan& plan) { none(plan), plan.cut.cut_lsn = 1; }) ==
        CommitVerdict::bad_cut);
  CHECK(verdict_for([&](CommitPlan& plan) { none(plan), plan.cut.records_kept = 0; }) ==
        CommitVerdict::bad_cut);
  CHECK(verdict_for([&](CommitPlan& plan) {
          none(plan);
          plan.cut.pred_last_commit_lsn = plan.prev_lsn = 512;
        }) == CommitVerdict::bad_cut);
  CHECK(verdict_for([&](CommitPlan& plan) {
          none(plan);
          plan.cut.pred_last_commit_crc = plan.prev_crc = 1;
        }) == CommitVerdict::bad_cut);
}

TEST_CASE("commit: fills the segment to its last byte", "[journal][commit]") {
  const SegmentGeometry segment = test_segment(4096);
  CommitPlan plan = data_plan();
  plan.lsn = segment.data_begin();
  plan.prev_lsn = plan.durable_lsn = 0;
  plan.records = {
      {std::string(record_bytes_max(segment.capacity, 4096), 'm'), 0, BatchPosition::only}};
  Bytes commit = build_commit(segment, plan);
  REQUIRE(commit.size() == segment.end() - plan.lsn);
  CHECK(verify_commit(commit, segment, plan.lsn).verdict == CommitVerdict::valid);
  plan.records[0].payload += 'm';
  commit = build_commit(segment, plan);
  CHECK(verify_commit(commit, segment, plan.lsn).verdict == CommitVerdict::outside_segment);
}

TEST_CASE("commit: segments whose pad_unit has grown count from their own start",
          "[journal][commit]") {
  SegmentGeometry segment = test_segment(65536);
  segment.base_lsn = 1_MiB + 4096;
  CommitPlan plan = data_plan();
  plan.lsn = segment.base_lsn + 65536;
  plan.prev_lsn = plan.durable_lsn = 4096;
  const Bytes commit = build_commit(segment, plan);
  CHECK(verify_commit(commit, segment, plan.lsn).verdict == CommitVerdict::valid);
  CHECK(verify_commit(commit, segment, 2_MiB).verdict == CommitVerdict::misplaced);
}

TEST_CASE("chain: a commit continues exactly its predecessor", "[journal][commit]") {
  const CommitCheck first =
      verify_commit(build_commit(kSegment, data_plan()), kSegment, data_plan().lsn);
  REQUIRE(first.verdict == CommitVerdict::valid);
  const ChainLink link = link_of(first.header);
  CHECK(link == ChainLink{data_plan().lsn, first.header.header_crc, 44});
  CommitHeader next;
  next.prev_lsn = link.lsn;
  next.prev_crc = link.header_crc;
  next.first_record_no = 44;
  CHECK(continues(next, link));
  CommitHeader other = next;
  other.prev_lsn += 512;
  CHECK_FALSE(continues(other, link));
  other = next;
  other.prev_crc ^= 1;
  CHECK_FALSE(continues(other, link));
  other = next;
  other.first_record_no += 1;
  CHECK_FALSE(continues(other, link));
}

TEST_CASE("commit: random bytes are never a commit", "[journal][commit]") {
  std::mt19937_64 rng(5);
  const std::uint64_t lsn = data_plan().lsn;
  for (int round = 0; round < 100000; ++round) {
    // Exactly as many bytes as there are, on the heap, so that a sanitizer sees a read beyond them.
    Bytes noise(rng() % 700);
    std::size_t at = 0;
    for (; at + 8 <= noise.size(); at += 8) store_le<std::uint64_t>(&noise[at], rng());
    for (; at < noise.size(); ++at) noise[at] = static_cast<std::byte>(rng());
    if (noise.size() >= 64 && round % 2 == 0) store_le(&noise[4], kCommitMagic);
    const CommitCheck check = verify_commit(noise, kSegment, lsn);
    if (check.verdict == CommitVerdict::valid) FAIL("accepted in round " << round);
  }
}

TEST_CASE("commit: resealed mutations never lead outside the bytes", "[journal][commit]") {
  std::mt19937_64 rng(6);
  const CommitPlan plans[] = {data_plan(), epoch_plan(), carry_plan(),
                              control_plan(CommitKind::confirm)};
  std::size_t deep = 0;
  for (int round = 0; round < 100000; ++round) {
    const CommitPlan& plan = plans[rng() % 4];
    Bytes commit = build_commit(kSegment, plan);
    for (std::uint64_t changes = 1 + rng() % 4; changes != 0; --changes) {
      const std::size_t at = rng() % 160;
      commit[at] = static_cast<std::byte>(rng() % 3 == 0 ? 0xFF : rng());
    }
    // Half of them keep what binds the header to its place, so that the rest is reached.
    if (round % 2 == 0) {
      store_le(&commit[4], kCommitMagic);
      store_le(&commit[6], kCommitVersion);
      store_le(&commit[8], kSegment.segment_seq);
      store_le(&commit[16], plan.lsn);
    }
    commit.resize(commit.size() - (rng() % 4 == 0 ? rng() % 512 : 0));
    commit.shrink_to_fit();
    if (commit.size() >= 64) reseal_header(commit, kSegment);
    const CommitCheck check = verify_commit(commit, kSegment, plan.lsn);
    if (header_is_valid(check.verdict)) ++deep;
    if (check.verdict != CommitVerdict::valid) {
      REQUIRE(check.offset <= commit.size());
      continue;
    }
    FrameCursor cursor(commit, check.header);
    Frame frame;
    std::uint32_t records = 0;
    while (cursor.next(frame)) records += frame.kind == FrameKind::data ? 1 : 0;
    REQUIRE(records == check.header.record_count);
  }
  CHECK(deep > 10000);
}

TEST_CASE("commit: an illegal header is never written", "[journal][commit]") {
  CHECK(run_in_child([] {
          Bytes commit(512);
          CommitHeader header;
          header.lsn = 4096;
          encode_commit_header(commit, header);  // DATA without a record
        }).said("the counts of a commit do not fit its kind"));
  CHECK(run_in_child([] {
          Bytes commit = build_commit(kSegment, data_plan());
          finish_commit_header(commit, data_plan().lsn + 512, 0, kSegment.salt);
        }).said("a commit promises itself"));
}
