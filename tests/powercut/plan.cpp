#include "powercut/plan.hpp"

#include <algorithm>
#include <utility>

namespace diorite::powercut {

void Walk::advance(std::size_t cut, std::vector<std::size_t>& durable) {
  for (; at_ < cut && at_ < events_.size(); ++at_) {
    const Event& event = events_[at_];
    switch (event.kind) {
      case EventKind::write:
        pending_.push_back(at_);
        break;
      case EventKind::write_done:
        completed_.push_back(event.id);
        break;
      case EventKind::flush: {
        Flush flush{event.id, {}};
        for (const std::size_t write : pending_) {
          const auto& done = completed_;
          if (std::find(done.begin(), done.end(), events_[write].id) != done.end()) {
            flush.covers.push_back(write);
          }
        }
        flushes_.push_back(std::move(flush));
        break;
      }
      case EventKind::flush_done:
        end_flush(event.id, durable);
        break;
      case EventKind::mark:
        break;
    }
  }
}

void Walk::end_flush(std::uint32_t id, std::vector<std::size_t>& durable) {
  const auto flush = std::find_if(flushes_.begin(), flushes_.end(),
                                  [id](const Flush& one) { return one.id == id; });
  if (flush == flushes_.end()) return;
  // A flush that overlapped this one may have taken some of its writes already.
  for (const std::size_t write : flush->covers) {
    const auto found = std::lower_bound(pending_.begin(), pending_.end(), write);
    if (found == pending_.end() || *found != write) continue;
    pending_.erase(found);
    durable.push_back(write);
    std::erase(completed_, events_[write].id);
  }
  flushes_.erase(flush);
}

const char* to_string(Choice choice) noexcept {
  switch (choice) {
    case Choice::none:
      return "none";
    case Choice::all:
      return "all";
    case Choice::prefix:
      return "prefix";
    case Choice::subset:
      return "subset";
    case Choice::all_but_one:
      return "all but one";
    case Choice::torn:
      return "torn";
  }
  return "?";
}

void FileBlocks::add(std::size_t from, std::size_t to,
                     std::vector<std::pair<std::uint64_t, std::uint64_t>> extents) {
  std::sort(extents.begin(), extents.end());
  snapshots_.push_back({from, to, std::move(extents)});
}

bool FileBlocks::holds(std::size_t event, std::uint64_t offset) const noexcept {
  for (const Snapshot& snapshot : snapshots_) {
    if (event < snapshot.from || event >= snapshot.to) continue;
    const auto& extents = snapshot.extents;
    auto after =
        std::upper_bound(extents.begin(), extents.end(), std::pair(offset, ~std::uint64_t{0}));
    if (after == extents.begin()) continue;
    --after;
    if (offset < after->second) return true;
  }
  return false;
}

namespace {

void add_piece(Chosen& chosen, std::size_t event, std::uint32_t begin, std::uint32_t end) {
  if (begin == end) return;
  if (!chosen.pieces.empty() && chosen.pieces.back().event == event &&
      chosen.pieces.back().end == begin) {
    chosen.pieces.back().end = end;
  } else {
    chosen.pieces.push_back({event, begin, end});
  }
}

// Part of a write: of a file's block any sectors, of any other block all or nothing.
void tear(Chosen& chosen, const Event& event, std::size_t index, const FileBlocks& files,
          Random& random) {
  bool lacks = false;
  for (std::uint32_t at = 0; at < event.bytes;) {
    const std::uint64_t offset = event.offset + at;
    const auto to_block_end = static_cast<std::uint32_t>(kBlock - offset % kBlock);
    const std::uint32_t end = at + std::min(event.bytes - at, to_block_end);
    const std::uint32_t unit = files.holds(index, offset) ? kSector : kBlock;
    std::uint32_t kept = 0;
    std::uint32_t units = 0;
    for (; at < end; ++units) {
      const std::uint32_t next = std::min(end, at + unit);
      if (random.one_in(2)) {
        add_piece(chosen, index, at, next);
        ++kept;
      }
      at = next;
    }
    lacks |= kept < units;
    if (kept > 0 && kept < units) ++chosen.torn_blocks;
  }
  if (lacks) ++chosen.torn_writes;
}

}  // namespace

Chosen choose(Choice choice, const std::vector<Event>& events,
              const std::vector<std::size_t>& pending, const FileBlocks& files, Random& random) {
  Chosen chosen;
  const std::size_t size = pending.size();
  const std::size_t some = size == 0 ? 0 : random.below(size);
  for (std::size_t i = 0; i < size; ++i) {
    const Event& event = events[pending[i]];
    bool whole = false;
    switch (choice) {
      case Choice::none:
        break;
      case Choice::all:
        whole = true;
        break;
      case Choice::prefix:
        whole = i < some;
        break;
      case Choice::subset:
        whole = random.one_in(2);
        break;
      case Choice::all_but_one:
        whole = i != some;
        break;
      case Choice::torn:
        // At least one is torn; of the others some are whole and some are not there.
        if (i == some || random.one_in(3)) {
          tear(chosen, event, pending[i], files, random);
        } else {
          whole = random.one_in(2);
        }
        break;
    }
    if (whole) add_piece(chosen, pending[i], 0, event.bytes);
  }
  return chosen;
}

namespace {

struct Places {
  std::vector<std::size_t> marks;    ///< right after one
  std::vector<std::size_t> flushes;  ///< right before one completes
  std::vector<std::size_t> pending;  ///< writes that are undecided at each of the latter
};

Places find_places(const std::vector<Event>& events, std::size_t first) {
  Places places;
  Walk walk(events);
  std::vector<std::size_t> durable;
  for (std::size_t i = first; i < events.size(); ++i) {
    if (events[i].kind == EventKind::mark) places.marks.push_back(i + 1);
    if (events[i].kind != EventKind::flush_done) continue;
    walk.advance(i, durable);
    places.flushes.push_back(i);
    places.pending.push_back(walk.pending().size());
  }
  return places;
}

// Of three flushes the one with most to decide: where nothing is pending all choices are one.
std::size_t pick_flush(const Places& places, Random& random) {
  std::size_t best = random.below(places.flushes.size());
  for (int i = 0; i < 2; ++i) {
    const std::size_t other = random.below(places.flushes.size());
    if (places.pending[other] > places.pending[best]) best = other;
  }
  return places.flushes[best];
}

}  // namespace

std::vector<PlannedState> plan_states(const std::vector<Event>& events, std::size_t first,
                                      std::size_t count, Random& random) {
  std::vector<PlannedState> states;
  if (first >= events.size()) return states;
  const Places places = find_places(events, first);
  for (std::size_t n = 0; n < count; ++n) {
    PlannedState state;
    state.choice = static_cast<Choice>(n % kChoices);
    const std::uint64_t sort = random.below(8);
    if (sort < 3 && !places.marks.empty()) {
      state.cut = places.marks[random.below(places.marks.size())];
    } else if (sort < 6 && !places.flushes.empty()) {
      state.cut = pick_flush(places, random);
    } else {
      state.cut = first + random.below(events.size() + 1 - first);
    }
    states.push_back(state);
  }
  std::sort(states.begin(), states.end(),
            [](const PlannedState& a, const PlannedState& b) { return a.cut < b.cut; });
  return states;
}

}  // namespace diorite::powercut
