#include "powercut/failing_scenarios.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include <fmt/format.h>

#include "powercut/recorder.hpp"
#include "powercut/system.hpp"

namespace diorite::powercut {
namespace {

constexpr std::uint32_t kPieceBytes = 16384;
constexpr std::uint32_t kTagEvery = 512;

bool is_error(const std::string& value) {
  return value.size() > 1 && value[0] == 'E' && value[1] >= 'A' && value[1] <= 'Z';
}

const char* name_of_errno(int number) {
  switch (number) {
    case EIO:
      return "EIO";
    case EROFS:
      return "EROFS";
    case ENOSPC:
      return "ENOSPC";
    case ENODATA:
      return "ENODATA";
    case ENOENT:
      return "ENOENT";
    case EINVAL:
      return "EINVAL";
    default:
      return nullptr;
  }
}

// The beginning, end and syncing of one operation after the other.
class Hands {
 public:
  explicit Hands(Computer& computer) : computer_(computer) {}

  std::int32_t run(Op& op) {
    OpList done;
    Driver& driver = computer_.driver();
    driver.submit(op);
    while (op.state != OpState::done) driver.poll(done, kNever);
    done.pop_front();
    op.state = OpState::idle;
    return op.result;
  }

  DriverFile open(std::string_view name, std::uint32_t flags, std::int32_t* result = nullptr) {
    const std::string path = computer_.path(name);
    PathOp op;
    op.code = OpCode::open;
    op.path = path;
    op.open_flags = flags;
    op.mode = 0600;
    const std::int32_t got = run(op);
    if (result != nullptr) *result = got;
    return got == 0 ? op.file : DriverFile{};
  }

  std::int32_t on_file(OpCode code, DriverFile file, std::uint64_t length = 0) {
    InfoOp op;
    op.code = code;
    op.file = file;
    op.length = length;
    return run(op);
  }

  std::int64_t size(DriverFile file) {
    InfoOp op;
    op.code = OpCode::info;
    op.file = file;
    const std::int32_t got = run(op);
    return got < 0 ? got : static_cast<std::int64_t>(op.info.bytes);
  }

  std::int32_t on_path(OpCode code, std::string_view name, std::string_view name2 = {}) {
    const std::string path = computer_.path(name);
    const std::string path2 = name2.empty() ? std::string() : computer_.path(name2);
    PathOp op;
    op.code = code;
    op.path = path;
    op.path2 = path2;
    op.mode = 0700;
    return run(op);
  }

  // Sectors with the tag in front of each, so that the disk knows them for data.
  std::int32_t write(DriverFile file, std::uint64_t offset, char fill, std::uint8_t flags = 0) {
    std::memset(buffer_, fill, kPieceBytes);
    for (std::uint32_t at = 0; at < kPieceBytes; at += kTagEvery) {
      std::memcpy(buffer_ + at, kDataTag.data(), kDataTag.size());
    }
    Op op;
    op.code = OpCode::write;
    op.file = file;
    op.offset = offset;
    op.data = buffer_;
    op.bytes = kPieceBytes;
    op.flags = flags;
    const std::int32_t got = run(op);
    return got == static_cast<std::int32_t>(kPieceBytes) ? 0 : got;
  }

  std::string read(DriverFile file, std::uint64_t offset) {
    Op op;
    op.code = OpCode::read;
    op.file = file;
    op.offset = offset;
    op.data = buffer_;
    op.bytes = kPieceBytes;
    const std::int32_t got = run(op);
    if (got < 0) return error_text(got);
    return describe({reinterpret_cast<const char*>(buffer_), static_cast<std::size_t>(got)});
  }

  static std::string error_text(std::int32_t result) {
    const char* const name = name_of_errno(-result);
    return name != nullptr ? name : fmt::format("E{}", std::strerror(-result));
  }

  std::string content(std::string_view name, std::uint32_t flags, std::uint64_t offset = 0) {
    std::int32_t opened = 0;
    const DriverFile file = open(name, flags, &opened);
    if (!file) return opened == -ENOENT ? "missing" : error_text(opened);
    std::string text = read(file, offset);
    on_file(OpCode::close, file);
    return text;
  }

  std::string size_of(std::string_view name) {
    std::int32_t opened = 0;
    const DriverFile file = open(name, 0, &opened);
    if (!file) return opened == -ENOENT ? "missing" : error_text(opened);
    const std::int64_t bytes = size(file);
    on_file(OpCode::close, file);
    return bytes < 0 ? error_text(static_cast<std::int32_t>(bytes)) : std::to_string(bytes);
  }

  std::string exists(std::string_view name) {
    std::int32_t opened = 0;
    const DriverFile file = open(name, 0, &opened);
    if (!file) return opened == -ENOENT ? "no" : error_text(opened);
    on_file(OpCode::close, file);
    return "yes";
  }

  void must(std::int32_t result, const char* what) {
    if (result < 0) throw Trouble(fmt::format("{}: {}", what, error_text(result)));
  }

