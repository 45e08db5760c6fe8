// Writes the files of a journal byte by byte, with the codecs alone: what a writer would have left,
// or a crash, or a damaged disk.
//
//   JournalBuilder log;
//   log.start();                                // segment 0 with its EPOCH commit
//   log.append({"one", "two"});
//   log.rotate();
//   log.append({"three"});
//   log.save(dir);                              // MANIFEST is DIRTY, spares included

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "journal/commit_builder.hpp"
#include "journal/commit_verify.hpp"
#include "journal/manifest_slot.hpp"
#include "journal/segment_header.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace diorite::test {

inline std::string segment_name(std::uint64_t seq) {
  const auto name = wal::segment_file_name(seq);
  return std::string(name.data(), name.size());
}

class JournalBuilder {
 public:
  struct Segment {
    wal::SegmentHeader header;
    Bytes bytes;
    wal::SegmentGeometry geometry() const { return wal::geometry_of(header); }
  };
  struct Commit {
    std::uint64_t seq = 0;
    std::uint64_t lsn = 0;
    std::uint64_t end = 0;
    wal::CommitHeader header;
  };

  std::map<std::uint64_t, Segment> segments;
  std::vector<Commit> commits;       ///< in the order in which they were written
  std::vector<std::string> records;  ///< of the log, in order
  wal::ManifestSlot manifest;
  bool has_manifest = true;
  std::uint64_t current = 0;  ///< the segment that is written
  std::uint64_t next_lsn = 0;
  wal::ChainLink link;
  std::uint32_t pad_unit;
  std::uint64_t capacity = 1_MiB;

  explicit JournalBuilder(std::uint32_t pad = wal::kBlockBytes) : pad_unit(pad) {
    manifest.uuid = test_uuid();
    manifest.generation = 1;
    manifest.pad_unit = pad;
    manifest.capacity = capacity;
  }

  /// Makes the segment above the highest one.
  Segment& add_segment() {
    Segment segment;
    if (!segments.empty()) {
      const Segment& top = segments.rbegin()->second;
      segment.header.segment_seq = top.header.segment_seq + 1;
      segment.header.base_lsn = top.header.base_lsn + top.header.capacity;
    }
    segment.header.uuid = manifest.uuid;
    segment.header.capacity = capacity;
    segment.header.pad_unit = pad_unit;
    segment.header.salt = wal::segment_salt(segment.header.segment_seq, manifest.uuid);
    segment.header.epoch = manifest.epoch;
    segment.bytes.assign(capacity, std::byte{0});
    wal::encode_segment_header(std::span(segment.bytes).first(wal::kSegmentHeaderBytes),
                               segment.header);
    const std::uint64_t seq = segment.header.segment_seq;
    return segments[seq] = std::move(segment);
  }

  /// Segment 0 and the commit with which every journal begins.
  void start() {
    while (segments.size() < 2) add_segment();
    manifest.epoch = 1;
    current = 0;
    next_lsn = segments[0].geometry().data_begin();
    wal::Cut cut;
    cut.epoch = 1;
    write_epoch(cut, 0);
    manifest.durable_floor = next_lsn;
  }

  /// Writes a commit at the end. `durable`: its promise; by default everything before it.
  Commit& append(const std::vector<std::string>& payloads,
                 std::uint64_t durable = ~std::uint64_t{0}) {
    CommitPlan plan;
    for (const std::string& payload : payloads) plan.records.push_back({payload});
    for (const std::string& payload : payloads) records.push_back(payload);
    return write(plan, durable);
  }
  Commit& control(wal::CommitKind kind) {
    CommitPlan plan;
    plan.kind = kind;
    return write(plan, ~std::uint64_t{0});
  }
  /// The bytes of a commit that is not the log's: a zombie, or a forgery.
  Bytes forge(std::uint64_t seq, CommitPlan plan) {
    return build_commit(segments[seq].geometry(), plan);
  }

  /// On in the next segment, as a rotation does.
  void rotate() {
    ++current;
    if (segments.count(current) == 0) add_segment();
    next_lsn = segments[current].geometry().data_begin();
  }

