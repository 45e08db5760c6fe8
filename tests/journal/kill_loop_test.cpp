// A journal whose process is killed over and over, hundreds of times: before and after any
// operation of an open, of an append, of a rotation, of a close, or whenever the parent pleases.
// After each kill everything that was acknowledged is there, and nothing else.
//
// DIORITE_KILLS in the environment asks for another number of kills than the default.

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>

#include <diorite/driver/decorator.hpp>

#include "journal_rig.hpp"
#include "kill_child.hpp"

namespace diorite::test {
namespace {

constexpr std::uint64_t kKillsDefault = 100;
constexpr std::uint32_t kWorkers = 8;
// The journal is read as a whole after each kill, and grows: then a new one is begun.
constexpr std::uint32_t kLivesPerJournal = 8;

struct Plan {
  std::uint32_t life = 0;          ///< of this journal
  std::uint64_t acks = 0;          ///< then it closes, or the parent kills it
  std::uint64_t kill_op = 0;       ///< it dies at the n-th operation; 0 = never by itself
  OpCode kill_code = OpCode::nop;  ///< that counts only operations of this sort; nop = all
  bool once_open = false;          ///< that counts from the end of the open on
  bool kill_after = false;         ///< once that operation is with the system, otherwise before it
  bool parent_kills = false;
};

struct Id {
  std::uint32_t life = 0;
  std::uint32_t worker = 0;
  std::uint64_t sequence = 0;
};

enum class NoteKind : std::uint32_t { opened, acked, closing, dying };

struct Note {
  NoteKind kind = NoteKind::opened;
  OpCode code = OpCode::nop;  ///< dying: at which operation
  Id id;
  std::uint64_t record_no = 0;
  std::uint64_t begin = 0;
};

/// Some records are large, so that a segment is full after some dozens.
std::string record_of(const Id& id) {
  const std::uint64_t seed = (id.sequence << 24) ^ (std::uint64_t{id.life} << 8) ^ id.worker;
  std::string record(sizeof id, '\0');
  std::memcpy(record.data(), &id, sizeof id);
  const std::size_t limit = id.sequence % 4 == 1 ? 100'000 : 3000;
  return record + payload_of(seed, static_cast<std::size_t>((seed * 2654435761u >> 7) % limit));
}

JournalOptions loop_options(std::uint32_t life) {
  JournalOptions options = life % 3 == 2 ? flush_options() : rig_options();
  options.in_flight_max = 1 + life % 5;
  options.confirm_idle_ms = life % 2;
  options.spares = 1 + life % 2;
  options.lock_wait_ms = 20'000;
  return options;
}

/// Kills the process at one of its operations.
class KillDriver final : public DriverDecorator {
 public:
  KillDriver(std::unique_ptr<Driver> inner, const Plan& plan, int pipe)
      : DriverDecorator(std::move(inner)), plan_(plan), pipe_(pipe), armed_(!plan.once_open) {}

  void arm() noexcept { armed_ = true; }

  void submit(Op& op) noexcept override {
    if (counts(op) && ++ops_ == plan_.kill_op) {
      Note note;
      note.kind = NoteKind::dying;
      note.code = op.code;
      send(pipe_, &note, sizeof note);
      if (!plan_.kill_after) ::kill(::getpid(), SIGKILL);
    }
    inner().submit(op);
  }
  void poll(OpList& done, Instant until) noexcept override {
    const bool dies = plan_.kill_op != 0 && ops_ >= plan_.kill_op;
    inner().poll(done, dies ? Instant{} : until);
    if (dies) ::kill(::getpid(), SIGKILL);
  }

 private:
  bool counts(const Op& op) const noexcept {
    return armed_ && (plan_.kill_code == OpCode::nop || plan_.kill_code == op.code);
  }

  Plan plan_;
  int pipe_;
  bool armed_;
  std::uint64_t ops_ = 0;
};

class Child {
 public:
  Child(const std::string& dir, const Plan& plan, int pipe) : dir_(dir), plan_(plan), pipe_(pipe) {}