  void make(std::string_view name, bool with_data) {
    std::int32_t opened = 0;
    const DriverFile file = open(name, kOpenWrite | kOpenCreate, &opened);
    must(opened, "open of a new file");
    if (with_data) must(write(file, 0, 'o'), "write");
    must(on_file(OpCode::sync_all, file), "sync");
    must(on_file(OpCode::close, file), "close");
    must(on_path(OpCode::sync_dir, ""), "sync of the directory");
  }

 private:
  static std::string describe(std::string_view bytes) {
    if (bytes.empty()) return "end";
    std::string kinds;
    for (std::size_t at = 0; at < bytes.size(); at += kTagEvery) {
      const std::string_view sector = bytes.substr(at, kTagEvery);
      const char kind = sector.back();
      if (kinds.find(kind) == std::string::npos) kinds += kind;
    }
    if (kinds == "o") return bytes.size() == kPieceBytes ? "old" : "old, short";
    if (kinds == "n") return bytes.size() == kPieceBytes ? "new" : "new, short";
    if (kinds == std::string(1, '\0'))
      return bytes.size() == kPieceBytes ? "zeros" : "zeros, short";
    return "mixed";
  }

  Computer& computer_;
  alignas(4096) std::byte buffer_[kPieceBytes];
};

constexpr std::uint32_t kDirect = kOpenWrite | kOpenDirect;

/// Which of a file's bytes are new, when a write of it, or the sync after it, has failed.
class FileScenario final : public Scenario {
 public:
  enum class Way : std::uint8_t { cached, direct, direct_dsync };
  enum class Change : std::uint8_t { overwrite, append, truncate };
  struct What {
    const char* name;
    Way way;
    Change change;
    std::uint32_t kinds;
    OpCode first;
  };
  explicit FileScenario(const What& what) : what_(what) {}
  const char* name() const noexcept override { return what_.name; }
  OpCode suffers() const noexcept override { return what_.first; }

  void prepare(Computer& computer) const override { Hands(computer).make("file", true); }

  std::vector<std::pair<std::string, Sight>> run(Computer& computer) const override {
    Hands hands(computer);
    Sight sight;
    // Before the change, which a write that must take effect at once comes close behind.
    const bool write_suffers = what_.first == OpCode::write;
    if (write_suffers) computer.fail(what_.kinds);
    const std::uint32_t flags = what_.way == Way::cached ? kOpenWrite : kDirect;
    const DriverFile file = hands.open("file", flags);
    sight.result(what_.change == Change::truncate ? "truncate" : "write", change(hands, file));
    if (!write_suffers) {
      computer.fail(what_.kinds);
      sight.result("sync", hands.on_file(OpCode::sync_data, file));
    }
    computer.heal();
    look(hands, sight, "");
    sight.result("2nd sync", hands.on_file(OpCode::sync_data, file));
    look(hands, sight, "then ");
    hands.on_file(OpCode::drop_cache, file);
    hands.on_file(OpCode::close, file);
    sight.note("evicted", seen(hands, 0));

    struct After final : Computer::Look {
      explicit After(const FileScenario& of, const Sight& so_far) : scenario(of), before(so_far) {}
      void see(Computer& after, const char* state) override {
        Hands later(after);
        Sight all = before;
        all.note("after the cut", scenario.seen(later, 0));
        sights.emplace_back(state, std::move(all));
      }
      const FileScenario& scenario;
      const Sight& before;
      std::vector<std::pair<std::string, Sight>> sights;
    } after(*this, sight);
    computer.cut_power(after);
    return std::move(after.sights);
  }

 private:
  std::int32_t change(Hands& hands, DriverFile file) const {
    const std::uint8_t flags = what_.way == Way::direct_dsync ? kOpDsync : std::uint8_t{0};
    switch (what_.change) {
      case Change::overwrite:
        return hands.write(file, 0, 'n', flags);
      case Change::append:
        return hands.write(file, kPieceBytes, 'n', flags);
      case Change::truncate:
        return hands.on_file(OpCode::truncate, file, 4096);
    }
    return 0;
  }

  std::string seen(Hands& hands, std::uint32_t flags) const {
    if (what_.change == Change::overwrite) return hands.content("file", flags);
    if (what_.change == Change::append) return hands.content("file", flags, kPieceBytes);
    return hands.size_of("file");
  }

  void look(Hands& hands, Sight& sight, const std::string& when) const {
    if (what_.change == Change::truncate) {
      sight.note((when + "size").c_str(), seen(hands, 0));
      return;
    }
    sight.note((when + "cached").c_str(), seen(hands, 0));
    sight.note((when + "direct").c_str(), seen(hands, kOpenDirect));
  }

  What what_;
};

/// Which names are there when the sync of their directory has failed.
class NameScenario final : public Scenario {
 public:
  NameScenario(const char* name, std::uint32_t kinds) : name_(name), kinds_(kinds) {}
  const char* name() const noexcept override { return name_; }
  OpCode suffers() const noexcept override { return OpCode::sync_dir; }

