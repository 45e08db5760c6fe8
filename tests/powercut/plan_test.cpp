// Which states a power cut may leave, and what the judge says of them.

#include "powercut/plan.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "powercut/check.hpp"
#include "powercut/record.hpp"
#include "powercut/trace.hpp"
#include "support/catch.hpp"

namespace diorite::powercut {
namespace {

using Indices = std::vector<std::size_t>;

Event event(EventKind kind, std::uint32_t id, std::uint64_t offset = 0, std::uint32_t bytes = 0) {
  Event made;
  made.kind = kind;
  made.id = id;
  made.offset = offset;
  made.bytes = bytes;
  return made;
}

Indices durable_before(const std::vector<Event>& events, std::size_t cut, Indices* pending) {
  Walk walk(events);
  Indices durable;
  walk.advance(cut, durable);
  if (pending != nullptr) *pending = walk.pending();
  return durable;
}

TEST_CASE("a flush covers what had completed when it arrived", "[powercut]") {
  const std::vector<Event> events = {
      event(EventKind::write, 1, 0, 4096),     // 0: completes before the flush
      event(EventKind::write, 2, 4096, 4096),  // 1: while the flush runs
      event(EventKind::write_done, 1),         //
      event(EventKind::flush, 3),              //
      event(EventKind::write_done, 2),         //
      event(EventKind::write, 4, 8192, 4096),  // 5: comes while the flush runs
      event(EventKind::write_done, 4),         //
      event(EventKind::flush_done, 3),         // 7
      event(EventKind::flush, 5),              //
      event(EventKind::flush_done, 5),         // 9
  };
  Indices pending;
  // Until it has completed, a flush promises nothing.
  CHECK(durable_before(events, 7, &pending).empty());
  CHECK(pending == Indices{0, 1, 5});
  CHECK(durable_before(events, 8, &pending) == Indices{0});
  CHECK(pending == Indices{1, 5});
  CHECK(durable_before(events, 9, &pending) == Indices{0});
  CHECK(durable_before(events, 10, &pending) == Indices{0, 1, 5});
  CHECK(pending.empty());
}

TEST_CASE("two flushes at once end in any order", "[powercut]") {
  const std::vector<Event> events = {
      event(EventKind::write, 1, 0, 4096), event(EventKind::write_done, 1),
      event(EventKind::flush, 2),          event(EventKind::write, 3, 4096, 4096),
      event(EventKind::write_done, 3),     event(EventKind::flush, 4),
      event(EventKind::flush_done, 4),     event(EventKind::flush_done, 2),
  };
  Walk walk(events);
  Indices durable;
  walk.advance(7, durable);
  CHECK(durable == Indices{0, 3});
  walk.advance(8, durable);
  CHECK(durable == Indices{0, 3});
  CHECK(walk.pending().empty());
}

TEST_CASE("choices are what their names say", "[powercut]") {
  std::vector<Event> events;
  Indices pending;
  for (std::uint32_t i = 0; i < 6; ++i) {
    pending.push_back(events.size());
    events.push_back(event(EventKind::write, i, std::uint64_t{i} * 8192, 8192));
  }
  FileBlocks files;
  files.add(0, 100, {{8192, 16384}});
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    CHECK(choose(Choice::none, events, pending, files, random).pieces.empty());
    CHECK(choose(Choice::all, events, pending, files, random).pieces.size() == 6);
    CHECK(choose(Choice::all_but_one, events, pending, files, random).pieces.size() == 5);
    const Chosen prefix = choose(Choice::prefix, events, pending, files, random);
    for (std::size_t i = 0; i < prefix.pieces.size(); ++i) CHECK(prefix.pieces[i].event == i);
    const Chosen torn = choose(Choice::torn, events, pending, files, random);
    bool tears_a_file = false;
    for (const Piece& piece : torn.pieces) {
      CHECK(piece.begin < piece.end);
      CHECK(piece.end <= 8192);
      const std::uint32_t unit = piece.event == 1 ? kSector : kBlock;
      CHECK(piece.begin % unit == 0);
      CHECK(piece.end % unit == 0);
      tears_a_file |= piece.event == 1 && piece.begin % kBlock != 0;
    }
    if (tears_a_file) CHECK(torn.torn_blocks > 0);
  }
}

TEST_CASE("files' blocks are those of the snapshot of the time", "[powercut]") {
  FileBlocks files;
  files.add(10, 20, {{8192, 12288}, {0, 4096}});
  files.add(20, 30, {{4096, 8192}});
  CHECK(files.holds(10, 0));
  CHECK(files.holds(19, 12287));
  CHECK_FALSE(files.holds(19, 12288));
  CHECK_FALSE(files.holds(19, 4096));
  CHECK(files.holds(20, 4096));
  CHECK_FALSE(files.holds(20, 0));
  CHECK_FALSE(files.holds(9, 0));
  CHECK_FALSE(files.holds(30, 4096));
}

TEST_CASE("a trace returns what was appended, and zeros without storing them", "[powercut]") {
  Trace trace(1 << 20);
  const std::vector<std::byte> bytes(777, std::byte{7});
  const std::vector<std::byte> zeros(4096);
  REQUIRE(trace.append(EventKind::write, 1, 512, bytes.data(), 777));
  REQUIRE(trace.append(EventKind::write, 2, 4096, zeros.data(), 4096));
  REQUIRE(trace.append(EventKind::flush_done, 3));
  const std::vector<Event> events = trace.events();
  REQUIRE(events.size() == 3);
  CHECK(events[0].offset == 512);
  CHECK(std::equal(bytes.begin(), bytes.end(), events[0].data));
  CHECK(events[1].bytes == 4096);
  CHECK(events[1].data == nullptr);
  CHECK(events[2].kind == EventKind::flush_done);
  CHECK_FALSE(trace.incomplete());
  const std::vector<std::byte> large(1 << 20, std::byte{1});
  CHECK_FALSE(trace.append(EventKind::write, 4, 0, large.data(), 1 << 20));
  CHECK(trace.incomplete());
}

// Two workers that append in turn, all acknowledged; one life that found the first two records.
struct Story {
  std::vector<Recovered> records;
  Promises promises;

