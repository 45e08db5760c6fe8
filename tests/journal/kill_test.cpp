// Processes that are killed at any moment, while they append and while they recover: what they had
// acknowledged is there, in order and byte for byte, and nothing that was never appended.

#include <unistd.h>

#include <csignal>
#include <map>

#include "journal_rig.hpp"
#include "kill_child.hpp"

namespace diorite::test {
namespace {

constexpr std::uint32_t kWorkers = 16;

struct Id {
  std::uint32_t round = 0;
  std::uint32_t worker = 0;
  std::uint64_t sequence = 0;
};

/// What the child says of an append that was acknowledged.
struct Acknowledged {
  Id id;
  std::uint64_t record_no = 0;
  std::uint64_t begin = 0;
};

std::string record_of(const Id& id) {
  const std::uint64_t seed = (id.sequence << 16) ^ (std::uint64_t{id.round} << 8) ^ id.worker;
  std::string record(sizeof(Id), '\0');
  std::memcpy(record.data(), &id, sizeof id);
  return record + payload_of(seed, static_cast<std::size_t>(seed * 2654435761u % 6000));
}

bool id_of(std::string_view record, Id& id) {
  if (record.size() < sizeof id) return false;
  std::memcpy(&id, record.data(), sizeof id);
  return true;
}

JournalOptions kill_options(std::uint32_t round) {
  JournalOptions options = round % 3 == 2 ? flush_options() : rig_options();
  options.in_flight_max = 1 + round % 5;
  options.confirm_idle_ms = 1;
  options.spares = 2;
  options.lock_wait_ms = 20000;
  return options;
}

Task<> append_for_ever(Journal& journal, Id id, int pipe) {
  for (;; ++id.sequence) {
    const std::string payload = record_of(id);
    const RecordRef record(bytes_of(payload));
    const Result<Ticket> ticket = co_await journal.append_durable(record);
    if (!ticket) ::_exit(3);
    const Acknowledged told{id, ticket->record_no, ticket->begin.value};
    if (!send(pipe, &told, sizeof told)) ::_exit(4);
  }
}

[[noreturn]] void run_appender(const std::string& dir, std::uint32_t round, int pipe) {
  Result<std::unique_ptr<Reactor>> reactor = Reactor::create([] {
    ReactorOptions options;
    options.driver = test_driver_options();
    return options;
  }());
  if (!reactor) ::_exit(5);
  Result<std::unique_ptr<Journal>> journal = open_at(**reactor, dir, kill_options(round));
  if (!journal) ::_exit(6);
  for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
    (*reactor)->spawn(append_for_ever(**journal, Id{round, worker, 0}, pipe));
  }
  (*reactor)->run();
  ::_exit(7);
}

/// Opens the journal and dies when its n-th operation of one sort is about to take place.
[[noreturn]] void run_doomed_open(const std::string& dir, std::uint32_t round, OpCode code,
                                  std::uint32_t nth) {
  auto owned = std::make_unique<FaultDriver>(make_test_driver());
  FaultDriver& faults = *owned;
  auto reactor = make_reactor_on(std::move(owned));
  const auto hold = faults.hold(code, nth);
  Task<Result<std::unique_ptr<Journal>>> opening =
      Journal::open(*reactor, dir, kill_options(round));
  auto running = start(*reactor, std::move(opening));
  while (!running.done()) {
    reactor->turn(reactor->now() + std::chrono::milliseconds(1));
    if (faults.is_held(hold)) ::kill(::getpid(), SIGKILL);
  }
  ::_exit(0);  // it did not do that many
}

/// Lets a child append, kills it after `count` acknowledgements, and returns all that it gave.
std::vector<Acknowledged> append_and_kill(const std::string& dir, std::uint32_t round,
                                          std::size_t count) {
  int from = -1;
  const pid_t child = fork_child([&](int pipe) { run_appender(dir, round, pipe); }, &from);
  std::vector<Acknowledged> all;
  Acknowledged one;
  while (all.size() < count && receive(from, &one, sizeof one)) all.push_back(one);
  ::kill(child, SIGKILL);
  while (receive(from, &one, sizeof one)) all.push_back(one);
  ::close(from);
  const int status = wait_for(child);
  if (!WIFSIGNALED(status)) FAIL("the child ended by itself: " << WEXITSTATUS(status));
  return all;
}

struct History {
  std::vector<std::string> records;  ///< as the last open returned them
};

/// Opens the journal and holds what it returns against what is known.
void check_recovered(const TempDir& dir, std::uint32_t round, History& history,
                     const std::vector<Acknowledged>& acknowledged) {
  auto reactor = make_test_reactor();
  Result<std::unique_ptr<Journal>> journal = open_at(*reactor, dir.path(), kill_options(round));
  if (!journal) FAIL(journal.error().text());
  const std::vector<Got> got = read_all(*reactor, **journal);
  // What was returned once is returned for ever.
  REQUIRE(got.size() >= history.records.size());
  for (std::size_t i = 0; i < history.records.size(); ++i) {
    if (got[i].payload != history.records[i]) FAIL("record " << i << " changed");
  }
  for (const Acknowledged& told : acknowledged) {
    REQUIRE(told.record_no < got.size());
    const Got& record = got[told.record_no];
    REQUIRE(record.begin == told.begin);
    REQUIRE(record.payload == record_of(told.id));
  }
  // Nothing foreign, nothing twice, and each worker's in the order in which it appended them.
  std::map<std::uint32_t, std::uint64_t> next;
  for (std::size_t i = history.records.size(); i < got.size(); ++i) {
    Id id;
    REQUIRE(id_of(got[i].payload, id));
    REQUIRE(got[i].payload == record_of(id));
    REQUIRE(id.round == round);
    REQUIRE(id.worker < kWorkers);
    REQUIRE(id.sequence == next[id.worker]++);
  }
  // Each worker had at most one record that it had not heard of.
  REQUIRE(got.size() - history.records.size() <= acknowledged.size() + kWorkers);
  history.records.clear();
  for (const Got& record : got) history.records.push_back(record.payload);
}

TEST_CASE("killed while it appends, fifteen times", "[kill]") {
  TempDir dir;
  History history;
  std::uint64_t random = 20240607;
  for (std::uint32_t round = 0; round < 15; ++round) {
    INFO("round " << round);
    random = random * 6364136223846793005 + 1442695040888963407;
    const std::size_t count = 1 + (random >> 33) % 400;
    const std::vector<Acknowledged> acknowledged = append_and_kill(dir.path(), round, count);
    REQUIRE(acknowledged.size() >= count);
    check_recovered(dir, round, history, acknowledged);
  }
  CHECK(history.records.size() > 1000);
}

TEST_CASE("killed while it recovers, at every step", "[kill]") {
  TempDir dir;
  History history;
  std::uint32_t round = 0;
  for (const OpCode code : {OpCode::write, OpCode::sync_data, OpCode::sync_dir, OpCode::rename,
                            OpCode::remove, OpCode::open, OpCode::allocate, OpCode::read}) {
    const std::vector<Acknowledged> acknowledged = append_and_kill(dir.path(), round, 40);
    for (std::uint32_t nth = 1; nth <= 6; ++nth) {
      int from = -1;
      const pid_t child =
          fork_child([&](int) { run_doomed_open(dir.path(), round, code, nth); }, &from);
      ::close(from);
      const int status = wait_for(child);
      INFO("code " << to_string(code) << " nth " << nth << " status " << status);
      REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
      if (WIFSIGNALED(status)) REQUIRE(WTERMSIG(status) == SIGKILL);
    }
    check_recovered(dir, round, history, acknowledged);
    ++round;
  }
}

TEST_CASE("killed while it creates the journal", "[kill]") {
  for (const OpCode code : {OpCode::write, OpCode::sync_data, OpCode::rename, OpCode::sync_dir}) {
    for (std::uint32_t nth = 1; nth <= 5; ++nth) {
      TempDir dir;
      int from = -1;
      const pid_t child =
          fork_child([&](int) { run_doomed_open(dir.path(), 0, code, nth); }, &from);
      ::close(from);
      const int status = wait_for(child);
      INFO("code " << to_string(code) << " nth " << nth << " status " << status);
      REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
      History history;
      check_recovered(dir, 0, history, {});
      CHECK(history.records.empty());
    }
  }
}

TEST_CASE("a journal that another process holds open is not opened", "[kill]") {
  TempDir dir;
  int from = -1;
  const pid_t child = fork_child(
      [&](int pipe) {
        auto reactor = make_test_reactor();
        Result<std::unique_ptr<Journal>> journal = open_at(*reactor, dir.path(), rig_options());
        const char done = journal ? 'o' : 'x';
        send(pipe, &done, 1);
        for (;;) ::pause();
      },
      &from);
  char opened = 0;
  REQUIRE(receive(from, &opened, 1));
  REQUIRE(opened == 'o');
  const std::string manifest = dir.read("MANIFEST");
  {
    auto reactor = make_test_reactor();
    JournalOptions options = rig_options();
    for (const std::uint32_t wait_ms : {0u, 40u}) {
      options.lock_wait_ms = wait_ms;
      const Error error = open_at(*reactor, dir.path(), options).error();
      REQUIRE(error == Errc::locked);
      CHECK(error.a() >= wait_ms);
      CHECK(error.text().find("LOCK") != std::string::npos);
    }
  }
  CHECK(dir.read("MANIFEST") == manifest);
  ::kill(child, SIGKILL);
  wait_for(child);
  ::close(from);
  auto reactor = make_test_reactor();
  JournalOptions options = rig_options();
  options.lock_wait_ms = 20000;
  CHECK(open_at(*reactor, dir.path(), options));
}

}  // namespace
}  // namespace diorite::test