  [[noreturn]] void run() {
    Result<std::unique_ptr<Driver>> driver = make_driver(test_driver_options());
    if (!driver) ::_exit(3);
    auto killing = std::make_unique<KillDriver>(std::move(*driver), plan_, pipe_);
    KillDriver& killer = *killing;
    Result<std::unique_ptr<Reactor>> reactor = Reactor::create(std::move(killing));
    if (!reactor) ::_exit(3);
    Result<std::unique_ptr<Journal>> journal = open_at(**reactor, dir_, loop_options(plan_.life));
    if (!journal) {
      std::fprintf(stderr, "kill_loop: %s\n", journal.error().text().c_str());
      ::_exit(4);
    }
    killer.arm();
    tell({NoteKind::opened, OpCode::nop, {}, (*journal)->recovery().next_record_no, 0});
    reactor_ = reactor->get();
    for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
      reactor_->spawn(append_for_ever(**journal, Id{plan_.life, worker, 0}));
    }
    reactor_->run();
    tell({NoteKind::closing, OpCode::nop, {}, 0, 0});
    if (!diorite::test::run(*reactor_, (*journal)->close())) ::_exit(5);
    ::_exit(0);
  }

 private:
  void tell(const Note& note) {
    if (!send(pipe_, &note, sizeof note)) ::_exit(6);
  }
  Task<> append_for_ever(Journal& journal, Id id) {
    for (; plan_.parent_kills || acks_ < plan_.acks; ++id.sequence) {
      const std::string payload = record_of(id);
      const RecordRef record(bytes_of(payload));
      const Result<Ticket> ticket = co_await journal.append_durable(record);
      if (!ticket && acks_ >= plan_.acks) co_return;  // stopped by the shutdown
      if (!ticket) ::_exit(7);
      tell({NoteKind::acked, OpCode::nop, id, ticket->record_no, ticket->begin.value});
      if (++acks_ >= plan_.acks && !plan_.parent_kills) reactor_->request_shutdown();
    }
  }

  std::string dir_;
  Plan plan_;
  int pipe_;
  std::uint64_t acks_ = 0;
  Reactor* reactor_ = nullptr;
};

struct Tally {
  std::uint64_t kills = 0;
  std::uint64_t opening = 0;  ///< of the kills, before the journal was open
  std::uint64_t closing = 0;
  std::uint64_t clean = 0;  ///< lives that ended before it came to that
  std::uint64_t acked = 0;
  std::uint64_t unheard = 0;  ///< recovered without having been acknowledged
  std::array<std::uint64_t, kOpCodeCount> at_code{};
};

/// One journal and what is known of it.
class Loop {
 public:
  explicit Loop(Tally& tally) : tally_(tally) {}

  void live(const Plan& plan) {
    int from = -1;
    const pid_t pid = fork_child(
        [&](int pipe) {
          Child child(dir_.path(), plan, pipe);
          child.run();
        },
        &from);
    std::vector<Note> acked;
    NoteKind last = NoteKind::dying;
    Note note;
    bool killed = false;
    while (receive(from, &note, sizeof note)) {
      if (note.kind == NoteKind::acked) acked.push_back(note);
      if (note.kind == NoteKind::dying) ++tally_.at_code[static_cast<std::size_t>(note.code)];
      // What an open returns is durable, and may be no more than what there had been.
      if (note.kind == NoteKind::opened) REQUIRE(note.record_no == records_.size());
      if (note.kind != NoteKind::dying) last = note.kind;
      if (plan.parent_kills && !killed && acked.size() >= plan.acks) {
        ::kill(pid, SIGKILL);
        killed = true;
      }
    }
    ::close(from);
    count(wait_for(pid), last);
    check(plan, acked);
  }

 private:
  void count(int status, NoteKind last) {
    INFO("wait status " << status);
    if (WIFEXITED(status)) {
      REQUIRE(WEXITSTATUS(status) == 0);
      ++tally_.clean;
      return;
    }
    REQUIRE(WTERMSIG(status) == SIGKILL);
    ++tally_.kills;
    if (last == NoteKind::dying) ++tally_.opening;
    if (last == NoteKind::closing) ++tally_.closing;
  }