  /// What recovery does after a crash: a cut at the end, in the segment above `above`.
  void restart(std::uint64_t above) {
    wal::Cut cut;
    cut.pred_seq = commits.back().seq;
    cut.cut_lsn = commits.back().end;
    cut.pred_last_commit_lsn = link.lsn;
    cut.pred_last_commit_crc = link.header_crc;
    cut.next_record_no = link.next_record_no;
    restart_with(cut, above);
  }
  void restart_with(wal::Cut cut, std::uint64_t above) {
    cut.epoch = ++manifest.epoch;
    const std::uint64_t durable = commits.back().end;
    current = above + 1;
    while (segments.count(current) == 0) add_segment();
    next_lsn = segments[current].geometry().data_begin();
    write_epoch(cut, durable);
    manifest.durable_floor = next_lsn;
    manifest.tail_seq_floor = current;
  }

  /// CLOSE and a CLEAN MANIFEST.
  void close() {
    control(wal::CommitKind::close);
    manifest.state = wal::ManifestState::clean;
    manifest.end_lsn = next_lsn;
    manifest.durable_floor = next_lsn;
    manifest.tail_seq_floor = current;
  }

  std::span<std::byte> at(const Commit& commit) {
    Segment& segment = segments[commit.seq];
    return std::span(segment.bytes)
        .subspan(commit.lsn - segment.header.base_lsn, commit.end - commit.lsn);
  }
  void put(std::uint64_t seq, std::uint64_t lsn, const Bytes& bytes) {
    Segment& segment = segments[seq];
    std::copy(bytes.begin(), bytes.end(),
              segment.bytes.begin() + static_cast<std::ptrdiff_t>(lsn - segment.header.base_lsn));
  }

  Bytes manifest_bytes() const {
    Bytes bytes(wal::kManifestSlotOffsets[1] + wal::stride_of(pad_unit), std::byte{0});
    wal::encode_manifest_slot(
        std::span(bytes).subspan(wal::kManifestSlotOffsets[0], wal::kManifestSlotBytes), manifest);
    wal::ManifestSlot older = manifest;
    older.generation = manifest.generation - 1;
    older.state = wal::ManifestState::dirty;
    older.end_lsn = older.durable_floor = 0;
    wal::encode_manifest_slot(
        std::span(bytes).subspan(wal::kManifestSlotOffsets[1], wal::kManifestSlotBytes), older);
    return bytes;
  }

  void save(const TempDir& dir) const {
    for (const auto& [seq, segment] : segments) dir.write(segment_name(seq), text(segment.bytes));
    if (has_manifest) dir.write("MANIFEST", text(manifest_bytes()));
    dir.write("LOCK", "");
  }
  static std::string_view text(const Bytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  Commit& write(CommitPlan plan, std::uint64_t durable) {
    plan.lsn = next_lsn;
    plan.prev_lsn = link.lsn;
    plan.prev_crc = link.header_crc;
    plan.first_record_no = link.next_record_no;
    if (durable == ~std::uint64_t{0}) durable = commits.empty() ? 0 : commits.back().end;
    plan.durable_lsn = durable;
    return place(plan);
  }
  void write_epoch(const wal::Cut& cut, std::uint64_t durable) {
    CommitPlan plan;
    plan.kind = wal::CommitKind::epoch;
    plan.lsn = next_lsn;
    plan.cut = cut;
    plan.prev_lsn = cut.pred_last_commit_lsn;
    plan.prev_crc = cut.pred_last_commit_crc;
    plan.first_record_no = cut.next_record_no;
    plan.durable_lsn = durable;
    place(plan);
  }
  Commit& place(const CommitPlan& plan) {
    const wal::SegmentGeometry geometry = segments[current].geometry();
    const Bytes bytes = build_commit(geometry, plan);
    const wal::CommitCheck check = wal::verify_commit(bytes, geometry, plan.lsn);
    REQUIRE(check.verdict == wal::CommitVerdict::valid);
    put(current, plan.lsn, bytes);
    Commit commit{current, plan.lsn, plan.lsn + bytes.size(), check.header};
    link = wal::link_of(check.header);
    next_lsn = commit.end;
    commits.push_back(commit);
    return commits.back();
  }
};

}  // namespace diorite::test
