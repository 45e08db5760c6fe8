// R7: the end of the valid chain against the largest promise.

#include <algorithm>
#include <string>

#include "journal/recover.hpp"

#include <fmt/format.h>

#include <diorite/assert.hpp>

namespace diorite::detail {

const LogFacts::Break& likely_damage(const LogFacts& log) noexcept {
  if (!log.in_next) return log.at_end;
  const LogFacts::Break& next = *log.in_next;
  if (wal::header_is_valid(next.check.verdict)) {
    // It names the last commit of the chain as its predecessor, or one that should have come before
    // it.
    return next.check.header.prev_lsn == log.link.lsn ? next : log.at_end;
  }
  return log.at_end.nonzero ? log.at_end : next;
}

Error damage_at(const std::vector<SegmentFacts>& all, const LogFacts::Break& damage,
                std::string_view why) {
  const SegmentFacts& facts = all[damage.index];
  const char* verdict = text_of(damage.check.verdict);
  if (damage.unreadable) {
    verdict = "the device cannot read the commit";
  } else if (damage.check.verdict == wal::CommitVerdict::valid) {
    verdict = "the commit does not follow the one before it";
  }
  const std::uint64_t offset = damage.lsn - facts.header.base_lsn + damage.check.offset;
  return corrupt_at(facts.path, offset, fmt::format("{}; {}", verdict, why));
}

Result<JournalVerdict> judge_log(const std::vector<SegmentFacts>& all, const LogFacts& log,
                                 const wal::ManifestSlot& manifest, const JournalOptions& options) {
  const bool clean = manifest.state == wal::ManifestState::clean;
  const std::uint64_t promise = std::max({log.promise, manifest.durable_floor, manifest.end_lsn});
  if (promise > log.end) {
    const std::string why =
        fmt::format("the log ends at {}, but up to {} it had been durable", log.end, promise);
    return damage_at(all, likely_damage(log), why);
  }
  if (manifest.head_lsn > log.end) {
    // Only what is durable is ever truncated.
    const std::string why = fmt::format("the log ends at {}, but records up to {} were truncated",
                                        log.end, manifest.head_lsn);
    return damage_at(all, likely_damage(log), why);
  }
  if (clean && log.end != manifest.end_lsn) {
    const auto walk = std::find_if(log.walked.rbegin(), log.walked.rend(), [&](const auto& entry) {
      return entry.range.begin <= manifest.end_lsn;
    });
    const std::size_t index = walk != log.walked.rend() ? walk->index
                              : log.walked.empty()      ? log.at_end.index
                                                        : log.walked.front().index;
    const SegmentFacts& facts = all[index];
    return corrupt_at(
        facts.path, manifest.end_lsn - std::min(manifest.end_lsn, facts.header.base_lsn),
        fmt::format("the journal was closed at {}, but goes on to {}", manifest.end_lsn, log.end));
  }
  if (clean) return JournalVerdict::clean;
  if (!log.unreadable) return JournalVerdict::torn;
  if (options.refuse_unreadable_tail) {
    const SegmentFacts& facts = all[log.at_end.index];
    return with_context(Error(Errc::tail_unreadable),
                        {.operation = "open_journal",
                         .path = facts.path,
                         .offset = log.end,
                         .note = "blocks behind the end of the log cannot be read, and "
                                 "refuse_unreadable_tail is set"});
  }
  return JournalVerdict::torn_unreadable;
}

}  // namespace diorite::detail
