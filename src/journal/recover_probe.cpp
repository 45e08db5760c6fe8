// R6: what lies behind the end of the chain.
//
// Every place where a commit may start is looked at, to the end of the highest segment. Nothing
// shorter will do: when the first commit of the newest segment is damaged, it may fill any window,
// and the promise that tells the damage stands behind it.

#include <algorithm>
#include <cstring>
#include <utility>

#include "journal/block.hpp"
#include "journal/recover.hpp"

#include <diorite/try.hpp>

namespace diorite::detail {
namespace {

/// The bytes up to the last that is not zero.
std::uint64_t used_bytes(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t kStep = wal::kBlockBytes;
  std::size_t end = bytes.size();
  while (end > 0) {
    const std::size_t begin = end > kStep ? end - kStep : 0;
    const auto step = bytes.subspan(begin, end - begin);
    if (wal::first_nonzero(step) != step.size()) break;
    end = begin;
  }
  while (end > 0 && bytes[end - 1] == std::byte{0}) --end;
  return end;
}

}  // namespace

Task<Result<void>> probe_segment(SegmentWindow& window, SegmentRef segment, std::uint64_t from_lsn,
                                 SegmentProbe& probe) {
  const wal::SegmentGeometry geometry = wal::geometry_of(segment->header);
  window.attach(std::move(segment), geometry.capacity);
  const std::uint64_t from = from_lsn - geometry.base_lsn;
  for (std::uint64_t at = from; at < geometry.capacity;) {
    DIORITE_CO_CHECK(co_await window.fill(at, geometry.pad_unit));
    const std::span<const std::byte> bytes = window.have(at);
    if (const std::uint64_t used = used_bytes(bytes); used > 0) {
      probe.nonzero_bytes = at - from + used;
    }
    std::uint64_t step = 0;
    for (; step + geometry.pad_unit <= bytes.size(); step += geometry.pad_unit) {
      wal::CommitHeader header;
      const auto verdict = wal::decode_commit_header(bytes.subspan(step), geometry,
                                                     geometry.base_lsn + at + step, header);
      if (verdict != wal::CommitVerdict::valid) continue;
      ++probe.intact;
      probe.promise = std::max(probe.promise, header.durable_lsn);
    }
    at += step;
  }
  if (!window.unreadable().empty()) probe.unreadable = window.unreadable().front().error;
  co_return Result<void>();
}

Task<Result<void>> probe_tail(SegmentOpener& segments, const std::vector<std::size_t>& live,
                              LogFacts& log) {
  SegmentWindow window(segments.store().reactor, SegmentWindow::OnError::remember);
  std::size_t position = 0;
  if (log.has_commits) {
    const std::size_t last = log.walked.back().index;
    position = static_cast<std::size_t>(std::find(live.begin(), live.end(), last) - live.begin());
    log.highest_used = last;
  }
  for (std::uint64_t from = log.end; position < live.size(); ++position, from = 0) {
    const std::size_t index = live[position];
    DIORITE_CO_TRY(SegmentRef segment, co_await segments.open(index));
    from = std::max(from, segment->data_begin());
    SegmentProbe probe;
    DIORITE_CO_CHECK(co_await probe_segment(window, std::move(segment), from, probe));
    log.promise = std::max(log.promise, probe.promise);
    log.zombies += probe.intact;
    log.torn_bytes += probe.nonzero_bytes;
    if (probe.unreadable && !log.unreadable) log.unreadable = probe.unreadable;
    // What cannot be read may be an intact header too.
    if (probe.intact > 0 || probe.unreadable) log.highest_used = index;
  }
  log.read_failure.note(window.first_failure());
  log.scanned_bytes += window.bytes_read();
  co_return Result<void>();
}

}  // namespace diorite::detail
