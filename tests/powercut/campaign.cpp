#include "powercut/campaign.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <utility>

#include "powercut/image.hpp"
#include "powercut/recording.hpp"
#include "powercut/state_disk.hpp"

namespace diorite::powercut {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kStatesPerRecording = 250;
constexpr std::size_t kExamples = 12;
constexpr std::size_t kControlExamples = 3;
constexpr std::size_t kKept = 4;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The states of one recording, one after the other in the order of their cuts.
class States {
 public:
  States(const CampaignOptions& options, const Workspace& workspace, const Recording& recording,
         std::uint64_t seed, Tally& tally)
      : options_(options),
        workspace_(workspace),
        recording_(recording),
        tally_(tally),
        random_(mix(seed) + 1),
        seed_(seed),
        walk_(recording.events()),
        durable_(options.fs->disk_bytes),
        disk_(options.fs->disk_bytes) {
    durable_.keep_from_children();
    promises_.salt = recording.salt();
  }

  /// Checks up to `count` states that differ.
  void check(std::uint64_t count);

 private:
  void go_to(std::size_t cut);
  bool is_new(const std::vector<Piece>& pieces);
  void check_one(const PlannedState& state, const Chosen& chosen);
  void note(const PlannedState& state, const Verdict& verdict);

  const CampaignOptions& options_;
  const Workspace& workspace_;
  const Recording& recording_;
  Tally& tally_;
  Random random_;
  std::uint64_t seed_;
  Walk walk_;
  Image durable_;
  StateDisk disk_;
  Promises promises_;
  std::size_t at_ = 0;
  std::uint64_t durable_writes_ = 0;
  std::uint64_t checked_ = 0;
  std::set<std::uint64_t> seen_;
};

void States::go_to(std::size_t cut) {
  const std::vector<Event>& events = recording_.events();
  std::vector<std::size_t> durable;
  walk_.advance(cut, durable);
  for (const std::size_t index : durable) {
    durable_.write(events[index].offset, events[index].data, events[index].bytes);
  }
  durable_writes_ += durable.size();
  for (; at_ < cut; ++at_) {
    if (events[at_].kind != EventKind::mark) continue;
    const Mark mark = Recording::mark_of(events[at_]);
    switch (mark.kind) {
      case MarkKind::life:
        promises_.lives = mark.life + 1;
        break;
      case MarkKind::opened:
        promises_.opened.push_back(mark);
        break;
      case MarkKind::acked:
        promises_.acked.push_back(mark);
        break;
    }
  }
}

bool States::is_new(const std::vector<Piece>& pieces) {
  std::uint64_t key = mix(durable_writes_) ^ (promises_.acked.size() + promises_.opened.size());
  for (const Piece& piece : pieces) {
    key = mix(key ^ piece.event) + ((std::uint64_t{piece.begin} << 32) | piece.end);
  }
  return seen_.insert(mix(key)).second;
}

void States::check(std::uint64_t count) {
  // More than wanted, since some turn out to be the same: nothing may be pending at a cut.
  const std::vector<PlannedState> plan =
      plan_states(recording_.events(), recording_.first(), count * 3 / 2, random_);
  std::uint64_t left = plan.size();
  for (const PlannedState& state : plan) {
    go_to(state.cut);
    const Chosen chosen =
        choose(state.choice, recording_.events(), walk_.pending(), recording_.files(), random_);
    // Those that are too many are left out evenly.
    const std::uint64_t wanted = count - checked_;
    const bool skipped = random_.below(left--) >= wanted + wanted / 3;
    if (wanted == 0 || skipped || !is_new(chosen.pieces)) continue;
    check_one(state, chosen);
    ++checked_;
  }
}

void States::check_one(const PlannedState& state, const Chosen& chosen) {
  disk_.set(durable_, recording_.events(), chosen.pieces);
  CheckOptions options;
  options.fs = options_.fs;
  options.where = workspace_.disk;
  options.writer = options_.writer;
  options.twice = random_.one_in(4);
  const Verdict verdict = check_state(disk_.fd(), options, promises_);
  ++*workspace_.beats;
  ++tally_.states;
  tally_.pending += walk_.pending().size();
  tally_.torn_writes += chosen.torn_writes;
  tally_.torn_blocks += chosen.torn_blocks;
  tally_.promised += promises_.acked.size();
  const auto outcome = static_cast<std::size_t>(verdict.outcome);
  ++tally_.outcomes[outcome];
  ++tally_.by_choice[static_cast<std::size_t>(state.choice)][outcome];
  if (verdict.outcome == Outcome::good) return;
  note(state, verdict);
  // What was checked has changed the disk: the copy is made of the state as it was.
  if (!options_.keep.empty() && tally_.examples.size() <= kKept) {
    disk_.set(durable_, recording_.events(), chosen.pieces);
    disk_.save(fmt::format("{}/{}-{}-{}-{}.img", options_.keep, options_.fs->name, seed_, state.cut,
                           tally_.states));
  }
}

void States::note(const PlannedState& state, const Verdict& verdict) {
  if (tally_.examples.size() >= (options_.control ? kControlExamples : kExamples)) return;
  tally_.examples.push_back(fmt::format("{}, recording {}, cut {}, {} of {} pending: {}",
                                        to_string(verdict.outcome), seed_, state.cut,
                                        to_string(state.choice), walk_.pending().size(),
                                        static_cast<const char*>(verdict.text)));
}

void count_events(const Recording& recording, Tally& tally) {
  for (std::size_t i = recording.first(); i < recording.events().size(); ++i) {
    const Event& event = recording.events()[i];
    if (event.kind == EventKind::write) ++tally.writes;
    if (event.kind == EventKind::flush) ++tally.flushes;
    if (event.kind == EventKind::mark && Recording::mark_of(event).kind == MarkKind::acked) {
      ++tally.acked;
    }
  }
}

}  // namespace

std::uint64_t Tally::failures() const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    if (is_failure(static_cast<Outcome>(i))) sum += outcomes[i];
  }
  return sum;
}

Tally run_campaign(const CampaignOptions& options, const Workspace& workspace) {
  Tally tally;
  while (tally.states < options.states) {
    const std::uint64_t seed = options.seed + tally.recordings;
    auto begin = Clock::now();
    const Recording recording({options.fs, options.writer, options.control, seed}, workspace);
    tally.record_seconds += seconds_since(begin);
    ++tally.recordings;
    ++*workspace.beats;
    count_events(recording, tally);

    begin = Clock::now();
    States states(options, workspace, recording, seed, tally);
    states.check(std::min(kStatesPerRecording, options.states - tally.states));
    tally.check_seconds += seconds_since(begin);
    if (options.verbose) {
      std::printf("powercut: %s recording %llu: %llu states, %llu failures, %.0f s\n",
                  options.fs->name, static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(tally.states),
                  static_cast<unsigned long long>(tally.failures()),
                  tally.record_seconds + tally.check_seconds);
      std::fflush(stdout);
    }
  }
  return tally;
}

}  // namespace diorite::powercut
