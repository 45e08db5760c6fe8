// R4: which segments hold the log.
//
// From the highest name downwards: a segment that begins with an EPOCH commit goes on where that
// commit's cut says, any other one goes on in its neighbour. Only what is reached this way is
// judged. What a cut has skipped is dead, and may be missing, or half overwritten.

#include <algorithm>
#include <string>

#include "journal/recover.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>

namespace diorite::detail {
namespace {

Error missing(std::uint64_t seq, std::string_view dir, std::string_view why) {
  const auto name = wal::segment_file_name(seq);
  const std::string path = join_path(dir, std::string_view(name.data(), name.size()));
  return with_context(Error(Errc::missing_segment, seq),
                      {.operation = "open_journal", .path = path, .note = why});
}

/// The segment right below `upper` is not there, and no cut accounts for it.
Error hole_below(const SegmentFacts& upper, std::string_view dir) {
  const bool damaged = wal::header_is_valid(upper.first.verdict) &&
                       upper.first.verdict != wal::CommitVerdict::valid &&
                       wal::is_epoch(upper.first.header.kind);
  if (damaged) {
    const std::string why = fmt::format("{}; it held the cut that accounts for missing segments",
                                        text_of(upper.first.verdict));
    return corrupt_at(upper.path, upper.data_begin() - upper.header.base_lsn + upper.first.offset,
                      why);
  }
  const std::string why =
      fmt::format("segment {:016x} follows it, and no cut accounts for the gap", upper.seq);
  return missing(upper.seq - 1, dir, why);
}

/// Where the log goes on below `segment`: in which segment, or nowhere.
std::optional<std::uint64_t> below(const SegmentFacts& segment, std::uint64_t head_seq) {
  std::uint64_t next = segment.seq - 1;
  if (segment.is_epoch()) {
    next = segment.first.cut.pred_seq;
    if (next == wal::kNoSegment) return std::nullopt;
  }
  if (segment.seq == head_seq || next < head_seq) return std::nullopt;
  return next;
}

}  // namespace

Result<std::vector<std::size_t>> find_live_chain(const std::vector<SegmentFacts>& all,
                                                 const wal::ManifestSlot& manifest,
                                                 std::string_view dir) {
  // A segment of a newer version forbids everything, wherever it stands.
  for (const SegmentFacts& facts : all) {
    if (!wal::refuses_to_open(facts.verdict)) continue;
    return judge_segment(facts, manifest.uuid).error();
  }
  if (all.empty() || all.back().seq < manifest.tail_seq_floor) {
    return missing(std::max(manifest.tail_seq_floor, manifest.head_seq), dir,
                   "MANIFEST says that it exists");
  }
  std::vector<std::size_t> live;
  std::size_t at = all.size() - 1;
  for (;;) {
    const SegmentFacts& facts = all[at];
    const Result<void> judged = judge_segment(facts, manifest.uuid);
    if (!judged) return judged.error();
    if (!live.empty()) {
      const SegmentFacts& upper = all[live.back()];
      const bool adjoins = facts.end() == upper.header.base_lsn;
      if (upper.seq == facts.seq + 1 ? !adjoins : facts.end() > upper.header.base_lsn) {
        return corrupt_at(upper.path, 0, "base_lsn does not follow from the segment below");
      }
    }
    live.push_back(at);
    const std::optional<std::uint64_t> next = below(facts, manifest.head_seq);
    if (!next) break;
    const auto found = std::lower_bound(
        all.begin(), all.begin() + static_cast<std::ptrdiff_t>(at), *next,
        [](const SegmentFacts& entry, std::uint64_t seq) { return entry.seq < seq; });
    if (found == all.begin() + static_cast<std::ptrdiff_t>(at) || found->seq != *next) {
      if (!facts.is_epoch()) return hole_below(facts, dir);
      const std::string why = fmt::format("segment {:016x} continues it", facts.seq);
      return missing(*next, dir, why);
    }
    at = static_cast<std::size_t>(found - all.begin());
  }
  std::reverse(live.begin(), live.end());
  return live;
}

}  // namespace diorite::detail