  Story() {
    promises.lives = 2;
    promises.salt = 99;
    for (std::uint64_t i = 0; i < 6; ++i) add(i);
  }
  void add(std::uint64_t i) {
    RecordId id{i < 2 ? 0u : 1u, static_cast<std::uint32_t>(i % 2), i < 2 ? 0 : i / 2 - 1, 99};
    if (i == 2) {
      Mark opened;
      opened.kind = MarkKind::opened;
      opened.count = 2;
      for (const Recovered& record : records) {
        opened.hash = chain_hash(opened.hash, record.payload);
      }
      promises.opened.push_back(opened);
    }
    Mark mark;
    mark.kind = MarkKind::acked;
    mark.count = i;
    mark.begin = i * 100;
    mark.id = id;
    promises.acked.push_back(mark);
    records.push_back({i * 100, record_of(id)});
  }
  Outcome verdict() const {
    std::string why;
    return judge(records, promises, why);
  }
};

TEST_CASE("the judge finds what is lost", "[powercut]") {
  CHECK(Story().verdict() == Outcome::good);
  {
    Story story;
    story.records.pop_back();
    CHECK(story.verdict() == Outcome::lost);
    // Not acknowledged before the cut: it may be there or not.
    story.promises.acked.pop_back();
    CHECK(story.verdict() == Outcome::good);
  }
  {
    Story story;
    story.records[3].payload.back() ^= 1;
    CHECK(story.verdict() == Outcome::lost);
  }
  {
    Story story;
    story.records[3].begin += 8;
    CHECK(story.verdict() == Outcome::lost);
  }
  {
    // Nobody acknowledged anything, but an earlier open had returned two records.
    Story story;
    story.promises.acked.clear();
    story.records.resize(1);
    CHECK(story.verdict() == Outcome::lost);
  }
}

TEST_CASE("the judge finds what does not belong there", "[powercut]") {
  const RecordId next{1, 0, 2, 99};
  {
    Story story;  // one record that its worker had not heard of
    story.records.push_back({600, record_of(next)});
    CHECK(story.verdict() == Outcome::good);
    RecordId later = next;
    ++later.sequence;
    story.records.push_back({700, record_of(later)});
    CHECK(story.verdict() == Outcome::foreign);
  }
  for (const RecordId& wrong : {RecordId{1, 0, 3, 99}, RecordId{1, 1, 1, 99}, RecordId{0, 0, 1, 99},
                                RecordId{2, 0, 0, 99}, RecordId{1, 0, 2, 98}}) {
    Story story;
    story.records.push_back({600, record_of(wrong)});
    CHECK(story.verdict() == Outcome::foreign);
  }
  Story story;
  story.records.push_back({600, "what nobody wrote"});
  CHECK(story.verdict() == Outcome::foreign);
}

}  // namespace
}  // namespace diorite::powercut