  void prepare(Computer& computer) const override {
    Hands hands(computer);
    hands.make("before", true);
    hands.make("from", false);
  }

  std::vector<std::pair<std::string, Sight>> run(Computer& computer) const override {
    Hands hands(computer);
    Sight sight;
    const DriverFile made = hands.open("made", kOpenWrite | kOpenCreate);
    hands.on_file(OpCode::close, made);
    hands.on_path(OpCode::rename, "from", "to");
    computer.fail(kinds_);
    sight.result("sync", hands.on_path(OpCode::sync_dir, ""));
    computer.heal();
    names(hands, sight);
    sight.result("2nd sync", hands.on_path(OpCode::sync_dir, ""));
    std::int32_t later = 0;
    const DriverFile last = hands.open("later", kOpenWrite | kOpenCreate, &later);
    sight.result("create", later);
    if (last) hands.on_file(OpCode::close, last);
    sight.result("3rd sync", hands.on_path(OpCode::sync_dir, ""));
    sight.note("then before", hands.content("before", 0));

    struct After final : Computer::Look {
      After(const NameScenario& of, const Sight& so_far) : scenario(of), before(so_far) {}
      void see(Computer& after, const char* state) override {
        Hands hands_then(after);
        Sight all = before;
        all.note("| cut:", "");
        scenario.names(hands_then, all);
        all.note("later", hands_then.exists("later"));
        sights.emplace_back(state, std::move(all));
      }
      const NameScenario& scenario;
      const Sight& before;
      std::vector<std::pair<std::string, Sight>> sights;
    } after(*this, sight);
    computer.cut_power(after);
    return std::move(after.sights);
  }

 private:
  void names(Hands& hands, Sight& sight) const {
    for (const char* const name : {"before", "made", "from", "to"}) {
      sight.note(name, hands.exists(name));
    }
  }

  const char* name_;
  std::uint32_t kinds_;
};

std::vector<std::unique_ptr<Scenario>> make_scenarios() {
  using Way = FileScenario::Way;
  using Change = FileScenario::Change;
  constexpr std::uint32_t kData = DiskFaults::kData;
  constexpr std::uint32_t kOthers = DiskFaults::kOthers;
  constexpr std::uint32_t kFlushes = DiskFaults::kFlushes;
  const std::vector<FileScenario::What> files = {
      {"cached write, data fails", Way::cached, Change::overwrite, kData, OpCode::sync_data},
      {"cached write, flush fails", Way::cached, Change::overwrite, kFlushes, OpCode::sync_data},
      {"cached append, data fails", Way::cached, Change::append, kData, OpCode::sync_data},
      {"cached append, log fails", Way::cached, Change::append, kOthers, OpCode::sync_data},
      {"cached append, flush fails", Way::cached, Change::append, kFlushes, OpCode::sync_data},
      {"direct write, data fails", Way::direct, Change::overwrite, kData, OpCode::write},
      {"direct write, flush fails", Way::direct, Change::overwrite, kFlushes, OpCode::sync_data},
      {"direct append, log fails", Way::direct, Change::append, kOthers, OpCode::sync_data},
      {"direct append, flush fails", Way::direct, Change::append, kFlushes, OpCode::sync_data},
      {"dsync write, data fails", Way::direct_dsync, Change::overwrite, kData, OpCode::write},
      {"dsync write, flush fails", Way::direct_dsync, Change::overwrite, kFlushes, OpCode::write},
      {"dsync append, log fails", Way::direct_dsync, Change::append, kOthers, OpCode::write},
      {"truncation, log fails", Way::direct, Change::truncate, kOthers, OpCode::sync_data},
      {"truncation, flush fails", Way::direct, Change::truncate, kFlushes, OpCode::sync_data},
  };
  std::vector<std::unique_ptr<Scenario>> all;
  for (const FileScenario::What& what : files) all.push_back(std::make_unique<FileScenario>(what));
  all.push_back(std::make_unique<NameScenario>("names, log fails", kOthers));
  all.push_back(std::make_unique<NameScenario>("names, flush fails", kFlushes));
  return all;
}

}  // namespace

void Sight::result(const char* what, std::int32_t result) {
  note(what, result >= 0 ? "ok" : Hands::error_text(result));
}

std::string Sight::text() const {
  std::string all;
  for (const auto& [what, value] : facts_) {
    if (!all.empty()) all += ", ";
    all += what;
    if (!value.empty()) all += ' ' + value;
  }
  return all;
}

std::string Sight::key() const {
  std::string all;
  for (const auto& [what, value] : facts_) {
    if (!all.empty()) all += ", ";
    all += what;
    all += is_error(value) ? " fails" : ' ' + value;
  }
  return all;
}

const std::vector<std::unique_ptr<Scenario>>& all_scenarios() {
  static const std::vector<std::unique_ptr<Scenario>> all = make_scenarios();
  return all;
}

}  // namespace diorite::powercut