  void check(const Plan& plan, const std::vector<Note>& acked) {
    auto reactor = make_test_reactor();
    Result<std::unique_ptr<Journal>> journal =
        open_at(*reactor, dir_.path(), loop_options(plan.life));
    if (!journal) FAIL(journal.error().text());
    const std::vector<Got> got = read_all(*reactor, **journal);
    REQUIRE(got.size() >= records_.size());
    for (std::size_t i = 0; i < records_.size(); ++i) {
      if (got[i].payload != records_[i]) FAIL("record " << i << " changed");
    }
    std::array<std::uint64_t, kWorkers> heard{};
    for (const Note& note : acked) {
      ++heard[note.id.worker];
      REQUIRE(note.record_no < got.size());
      const Got& record = got[note.record_no];
      if (record.begin != note.begin || record.payload != record_of(note.id)) {
        FAIL("record " << note.record_no << " is not the one that was acknowledged");
      }
    }
    // Nothing foreign, each worker's in its order, and no more than one that it had not heard of.
    std::array<std::uint64_t, kWorkers> next{};
    for (std::size_t i = records_.size(); i < got.size(); ++i) {
      Id id;
      REQUIRE(got[i].payload.size() >= sizeof id);
      std::memcpy(&id, got[i].payload.data(), sizeof id);
      REQUIRE(id.worker < kWorkers);
      REQUIRE(id.life == plan.life);
      REQUIRE(id.sequence == next[id.worker]++);
      REQUIRE(id.sequence <= heard[id.worker]);
      if (got[i].payload != record_of(id)) FAIL("record " << i << " was never appended");
      records_.push_back(got[i].payload);
      if (id.sequence == heard[id.worker]) ++tally_.unheard;
    }
    tally_.acked += acked.size();
  }

  TempDir dir_;
  Tally& tally_;
  std::vector<std::string> records_;
};

std::uint64_t wanted_kills() {
  const char* const asked = std::getenv("DIORITE_KILLS");
  const std::uint64_t number = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 0;
  return number > 0 ? number : kKillsDefault;
}

Plan make_plan(std::uint32_t life, std::uint64_t random) {
  Plan plan;
  plan.life = life;
  plan.acks = 1 + (random >> 8) % 250;
  plan.kill_after = (random >> 20) % 2 == 0;
  // Those that a rotation has: the next segment is prepared under another name, and renamed.
  constexpr std::array<OpCode, 6> kRotation = {OpCode::allocate, OpCode::rename, OpCode::sync_dir,
                                               OpCode::open,     OpCode::close,  OpCode::sync_data};
  switch ((random >> 24) % 4) {
    case 0:
      plan.parent_kills = true;
      break;
    // An open has some dozens of operations.
    case 1:
      plan.kill_op = 1 + (random >> 32) % 60;
      break;
    case 2:
      plan.once_open = true;
      plan.kill_op = 1 + (random >> 32) % 200;
      break;
    default:
      plan.once_open = true;
      plan.kill_code = kRotation[(random >> 40) % kRotation.size()];
      plan.kill_op = 1 + (random >> 32) % 5;
      break;
  }
  return plan;
}

TEST_CASE("killed at any operation and at any moment, over and over", "[kill]") {
  const std::uint64_t wanted = wanted_kills();
  Tally tally;
  std::uint64_t random = 20240718;
  while (tally.kills < wanted) {
    Loop loop(tally);
    for (std::uint32_t life = 0; life < kLivesPerJournal && tally.kills < wanted; ++life) {
      random = random * 6364136223846793005 + 1442695040888963407;
      const Plan plan = make_plan(life, random ^ (random >> 29));
      INFO("kills " << tally.kills << " life " << life << " acks " << plan.acks << " op "
                    << plan.kill_op << (plan.kill_after ? " after" : " before"));
      loop.live(plan);
    }
  }
  std::printf(
      "%llu kills (%llu while opening, %llu while closing), %llu clean ends, %llu "
      "acknowledged records, %llu recovered unheard of\n",
      static_cast<unsigned long long>(tally.kills), static_cast<unsigned long long>(tally.opening),
      static_cast<unsigned long long>(tally.closing), static_cast<unsigned long long>(tally.clean),
      static_cast<unsigned long long>(tally.acked), static_cast<unsigned long long>(tally.unheard));
  for (std::size_t code = 0; code < kOpCodeCount; ++code) {
    if (tally.at_code[code] == 0) continue;
    std::printf("  %llu at %s\n", static_cast<unsigned long long>(tally.at_code[code]),
                to_string(static_cast<OpCode>(code)));
  }
  CHECK(tally.opening > wanted / 20);
  CHECK(tally.acked > wanted * 10);
}

}  // namespace
}  // namespace diorite::test
